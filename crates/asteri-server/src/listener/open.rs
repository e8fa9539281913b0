//! From an address to a socket that listens: made, or taken over from whoever started this process.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::path::Path;

use super::{BindSpec, Listener, ListenerKind, Local, SocketFile, Speech};
use crate::sys::listen::{self, Family, Unfit};
use crate::sys::process;

/// How sockets are made.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Length of the accept queue (the kernel cuts it at `net.core.somaxconn`).
    pub backlog: i32,
    /// Permission bits that the file of a Unix socket does not get.
    pub umask: u32,
    /// Who shall own that file, if not who this process runs as.
    pub owner: Option<(u32, u32)>,
    /// Lets other servers listen on the same port too (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Leaves connections that say nothing to the kernel, see [`Listener::set_defer_accept`].
    pub defer_accept: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions { backlog: 2048, umask: 0, owner: None, reuse_port: false, defer_accept: false }
    }
}

/// Why there is no listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenError {
    /// The address, as it was written.
    pub address: String,
    /// What happened, in a few words: `address already in use`.
    pub problem: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.problem)
    }
}

impl std::error::Error for ListenError {}

impl ListenError {
    fn new(spec: &BindSpec, problem: impl Into<String>, remedy: Option<&str>) -> ListenError {
        ListenError { address: spec.to_string(), problem: problem.into(), remedy: remedy.map(str::to_owned) }
    }

    fn from_io(spec: &BindSpec, error: &io::Error) -> ListenError {
        match error.kind() {
            io::ErrorKind::AddrInUse => ListenError::new(
                spec,
                "address already in use",
                Some("another port, or stop the process that listens there (`ss -ltnp` names it)"),
            ),
            io::ErrorKind::PermissionDenied if matches!(spec, BindSpec::Tcp { .. }) => ListenError::new(
                spec,
                "permission denied",
                Some("a port from 1024 up, or the capability CAP_NET_BIND_SERVICE"),
            ),
            io::ErrorKind::PermissionDenied => {
                ListenError::new(spec, "permission denied", Some("a directory that this user may write to"))
            }
            io::ErrorKind::AddrNotAvailable => ListenError::new(
                spec,
                "this machine has no such address",
                Some("0.0.0.0 or [::] for all addresses of the machine"),
            ),
            io::ErrorKind::NotFound if matches!(spec, BindSpec::Unix(_)) => {
                ListenError::new(spec, "the directory does not exist", Some("create the directory first"))
            }
            _ => ListenError::new(spec, error.to_string(), None),
        }
    }
}

pub(super) fn open(spec: &BindSpec, options: &ListenOptions) -> Result<Listener, ListenError> {
    match spec {
        BindSpec::Tcp { host, port } => open_tcp(spec, host, *port, options),
        BindSpec::Unix(path) => open_unix(spec, path, options),
        BindSpec::Abstract(name) => {
            let opened = UnixAddr::from_abstract_name(name).and_then(|at| listen::unix(&at, options.backlog));
            let socket = opened.map_err(|error| ListenError::from_io(spec, &error))?;
            let local = Local::Unix(format!("@{name}"));
            Ok(Listener {
                socket,
                spec: spec.clone(),
                kind: ListenerKind::Unix,
                local,
                file: None,
                speech: Speech::default(),
            })
        }
        BindSpec::Fd(fd) => adopt(spec, *fd, options),
        BindSpec::Passed(_) => Err(ListenError::new(
            spec,
            "no socket of this name was passed by a service manager",
            Some("FileDescriptorName= in the socket unit, or its number: fd://3"),
        )),
    }
}

fn open_tcp(spec: &BindSpec, host: &str, port: u16, options: &ListenOptions) -> Result<Listener, ListenError> {
    let mut addresses: Vec<SocketAddr> = match (host, port).to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            let problem = format!("the host name cannot be resolved ({error})");
            return Err(ListenError::new(spec, problem, Some("an IP address")));
        }
    };
    // A name may stand for several addresses; IPv4 first, because clients of `localhost` all try that one.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let mut first_error = None;
    for address in addresses {
        match listen::tcp(address, options.backlog, options.reuse_port) {
            Ok(socket) => {
                let local = match local_ip(socket.as_fd()) {
                    Ok(local) => Local::Ip(local),
                    Err(error) => return Err(ListenError::from_io(spec, &error)),
                };
                return Ok(Listener {
                    socket,
                    spec: spec.clone(),
                    kind: ListenerKind::Tcp,
                    local,
                    file: None,
                    speech: Speech::default(),
                });
            }
            // An address family that the machine lacks leads to the next address; a port that is taken does not:
            // half of the clients would reach the other server.
            Err(error) if is_missing_family(&error) => {
                first_error.get_or_insert(error);
            }
            Err(error) => return Err(ListenError::from_io(spec, &error)),
        }
    }
    Err(match first_error {
        Some(error) => ListenError::from_io(spec, &error),
        None => ListenError::new(spec, "the host name has no address", Some("an IP address")),
    })
}

