//! The thread that sends responses which wait for each other, should the application's next call be a long one.
//!
//! It is the little that the hosts of event loops need of a standby thread: their reactor stands still while the application
//! runs, and so would what is [kept](crate::reactor) for a moment to leave together. While there is such a thing now and then, the
//! thread looks every few milliseconds whether it is still there; otherwise it sleeps without end.

use crate::host::Shared;
use crate::sys::forks;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(4);
/// What has waited so long is sent.
const PATIENCE: Duration = Duration::from_millis(2);
/// Looks for nothing after which it goes to sleep.
const QUIET_LOOKS: u32 = 8;

/// What the reactor and the thread tell each other.
#[derive(Default)]
struct Words {
    asleep: AtomicBool,
    ended: AtomicBool,
}

/// The reactor's way to the thread.
pub(crate) struct Bell {
    words: Arc<Words>,
    thread: Thread,
}

impl Bell {
    /// Something waits from now on. To be called with the reactor's lock, which the thread takes before it goes to sleep.
    #[inline]
    pub fn ring(&self) {
        if self.words.asleep.swap(false, Ordering::Relaxed) {
            self.thread.unpark();
        }
    }
}

/// Ends the thread when it is dropped.
pub(crate) struct Courier {
    words: Arc<Words>,
    thread: Option<JoinHandle<()>>,
}

impl Courier {
    /// Starts the thread, and gives the reactor its bell.
    ///
    /// # Errors
    /// When the process has no threads left.
    pub fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let words = Arc::new(Words::default());
        let (own, reactors) = (Arc::clone(&words), Arc::clone(shared));
        let run = move || serve(&reactors, &own);
        let thread = std::thread::Builder::new().name("asteri-courier".into()).stack_size(256 * 1024).spawn(run)?;
        shared.lock().set_bell(Bell { words: Arc::clone(&words), thread: thread.thread().clone() });
        Ok(Self { words, thread: Some(thread) })
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.words.ended.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return };
        if forks::is_child() {
            // It has no such thread.
            std::mem::forget(thread);
            return;
        }
        thread.thread().unpark();
        // It has nothing to tell, and a panic was reported when it happened.
        let _ = thread.join();
    }
}

/// Runs on: the courier's thread, which never touches the interpreter.
fn serve(shared: &Shared, words: &Words) {
    let mut quiet = 0;
    while !words.ended.load(Ordering::Relaxed) {
        let mut reactor = shared.lock();
        match reactor.together_since() {
            Some(since) => {
                quiet = 0;
                if since.elapsed() >= PATIENCE {
                    reactor.send_together();
                }
            }
            None => quiet += 1,
        }
        let sleeps = quiet >= QUIET_LOOKS;
        // With the lock: whoever rings the bell afterwards sees it.
        words.asleep.store(sleeps, Ordering::Relaxed);
        drop(reactor);
        if sleeps {
            quiet = 0;
            std::thread::park();
        } else {
            std::thread::park_timeout(LOOK);
        }
    }
}
