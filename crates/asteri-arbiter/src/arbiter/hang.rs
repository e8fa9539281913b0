//! Workers that exceed their time.
//!
//! What happens to one, without the loop ever waiting: its stack is asked for and written to the log together with the
//! request; its standby thread is asked to answer 504; then `SIGABRT`, and a second later `SIGKILL`. It counts as gone from
//! the first step on, so its successor is already booting.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use asteri_proto::time::Moment;
use asteri_server::scoreboard::WorkerState;
use asteri_server::sys::signals::Signal;

use super::crew::{Duty, Worker};
use super::supervisor::Arbiter;
use crate::logs::{Field, Level};

/// How long the stack, and then the answer, are waited for.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often they are looked for; a stack is whole when it has not grown for as long.
const GLANCE: Duration = Duration::from_millis(20);
/// From `SIGABRT` to `SIGKILL`: time for a core, or for the application's own handler.
const ABORT_GRACE: Duration = Duration::from_secs(1);
/// Workers beat once a second while they are idle: a shorter timeout is no reason to expect more of them.
const LONGEST_SILENCE: Duration = Duration::from_secs(3);
/// A stack of a thousand frames is no bigger; the rest would only push other records out of sight.
const STACK_BYTES: u64 = 64 * 1024;

/// A condemned worker: what it did, and how far its end has come.
pub(super) struct Hang {
    why: Why,
    request: Option<Vec<u8>>,
    running: Duration,
    requests: u64,
    /// How much was in the stack file before the stack was asked for.
    stack_from: u64,
    step: Step,
    /// When the step is over, whatever happens.
    until: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A call of the application has been running for too long.
    Call,
    /// It has not become ready.
    Boot,
    /// It beats no more (or never did), and runs no call either.
    Silence,
    /// It was told to leave and did not.
    Staying,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The stack has this many bytes so far, and is looked at again at the time given.
    Stack {
        length: u64,
        look: Moment,
    },
    Answer {
        look: Moment,
    },
    Aborted,
    Killed,
}

impl Hang {
    /// In words, for the log of its death.
    pub fn cause(&self) -> &'static str {
        match self.why {
            Why::Call => "killed by the arbiter: a request took longer than the timeout",
            Why::Boot => "killed by the arbiter: booting took longer than the timeout",
            Why::Silence => "killed by the arbiter: silent for longer than the timeout",
            Why::Staying => "killed by the arbiter: not gone within the graceful timeout",
        }
    }
}

