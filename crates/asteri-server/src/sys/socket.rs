//! Connected sockets: accept, receive, send, sendfile, close.

use super::{check, check_size};
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Ip(SocketAddr),
    /// A Unix socket: the peer has no address worth telling.
    Unix,
}

/// Takes one connection from the accept queue: non-blocking, close-on-exec.
///
/// # Errors
/// `WouldBlock` when the queue is empty; see [`AcceptFailure`] for what the others mean.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Peer)> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: `storage` has room for `length` bytes; the new descriptor is checked and owned by nobody else. The
    // storage was zeroed, so it is initialised whatever the kernel wrote.
    let (socket, address) = unsafe {
        let fd = check(libc::accept4(
            listener.as_raw_fd(),
            storage.as_mut_ptr().cast(),
            &raw mut length,
            libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
        ))?;
        (OwnedFd::from_raw_fd(fd), storage.assume_init())
    };
    Ok((socket, peer_of(&address)))
}

/// The process at the other end of a Unix socket, as the kernel noted it when the connection was made; for a client, the one that
/// listened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// 0 if it is in a process id namespace that this one cannot see.
    pub pid: i32,
    pub uid: u32,
}

/// See [`Credentials`].
///
/// # Errors
/// It is no Unix socket.
pub fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<Credentials> {
    let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `found` has room for `length` bytes, and both outlive the call.
    let asked = unsafe {
        let value = (&raw mut found).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, value, &raw mut length)
    };
    check(asked)?;
    Ok(Credentials { pid: found.pid, uid: found.uid })
}

/// Who is at the other end of an open connection.
#[must_use]
pub fn peer(socket: BorrowedFd<'_>) -> Peer {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: `storage` has room for `length` bytes and was zeroed, so it is initialised whatever the kernel wrote.
    let address = unsafe {
        libc::getpeername(socket.as_raw_fd(), storage.as_mut_ptr().cast(), &raw mut length);
        storage.assume_init()
    };
    peer_of(&address)
}

fn peer_of(address: &libc::sockaddr_storage) -> Peer {
    match libc::c_int::from(address.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that this is a sockaddr_in, which is smaller and no stricter aligned.
            let v4 = unsafe { &*std::ptr::from_ref(address).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Peer::Ip(SocketAddr::new(IpAddr::V4(ip), u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that this is a sockaddr_in6, which is smaller and no stricter aligned.
            let v6 = unsafe { &*std::ptr::from_ref(address).cast::<libc::sockaddr_in6>() };
            // A dual-stack listener shows IPv4 clients as ::ffff:a.b.c.d; applications expect a.b.c.d.
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr).to_canonical();
            Peer::Ip(SocketAddr::new(ip, u16::from_be(v6.sin6_port)))
        }
        _ => Peer::Unix,
    }
}

/// What an error of [`accept`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptFailure {
    /// The queue is empty.
    Empty,
    /// This connection died in the queue; the next one may be fine.
    TryNext,
    /// No descriptors or no memory: stop accepting until some come back.
    Exhausted,
}

impl AcceptFailure {
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EAGAIN) => Self::Empty,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Self::Exhausted,
            // ECONNABORTED, EPROTO, EINTR, EPERM (a firewall), the ENETDOWN family: accept(2) says to go on.
            _ => Self::TryNext,
        }
    }
}

/// Sends small writes at once. Failure means that this is no TCP socket, which is fine.
pub fn set_nodelay(socket: BorrowedFd<'_>) {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
}

pub(super) fn set_option(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: libc::c_int) {
    // SAFETY: the value is a readable c_int of the length that is passed.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
}

/// Makes the close that follows a reset: the peer learns that what it got is not whole.
pub fn set_reset_on_close(socket: BorrowedFd<'_>) {
    let value = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the value is a readable `linger` of the length that is passed.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const value).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
}

/// No address. [`receive`] and [`send`] make their system calls themselves: in the C library those are points at which a thread can
/// be cancelled, which costs two atomic operations for each, and nobody cancels threads here.
const NOBODY: *const libc::sockaddr = std::ptr::null();

