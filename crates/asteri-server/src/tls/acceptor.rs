//! Sessions for new connections, always with the newest certificates.

use super::config;
use super::details::ServerCertificates;
use super::files::Trouble;
use super::material::Material;
use super::options::{Ask, Options};
use super::session::Session;
use super::store::Store;
use asteri_proto::time::Moment;
use rustls::{ServerConfig, ServerConnection};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How a worker learns of another edition: the number of the newest one. Asked for each connection, so it has to be quick.
pub type Newest = Box<dyn Fn() -> u64 + Send + Sync>;

/// A worker's side of TLS.
pub struct Acceptor {
    options: Options,
    store: Arc<Store>,
    newest: Newest,
    /// The edition in use, or found to be unusable.
    edition: AtomicU64,
    current: Mutex<Arc<Current>>,
}

/// What new connections get.
pub(crate) struct Current {
    pub(super) config: Arc<ServerConfig>,
    pub(super) certificates: Arc<ServerCertificates>,
    /// Clients are asked for certificates.
    pub(super) asks: bool,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Acceptor").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// # Errors
    /// What is in the store cannot be used, which the arbiter would have noticed.
    pub fn new(options: Options, store: Arc<Store>, newest: Newest) -> Result<Self, Trouble> {
        let edition = newest();
        let current = load(&options, &store)?;
        Ok(Self { options, store, newest, edition: AtomicU64::new(edition), current: Mutex::new(Arc::new(current)) })
    }

    /// For a connection that was accepted now. `None`: for lack of memory or random numbers.
    pub(crate) fn session(&self, now: Moment) -> Option<Box<Session>> {
        let newest = (self.newest)();
        if self.edition.swap(newest, Ordering::Relaxed) != newest
            && let Ok(current) = load(&self.options, &self.store)
        {
            *self.current() = Arc::new(current);
        }
        let current = Arc::clone(&self.current());
        let tls = ServerConnection::new(Arc::clone(&current.config)).ok()?;
        Some(Box::new(Session::new(tls, current, self.options.handshake_timeout, now)))
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Arc<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(options: &Options, store: &Store) -> Result<Current, Trouble> {
    let material: Material = store
        .read()
        .map_err(|error| Trouble::new("certfile", format!("the arbiter's copy cannot be read ({error})")))?;
    let config = Arc::new(config::build(options, &material)?);
    let certificates = Arc::new(ServerCertificates::new(&material));
    Ok(Current { config, certificates, asks: options.ask != Ask::Never })
}
