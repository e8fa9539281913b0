//! The host for other event loops: asyncio and its relatives, and gevent's hub.
//!
//! The loop watches one descriptor, the reactor's epoll instance, which is readable whenever something is ready; then it
//! calls [`Hosted::turn`]. Deadlines come through the same descriptor, from a timer in the epoll set. Everything runs on
//! the loop's thread, but what the [courier](crate::courier) sends while the application keeps it busy.

use crate::courier::Courier;
use crate::host::{BEAT, Left, Shared, Worker};
use crate::reactor::{Batching, Reactor, Scratch, Turner};
use crate::request::ReadyRequest;
use crate::responder::Responder;
use crate::slab::Key;
use crate::stream::{Stream, Ticket};
use crate::sys::clock;
use crate::sys::forks;
use crate::sys::timerfd::TimerFd;
use asteri_proto::time::Moment;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// How requests are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With all of their content, and at most so many at a time: for WSGI.
    Collected { concurrent: usize },
    /// With their head, while the content arrives: for ASGI.
    Streamed,
}

/// What concerns the application.
#[derive(Debug)]
pub enum Happening {
    /// A request for it. Answer through [`Hosted::responder`] or [`Hosted::stream`], and say [`Hosted::request_ended`] once.
    Request(ReadyRequest),
    /// What a stream was [`Pending`](crate::stream::Receive::Pending) or [`Full`](crate::stream::Sending::Full) for has changed, or its
    /// client has left. May be about a stream that is over.
    News(Ticket),
    /// The worker is to finish what it has begun. Told once.
    Draining,
}

/// Happenings in one turn, before the host's own work gets its chance.
const BUDGET: usize = 64;

/// After how many requests a worker that never rests brings its counters up to date.
const BEAT_REQUESTS: usize = 64;

/// A reactor that is turned by somebody else's loop. All methods are for the thread that made it.
pub struct Hosted {
    /// Once there is something for it to do.
    courier: OnceLock<Courier>,
    shared: Arc<Shared>,
    timer: TimerFd,
    concurrent: usize,
    inside: Mutex<Inside>,
    draining_told: AtomicBool,
}

/// Locked for moments only, and never while the application runs.
struct Inside {
    scratch: Scratch,
    /// Requests that the application has.
    running: usize,
    /// Requests since the last beat.
    unbeaten: usize,
    beaten: Moment,
    /// When the timer will go off.
    armed: Option<Moment>,
}

/// Ends the turn however it ends.
struct Turning<'a>(&'a AtomicBool);

impl Drop for Turning<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// What the application has had and has come back from.
struct Before {
    /// The request that it was, if it was one.
    begun: Option<Key>,
}

impl Before {
    /// Sends what was held, and leaves the connection to itself.
    fn settle(self, reactor: &mut Reactor) {
        reactor.send_all_held();
        if let Some(key) = self.begun {
            reactor.settle(key);
        }
    }
}

