//! The host of the `gthread` worker: one thread for the sockets, any number for the application.
//!
//! The I/O thread turns the reactor and never touches the interpreter. Complete requests wait in the reactor's queue, in the
//! order in which they were complete; application threads take them from there, and send their answers themselves.
//!
//! Waking a thread costs two context switches, and with one interpreter lock only one of them runs Python anyway. So a
//! request wakes nobody while the application threads are seen to be at work: the next one that is done takes it. Only
//! when none of them has come by for [`PATIENCE`] are as many woken as there are requests.

use crate::content::Body;
use crate::host::{Application, BEAT, Left, Shared, Worker};
use crate::reactor::{Batching, EVENTS, Reactor, Scratch, Turner};
use crate::request::ReadyRequest;
use crate::responder::Responder;
use crate::sys::clock;
use crate::sys::epoll::Event;
use crate::sys::forks;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a request waits for a thread that is at work before another one is woken for it.
const PATIENCE: Duration = Duration::from_micros(200);

/// A request that has waited so long gets another thread, whatever those at work do: as long as the interpreter lets one of them run
/// while others want to.
const LONG: Duration = Duration::from_millis(5);

/// How often it is considered anew, while requests wait, who takes what.
const RECONSIDER: Duration = Duration::from_millis(10);

/// The application threads of one worker, and their I/O thread. Share it in an `Arc`.
pub struct Pool {
    shared: Arc<Shared>,
    /// Signalled with the reactor's lock: there are requests, or the worker leaves.
    requests: Condvar,
    /// Application threads that wait for a request.
    waiting: AtomicUsize,
    /// When an application thread last took a request: nanoseconds since `started`.
    last_taken: AtomicU64,
    started: Instant,
    left: Mutex<Option<io::Result<Left>>>,
    /// Signalled with `left`.
    leaving: Condvar,
}

impl Pool {
    /// Starts the I/O thread.
    ///
    /// # Errors
    /// When the process has no descriptors or threads left.
    pub fn start(worker: Worker<'_>) -> io::Result<Arc<Self>> {
        forks::notice();
        let shared = Shared::new(worker, None)?;
        shared.lock().set_batching(Batching::Queue);
        if shared.settings.accept_batch == 1 {
            shared.lock().rotate_accepting();
        }
        let pool = Arc::new(Self {
            shared: Arc::new(shared),
            requests: Condvar::new(),
            waiting: AtomicUsize::new(0),
            last_taken: AtomicU64::new(0),
            started: Instant::now(),
            left: Mutex::new(None),
            leaving: Condvar::new(),
        });
        let own = Arc::clone(&pool);
        std::thread::Builder::new().name("asteri-io".into()).stack_size(256 * 1024).spawn(move || own.turn())?;
        Ok(pool)
    }

    // ---- the I/O thread

    fn turn(&self) {
        let left = std::panic::catch_unwind(AssertUnwindSafe(|| self.serve_sockets()));
        let left = left.unwrap_or_else(|_| Err(io::Error::other("the I/O thread panicked")));
        *self.left() = Some(left);
        self.leaving.notify_all();
        // Taken once, so that a thread that has looked at `left` just before waits by now.
        drop(self.shared.lock());
        self.requests.notify_all();
    }

    fn serve_sockets(&self) -> io::Result<Left> {
        let shared = &self.shared;
        let mut scratch = Scratch::new();
        let mut events = Box::new([Event::NONE; EVENTS]);
        shared.obey();
        let mut beaten = Instant::now();
        let mut prodded = beaten;
        loop {
            let mut reactor = shared.lock();
            reactor.reclaim(&mut scratch);
            reactor.poll();
            // One event at a time, as an application thread may want to send.
            while let Some(mut request) = reactor.next_request(Turner::Standby, &mut scratch) {
                let buffer = request.compact();
                scratch.give_buffer(buffer);
                reactor.enqueue(request);
                drop(reactor);
                reactor = shared.lock();
            }
            if reactor.take_control() {
                drop(reactor);
                shared.obey();
                // Much may have changed, also how long to wait.
                reactor = shared.lock();
            }
            let queued = self.share(&mut reactor);
            let drained = reactor.is_drained();
            let patience = if reactor.has_events() || reactor.is_due() {
                Duration::ZERO
            } else {
                reactor.patience().map_or(BEAT, |time| time.min(BEAT))
            };
            if !patience.is_zero() {
                let rest = clock::now() + BEAT;
                let back = reactor.next_wake().map_or(rest, |next| next.min(rest));
                reactor.leave_until(back);
            }
            drop(reactor);
            if shared.is_quitting() {
                return Ok(Left::Quit);
            }
            if drained {
                return Ok(Left::Drained);
            }
            let patience = match queued {
                0 => patience,
                // Whether there is a sibling with a free thread is nothing that wakes us.
                _ => self.rouse(queued, &mut prodded).unwrap_or(RECONSIDER).min(patience),
            };
            if patience.is_zero() {
                continue;
            }
            let ready = shared.epoll.wait(&mut events[..], Some(patience))?;
            shared.lock().take_events(&events[..ready]);
            if beaten.elapsed() >= BEAT {
                beaten = Instant::now();
                shared.obey();
                if shared.control.must_end() {
                    forks::leave(1);
                }
            }
        }
    }