impl Arbiter<'_> {
    /// When a worker next has to be looked at.
    pub fn deadline_of(&self, worker: &Worker) -> Option<Moment> {
        match &worker.duty {
            Duty::Serving => self.overdue_at(worker).map(|(_, _, at)| at),
            Duty::Leaving { deadline } => Some(*deadline),
            Duty::Condemned(hang) => match hang.step {
                Step::Stack { look, .. } | Step::Answer { look } => Some(look.min(hang.until)),
                Step::Aborted => Some(hang.until),
                Step::Killed => None,
            },
        }
    }

    /// Condemns a worker whose time is over, or takes the next step with one that is condemned.
    pub fn check_time(&mut self, index: usize, now: Moment) {
        let worker = &self.crew[index];
        match &worker.duty {
            Duty::Serving if self.stop.is_none() => {
                if let Some((why, since, at)) = self.overdue_at(worker)
                    && now >= at
                {
                    self.condemn(index, why, since, now);
                }
            }
            Duty::Serving => {}
            Duty::Leaving { deadline } if now >= *deadline => self.end_grace(index, now),
            Duty::Leaving { .. } => {}
            Duty::Condemned(_) => self.proceed(index, now),
        }
    }

    /// What a serving worker is doing that has a time limit: what, since when, until when.
    fn overdue_at(&self, worker: &Worker) -> Option<(Why, Moment, Moment)> {
        let timeout = self.load.options.timeout;
        if timeout.is_zero() {
            return None;
        }
        let slot = self.board.slot(worker.slot);
        let (why, since, limit) = if slot.state() == WorkerState::Booting {
            (Why::Boot, worker.spawned, timeout)
        } else if let Some(since) = slot.busy_since() {
            (Why::Call, since, timeout)
        } else {
            // Being ready is the first sign of life.
            let since = slot.heartbeat().max(worker.ready_since)?;
            (Why::Silence, since, timeout.max(LONGEST_SILENCE))
        };
        // Time in which nothing could run does not count.
        Some((why, since, since.max(self.awake_since) + limit))
    }

    /// A worker that was told to leave is still there. One that finishes no request is killed at once, one that hangs in a
    /// call like any that hangs.
    fn end_grace(&mut self, index: usize, now: Moment) {
        let worker = &self.crew[index];
        let quick = self.stop.as_ref().is_some_and(|stop| stop.quick);
        match self.board.slot(worker.slot).busy_since() {
            Some(since) if !quick => self.condemn(index, Why::Staying, since, now),
            _ => {
                let open = self.board.slot(worker.slot).counters().connections_open.get();
                let fields = [("worker", &worker.pid as _), ("connections_open", &open as _)];
                self.log().warning("worker did not leave in time, killing it", &fields);
                self.kill(index, Why::Staying, now);
            }
        }
    }

    fn condemn(&mut self, index: usize, why: Why, since: Moment, now: Moment) {
        let worker = &self.crew[index];
        let slot = self.board.slot(worker.slot);
        let stack_from = worker.stack_file.metadata().map_or(0, |meta| meta.len());
        let asked = slot.dumps_stack();
        if asked {
            self.signal_worker(index, Signal::dump_stack());
        }
        let hang = Hang {
            why,
            request: slot.busy_since().and_then(|_| slot.request_line()),
            running: now.saturating_since(since),
            requests: slot.counters().requests.get(),
            stack_from,
            step: Step::Stack { length: 0, look: now + GLANCE },
            until: if asked { now + PATIENCE } else { now },
        };
        // Its siblings are not to leave it anything to do.
        slot.set_state(WorkerState::Exited);
        self.crew[index].duty = Duty::Condemned(hang);
        if why == Why::Boot {
            self.boot_timed_out(index, now);
        }
        self.proceed(index, now);
    }

    /// Kills without ceremony.
    fn kill(&mut self, index: usize, why: Why, now: Moment) {
        let hang = Hang {
            why,
            request: None,
            running: Duration::ZERO,
            requests: 0,
            stack_from: 0,
            step: Step::Killed,
            until: now,
        };
        self.crew[index].duty = Duty::Condemned(hang);
        self.signal_worker(index, Signal::KILL);
    }

    /// Takes the steps whose time has come.
    fn proceed(&mut self, index: usize, now: Moment) {
        while let Some((step, until)) = self.next_step(index, now) {
            if let Duty::Condemned(hang) = &mut self.crew[index].duty {
                (hang.step, hang.until) = (step, until);
            }
        }
    }

    /// The step after the present one, with what it takes done; `None`: not yet.
    fn next_step(&self, index: usize, now: Moment) -> Option<(Step, Moment)> {
        let worker = &self.crew[index];
        let Duty::Condemned(hang) = &worker.duty else { return None };
        let slot = self.board.slot(worker.slot);
        match hang.step {
            Step::Stack { length, look } => {
                let written = worker.stack_file.metadata().map_or(0, |meta| meta.len()).saturating_sub(hang.stack_from);
                let is_whole = now >= look && written > 0 && written == length;
                if is_whole || now >= hang.until {
                    self.tell(worker, hang);
                    return Some(match slot.busy_since() {
                        Some(since) => {
                            slot.want_answer(since);
                            (Step::Answer { look: now + GLANCE }, now + PATIENCE)
                        }
                        None => self.abort(index, now),
                    });
                }
                (now >= look).then(|| (Step::Stack { length: written, look: now + GLANCE }, hang.until))
            }
            Step::Answer { look } => {
                // A call that came to its end just now has answered its client itself.
                if slot.is_answered() || slot.busy_since().is_none() || now >= hang.until {
                    return Some(self.abort(index, now));
                }
                (now >= look).then(|| (Step::Answer { look: now + GLANCE }, hang.until))
            }
            Step::Aborted if now >= hang.until => {
                self.signal_worker(index, Signal::KILL);
                Some((Step::Killed, now))
            }
            Step::Aborted | Step::Killed => None,
        }
    }

    fn abort(&self, index: usize, now: Moment) -> (Step, Moment) {
        self.signal_worker(index, Signal::ABRT);
        (Step::Aborted, now + ABORT_GRACE)
    }

    /// One record: who, in what, for how long, and the stack.
    fn tell(&self, worker: &Worker, hang: &Hang) {
        let stack = read_stack(worker, hang.stack_from);
        let limit = match hang.why {
            Why::Staying => self.load.options.graceful_timeout,
            _ => self.load.options.timeout,
        };
        let text = match hang.why {
            Why::Call => "WORKER TIMEOUT: a request takes too long, the worker is replaced",
            Why::Boot => "WORKER TIMEOUT: booting takes too long, the worker is replaced",
            Why::Silence => "WORKER TIMEOUT: the worker is silent, it is replaced",
            Why::Staying => "worker does not finish its request in time, killing it",
        };
        let mut fields: Vec<Field<'_>> = vec![("worker", &worker.pid)];
        if let Some(request) = &hang.request {
            fields.push(("request", request));
        }
        fields.extend::<[Field<'_>; 3]>([
            ("running", &hang.running),
            ("timeout", &limit),
            ("requests_before", &hang.requests),
        ]);
        let stack = if stack.is_empty() { b"  (no stack could be had)".as_slice() } else { &stack };
        self.log().record(Level::Critical, text, &fields, stack);
    }
}

fn read_stack(worker: &Worker, from: u64) -> Vec<u8> {
    let length = worker.stack_file.metadata().map_or(0, |meta| meta.len()).saturating_sub(from).min(STACK_BYTES);
    let mut stack = vec![0; length as usize];
    // Not `read`: the position belongs to the worker too, which writes there.
    match worker.stack_file.read_at(&mut stack, from) {
        Ok(read) => stack.truncate(read),
        Err(_) => stack.clear(),
    }
    stack
}