fn is_missing_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || listen::is_family_unsupported(error)
}

fn open_unix(spec: &BindSpec, path: &Path, options: &ListenOptions) -> Result<Listener, ListenError> {
    let fail = |error: io::Error| ListenError::from_io(spec, &error);
    let address = UnixAddr::from_pathname(path).map_err(fail)?;
    make_room(spec, path, &address)?;
    let former = process::set_umask(options.umask);
    let opened = listen::unix(&address, options.backlog);
    process::set_umask(former);
    let socket = opened.map_err(fail)?;
    let meta = fs::symlink_metadata(path).map_err(fail)?;
    // Absolute, because the process may change its directory before it removes the file.
    let absolute = std::path::absolute(path).map_err(fail)?;
    let file = SocketFile { path: absolute, device: meta.dev(), inode: meta.ino() };
    let local = Local::Unix(path.display().to_string());
    let listener = Listener {
        socket,
        spec: spec.clone(),
        kind: ListenerKind::Unix,
        local,
        file: Some(file),
        speech: Speech::default(),
    };
    if let Some((uid, gid)) = options.owner
        && let Err(error) = process::chown(path, uid, gid)
    {
        listener.remove_file();
        let problem = format!("its file cannot be given to user {uid}, group {gid} ({error})");
        return Err(ListenError::new(spec, problem, None));
    }
    Ok(listener)
}

/// Removes what a server that died left behind. A socket somebody answers on, and anything that is no socket, stays.
fn make_room(spec: &BindSpec, path: &Path, address: &UnixAddr) -> Result<(), ListenError> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ListenError::from_io(spec, &error)),
    };
    if !meta.file_type().is_socket() {
        let problem = "something that is no socket has this name";
        return Err(ListenError::new(spec, problem, Some("another name, or move that file away")));
    }
    match listen::knock_unix(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| ListenError::from_io(spec, &error))
        }
        // Gone since we looked.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(()) => Err(in_use(spec)),
        // A socket of another type, or one that we may not connect to: it may well be somebody's.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(ListenError::from_io(spec, &error)),
        Err(_) => Err(in_use(spec)),
    }
}

fn in_use(spec: &BindSpec) -> ListenError {
    let remedy = "another name, or stop the process that listens there (`ss -lxp` names it)";
    ListenError::new(spec, "address already in use", Some(remedy))
}

pub(super) fn adopt(spec: &BindSpec, fd: i32, options: &ListenOptions) -> Result<Listener, ListenError> {
    let (socket, family) = listen::adopt(fd).map_err(|unfit| match unfit {
        Unfit::NotOpen => ListenError::new(
            spec,
            "no descriptor with this number is open",
            Some("whatever starts the server must hand the socket over, open and under this number"),
        ),
        Unfit::NotASocket => ListenError::new(spec, "the descriptor is no socket", None),
        Unfit::NotListening => ListenError::new(
            spec,
            "the socket is not listening",
            Some("a stream socket on which bind and listen have been called"),
        ),
        Unfit::Failed(error) => ListenError::from_io(spec, &error),
    })?;
    let fail = |error: io::Error| ListenError::from_io(spec, &error);
    let (kind, local) = match family {
        Family::Ip => (ListenerKind::Tcp, Local::Ip(local_ip(socket.as_fd()).map_err(fail)?)),
        Family::Unix => (ListenerKind::Unix, Local::Unix(local_unix(socket.as_fd()).map_err(fail)?)),
        Family::Other => {
            return Err(ListenError::new(spec, "the socket is of a family other than IP and Unix", None));
        }
    };
    listen::set_backlog(socket.as_fd(), options.backlog).map_err(fail)?;
    Ok(Listener { socket, spec: spec.clone(), kind, local, file: None, speech: Speech::default() })
}

fn local_ip(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let address = TcpListener::from(socket.try_clone_to_owned()?).local_addr()?;
    // `::ffff:127.0.0.1` is a way to write 127.0.0.1 that only confuses.
    Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

fn local_unix(socket: BorrowedFd<'_>) -> io::Result<String> {
    let address = UnixListener::from(socket.try_clone_to_owned()?).local_addr()?;
    Ok(match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => path.display().to_string(),
        (None, Some(name)) => format!("@{}", String::from_utf8_lossy(name)),
        (None, None) => String::new(),
    })
}