    /// With all threads busy and requests waiting, siblings with a free thread get what they can: new connections, and requests.
    /// Says how many requests wait here.
    fn share(&self, reactor: &mut Reactor) -> usize {
        let full = reactor.queued() > 0 && self.waiting.load(Ordering::SeqCst) == 0;
        let control = &self.shared.control;
        let generous = full && control.idle_sibling();
        reactor.set_generous(generous);
        reactor.suspend_accepting(full && !control.accept_while_busy());
        if generous {
            reactor.give_queue(false);
        }
        reactor.queued()
    }

    /// Sees to it that somebody takes the requests; says when to look again, if it relies on a thread that is at work.
    fn rouse(&self, queued: usize, prodded: &mut Instant) -> Option<Duration> {
        let waiting = self.waiting.load(Ordering::SeqCst);
        if waiting == 0 {
            return None;
        }
        // Those at work take requests all the time, but fewer than come. One that lets go of the interpreter would leave it to nobody.
        if prodded.elapsed() >= LONG && self.shared.lock().longest_wait() >= LONG {
            *prodded = Instant::now();
            self.requests.notify_one();
        }
        let idle = self.since_start().saturating_sub(self.last_taken.load(Ordering::Relaxed));
        let idle = Duration::from_nanos(idle);
        if idle < PATIENCE {
            return Some(PATIENCE - idle);
        }
        for _ in 0..queued.min(waiting) {
            self.requests.notify_one();
        }
        None
    }

    fn since_start(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    // ---- application threads

    /// Takes requests and answers them, until the worker leaves.
    ///
    /// *Runs on:* an application thread, attached to the interpreter.
    pub fn serve<A: Application>(&self, application: &mut A) {
        let shared = &self.shared;
        let mut responder = Box::new(Responder::new(Arc::clone(shared), A::block));
        let mut next = None;
        while let Some(request) = next.take().or_else(|| self.take::<A>()) {
            next = self.answer(request, application, &mut responder);
        }
    }

    /// The next request; `None` when the worker has left.
    fn take<A: Application>(&self) -> Option<ReadyRequest> {
        // With the interpreter kept: as long as there are requests, letting go of it would only cost time.
        let mut next = self.pop(&mut self.shared.lock());
        while next.is_none() {
            if self.left().is_some() {
                return None;
            }
            A::block(&mut || next = self.wait_for_request());
        }
        next
    }

    fn pop(&self, reactor: &mut Reactor) -> Option<ReadyRequest> {
        let request = reactor.dequeue()?;
        self.last_taken.store(self.since_start(), Ordering::Relaxed);
        Some(request)
    }

    /// Waits with the interpreter let go.
    fn wait_for_request(&self) -> Option<ReadyRequest> {
        let mut reactor = self.shared.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut next = self.pop(&mut reactor);
        if next.is_none() && self.left().is_none() {
            reactor = self.requests.wait(reactor).unwrap_or_else(PoisonError::into_inner);
            next = self.pop(&mut reactor);
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        next
    }

    /// Runs a request; returns the next one if there is one.
    fn answer<A: Application>(
        &self,
        mut request: ReadyRequest,
        application: &mut A,
        responder: &mut Responder,
    ) -> Option<ReadyRequest> {
        let shared = &self.shared;
        responder.arm(&request);
        shared.control.request_begins(&request);
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| application.call(&mut request, responder)));
        responder.settle_unfinished();
        if forks::is_child() {
            forks::leave(i32::from(outcome.is_err()));
        }
        shared.control.request_ends();
        // A file that it was kept in may take a while to go.
        request.body = Body::Empty;
        let mut reactor = shared.lock();
        let surplus = reactor.give_back(request);
        // What follows on this connection is nothing that the I/O thread would hear of while it waits.
        let wanted = reactor.call_back(shared.is_draining());
        let next = self.pop(&mut reactor);
        drop(reactor);
        drop(surplus);
        if wanted {
            shared.wake.wake();
        }
        next
    }

    // ---- the main thread

    /// Waits for the worker to leave, at most for `patience` and with the interpreter let go; says how it has left. To be called all
    /// the time: it shows that the interpreter is alive.
    ///
    /// *Runs on:* the main thread, attached to the interpreter.
    pub fn wait(&self, block: fn(&mut dyn FnMut()), patience: Duration) -> Option<io::Result<Left>> {
        self.shared.beat();
        let mut left = None;
        block(&mut || {
            let guard = self.left();
            let waited = self.leaving.wait_timeout_while(guard, patience, |left| left.is_none());
            let (guard, _) = waited.unwrap_or_else(PoisonError::into_inner);
            left = guard.as_ref().map(|left| match left {
                Ok(left) => Ok(*left),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            });
        });
        left
    }

    fn left(&self) -> MutexGuard<'_, Option<io::Result<Left>>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
