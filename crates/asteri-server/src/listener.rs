//! Listening sockets: how an address is written ([`BindSpec`]), and how it becomes a socket ([`Listener`]).
//!
//! The arbiter opens the listeners and owns them; workers inherit them and only accept. Nothing here accepts or reads.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::path::{Path, PathBuf};

use crate::sys::listen::{self, Family, Unfit};
use crate::sys::process;

/// The port of an address that names none.
pub const DEFAULT_PORT: u16 = 8000;

/// An address to listen on, as a setting writes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BindSpec {
    /// `host:port`, `host`, `:port` (all IPv4 addresses), `[v6]:port`, with `tcp://` before it or not. Port 0 lets the
    /// system choose.
    Tcp { host: String, port: u16 },
    /// `unix:/path`, `unix:///path`.
    Unix(PathBuf),
    /// `unix:@name`: a name in the abstract namespace of Linux, without a file.
    Abstract(String),
    /// `fd://3`: a listening socket that this process was started with.
    Fd(i32),
}

/// Written back in its shortest form; parses to the same again.
impl fmt::Display for BindSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindSpec::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            BindSpec::Tcp { host, port } => write!(f, "{host}:{port}"),
            BindSpec::Unix(path) => write!(f, "unix:{}", path.display()),
            BindSpec::Abstract(name) => write!(f, "unix:@{name}"),
            BindSpec::Fd(fd) => write!(f, "fd://{fd}"),
        }
    }
}

impl std::str::FromStr for BindSpec {
    type Err = BindSpecError;

    fn from_str(text: &str) -> Result<BindSpec, BindSpecError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return parse_unix(path);
        }
        if let Some(number) = text.strip_prefix("fd://") {
            return match number.parse() {
                Ok(fd @ 0..) if !number.starts_with('+') => Ok(BindSpec::Fd(fd)),
                _ => Err(BindSpecError::new("a descriptor's number after fd://", "fd://3")),
            };
        }
        parse_tcp(text.strip_prefix("tcp://").unwrap_or(text))
    }
}

/// Why a text is no address to listen on: the phrases that a settings message needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindSpecError {
    /// What belongs there, to follow the word "expected".
    pub expected: String,
    /// An address that would do.
    pub example: String,
}

impl BindSpecError {
    fn new(expected: &str, example: impl Into<String>) -> BindSpecError {
        BindSpecError { expected: expected.to_owned(), example: example.into() }
    }
}

impl fmt::Display for BindSpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, such as {}", self.expected, self.example)
    }
}

impl std::error::Error for BindSpecError {}

fn parse_unix(rest: &str) -> Result<BindSpec, BindSpecError> {
    // `unix://relative` is a relative path, as Gunicorn reads it.
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let longest = 107;
    if path.contains('\0') || path.is_empty() || path == "@" {
        return Err(BindSpecError::new("the path of a socket after unix:", "unix:/run/app.sock"));
    }
    if path.len() > longest {
        return Err(BindSpecError::new(
            "a path of at most 107 bytes after unix: (the system's limit)",
            "unix:/run/app.sock",
        ));
    }
    Ok(match path.strip_prefix('@') {
        Some(name) => BindSpec::Abstract(name.to_owned()),
        None => BindSpec::Unix(path.into()),
    })
}

fn parse_tcp(text: &str) -> Result<BindSpec, BindSpecError> {
    const EXPECTED: &str = "HOST:PORT, [IPV6]:PORT, unix:PATH or fd://NUMBER";
    if text.contains('/') {
        return Err(match text.strip_prefix("http://") {
            Some(address) => BindSpecError::new("an address without http://", address.trim_end_matches('/')),
            None => BindSpecError::new(EXPECTED, format!("unix:{text}")),
        });
    }
    let (host, port) = if let Some(bracketed) = text.strip_prefix('[') {
        let Some((host, rest)) = bracketed.split_once(']') else {
            return Err(BindSpecError::new("a ] after the IPv6 address", "[::1]:8000"));
        };
        if host.parse::<std::net::Ipv6Addr>().is_err() && !has_zone(host) {
            return Err(BindSpecError::new("an IPv6 address between [ and ]", "[::1]:8000"));
        }
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => {
                return Err(BindSpecError::new("a colon and the port after ]", format!("[{host}]:8000")));
            }
        }
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(BindSpecError::new("an IPv6 address in brackets", format!("[{text}]:8000")));
            }
            Some(("", port)) => ("0.0.0.0", Some(port)),
            Some((host, port)) => (host, Some(port)),
            // The C library would take a number alone for an address (8000 is 0.0.31.64), which nobody means.
            None if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err(BindSpecError::new("HOST:PORT (or :PORT for all addresses)", format!("127.0.0.1:{text}")));
            }
            None => (text, None),
        }
    };
    if host.is_empty() || host.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(BindSpecError::new(EXPECTED, "127.0.0.1:8000"));
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => match port.parse() {
            Ok(number) if !port.starts_with('+') => number,
            _ => {
                return Err(BindSpecError::new("a port from 0 to 65535 after the colon", format!("{host}:8000")));
            }
        },
    };
    Ok(BindSpec::Tcp { host: host.to_ascii_lowercase(), port })
}

/// `fe80::1%eth0`: the resolver reads it, std does not.
fn has_zone(host: &str) -> bool {
    host.split_once('%').is_some_and(|(ip, zone)| ip.parse::<std::net::Ipv6Addr>().is_ok() && !zone.is_empty())
}

/// How sockets are made.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Length of the accept queue (the kernel cuts it at `net.core.somaxconn`).
    pub backlog: i32,
    /// Permission bits that the file of a Unix socket does not get.
    pub umask: u32,
    /// Who shall own that file, if not who this process runs as.
    pub owner: Option<(u32, u32)>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions { backlog: 2048, umask: 0, owner: None }
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
        match spec {
            BindSpec::Tcp { host, port } => open_tcp(spec, host, *port, options),
            BindSpec::Unix(path) => open_unix(spec, path, options),
            BindSpec::Abstract(name) => {
                let opened = UnixAddr::from_abstract_name(name).and_then(|at| listen::unix(&at, options.backlog));
                let socket = opened.map_err(|error| ListenError::from_io(spec, &error))?;
                let local = Local::Unix(format!("@{name}"));
                Ok(Listener { socket, spec: spec.clone(), kind: ListenerKind::Unix, local, file: None })
            }
            BindSpec::Fd(fd) => adopt(spec, *fd, options),
        }
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

    /// The address as a person would use it: `http://127.0.0.1:8000`, `unix:/run/app.sock`.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.local {
            Local::Ip(address) => format!("http://{address}"),
            Local::Unix(_) => self.address(),
        }
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
        match listen::tcp(address, options.backlog) {
            Ok(socket) => {
                let local = match local_ip(socket.as_fd()) {
                    Ok(local) => Local::Ip(local),
                    Err(error) => return Err(ListenError::from_io(spec, &error)),
                };
                return Ok(Listener { socket, spec: spec.clone(), kind: ListenerKind::Tcp, local, file: None });
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
    let listener = Listener { socket, spec: spec.clone(), kind: ListenerKind::Unix, local, file: Some(file) };
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

fn adopt(spec: &BindSpec, fd: i32, options: &ListenOptions) -> Result<Listener, ListenError> {
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
    Ok(Listener { socket, spec: spec.clone(), kind, local, file: None })
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

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
