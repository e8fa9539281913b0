//! What the arbiter itself takes from the configuration.

use std::path::PathBuf;
use std::time::Duration;

use asteri_server::listener::{BindSpec, ListenOptions, Listening};
use asteri_server::tls;

use crate::settings::{Config, Measure, WorkerType};

/// Plain values, so that the arbiter can be run (and tested) without a settings table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArbiterOptions {
    /// How many workers, at least 1.
    pub workers: usize,
    /// Their type, for the start-up lines.
    pub worker_type: String,
    /// The longest that a call of the application, or booting, may take; zero: any time.
    pub timeout: Duration,
    /// How long a worker that was told to leave may take to finish what it has.
    pub graceful_timeout: Duration,
    /// After how long a worker is replaced, zero: never; and the most that is added to that at random.
    pub worker_lifetime: Duration,
    pub worker_lifetime_jitter: Duration,
    /// Bytes at which a worker is replaced, and at which it is killed; 0: no limit.
    pub worker_max_memory: u64,
    pub worker_max_memory_hard: u64,
    pub worker_memory_measure: Measure,
    /// Whether workers are forked from a process that has imported the application.
    pub preload: bool,
    pub binds: Vec<Listening>,
    /// How long new connections are still served once the server was told to stop.
    pub lame_duck: Duration,
    pub backlog: i32,
    /// How TLS is spoken at the addresses; `None`: it is not.
    pub tls: Option<tls::Options>,
    /// `None`: edits are not watched for.
    pub reload: Option<ReloadOptions>,
    /// `None`: there is no control socket.
    pub control: Option<ControlOptions>,
    /// If set, the umask of the workers; for the files of Unix sockets 0 if not.
    pub umask: Option<u32>,
    /// If set, the permission bits of the files of Unix sockets, whatever the umask.
    pub socket_mode: Option<u32>,
    /// Whether connections that say nothing are left to the kernel at first.
    pub defer_accept: bool,
    /// Whether other servers may listen on the same ports.
    pub reuse_port: bool,
    /// User and group of the workers, by name or number.
    pub user: Option<String>,
    pub group: Option<String>,
    /// Whether workers get the supplementary groups of their user.
    pub initgroups: bool,
    pub pidfile: Option<PathBuf>,
    /// Whether the server runs in the background.
    pub daemon: bool,
    /// Where the settings came from: `asteri.conf.py, command line`.
    pub sources: String,
}

/// How edits are noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadOptions {
    pub engine: ReloadEngine,
    /// Absolute paths and patterns of further files.
    pub extra_files: Vec<String>,
}

/// What says that a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadEngine {
    /// inotify if it can be had.
    Auto,
    Poll,
    Inotify,
}

/// The control sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlOptions {
    /// Of the one besides that in the abstract namespace.
    pub path: Option<PathBuf>,
    /// Its permission bits.
    pub mode: u32,
}

impl Default for ArbiterOptions {
    fn default() -> Self {
        ArbiterOptions {
            workers: 1,
            worker_type: "sync".to_owned(),
            timeout: Duration::from_secs(30),
            graceful_timeout: Duration::from_secs(30),
            worker_lifetime: Duration::ZERO,
            worker_lifetime_jitter: Duration::ZERO,
            worker_max_memory: 0,
            worker_max_memory_hard: 0,
            worker_memory_measure: Measure::Pss,
            preload: false,
            binds: vec![BindSpec::Tcp { host: "127.0.0.1".to_owned(), port: 8000 }.into()],
            lame_duck: Duration::ZERO,
            backlog: 2048,
            tls: None,
            reload: None,
            control: None,
            umask: None,
            socket_mode: None,
            defer_accept: false,
            reuse_port: false,
            user: None,
            group: None,
            initgroups: false,
            pidfile: None,
            daemon: false,
            sources: "defaults".to_owned(),
        }
    }
}

impl From<&Config> for ArbiterOptions {
    /// The process is in [`Config::chdir`] by now, so relative paths mean what they say.
    fn from(config: &Config) -> Self {
        let sources = config.sources();
        ArbiterOptions {
            workers: config.workers(),
            worker_type: config.worker_type().map_or("auto", WorkerType::name).to_owned(),
            timeout: config.timeout(),
            graceful_timeout: config.graceful_timeout(),
            worker_lifetime: config.worker_lifetime(),
            worker_lifetime_jitter: config.worker_lifetime_jitter(),
            worker_max_memory: config.worker_max_memory(),
            worker_max_memory_hard: config.worker_max_memory_hard(),
            worker_memory_measure: config.worker_memory_measure(),
            preload: config.preload_app(),
            binds: config.listening(),
            lame_duck: config.lame_duck(),
            backlog: config.backlog(),
            tls: config.tls(),
            reload: config.reload_options(),
            control: config.control_socket(),
            umask: config.umask(),
            socket_mode: config.uds_mode(),
            defer_accept: config.defer_accept(),
            reuse_port: config.reuse_port(),
            user: config.user().map(str::to_owned),
            group: config.group().map(str::to_owned),
            initgroups: config.initgroups(),
            pidfile: config.pidfile().map(Into::into),
            daemon: config.daemon(),
            sources: if sources.is_empty() { "defaults".to_owned() } else { sources.join(", ") },
        }
    }
}

impl ArbiterOptions {
    /// How sockets are made; their files belong to `owner`.
    pub(super) fn listen(&self, owner: Option<(u32, u32)>) -> ListenOptions {
        let umask = self.socket_mode.map(|mode| !mode & 0o777).or(self.umask);
        let (backlog, reuse_port, defer_accept) = (self.backlog, self.reuse_port, self.defer_accept);
        ListenOptions { backlog, umask: umask.unwrap_or(0), owner, reuse_port, defer_accept }
    }
}
