//! Listening sockets: how one is described ([`Bind`], [`BindSpec`]), and how it becomes a socket ([`Listener`]).
//!
//! The arbiter opens the listeners and owns them; workers inherit them and only accept. Nothing here accepts or reads.

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use crate::sys::{deferred, listen};

mod open;
mod options;
mod spec;
#[cfg(test)]
mod tests;

pub use open::{ListenError, ListenOptions};
pub use options::{Bind, BindOptions, Listening, Protocol, ProxyProtocol};
pub use spec::{BindSpec, BindSpecError, DEFAULT_PORT};

/// What sort of socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    Tcp,
    Unix,
}

/// A socket that listens: non-blocking, closed on exec.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    spec: BindSpec,
    kind: ListenerKind,
    local: Local,
    file: Option<SocketFile>,
    speech: Speech,
}

/// What connections of a listener are made of, from the outside in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speech {
    /// What comes first on a connection.
    pub proxy: ProxyProtocol,
    pub tls: bool,
    pub protocol: Protocol,
}

/// The listener's own address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Local {
    Ip(SocketAddr),
    /// As displayed after `unix:`; empty for a socket without a name.
    Unix(String),
}

/// The file of a Unix socket that this process made, known by its inode: a name may have been given to another file since.
#[derive(Clone, Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Listener {
    /// Opens (or adopts) the socket that `spec` describes and listens on it.
    ///
    /// For a moment it changes the process's umask when `spec` is a path, so no other thread may be creating files then.
    ///
    /// # Errors
    /// Ready to be shown to the operator. A descriptor of `fd://` must not be asked for twice: it is adopted.
    pub fn open(spec: &BindSpec, options: &ListenOptions) -> Result<Listener, ListenError> {
        open::open(spec, options)
    }

    /// Takes over the socket that the server before this one has opened from `spec`, and that this process was started with
    /// as number `fd`. The file of a Unix socket stays the other's, until [`own_file`](Self::own_file).
    ///
    /// # Errors
    /// As [`open`](Self::open) for `fd://`. The number must not be asked for twice.
    pub fn inherit(fd: i32, spec: &BindSpec, options: &ListenOptions) -> Result<Listener, ListenError> {
        open::adopt(spec, fd, options)
    }

    /// Takes over the file of an inherited Unix socket that was opened from a path, too: whoever made it is gone.
    pub fn own_file(&mut self) {
        let BindSpec::Unix(path) = &self.spec else { return };
        if self.file.is_none()
            && let Ok(path) = std::path::absolute(path)
            && let Ok(meta) = fs::symlink_metadata(&path)
            && meta.file_type().is_socket()
        {
            self.file = Some(SocketFile { path, device: meta.dev(), inode: meta.ino() });
        }
    }

    /// Whether `spec` means the address that this socket listens on, as far as that can be said without opening it.
    #[must_use]
    pub fn is_at(&self, spec: &BindSpec) -> bool {
        match (spec, &self.local) {
            (BindSpec::Tcp { host, port }, Local::Ip(address)) => {
                (host.as_str(), *port).to_socket_addrs().is_ok_and(|mut all| all.any(|one| one == *address))
            }
            (BindSpec::Unix(path), Local::Unix(name)) => path.as_os_str() == name.as_str(),
            (BindSpec::Abstract(wanted), Local::Unix(name)) => name.strip_prefix('@') == Some(wanted),
            (BindSpec::Fd(number), _) => self.socket.as_raw_fd() == *number,
            _ => false,
        }
    }

    /// From now on it counts as opened from `spec`.
    pub fn rename(&mut self, spec: BindSpec) {
        self.spec = spec;
    }

    /// What it was opened from.
    #[must_use]
    pub fn spec(&self) -> &BindSpec {
        &self.spec
    }

    #[must_use]
    pub fn kind(&self) -> ListenerKind {
        self.kind
    }

    /// The bound address, with the real port: `127.0.0.1:8000`, `[::]:8000`, `unix:/run/app.sock`.
    #[must_use]
    pub fn address(&self) -> String {
        match &self.local {
            Local::Ip(address) => address.to_string(),
            Local::Unix(name) => format!("unix:{name}"),
        }
    }

    /// What its connections are made of. That is no business of the socket: it can change while the socket stays.
    #[must_use]
    pub fn speech(&self) -> Speech {
        self.speech
    }

    /// Says what its connections are made of; plain HTTP until then.
    pub fn set_speech(&mut self, speech: Speech) {
        self.speech = speech;
    }

    /// The address as a person would use it: `http://127.0.0.1:8000`, `uwsgi://127.0.0.1:3031`, `unix:/run/app.sock`, and in
    /// brackets what cannot be seen from that.
    #[must_use]
    pub fn url(&self) -> String {
        let mut remarks = Vec::new();
        let mut url = match (&self.local, self.speech.protocol, self.speech.tls) {
            (Local::Ip(address), Protocol::Http, false) => format!("http://{address}"),
            (Local::Ip(address), Protocol::Http, true) => format!("https://{address}"),
            (Local::Ip(address), Protocol::Uwsgi, _) => format!("uwsgi://{address}"),
            (Local::Unix(_), Protocol::Http, false) => self.address(),
            (Local::Unix(_), Protocol::Http, true) => {
                remarks.push("TLS".to_owned());
                self.address()
            }
            (Local::Unix(_), Protocol::Uwsgi, _) => {
                remarks.push("uwsgi".to_owned());
                self.address()
            }
        };
        match self.speech.proxy {
            ProxyProtocol::Off => {}
            ProxyProtocol::Auto => remarks.push("PROXY".to_owned()),
            version => remarks.push(format!("PROXY {}", version.name())),
        }
        if !remarks.is_empty() {
            url.push_str(&format!(" ({})", remarks.join(", ")));
        }
        url
    }

    /// Its IP address and real port; `None` for a Unix socket.
    #[must_use]
    pub fn ip(&self) -> Option<SocketAddr> {
        match self.local {
            Local::Ip(address) => Some(address),
            Local::Unix(_) => None,
        }
    }

    /// What `SERVER_NAME` says when the request names no host (RFC 3875 §4.1.14): the IP address without brackets, or the
    /// path of the Unix socket.
    #[must_use]
    pub fn server_name(&self) -> String {
        match &self.local {
            Local::Ip(address) => address.ip().to_string(),
            Local::Unix(name) => name.clone(),
        }
    }

    /// What `SERVER_PORT` says (RFC 3875 §4.1.15); a Unix socket has none, so empty.
    #[must_use]
    pub fn server_port(&self) -> String {
        match self.local {
            Local::Ip(address) => address.port().to_string(),
            Local::Unix(_) => String::new(),
        }
    }

    /// Changes the length of the accept queue.
    ///
    /// # Errors
    /// Those of listen(2).
    pub fn set_backlog(&self, backlog: i32) -> io::Result<()> {
        listen::set_backlog(self.socket.as_fd(), backlog)
    }

    /// Leaves connections to the kernel until their first byte comes, for about a second (`TCP_DEFER_ACCEPT`), or takes them at once.
    /// A socket that is known by its number stays as it is, and so does a Unix socket.
    pub fn set_defer_accept(&self, on: bool) {
        if matches!(self.spec, BindSpec::Tcp { .. }) {
            deferred::set_defer_accept(self.socket.as_fd(), on);
        }
    }

    /// The port at which there may be connections that only the kernel knows.
    pub(crate) fn defers_at(&self) -> Option<u16> {
        self.ip().filter(|_| deferred::defers_accept(self.socket.as_fd())).map(|address| address.port())
    }

    /// Removes the file of a Unix socket that [`open`](Self::open) made, if the name still means that very file.
    ///
    /// Runs on: arbiter, never in a worker. Not done on drop, because workers drop their inherited listeners too.
    pub fn remove_file(&self) {
        if let Some(file) = &self.file
            && fs::symlink_metadata(&file.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == (file.device, file.inode))
        {
            // It may be gone this instant, or the directory read-only by now; there is nothing to be done about either.
            let _ = fs::remove_file(&file.path);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
