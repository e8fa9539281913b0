//! The few system calls there are: listen, accept, receive, send, epoll.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Same as what servers ask for; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: libc::c_int = 4096;
const EVENTS_PER_WAIT: usize = 256;

pub fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    // SAFETY: a plain call on a descriptor that is open for as long as `listener` lives. The
    // standard library listens with a backlog of 128; listening again only raises it.
    if unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(listener)
}

/// A connection is known by its descriptor alone: the epoll set is the table of connections.
#[derive(Clone, Copy)]
pub struct Connection(libc::c_int);

pub enum Received<'a> {
    Bytes(&'a [u8]),
    Nothing,
    End,
}

impl Connection {
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    pub fn receive(self, buffer: &mut [u8]) -> Received<'_> {
        // SAFETY: the pointer and length are those of a live, exclusively borrowed buffer.
        let count = unsafe { libc::recv(self.0, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        match usize::try_from(count) {
            Ok(0) => Received::End,
            Ok(count) => Received::Bytes(&buffer[..count]),
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => Received::Nothing,
            Err(_) => Received::End,
        }
    }

    /// False when the client did not take the whole answer at once.
    pub fn send(self, bytes: &[u8]) -> bool {
        // SAFETY: the pointer and length are those of a live borrowed slice.
        let count = unsafe { libc::send(self.0, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
        usize::try_from(count) == Ok(bytes.len())
    }

    pub fn close(self) {
        // SAFETY: the descriptor came from `accept`, is closed only here, and the caller drops it
        // from its loop; closing also removes it from the epoll set.
        drop(unsafe { OwnedFd::from_raw_fd(self.0) });
    }
}

/// The next connection that waits, if there is one; descriptors from `limit` on are refused.
pub fn accept(listener: &TcpListener, limit: usize) -> Option<Connection> {
    // SAFETY: a plain call; null pointers tell the kernel that the peer's address is not wanted.
    let fd = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        )
    };
    if fd == -1 {
        return None;
    }
    let connection = Connection(fd);
    if connection.index() < limit {
        return Some(connection);
    }
    connection.close();
    None
}

pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: a plain call; the descriptor is owned from here on.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: freshly made by the kernel and owned by nobody else.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub fn events() -> Vec<libc::epoll_event> {
        vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_PER_WAIT]
    }

    pub fn add(&self, listener: &TcpListener) -> io::Result<()> {
        self.register(listener.as_raw_fd())
    }

    /// Takes over the connection; one that cannot be watched is closed.
    pub fn watch(&self, connection: Connection) {
        if self.register(connection.0).is_err() {
            connection.close();
        }
    }

    fn register(&self, fd: libc::c_int) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: fd as u64 };
        // SAFETY: both descriptors are open and `event` lives through the call.
        let result = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) };
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    pub fn wait<'a>(&self, events: &'a mut [libc::epoll_event]) -> io::Result<&'a [libc::epoll_event]> {
        let capacity = libc::c_int::try_from(events.len()).unwrap_or(libc::c_int::MAX);
        // SAFETY: the kernel writes at most `capacity` events into a live buffer of that length.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), capacity, -1) };
        match usize::try_from(count) {
            Ok(count) => Ok(&events[..count]),
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => Ok(&[]),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}

/// Where `needle` first occurs; the C library's search is several times faster than a plain loop.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    // SAFETY: both pointers and lengths are those of live borrowed slices.
    let found = unsafe { libc::memmem(bytes.as_ptr().cast(), bytes.len(), needle.as_ptr().cast(), needle.len()) };
    (!found.is_null()).then(|| found as usize - bytes.as_ptr() as usize)
}

pub fn is(event: &libc::epoll_event, listener: &TcpListener) -> bool {
    event.u64 == listener.as_raw_fd() as u64
}

pub fn connection(event: &libc::epoll_event) -> Connection {
    Connection(event.u64 as libc::c_int)
}
