//! The operating system, made safe: every `unsafe` block of this crate is below this module.
//!
//! Linux only for now; nothing outside this module names a `libc` function.

pub mod channel;
pub mod clock;
pub mod deferred;
pub mod epoll;
pub mod eventfd;
pub mod forks;
pub mod listen;
pub mod process;
pub mod signals;
pub mod socket;
pub mod tempfile;
pub mod timerfd;
pub mod title;

use std::io;

/// Turns the `-1` of a system call into the thread's last error.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The same for calls that return a size.
pub(crate) fn check_size(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