/// Receives into the spare capacity of `buffer`; returns how many bytes were added, 0 at the end of the stream.
///
/// # Errors
/// `WouldBlock` when nothing is there; otherwise the connection is broken.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> io::Result<usize> {
    receive_some(socket, buffer, usize::MAX, 0)
}

/// The same with at most `most` bytes.
///
/// # Errors
/// As [`receive`].
pub fn receive_at_most(socket: BorrowedFd<'_>, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    receive_some(socket, buffer, most, 0)
}

/// The same, and leaves the bytes in the socket.
///
/// # Errors
/// As [`receive`].
pub fn peek(socket: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> io::Result<usize> {
    receive_some(socket, buffer, usize::MAX, libc::MSG_PEEK)
}

fn receive_some(socket: BorrowedFd<'_>, buffer: &mut Vec<u8>, most: usize, flags: libc::c_int) -> io::Result<usize> {
    let spare = buffer.spare_capacity_mut();
    let room = spare.len().min(most);
    debug_assert!(room > 0, "receiving needs room, or 0 would look like the end of the stream");
    loop {
        // SAFETY: `spare` is writable for its length, which is at least `room`; nobody is asked for the sender's address.
        let result = unsafe {
            libc::syscall(libc::SYS_recvfrom, socket.as_raw_fd(), spare.as_mut_ptr(), room, flags, NOBODY, NOBODY)
        };
        match check_size(result as isize) {
            Ok(count) => {
                // SAFETY: the kernel has written `count` bytes, at most the spare capacity, behind the current length.
                unsafe { buffer.set_len(buffer.len() + count) };
                return Ok(count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends what the socket takes now.
///
/// # Errors
/// `WouldBlock` when it takes nothing; otherwise the connection is broken.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], more: bool) -> io::Result<usize> {
    let flags = libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
    loop {
        // SAFETY: `bytes` is readable for its length; no address is given.
        let result = unsafe {
            libc::syscall(libc::SYS_sendto, socket.as_raw_fd(), bytes.as_ptr(), bytes.len(), flags, NOBODY, 0)
        };
        match check_size(result as isize) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Sends up to `length` bytes of `file` from `offset`; returns how many, 0 at the end of the file.
///
/// # Errors
/// `WouldBlock` when the socket takes nothing; otherwise the connection or the file is broken.
pub fn send_file(socket: BorrowedFd<'_>, file: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<usize> {
    // The kernel moves at most 0x7ffff000 bytes a call anyway.
    let count = usize::try_from(length.min(0x7fff_f000)).unwrap_or(0);
    let mut position = libc::off_t::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    loop {
        // SAFETY: `position` is a valid off_t to read and write; the file's own position is not touched.
        let result = unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &raw mut position, count) };
        match check_size(result) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Bytes that were sent and that the peer has not acknowledged (or, on a Unix socket, not read).
#[must_use]
pub fn unacknowledged(socket: BorrowedFd<'_>) -> u32 {
    let mut count: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (the same number as TIOCOUTQ) writes one c_int.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if result < 0 { 0 } else { count.cast_unsigned() }
}

/// Tells the peer that nothing more will be sent, and goes on receiving.
pub fn shutdown_sending(socket: BorrowedFd<'_>) {
    // SAFETY: no pointers are passed. Failure means that the peer has gone already.
    unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_WR) };
}

/// What the next receive would find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    Nothing,
    Bytes,
    /// The peer has closed its sending side, and all it sent was read.
    End,
    /// The connection is broken.
    Error,
}

/// Looks without taking anything.
#[must_use]
pub fn pending(socket: BorrowedFd<'_>) -> Pending {
    let mut byte = 0u8;
    // SAFETY: one writable byte is passed.
    let result =
        unsafe { libc::recv(socket.as_raw_fd(), (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) };
    match check_size(result) {
        Ok(0) => Pending::End,
        Ok(_) => Pending::Bytes,
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Pending::Nothing
        }
        Err(_) => Pending::Error,
    }
}

/// The process's limit of open descriptors.
#[must_use]
pub fn descriptor_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit to write to.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if result < 0 { 1024 } else { usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX) }
}
