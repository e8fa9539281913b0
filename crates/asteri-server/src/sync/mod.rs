//! The host of the `sync` worker: one application thread, and a standby thread for the time while it is busy.
//!
//! The application's thread turns the reactor and runs each complete request at once. When an application call lasts
//! longer than a few milliseconds, the standby thread (`standby.rs`) takes the reactor over and does all that needs no
//! application: it reads and parses further requests, delivers responses to slow readers, enforces timeouts. It goes
//! back to sleep when the call returns.
//!
//! What the two share is one mutex around the reactor, and one atomic counter that says whether a call is running. The
//! mutex is free while the application runs and while its thread waits for events.

mod standby;

pub use crate::host::{Application, Control, Counters, Handover, Left, Order, Worker};
use crate::host::{BEAT, Shared};
use crate::reactor::{EVENTS, Scratch, Turner};
use crate::request::ReadyRequest;
use crate::responder::Responder;
use crate::sys::clock;
use crate::sys::epoll::Event;
use crate::sys::forks;
use asteri_proto::time::Moment;
pub(crate) use standby::Standby;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

/// Serves until told to leave.
///
/// # Errors
/// When the reactor cannot be set up: no descriptors, no threads.
pub fn run<A: Application>(worker: Worker<'_>, application: &mut A) -> io::Result<Left> {
    forks::notice();
    let shared = Arc::new(Shared::new(worker, Some(Standby::new()?))?);
    shared.relieve_of_handshakes()?;
    std::thread::scope(|scope| {
        let standby = shared.standby();
        let thread = std::thread::Builder::new()
            .name("asteri-standby".into())
            .stack_size(256 * 1024)
            .spawn_scoped(scope, || standby::run(&shared, standby))?;
        standby.set_thread(thread.thread().clone());
        // Ends the thread also when the application unwinds, or the scope would wait for ever.
        let _end = standby::EndOnDrop(standby);
        Host::new(&shared, standby, application).serve()
    })
}

/// After more events than that there are likely to be others by now; after fewer, a look that does not wait is mostly for nothing.
const FEW: usize = 4;

/// After how many requests a worker that never rests brings its counters up to date.
const BEAT_REQUESTS: u64 = 64;

/// The application thread's own things.
struct Host<'a, A> {
    shared: &'a Shared,
    standby: &'a Standby,
    control: &'a dyn Control,
    application: &'a mut A,
    scratch: Scratch,
    responder: Box<Responder>,
    events: Box<[Event; EVENTS]>,
}

impl<'a, A: Application> Host<'a, A> {
    fn new(shared: &'a Arc<Shared>, standby: &'a Standby, application: &'a mut A) -> Self {
        Self {
            shared,
            standby,
            control: &*shared.control,
            application,
            scratch: Scratch::new(),
            responder: Box::new(Responder::new(Arc::clone(shared), A::block)),
            events: Box::new([Event::NONE; EVENTS]),
        }
    }

    fn serve(mut self) -> io::Result<Left> {
        let shared = self.shared;
        // A signal may have come before its descriptor was watched.
        shared.obey();
        let mut answered = 0u64;
        loop {
            let mut reactor = shared.lock();
            // With the interpreter kept: as long as there are many events, letting go of it would only cost time.
            let mut busy = reactor.poll();
            while let Some(request) = reactor.next_request(Turner::Application, &mut self.scratch) {
                let now = reactor.now();
                drop(reactor);
                let Returned { now, is_condemned } = self.answer(request, now);
                if shared.is_quitting() {
                    shared.lock().send_together();
                    return Ok(Left::Quit);
                }
                answered += 1;
                if answered.is_multiple_of(BEAT_REQUESTS) {
                    shared.beat();
                }
                if is_condemned {
                    self.await_verdict();
                }
                reactor = shared.lock();
                reactor.pass_time(now);
                // The standby thread may have left new connections to the siblings while we were busy.
                reactor.suspend_accepting(false);
                busy = true;
            }
            if reactor.is_drained() {
                return Ok(Left::Drained);
            }
            busy &= reactor.fetched() > FEW;
            busy |= reactor.has_work() || reactor.has_events() || reactor.is_due();
            let obey = reactor.take_control();
            let patience = if busy { Duration::ZERO } else { reactor.patience().map_or(BEAT, |time| time.min(BEAT)) };
            drop(reactor);
            shared.beat();
            if obey || !busy && self.wait(patience)? {
                shared.obey();
            }
            if shared.is_quitting() {
                return Ok(Left::Quit);
            }
        }
    }

    /// The call came back after all, but the arbiter is about to end this process, or to spare it: runs nothing until that is
    /// decided (it takes a second at the most), and lets others take what waits here.
    fn await_verdict(&mut self) {
        let shared = self.shared;
        while shared.control.is_condemned() && !shared.is_quitting() {
            let mut reactor = shared.lock();
            reactor.suspend_accepting(true);
            reactor.send_together();
            reactor.poll();
            while let Some(mut request) = reactor.next_request(Turner::Standby, &mut self.scratch) {
                let buffer = request.compact();
                self.scratch.give_buffer(buffer);
                reactor.enqueue(request);
            }
            reactor.give_queue(true);
            drop(reactor);
            shared.obey();
            A::block(&mut || std::thread::sleep(Duration::from_millis(5)));
        }
    }

    /// Waits for events with the interpreter let go. Says whether it was for nothing: then a signal may have come.
    fn wait(&mut self, patience: Duration) -> io::Result<bool> {
        let (shared, events) = (self.shared, &mut self.events[..]);
        let mut outcome = Ok(0);
        A::block(&mut || outcome = shared.epoll.wait(events, Some(patience)));
        // Fails only when the application has closed our descriptors: then nothing can be served any more.
        let ready = outcome?;
        shared.lock().take_events(&self.events[..ready]);
        Ok(ready == 0)
    }

    /// Runs a request that the reactor has given out at `now`.
    fn answer(&mut self, mut request: ReadyRequest, now: Moment) -> Returned {
        self.responder.arm(&request);
        self.control.call_begins(&request, now);
        let call = self.standby.call_begins();
        let (application, responder) = (&mut *self.application, &mut *self.responder);
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| application.call(&mut request, responder)));
        // Nothing is left half done by a panic.
        responder.settle_unfinished();
        if forks::is_child() {
            // Whoever has an interpreter ends its children itself, with their exit code.
            forks::leave(i32::from(outcome.is_err()));
        }
        self.standby.call_ends(call);
        let now = clock::now();
        let is_condemned = self.control.call_ends(now);
        drop(outcome);
        self.scratch.recycle(request);
        Returned { now, is_condemned }
    }
}

/// A call has come back.
struct Returned {
    now: Moment,
    /// The arbiter has given up on this worker.
    is_condemned: bool,
}
