//! `USR2`: another arbiter on the same sockets, and the way from one to the other and back.
//!
//! The new arbiter is a child that executes the command of the start anew, so it may be another version of Asteri or of Python.
//! It says when its workers serve. Until the old one is told to leave, both serve; `WINCH` sends only the workers of the old one
//! home, and `HUP` or `TTIN` brings them back. When the old one is gone, the new one takes its place: pid file, socket files, name.
//!
//! Asked for by `asteri upgrade`, the old arbiter does all of this by itself, and ends a new one that is not ready in time.

use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use asteri_proto::time::Moment;
use asteri_server::sys::forks;
use asteri_server::sys::process::{self, Ended, Fork, Pid};
use asteri_server::sys::signals::{Blocked, Signal};

use super::control::ControlError;
use super::hooks::Hook;
use super::inherited::{LISTENERS, NEWS, PREDECESSOR, SOCKETS, VARIABLES};
use super::reap;
use super::seat::exit_code;
use super::supervisor::Arbiter;

/// How long a new arbiter that has failed may take to send its workers home.
const FAREWELL: Duration = Duration::from_secs(10);

/// How this process was started, and how another is started in its place.
#[derive(Clone, Debug)]
pub struct RestartCommand {
    pub program: PathBuf,
    /// Without the program's name.
    pub arguments: Vec<OsString>,
    /// The folder of the start.
    pub folder: PathBuf,
    /// All variables of the start.
    pub environment: Vec<(OsString, OsString)>,
}

/// The arbiter that is to replace this one.
pub(super) struct Successor {
    pub pid: Pid,
    news: PipeReader,
    begun: Moment,
    step: Step,
    /// This arbiter leaves by itself as soon as the other serves, or ends it if it does not by then.
    by_itself: Option<Moment>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Starting,
    Serving,
    /// Was not ready in time, and is killed at the moment named.
    Condemned(Moment),
}

