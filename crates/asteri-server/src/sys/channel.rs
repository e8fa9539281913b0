//! Passing open connections between processes: descriptor and bytes in one message.

use super::{check, check_size};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The longest message: what a connection may have in its buffer and still be passed on.
pub const MESSAGE: usize = 32 * 1024;

/// Room for one descriptor in a control message, aligned as the kernel's header asks.
#[repr(C, align(8))]
struct Ancillary([u8; 32]);

/// A non-blocking pair whose messages stay whole; any holder of the second end may take the next message.
///
/// # Errors
/// When the process has no descriptors left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: `fds` has room for two descriptors, which are owned by nobody else.
    unsafe {
        check(libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()))?;
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

/// Sends `bytes` (at least one) together with a copy of `passed`.
///
/// # Errors
/// `WouldBlock` when the channel is full; any other error means that nothing was sent either.
pub fn send(channel: BorrowedFd<'_>, passed: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let mut ancillary = Ancillary([0; 32]);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let fd = passed.as_raw_fd();
    // SAFETY: `ancillary` is large and aligned enough for a header and one descriptor (asserted below); all pointers in
    // `message` outlive the call; the kernel only reads.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut ancillary).cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<libc::c_int>() as u32) as usize;
        assert!(message.msg_controllen <= size_of::<Ancillary>());
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<libc::c_int>() as u32) as usize;
        libc::CMSG_DATA(header).cast::<libc::c_int>().write_unaligned(fd);
        libc::sendmsg(channel.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    check_size(sent).map(drop)
}

/// Takes the next message: its bytes are appended to `bytes`, its descriptor is returned.
///
/// # Errors
/// `WouldBlock` when there is none; `InvalidData` when a message came without a descriptor (the process has none left).
pub fn receive(channel: BorrowedFd<'_>, bytes: &mut Vec<u8>) -> io::Result<OwnedFd> {
    bytes.reserve(MESSAGE);
    let spare = bytes.spare_capacity_mut();
    let mut ancillary = Ancillary([0; 32]);
    let mut part = libc::iovec { iov_base: spare.as_mut_ptr().cast(), iov_len: spare.len() };
    // SAFETY: all pointers in `message` outlive the call; the kernel writes at most `iov_len` bytes of content and
    // `msg_controllen` of ancillary data, and says how much. A descriptor it passes is owned by nobody else.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut ancillary).cast();
        message.msg_controllen = size_of::<Ancillary>();
        let count = check_size(libc::recvmsg(channel.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC))?;
        bytes.set_len(bytes.len() + count);
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() || (*header).cmsg_level != libc::SOL_SOCKET || (*header).cmsg_type != libc::SCM_RIGHTS {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<libc::c_int>().read_unaligned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn messages_stay_whole_and_in_order() {
        let (sender, receiver) = pair().unwrap();
        for number in 0..3u8 {
            let (mut near, far) = UnixStream::pair().unwrap();
            near.write_all(&[number]).unwrap();
            send(sender.as_fd(), far.as_fd(), &vec![number; 1 + usize::from(number) * 1000]).unwrap();
        }
        for number in 0..3u8 {
            let mut bytes = Vec::new();
            let fd = receive(receiver.as_fd(), &mut bytes).unwrap();
            assert_eq!(bytes, vec![number; 1 + usize::from(number) * 1000]);
            let mut byte = [9];
            UnixStream::from(fd).read_exact(&mut byte).unwrap();
            assert_eq!(byte, [number], "the right descriptor");
        }
        let error = receive(receiver.as_fd(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_full_channel_says_so() {
        let (sender, _receiver) = pair().unwrap();
        let error = (0..1000).find_map(|_| send(sender.as_fd(), sender.as_fd(), &[0; MESSAGE]).err());
        assert_eq!(error.expect("it is bounded").kind(), io::ErrorKind::WouldBlock);
    }
}
