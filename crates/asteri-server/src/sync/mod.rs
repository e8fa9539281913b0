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

use crate::date::DateCache;
use crate::listener::Listener;
use crate::notice::Observer;
pub use crate::reactor::{Counters, Handover};
use crate::reactor::{EVENTS, Reactor, Scratch, Turner};
use crate::request::ReadyRequest;
use crate::responder::{Responder, State};
use crate::settings::Settings;
use crate::sys::epoll::{Epoll, Event};
use crate::sys::eventfd::EventFd;
use crate::sys::forks;
use asteri_proto::h1::response::ResponseContext;
use standby::Standby;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What runs requests. Runs on: worker main thread, interpreter attached.
pub trait Application {
    /// Answers one request. A panic is taken as a failure of this request alone.
    fn call(&mut self, request: &mut ReadyRequest, out: &mut Responder<'_>);

    /// Runs `wait`, which may take long and touches nothing of the application, with the interpreter let go.
    fn block(wait: &mut dyn FnMut());
}

/// What the worker is told by its process: the arbiter's wishes, in the words of the server. All methods are quick.
///
/// Runs on: worker main thread and standby thread, never with the reactor locked.
pub trait Control: Send + Sync {
    /// Looks at the control descriptors, and empties those that are readable.
    fn poll(&self) -> Order;

    /// The worker is alive; once per turn at most. `busy` tells whether the application runs.
    fn beat(&self, counters: Counters, open_connections: usize) {
        let _ = (counters, open_connections);
    }

    /// A request goes into the application, or (`None`) has come back.
    fn in_application(&self, request: Option<&ReadyRequest>) {
        let _ = request;
    }

    /// Whether this worker may take new connections while its application is busy: only if there is no sibling who
    /// could serve them sooner.
    fn accept_while_busy(&self) -> bool;

    /// Whether a sibling is ready and not busy.
    fn idle_sibling(&self) -> bool {
        false
    }

    /// Whether the process has to be ended even if the application has not come back: there is nobody else who would.
    fn must_end(&self) -> bool {
        false
    }

    /// Whether the arbiter has given up on this worker and replaced it.
    fn is_condemned(&self) -> bool {
        false
    }

    /// Whether the arbiter has given up on the application on the application and wants its client answered.
    fn must_answer_for_hung(&self) -> bool {
        false
    }

    /// The hanging request's client was answered, or cannot be.
    fn answered_for_hung(&self, answered: bool) {
        let _ = answered;
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Serve,
    /// Finish what has begun and leave. With `empty_queue`, also serve what waits in the accept queue.
    Drain {
        empty_queue: bool,
    },
    /// Leave now.
    Quit,
}

/// The descriptors of [`Control`], the listeners, and the settings of a worker.
pub struct Worker<'a> {
    pub listeners: Vec<Listener>,
    /// The channel to the sibling workers, if there can be any.
    pub handover: Option<Handover>,
    /// Readable when [`Control::poll`] has something new to say.
    pub control_fds: Vec<BorrowedFd<'a>>,
    pub control: Arc<dyn Control>,
    pub settings: Arc<Settings>,
    pub observer: Arc<dyn Observer>,
}

/// The reactor and what both threads need to know of each other.
pub(crate) struct Shared {
    reactor: Mutex<Reactor>,
    epoll: Arc<Epoll>,
    pub settings: Arc<Settings>,
    control: Arc<dyn Control>,
    draining: AtomicBool,
    quit: AtomicBool,
    /// Ends the wait of the application's thread when the standby thread has taken an order.
    orders: EventFd,
    pub standby: Standby,
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, Reactor> {
        // The reactor keeps no broken promise over a panic: each connection's state is changed in one step.
        self.reactor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the connections that are answered from now on are to be closed.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Acts on the arbiter's wishes. Runs on: either thread.
    fn obey(&self) {
        match self.control.poll() {
            Order::Serve => {}
            Order::Drain { empty_queue } => {
                self.draining.store(true, Ordering::Relaxed);
                self.lock().drain(empty_queue);
            }
            Order::Quit => self.quit.store(true, Ordering::Relaxed),
        }
    }
}

/// Why a worker has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It was told to drain, and everything it had begun is finished.
    Drained,
    /// It was told to leave at once.
    Quit,
}

/// Serves until told to leave.
///
/// # Errors
/// When the reactor cannot be set up: no descriptors, no threads.
pub fn run<A: Application>(worker: Worker<'_>, application: &mut A) -> io::Result<Left> {
    forks::notice();
    let epoll = Arc::new(Epoll::new()?);
    let Worker { listeners, handover, mut control_fds, control, settings, observer } = worker;
    let orders = EventFd::new()?;
    control_fds.push(orders.as_fd());
    let reactor = Reactor::new(Arc::clone(&epoll), listeners, handover, &control_fds, Arc::clone(&settings), observer)?;
    let shared = Shared {
        reactor: Mutex::new(reactor),
        epoll,
        settings,
        control,
        draining: AtomicBool::new(false),
        quit: AtomicBool::new(false),
        orders,
        standby: Standby::new()?,
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("asteri-standby".into())
            .stack_size(256 * 1024)
            .spawn_scoped(scope, || standby::run(&shared))?;
        shared.standby.set_thread(thread.thread().clone());
        // Ends the thread also when the application unwinds, or the scope would wait for ever.
        let _end = standby::EndOnDrop(&shared.standby);
        Host::new(&shared, application).serve()
    })
}

