//! The thread that makes handshakes, where the reactor is turned by a thread that runs applications.
//!
//! A full handshake costs as much as hundreds of small responses: a key exchange, a signature, and perhaps a chain of certificates to
//! be verified. An event loop would stand still for it, and so would whoever waits for the interpreter. So the session
//! leaves its connection for the moment, with the bytes that have arrived, and comes back with what came of them. Sockets and
//! deadlines stay with the reactor.

use super::session::process;
use crate::slab::Key;
use crate::sys::eventfd::EventFd;
use rustls::ServerConnection;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// As many handshakes are told of at once while more of them wait: each turn of an event loop costs a good part of one.
const TOGETHER: usize = 4;

/// Bytes for a connection in the middle of its handshake.
struct Job {
    key: Key,
    tls: Box<ServerConnection>,
    /// Of a connection that is still there.
    waiting: Weak<()>,
    sealed: Vec<u8>,
}

/// What came of them.
pub(crate) struct Done {
    pub key: Key,
    pub tls: Box<ServerConnection>,
    /// Whether the peer has closed its side.
    pub outcome: Result<bool, rustls::Error>,
    /// Application data that came with the end of the handshake.
    pub plain: Vec<u8>,
}

/// What is ready, for the reactor.
#[derive(Default)]
struct Tray {
    done: Mutex<Vec<Done>>,
    filled: AtomicBool,
}

impl Tray {
    fn done(&self) -> MutexGuard<'_, Vec<Done>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reactor's side. The thread ends when it is dropped.
pub(crate) struct Desk {
    jobs: Sender<Job>,
    tray: Arc<Tray>,
}

impl Desk {
    /// `wake` has the reactor turned when something is ready.
    ///
    /// # Errors
    /// When the process has no threads left.
    pub fn open(wake: Arc<EventFd>) -> io::Result<Self> {
        let (jobs, incoming) = channel();
        let tray = Arc::new(Tray::default());
        let own = Arc::clone(&tray);
        std::thread::Builder::new()
            .name("asteri-tls".into())
            .stack_size(512 * 1024)
            .spawn(move || serve(&incoming, &own, &wake))?;
        Ok(Self { jobs, tray })
    }

    /// Has `sealed` understood, unless nobody is `waiting` any more when its turn comes: more handshakes may be asked for than can be
    /// made, and then time must not go to those whose connections have been given up.
    ///
    /// # Errors
    /// The thread is not there any more; what was to be given comes back.
    pub fn give(
        &self,
        key: Key,
        tls: Box<ServerConnection>,
        waiting: Weak<()>,
        sealed: &[u8],
    ) -> Result<(), Box<ServerConnection>> {
        self.jobs.send(Job { key, tls, waiting, sealed: sealed.to_vec() }).map_err(|failed| failed.0.tls)
    }

    /// Whether something is ready.
    #[inline]
    pub fn has_done(&self) -> bool {
        self.tray.filled.load(Ordering::Relaxed)
    }

    /// What is ready.
    pub fn take(&self) -> Vec<Done> {
        if self.tray.filled.swap(false, Ordering::Acquire) {
            std::mem::take(&mut *self.tray.done())
        } else {
            Vec::new()
        }
    }
}

/// Runs on: the thread of the desk.
fn serve(incoming: &Receiver<Job>, tray: &Tray, wake: &EventFd) {
    let mut unsaid = 0;
    loop {
        let next = match incoming.try_recv() {
            Err(TryRecvError::Empty) => {
                tell(&mut unsaid, tray, wake);
                incoming.recv().ok()
            }
            next => next.ok(),
        };
        let Some(Job { key, mut tls, waiting, sealed }) = next else { break };
        if waiting.strong_count() == 0 {
            continue;
        }
        let mut plain = Vec::new();
        // One that panics would take with it those that wait behind it.
        let outcome = catch_unwind(AssertUnwindSafe(|| process(&mut tls, &sealed, &mut plain)));
        let outcome = outcome.unwrap_or_else(|_| Err(rustls::Error::General("the TLS library panicked".into())));
        tray.done().push(Done { key, tls, outcome, plain });
        unsaid += 1;
        if unsaid == TOGETHER {
            tell(&mut unsaid, tray, wake);
        }
    }
}

/// Has the reactor turned for what is ready, if there is anything that it has not been told of.
fn tell(unsaid: &mut usize, tray: &Tray, wake: &EventFd) {
    // Whoever takes it clears the sign first, so one that was put behind what is taken now is not overlooked.
    if std::mem::take(unsaid) != 0 && !tray.filled.swap(true, Ordering::Release) {
        wake.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::server::{ClientHello, ResolvesServerCert};
    use rustls::sign::CertifiedKey;
    use rustls::{ServerConfig, crypto::ring};

    #[derive(Debug)]
    struct Nobody;

    impl ResolvesServerCert for Nobody {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            None
        }
    }

    #[test]
    fn nothing_is_done_for_those_who_have_been_given_up() {
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_cert_resolver(Arc::new(Nobody)));
        let desk = Desk::open(Arc::new(EventFd::new().unwrap())).unwrap();
        let waits = Arc::new(());
        for (token, waiting) in
            [(1, Weak::new()), (2, Arc::downgrade(&waits)), (3, Weak::new()), (4, Arc::downgrade(&waits))]
        {
            let tls = Box::new(ServerConnection::new(Arc::clone(&config)).unwrap());
            assert!(desk.give(Key::from_token(token), tls, waiting, b"\x16\x03").is_ok());
        }
        let mut done = Vec::new();
        while done.len() < 2 {
            done.extend(desk.take().into_iter().map(|done| done.key.token()));
            std::thread::yield_now();
        }
        assert_eq!(done, [2, 4]);
    }
}