impl Hosted {
    /// Serves from the first [`turn`](Self::turn) on.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new(worker: Worker<'_>, mode: Mode) -> io::Result<Arc<Self>> {
        forks::notice();
        let shared = Arc::new(Shared::new(worker, None)?);
        shared.relieve_of_handshakes()?;
        let timer = TimerFd::new()?;
        shared.lock().watch_timer(timer.as_fd())?;
        shared.lock().set_batching(Batching::Turn { inside: false });
        let concurrent = match mode {
            Mode::Collected { concurrent } => concurrent.max(1),
            Mode::Streamed => {
                shared.lock().stream_requests();
                usize::MAX
            }
        };
        // A signal may have come before its descriptor was watched: the first turn looks.
        timer.set(Duration::ZERO);
        Ok(Arc::new(Self {
            courier: OnceLock::new(),
            shared,
            timer,
            concurrent,
            inside: Mutex::new(Inside {
                scratch: Scratch::new(),
                running: 0,
                unbeaten: 0,
                beaten: Moment(0),
                armed: Some(Moment(0)),
            }),
            draining_told: AtomicBool::new(false),
        }))
    }

    /// Readable (level-triggered) whenever [`turn`](Self::turn) has something to do.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.shared.epoll.as_fd()
    }

    /// Does what is ready, without waiting. What concerns the application is handed to `on`, which may call everything here
    /// and may run for long. A turn within a turn does nothing. `Some` when the worker is to leave: after
    /// [`Left::Drained`] nothing is left to do, after [`Left::Quit`] it is not to be done.
    ///
    /// # Errors
    /// Only when the application has closed our descriptors.
    pub fn turn(&self, on: &mut dyn FnMut(Happening)) -> io::Result<Option<Left>> {
        if forks::is_child() || self.shared.turning.swap(true, Ordering::Relaxed) {
            return Ok(None);
        }
        let _turning = Turning(&self.shared.turning);
        let mut reactor = self.shared.lock();
        reactor.set_batching(Batching::Turn { inside: true });
        reactor.poll();
        drop(reactor);
        let mut left = BUDGET;
        let mut before = None;
        while left > 0 && !self.shared.is_quitting() {
            let Some((key, happening)) = self.next(before.take()) else { break };
            left -= 1;
            before = Some(Before { begun: matches!(happening, Happening::Request(_)).then_some(key) });
            on(happening);
            if forks::is_child() {
                // The application has forked, and it is the child that has come back here: what is held is its parent's.
                return Ok(None);
            }
        }
        let mut reactor = self.shared.lock();
        if let Some(before) = before {
            before.settle(&mut reactor);
        }
        reactor.set_batching(Batching::Turn { inside: false });
        reactor.flush_touched();
        reactor.rest();
        reactor.expire_fetched();
        let obey = reactor.take_control();
        let timer = reactor.take_timer();
        let wants_courier = reactor.wants_courier();
        drop(reactor);
        if wants_courier {
            // Without threads, each response is sent alone as before.
            let _ = Courier::start(&self.shared).map(|courier| self.courier.set(courier));
        }
        if obey || timer {
            self.shared.obey();
        }
        if self.shared.is_draining() && !self.draining_told.swap(true, Ordering::Relaxed) {
            on(Happening::Draining);
            self.shared.lock().send_all_held();
        }
        if self.shared.is_quitting() {
            return Ok(Some(Left::Quit));
        }
        // First, as it may find something to do.
        let drained = self.shared.lock().is_drained() && self.inside().running == 0;
        self.tidy(timer);
        Ok(drained.then_some(Left::Drained))
    }

    /// What concerns the application next, after what it had `before`.
    fn next(&self, before: Option<Before>) -> Option<(Key, Happening)> {
        let mut inside = self.inside();
        let mut reactor = self.shared.lock();
        if let Some(before) = before {
            before.settle(&mut reactor);
        }
        loop {
            if let Some(key) = reactor.next_news() {
                return Some((key, Happening::News(Ticket(key))));
            }
            let turner = if inside.running < self.concurrent { Turner::Application } else { Turner::Standby };
            let mut request = match reactor.next_request(turner, &mut inside.scratch) {
                Some(request) => request,
                None if reactor.has_news() => continue,
                None => return None,
            };
            // The application may keep it for long, and the buffer is large.
            let buffer = request.compact();
            inside.scratch.give_buffer(buffer);
            if turner == Turner::Standby {
                reactor.enqueue(request);
                continue;
            }
            drop(reactor);
            inside.running += 1;
            inside.unbeaten += 1;
            drop(inside);
            self.shared.control.request_begins(&request);
            return Some((request.key, Happening::Request(request)));
        }
    }

    /// At the end of a turn: sees to it that there will be another one in time.
    fn tidy(&self, timer: bool) {
        let mut inside = self.inside();
        let now = clock::now();
        if timer {
            inside.armed = None;
        }
        if inside.unbeaten >= BEAT_REQUESTS || now >= inside.beaten + BEAT {
            inside.unbeaten = 0;
            inside.beaten = now;
            self.shared.beat();
            if self.shared.control.must_end() {
                forks::leave(1);
            }
        }
        let may_run = inside.running < self.concurrent;
        let mut reactor = self.shared.lock();
        let next = reactor.next_wake().map_or(now + BEAT, |next| next.min(now + BEAT));
        if reactor.has_events() || reactor.has_news() || reactor.has_unsent() || may_run && reactor.has_work() {
            self.shared.wake.wake();
        } else {
            reactor.leave_until(inside.armed.map_or(next, |armed| armed.min(next)));
        }
        drop(reactor);
        if inside.armed.is_none_or(|armed| next < armed) {
            inside.armed = Some(next);
            // The coarse clock lags by up to one of its ticks.
            self.timer.set(Duration::from_millis(next.0.saturating_sub(now.0) + 1));
        }
    }

    /// For requests that come with all of their content. `wait` is called where the application has to wait for a client that is far
    /// behind, with a function that takes at most some 100 ms; it has to let others run meanwhile.
    #[must_use]
    pub fn responder(&self, wait: fn(&mut dyn FnMut())) -> Responder {
        Responder::new(Arc::clone(&self.shared), wait)
    }

    /// For requests that come with their head.
    #[must_use]
    pub fn stream(&self, request: &ReadyRequest) -> Stream {
        Stream::new(Arc::clone(&self.shared), request)
    }

    /// The application is done with a request. Exactly once for each.
    pub fn request_ended(&self) {
        self.end(None);
    }

    /// The same, and gives back what the request was made of, for the next one.
    pub fn request_ended_with(&self, request: ReadyRequest) {
        self.end(Some(request));
    }

    #[inline]
    fn end(&self, request: Option<ReadyRequest>) {
        if forks::is_child() {
            // Nothing here is the child's, and the courier may have held the lock at the moment of the fork.
            return;
        }
        self.shared.control.request_ends();
        let mut inside = self.inside();
        if let Some(request) = request {
            inside.scratch.recycle(request);
        }
        let was_full = inside.running >= self.concurrent;
        inside.running -= 1;
        let last = inside.running == 0 && self.shared.is_draining();
        drop(inside);
        // Who turns the reactor sees for itself what there is to do.
        if !self.shared.is_turning() && self.shared.lock().call_back(was_full || last) {
            self.shared.wake.wake();
        }
    }

    /// Requests that the application has.
    #[must_use]
    pub fn running(&self) -> usize {
        self.inside().running
    }

    /// Gives back what a request was made of, for the next one.
    pub fn recycle(&self, request: ReadyRequest) {
        self.inside().scratch.recycle(request);
    }

    /// Whether the worker has been told to drain.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