/// After how many requests a worker that never rests brings its counters up to date.
const BEAT_REQUESTS: u64 = 64;

/// How often an idle worker shows that it is alive.
const BEAT: Duration = Duration::from_secs(1);

/// The application thread's own things.
struct Host<'a, A> {
    shared: &'a Shared,
    application: &'a mut A,
    scratch: Scratch,
    out: Vec<u8>,
    date: DateCache,
    events: Box<[Event; EVENTS]>,
}

impl<'a, A: Application> Host<'a, A> {
    fn new(shared: &'a Shared, application: &'a mut A) -> Self {
        Self {
            shared,
            application,
            scratch: Scratch::new(),
            out: Vec::with_capacity(16 * 1024),
            date: DateCache::new(),
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
            // With the interpreter kept: as long as there are events, letting go of it would only cost time.
            let mut busy = reactor.poll();
            while let Some(request) = reactor.next_request(Turner::Application, &mut self.scratch) {
                drop(reactor);
                self.answer(request);
                if shared.quit.load(Ordering::Relaxed) {
                    return Ok(Left::Quit);
                }
                answered += 1;
                if answered.is_multiple_of(BEAT_REQUESTS) {
                    self.beat();
                }
                reactor = shared.lock();
                if shared.control.is_condemned() {
                    drop(reactor);
                    self.await_verdict();
                    reactor = shared.lock();
                }
                // The standby thread may have left new connections to the siblings while we were busy.
                reactor.suspend_accepting(false);
                busy = true;
            }
            if reactor.is_drained() {
                return Ok(Left::Drained);
            }
            busy |= reactor.has_work();
            let obey = reactor.take_control();
            let patience = if busy { Duration::ZERO } else { reactor.patience().map_or(BEAT, |time| time.min(BEAT)) };
            drop(reactor);
            self.beat();
            if obey || !busy && self.wait(patience)? {
                shared.obey();
            }
            if shared.quit.load(Ordering::Relaxed) {
                return Ok(Left::Quit);
            }
        }
    }

    /// The call came back after all, but the arbiter is about to end this process, or to spare it: runs nothing until that is
    /// decided (it takes a second at the most), and lets others take what waits here.
    fn await_verdict(&mut self) {
        let shared = self.shared;
        while shared.control.is_condemned() && !shared.quit.load(Ordering::Relaxed) {
            let mut reactor = shared.lock();
            reactor.suspend_accepting(true);
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

    fn beat(&self) {
        let mut reactor = self.shared.lock();
        let (counters, open) = (reactor.take_counters(), reactor.open_connections());
        drop(reactor);
        self.shared.control.beat(counters, open);
    }

    fn answer(&mut self, mut request: ReadyRequest) {
        let shared = self.shared;
        let context = ResponseContext {
            version: request.head.version,
            is_head: request.head.is_head(request.bytes()),
            keep_alive: request.head.keep_alive && !shared.settings.http.timeouts.keepalive.is_zero(),
        };
        self.out.clear();
        let mut responder = Responder {
            shared,
            key: request.key,
            buffer: &mut self.out,
            date: &mut self.date,
            context,
            block: A::block,
            state: State::Open,
            last_sent: None,
        };
        shared.control.in_application(Some(&request));
        let call = shared.standby.call_begins();
        let application = &mut *self.application;
        // The responder aborts the response when it is dropped unfinished, so nothing is left half done by a panic.
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| application.call(&mut request, &mut responder)));
        drop(responder);
        if forks::is_child() {
            // Whoever has an interpreter ends its children itself, with their exit code.
            forks::leave(i32::from(outcome.is_err()));
        }
        shared.standby.call_ends(call);
        shared.control.in_application(None);
        drop(outcome);
        // A response of a megabyte must not pin a megabyte for ever.
        if self.out.capacity() > 256 * 1024 {
            self.out = Vec::with_capacity(16 * 1024);
        }
        self.scratch.recycle(request);
    }
}
