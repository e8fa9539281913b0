//! Knowing that one is a child of a worker.
//!
//! An application may fork. The child has the worker's sockets, its epoll set and its slot of the scoreboard, and if it comes
//! back from the application it would answer the worker's client a second time and go on to serve beside it. So it has to
//! know what it is, however it was forked: by the interpreter or by a library.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static FORKED: AtomicBool = AtomicBool::new(false);

/// From now on, children of this process are told apart by [`is_child`].
pub fn notice() {
    extern "C" fn in_child() {
        FORKED.store(true, Ordering::Relaxed);
    }
    static ONCE: Once = Once::new();
    // SAFETY: the handler does nothing but store to an atomic, which is allowed in the child of any process.
    ONCE.call_once(|| unsafe {
        libc::pthread_atfork(None, None, Some(in_child));
    });
}

/// Whether this process was forked by an application.
#[must_use]
pub fn is_child() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Ends this process at once: nothing that belongs to the worker is tidied up a second time.
pub fn leave(code: i32) -> ! {
    // SAFETY: no pointers are passed; the call does not return.
    unsafe { libc::_exit(code) }
}
