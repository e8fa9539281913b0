//! What the hosts of the reactor have in common.
//!
//! A host decides who turns the reactor and who runs the application: [`crate::sync`], [`crate::threads`] and
//! [`crate::hosted`]. The reactor is in a mutex that is held for one step at a time, and never while an application runs or
//! somebody waits. Where one thread does everything, the lock costs a few nanoseconds.

use crate::listener::Listener;
use crate::notice::Observer;
use crate::reactor::Reactor;
pub use crate::reactor::{Counters, Handover};
use crate::request::ReadyRequest;
use crate::responder::Responder;
use crate::settings::Settings;
use crate::sync::Standby;
use crate::sys::epoll::Epoll;
use crate::sys::eventfd::EventFd;
use crate::tls::Desk;
use asteri_proto::h1::request::Version;
use asteri_proto::h1::response::ResponseContext;
use asteri_proto::time::Moment;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What runs requests, one at a time and to their end. Runs on: an application thread, interpreter attached.
pub trait Application {
    /// Answers one request. A panic is taken as a failure of this request alone.
    fn call(&mut self, request: &mut ReadyRequest, out: &mut Responder);

    /// Runs `wait`, which may take long and touches nothing of the application, with the interpreter let go.
    fn block(wait: &mut dyn FnMut());
}

/// What the worker is told by its process: the arbiter's wishes, in the words of the server. All methods are quick.
///
/// Runs on: any thread of the server's, never with the reactor locked.
pub trait Control: Send + Sync {
    /// Looks at the control descriptors, and empties those that are readable.
    fn poll(&self) -> Order;

    /// The worker is alive; once per turn at most.
    fn beat(&self, counters: Counters, open_connections: usize) {
        let _ = (counters, open_connections);
    }

    /// A request goes into the application at `now`; where there is one at a time.
    fn call_begins(&self, request: &ReadyRequest, now: Moment) {
        let _ = (request, now);
    }

    /// It has come back. Whether the worker [is condemned](Self::is_condemned), perhaps because of it.
    fn call_ends(&self, now: Moment) -> bool {
        let _ = now;
        false
    }

    /// A request goes into the application; where there may be others in it.
    fn request_begins(&self, request: &ReadyRequest) {
        let _ = request;
    }

    /// One of them has come back.
    fn request_ends(&self) {}

    /// Whether this worker may take new connections while its application is busy: only if there is no sibling who
    /// could serve them sooner.
    fn accept_while_busy(&self) -> bool;

    /// Whether clients are to be told to come back on another connection, although this worker goes on.
    fn is_closing(&self) -> bool {
        false
    }

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

    /// Whether the arbiter has given up on the application and wants its client answered.
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
    /// The first connection has shown that the application works: take others.
    Open,
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
    /// A connection (non-blocking) that is served before any other is taken, until [`Order::Open`]. `None`: open at once.
    pub first: Option<OwnedFd>,
}

/// Why a worker has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It was told to drain, and everything it had begun is finished.
    Drained,
    /// It was told to leave at once.
    Quit,
}

/// How often an idle worker shows that it is alive.
pub(crate) const BEAT: Duration = Duration::from_secs(1);

/// The reactor, and what all threads of a worker need to know of each other.
pub(crate) struct Shared {
    reactor: Mutex<Reactor>,
    pub epoll: Arc<Epoll>,
    pub settings: Arc<Settings>,
    pub control: Arc<dyn Control>,
    draining: AtomicBool,
    quit: AtomicBool,
    /// The reactor is being turned, and what is left to do will be seen before anybody waits. Only of use where one thread does all.
    pub turning: AtomicBool,
    /// Ends the wait of whoever waits for events: an order was taken, or there is something to do that is no event. Nobody reads
    /// it, as every write is an edge of its own.
    pub wake: Arc<EventFd>,
    /// Where a thread stands in for the application's.
    pub standby: Option<Standby>,
}

impl Shared {
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new(worker: Worker<'_>, standby: Option<Standby>) -> io::Result<Self> {
        let epoll = Arc::new(Epoll::new()?);
        let Worker { listeners, handover, control_fds, control, settings, observer, first } = worker;
        let mut reactor =
            Reactor::new(Arc::clone(&epoll), listeners, handover, &control_fds, Arc::clone(&settings), observer)?;
        let wake = Arc::new(EventFd::new()?);
        reactor.watch_wake(wake.as_fd())?;
        if let Some(first) = first {
            reactor.hold_back(first);
            // It is no event that there is a connection to look at.
            wake.wake();
        }
        Ok(Self {
            reactor: Mutex::new(reactor),
            epoll,
            settings,
            control,
            draining: AtomicBool::new(false),
            quit: AtomicBool::new(false),
            turning: AtomicBool::new(false),
            wake,
            standby,
        })
    }

    /// Has handshakes of TLS made by a thread of their own, as the one that turns the reactor runs applications.
    ///
    /// # Errors
    /// When the process has no threads left.
    pub fn relieve_of_handshakes(&self) -> io::Result<()> {
        if self.settings.tls.is_some() {
            self.lock().set_desk(Desk::open(Arc::clone(&self.wake))?);
        }
        Ok(())
    }

    pub fn lock(&self) -> MutexGuard<'_, Reactor> {
        // The reactor keeps no broken promise over a panic: each connection's state is changed in one step.
        self.reactor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Panics
    /// When this host has no standby thread.
    pub fn standby(&self) -> &Standby {
        self.standby.as_ref().expect("only the sync host asks, and it has one")
    }

    /// Whether this worker has been told to leave.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether the connections that are answered from now on are to be closed.
    pub fn closes_connections(&self) -> bool {
        self.is_draining() || self.control.is_closing()
    }

    /// What the head of the response to `request` depends on.
    pub fn context_of(&self, request: &ReadyRequest) -> ResponseContext {
        ResponseContext {
            // Whoever passes a packet on understands neither chunks nor interim responses.
            version: if request.head.front.is_some() { Version::Http10 } else { request.head.version },
            is_head: request.head.is_head(request.bytes()),
            keep_alive: request.head.keep_alive && !self.settings.http.timeouts.keepalive.is_zero(),
        }
    }

    /// To be called after the reactor was used by somebody who does not turn it: has the host come back although there is no
    /// event, if it waits and there is something to do.
    pub fn nudge(&self, reactor: &mut Reactor) {
        if reactor.call_back(false) {
            self.wake.wake();
        }
    }

    /// See [`Shared::turning`].
    pub fn is_turning(&self) -> bool {
        self.turning.load(Ordering::Relaxed)
    }

    /// Whether the worker has to leave at once.
    pub fn is_quitting(&self) -> bool {
        self.quit.load(Ordering::Relaxed)
    }

    /// Acts on the arbiter's wishes. Runs on: any thread.
    pub fn obey(&self) {
        match self.control.poll() {
            Order::Serve => {}
            Order::Open => self.lock().open(),
            Order::Drain { empty_queue } => {
                self.draining.store(true, Ordering::Relaxed);
                self.lock().drain(empty_queue);
            }
            Order::Quit => self.quit.store(true, Ordering::Relaxed),
        }
    }

    /// Shows that the worker is alive, and what it has done.
    pub fn beat(&self) {
        let mut reactor = self.lock();
        let (counters, open) = (reactor.take_counters(), reactor.open_connections());
        drop(reactor);
        self.control.beat(counters, open);
    }
}