impl Arbiter<'_> {
    /// Starts another arbiter on the same sockets. With `patience`, takes over the rest: leaves when the other serves, and ends
    /// it if it does not within that time.
    ///
    /// # Errors
    /// Why there can be none now, for the operator.
    pub fn begin_upgrade(&mut self, patience: Option<Duration>, now: Moment) -> Result<Pid, String> {
        // Who asks may know already that the other one has ended.
        self.reap(now);
        self.tend_predecessor();
        if let Some(successor) = &self.successor {
            return Err(format!("there is a new arbiter already, process {}", successor.pid));
        }
        if self.inherited.predecessor.is_some() {
            return Err("this arbiter has not yet replaced the one that started it".to_owned());
        }
        if self.is_leaving() {
            return Err("the server is stopping".to_owned());
        }
        let command = self.interpreter.restart_command().ok_or("the command of the start is not known")?;
        let (news, ours) = io::pipe().map_err(|error| format!("no pipe could be made: {error}"))?;
        // As with workers: a signal that came before the new program has its handlers would be lost or deadly.
        let forked = Blocked::all().and_then(|blocked| Ok((self.interpreter.fork()?, blocked)));
        match forked.map_err(|error| format!("cannot fork: {error}"))? {
            (Fork::Child, blocked) => {
                let error = self.become_arbiter(command, &ours, blocked);
                self.log().critical("the new arbiter cannot be executed", &[("error", &error)]);
                forks::leave(exit_code::STARTUP)
            }
            (Fork::Parent(pid), blocked) => {
                drop(blocked);
                self.log().info("Starting a new arbiter on the same sockets", &[("arbiter", &pid)]);
                let by_itself = patience.map(|patience| now + patience);
                self.successor = Some(Successor { pid, news, begun: now, step: Step::Starting, by_itself });
                Ok(pid)
            }
        }
    }

    /// In the child: comes back only if that fails.
    fn become_arbiter(&mut self, command: RestartCommand, news: &PipeWriter, blocked: Blocked) -> io::Error {
        if self.hook(Hook::PreExec).is_err() {
            return io::Error::other("the hook pre_exec has failed");
        }
        let mut kept = self.sockets.listeners().map(AsFd::as_fd).chain([news.as_fd()]);
        if let Err(error) = kept.try_for_each(process::keep_on_exec) {
            return error;
        }
        let numbers: Vec<String> =
            self.sockets.listeners().map(|listener| listener.as_fd().as_raw_fd().to_string()).collect();
        let lines: Vec<String> = numbers
            .iter()
            .zip(self.sockets.listeners())
            .map(|(number, listener)| format!("{number} {}", listener.spec()))
            .collect();
        let parent = process::parent();
        let mut new = Command::new(&command.program);
        new.args(&command.arguments)
            .current_dir(&command.folder)
            .env_clear()
            .envs(command.environment.into_iter().filter(|(name, _)| !VARIABLES.iter().any(|own| name == own)))
            .env(PREDECESSOR, parent.to_string())
            .env(SOCKETS, numbers.join(","))
            .env(LISTENERS, lines.join("\n"))
            .env(NEWS, news.as_raw_fd().to_string());
        let passed = self.inherited.passed();
        if !passed.is_empty() && passed.iter().all(|(fd, _)| numbers.contains(&fd.to_string())) {
            let names: Vec<&str> = passed.iter().map(|(_, name)| name.as_str()).collect();
            new.env("LISTEN_PID", std::process::id().to_string())
                .env("LISTEN_FDS", passed.len().to_string())
                .env("LISTEN_FDNAMES", names.join(":"));
        }
        // The new program gets the mask as it is now, and expects none.
        drop(blocked);
        new.exec()
    }

    /// At the end of this arbiter: tells who has asked for it.
    pub fn tell_end_of_upgrade(&mut self) {
        match self.serving_successor() {
            Some(pid) => {
                let text = format!("process {pid} has replaced process {}", std::process::id());
                self.control.tell_upgrade(true, &text);
            }
            None => self.control.tell_upgrade(false, "the server was stopped meanwhile"),
        }
    }

    /// Whether another arbiter has the sockets too, so that what they are called must stay when this one leaves.
    pub fn shares_sockets(&self) -> bool {
        self.successor.is_some() || self.inherited.predecessor.is_some()
    }

    /// The new arbiter, if it serves.
    pub fn serving_successor(&self) -> Option<Pid> {
        self.successor.as_ref().filter(|successor| successor.step == Step::Serving).map(|successor| successor.pid)
    }

    /// When the new arbiter's time is over.
    pub fn upgrade_deadline(&self) -> Option<Moment> {
        let successor = self.successor.as_ref()?;
        match successor.step {
            Step::Starting => successor.by_itself,
            Step::Serving => None,
            Step::Condemned(at) => Some(at),
        }
    }

    /// Once per turn: news from the new arbiter, or of the old.
    pub fn tend_upgrade(&mut self, now: Moment) {
        self.hear_successor(now);
        self.end_late_successor(now);
        self.tend_predecessor();
    }

    fn hear_successor(&mut self, now: Moment) {
        let Some(successor) = &mut self.successor else { return };
        if successor.step != Step::Starting
            || !process::wait_readable([successor.news.as_fd()], Some(Duration::ZERO)).is_ok_and(|[readable]| readable)
        {
            return;
        }
        let mut word = [0; 16];
        // At its end without a word: it is dying, and about to be reaped.
        if !matches!(successor.news.read(&mut word), Ok(1..)) {
            return;
        }
        successor.step = Step::Serving;
        let (pid, took, by_itself) = (successor.pid, now.saturating_since(successor.begun), successor.by_itself);
        let text = match by_itself {
            Some(_) => "The new arbiter serves, this one leaves",
            None => "The new arbiter serves beside this one, which TERM ends (WINCH its workers)",
        };
        self.log().info(text, &[("arbiter", &pid), ("after", &took)]);
        if by_itself.is_some() {
            self.begin_stop(false, exit_code::OK, now);
        }
    }

    fn end_late_successor(&mut self, now: Moment) {
        if self.upgrade_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let Some(successor) = &mut self.successor else { return };
        let pid = successor.pid;
        let was_condemned = matches!(successor.step, Step::Condemned(_));
        let signal = if was_condemned { Signal::KILL } else { Signal::TERM };
        successor.step = Step::Condemned(now + FAREWELL);
        if !was_condemned {
            let waited = now.saturating_since(successor.begun);
            self.upgrade_failed("the new arbiter was not ready in time", &[("arbiter", &pid), ("waited", &waited)]);
        }
        // It may have ended this instant.
        let _ = process::kill(pid, signal);
    }

    fn upgrade_failed(&mut self, cause: &str, fields: &[crate::logs::Field<'_>]) {
        let mut all: Vec<crate::logs::Field<'_>> = vec![("cause", &cause)];
        all.extend_from_slice(fields);
        self.log().error("Upgrade failed, this server goes on", &all);
        self.control.tell_upgrade(false, &format!("{cause}; the server goes on as before, its log has more"));
    }

    /// A child that is no worker has been reaped: was it the new arbiter?
    pub fn note_end_of_successor(&mut self, pid: Pid, ended: Ended, now: Moment) -> bool {
        let Some(successor) = self.successor.take_if(|successor| successor.pid == pid) else { return false };
        match successor.step {
            Step::Starting => self.upgrade_failed(&reap::cause(ended, 0), &[("arbiter", &pid)]),
            Step::Condemned(_) => self.log().info("the new arbiter is gone", &[("arbiter", &pid)]),
            Step::Serving => {
                let cause = reap::cause(ended, 0);
                let text = "the new arbiter is gone, this one goes on";
                self.log().warning(text, &[("arbiter", &pid), ("cause", &cause)]);
            }
        }
        if self.target == 0 && !self.is_leaving() {
            // Nobody else serves now.
            let workers = self.load.options.workers.max(1);
            self.log().info("the workers come back", &[("workers", &workers)]);
            self.set_target(workers, now);
        }
        true
    }

    /// `WINCH`: sends the workers home and keeps the sockets. Terminals send it too, when they change their size, so it counts
    /// only where no terminal is, or where another arbiter serves.
    pub fn dismiss_all(&mut self, now: Moment) {
        if self.load.options.daemon || self.serving_successor().is_some() {
            self.log().info("the workers leave, the sockets stay", &[("workers", &self.target)]);
            self.set_target(0, now);
        } else {
            self.log().debug("WINCH is for servers in the background, or with a new arbiter that serves", &[]);
        }
    }

    fn tend_predecessor(&mut self) {
        let Some(predecessor) = &mut self.inherited.predecessor else { return };
        if self.announced {
            predecessor.tell_ready();
        }
        if !predecessor.is_gone() {
            return;
        }
        let pid = predecessor.pid;
        self.inherited.predecessor = None;
        self.sockets.own_files();
        let path = self.load.options.pidfile.clone();
        if let (Some(pidfile), Some(path)) = (&mut self.pidfile, path)
            && let Err(error) = pidfile.rename(&path)
        {
            self.log().error("the pid file cannot be renamed", &[("error", &error)]);
        }
        if let Err(ControlError(problem)) = self.control.open_path(&self.load.options) {
            self.log().error("there is no control socket at its path", &[("problem", &problem)]);
        }
        self.manager.start_anew();
        self.log().info("This arbiter has replaced the one that started it", &[("former", &pid)]);
    }
}
