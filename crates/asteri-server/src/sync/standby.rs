//! The standby thread: keeps the sockets moving while the application is busy.
//!
//! It must cost nothing when it is not needed. Three states:
//!
//! * *parked*: no application call for a while. It sleeps without end; the next call wakes it (one system call).
//! * *ticking*: calls come and go. It looks every few milliseconds whether one call has lasted over two looks.
//! * *active*: one has. It turns the reactor until that call returns.
//!
//! A call is told by a counter that is odd while one runs. Both sides write their own word and then read the other's,
//! with sequential consistency, so at least one of them sees the other: no wake-up is lost.

use crate::host::Shared;
use crate::reactor::{Scratch, Turner};
use crate::sys::epoll;
use crate::sys::eventfd::EventFd;
use crate::sys::forks;
use std::io;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Duration;

/// How often it is looked whether one call has lasted over two looks: where calls are short, each look is for nothing and
/// costs two context switches, so it is seldom ...
const SELDOM: Duration = Duration::from_millis(4);
/// ... and often where a call has been long lately.
const OFTEN: Duration = Duration::from_millis(1);
/// Looks without a long call after which they become seldom again.
const LATELY: u32 = 1000;
/// Looks without any call after which the thread parks.
const QUIET_LOOKS: u32 = 8;
/// While active: how often the arbiter's wishes are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// While active and there are siblings: how often it is considered anew who takes what.
const RECONSIDER: Duration = Duration::from_millis(10);

const PARKED: u8 = 0;
const TICKING: u8 = 1;
const ACTIVE: u8 = 2;
const ENDED: u8 = 3;

/// The words that the two threads speak with.
pub(crate) struct Standby {
    /// Odd while an application call runs.
    call: AtomicU64,
    state: AtomicU8,
    /// Ends an active turn at once.
    wake: EventFd,
    thread: OnceLock<Thread>,
}

/// One application call.
pub(crate) struct Call(u64);

impl Standby {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            call: AtomicU64::new(0),
            // Until it has parked for the first time it needs no waking.
            state: AtomicU8::new(TICKING),
            wake: EventFd::new()?,
            thread: OnceLock::new(),
        })
    }

    pub fn set_thread(&self, thread: Thread) {
        let _ = self.thread.set(thread);
    }

    /// Runs on: the application's thread.
    pub fn call_begins(&self) -> Call {
        // Only this thread writes the counter.
        let call = self.call.load(Ordering::Relaxed) + 1;
        self.call.store(call, Ordering::SeqCst);
        if self.state.load(Ordering::SeqCst) == PARKED {
            self.unpark();
        }
        Call(call)
    }

    pub fn call_ends(&self, call: Call) {
        self.call.store(call.0 + 1, Ordering::SeqCst);
        if self.state.load(Ordering::SeqCst) == ACTIVE {
            self.wake.wake();
        }
    }

    /// Whether the standby thread turns the reactor, or is not there to do so.
    pub fn is_active(&self) -> bool {
        matches!(self.state.load(Ordering::SeqCst), ACTIVE | ENDED)
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn ended(&self) -> bool {
        self.state.load(Ordering::SeqCst) == ENDED
    }

    /// Changes the state, unless the thread is to end.
    fn enter(&self, state: u8) {
        let _ = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| (now != ENDED).then_some(state));
    }
}

/// Ends the standby thread when the application's thread leaves.
pub(crate) struct EndOnDrop<'a>(pub &'a Standby);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.state.store(ENDED, Ordering::SeqCst);
        self.0.wake.wake();
        self.0.unpark();
    }
}

/// Runs on: the standby thread, which never touches the interpreter.
pub(crate) fn run(shared: &Shared, standby: &Standby) {
    let mut scratch: Option<Scratch> = None;
    let mut alert = 0u32;
    while !standby.ended() {
        standby.enter(PARKED);
        // A call may have begun before it could see that we park.
        if standby.call.load(Ordering::SeqCst).is_multiple_of(2) && !standby.ended() {
            std::thread::park();
        }
        standby.enter(TICKING);
        let mut quiet = 0;
        while quiet < QUIET_LOOKS && !standby.ended() {
            let before = standby.call.load(Ordering::SeqCst);
            std::thread::park_timeout(if alert > 0 { OFTEN } else { SELDOM });
            alert = alert.saturating_sub(1);
            if standby.call.load(Ordering::SeqCst) != before {
                quiet = 0;
            } else if before.is_multiple_of(2) {
                quiet += 1;
            } else {
                stand_in(shared, standby, before, scratch.get_or_insert_with(Scratch::new));
                alert = LATELY;
                quiet = 0;
            }
        }
    }
}

/// Turns the reactor until the call returns.
fn stand_in(shared: &Shared, standby: &Standby, call: u64, scratch: &mut Scratch) {
    standby.enter(ACTIVE);
    let mut hung_answered = false;
    while standby.call.load(Ordering::SeqCst) == call && !standby.ended() {
        if shared.control.must_end() {
            shared.lock().send_held();
            forks::leave(1);
        }
        let accept = shared.control.accept_while_busy();
        let mut reactor = shared.lock();
        // Looked at again under the lock: from here on the application's thread waits for us, not we for it.
        if standby.call.load(Ordering::SeqCst) != call {
            break;
        }
        reactor.send_held();
        reactor.suspend_accepting(!accept);
        reactor.set_generous(shared.control.idle_sibling());
        reactor.give_queue(false);
        reactor.poll();
        while let Some(mut request) = reactor.next_request(Turner::Standby, scratch) {
            let buffer = request.compact();
            scratch.give_buffer(buffer);
            reactor.enqueue(request);
            if standby.call.load(Ordering::SeqCst) != call {
                break;
            }
        }
        let obey = reactor.take_control();
        let patience = if reactor.has_events() { Some(Duration::ZERO) } else { reactor.patience() };
        if !hung_answered && shared.control.must_answer_for_hung() {
            hung_answered = true;
            let answered = reactor.answer_for_hung();
            drop(reactor);
            shared.control.answered_for_hung(answered);
        } else {
            drop(reactor);
        }
        if obey {
            shared.obey();
            // The call may have just ended, and the application's thread not look at the orders that we have taken.
            shared.wake.wake();
        }
        let look = if accept { LOOK } else { RECONSIDER };
        let wait = patience.map_or(look, |patience| patience.min(look));
        epoll::wait_readable(&[shared.epoll.as_fd(), standby.wake.as_fd()], Some(wait));
        standby.wake.clear();
    }
    standby.enter(TICKING);
    // A wake that was meant for this turn must not end the next one early; clearing one too many costs a look.
    standby.wake.clear();
}
