//! Signals: named, received through a descriptor, put back as they were.
//!
//! A handler may do next to nothing, so [`Receiver`] only counts each signal and pokes an eventfd; a loop that sleeps on
//! the descriptor takes the counts when it is ready. Signals of one number that arrive before the kernel has delivered the
//! first are one signal, as always on Unix; those delivered are all counted.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use super::check;
use super::eventfd::EventFd;

/// The number of a signal, with the names of those that mean something to the arbiter and its workers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(i32);

impl Signal {
    pub const HUP: Signal = Signal(libc::SIGHUP);
    pub const INT: Signal = Signal(libc::SIGINT);
    pub const QUIT: Signal = Signal(libc::SIGQUIT);
    pub const ABRT: Signal = Signal(libc::SIGABRT);
    pub const KILL: Signal = Signal(libc::SIGKILL);
    pub const USR1: Signal = Signal(libc::SIGUSR1);
    pub const USR2: Signal = Signal(libc::SIGUSR2);
    pub const TERM: Signal = Signal(libc::SIGTERM);
    pub const CHLD: Signal = Signal(libc::SIGCHLD);
    pub const TTIN: Signal = Signal(libc::SIGTTIN);
    pub const TTOU: Signal = Signal(libc::SIGTTOU);
    pub const WINCH: Signal = Signal(libc::SIGWINCH);

    /// Asks a worker to write the stack of its threads into its stack file: `SIGRTMIN+2`.
    ///
    /// A real-time signal, because applications use the two that are free (`USR1` and `USR2`) for themselves, and
    /// `SIGRTMIN` to `SIGRTMIN+1` are the first that tools and libraries reach for.
    pub fn dump_stack() -> Signal {
        Signal(libc::SIGRTMIN() + 2)
    }

    /// The signal of this number, known or not.
    pub fn from_number(number: i32) -> Signal {
        Signal(number)
    }

    pub fn number(self) -> i32 {
        self.0
    }

    /// Its name as in `kill -l`, without `SIG` and in lower case: `term`, `hup`, `rtmin+2`.
    pub fn short_name(self) -> String {
        self.to_string().trim_start_matches("SIG").to_ascii_lowercase()
    }
}

/// `SIGTERM`, `SIGRTMIN+2`, `signal 77`.
impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.0 {
            libc::SIGHUP => "SIGHUP",
            libc::SIGINT => "SIGINT",
            libc::SIGQUIT => "SIGQUIT",
            libc::SIGILL => "SIGILL",
            libc::SIGTRAP => "SIGTRAP",
            libc::SIGABRT => "SIGABRT",
            libc::SIGBUS => "SIGBUS",
            libc::SIGFPE => "SIGFPE",
            libc::SIGKILL => "SIGKILL",
            libc::SIGUSR1 => "SIGUSR1",
            libc::SIGSEGV => "SIGSEGV",
            libc::SIGUSR2 => "SIGUSR2",
            libc::SIGPIPE => "SIGPIPE",
            libc::SIGALRM => "SIGALRM",
            libc::SIGTERM => "SIGTERM",
            libc::SIGSTKFLT => "SIGSTKFLT",
            libc::SIGCHLD => "SIGCHLD",
            libc::SIGCONT => "SIGCONT",
            libc::SIGSTOP => "SIGSTOP",
            libc::SIGTSTP => "SIGTSTP",
            libc::SIGTTIN => "SIGTTIN",
            libc::SIGTTOU => "SIGTTOU",
            libc::SIGURG => "SIGURG",
            libc::SIGXCPU => "SIGXCPU",
            libc::SIGXFSZ => "SIGXFSZ",
            libc::SIGVTALRM => "SIGVTALRM",
            libc::SIGPROF => "SIGPROF",
            libc::SIGWINCH => "SIGWINCH",
            libc::SIGIO => "SIGIO",
            libc::SIGPWR => "SIGPWR",
            libc::SIGSYS => "SIGSYS",
            number if number > libc::SIGRTMIN() && number <= libc::SIGRTMAX() => {
                return write!(f, "SIGRTMIN+{}", number - libc::SIGRTMIN());
            }
            number => return write!(f, "signal {number}"),
        };
        f.write_str(name)
    }
}

impl std::fmt::Debug for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// One more than the highest signal number on Linux (64 on every architecture but MIPS, which has 128).
const NUMBERS: usize = 129;

/// How often each signal was delivered since it was last taken.
static DELIVERED: [AtomicU32; NUMBERS] = [const { AtomicU32::new(0) }; NUMBERS];
/// The eventfd that the handler pokes; -1 while no receiver exists.
static POKED: AtomicI32 = AtomicI32::new(-1);
/// Handlers are per process, and so is their receiver.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Receives signals for a loop; there is at most one in a process.
///
/// Dropping it puts all dispositions back as they were.
pub struct Receiver {
    event: EventFd,
    former: Vec<(Signal, libc::sigaction)>,
}

impl Receiver {
    /// Takes over `signals`. [`io::ErrorKind::AlreadyExists`] when there is a receiver already.
    pub fn install(signals: &[Signal]) -> io::Result<Receiver> {
        if TAKEN.swap(true, Ordering::SeqCst) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut receiver = match EventFd::new() {
            Ok(event) => Receiver { event, former: Vec::with_capacity(signals.len()) },
            Err(error) => {
                TAKEN.store(false, Ordering::SeqCst);
                return Err(error);
            }
        };
        for count in &DELIVERED {
            count.store(0, Ordering::SeqCst);
        }
        POKED.store(receiver.event.as_fd().as_raw_fd(), Ordering::SeqCst);
        for &signal in signals {
            // SAFETY: sigaction is a plain C struct, for which all zero is a valid value; the handler is async-signal-safe
            // (see there) and has the one-argument form that SA_SIGINFO unset asks for.
            let former = unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = count_and_poke as extern "C" fn(libc::c_int) as libc::sighandler_t;
                // Restarted calls, so that code which never expected a signal (an imported configuration file) meets no EINTR.
                action.sa_flags = libc::SA_RESTART;
                libc::sigfillset(&mut action.sa_mask);
                let mut former = MaybeUninit::uninit();
                check(libc::sigaction(signal.number(), &action, former.as_mut_ptr()))?;
                former.assume_init()
            };
            receiver.former.push((signal, former));
        }
        Ok(receiver)
    }

    /// Takes what was delivered since the last call: each signal with its count, in the order of their numbers.
    pub fn take(&self) -> Vec<(Signal, u32)> {
        // Drained before the counts are read: a signal in between pokes again, and at worst finds nothing to count.
        self.event.clear();
        let counts = DELIVERED.iter().zip(0..);
        counts
            .map(|(count, number)| (Signal(number), count.swap(0, Ordering::SeqCst)))
            .filter(|&(_, count)| count > 0)
            .collect()
    }
}

/// Readable when there is something to [`take`](Receiver::take).
impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        for (signal, former) in &self.former {
            // SAFETY: `former` is what sigaction itself gave for this signal.
            unsafe { libc::sigaction(signal.number(), former, std::ptr::null_mut()) };
        }
        POKED.store(-1, Ordering::SeqCst);
        TAKEN.store(false, Ordering::SeqCst);
    }
}

/// The handler. Async-signal-safe: atomics, one write(2), and `errno` left as it was found.
extern "C" fn count_and_poke(number: libc::c_int) {
    // SAFETY: __errno_location gives this thread's errno, always valid.
    let errno = unsafe { *libc::__errno_location() };
    if let Some(count) = DELIVERED.get(number as usize) {
        count.fetch_add(1, Ordering::SeqCst);
    }
    let fd = POKED.load(Ordering::SeqCst);
    if fd >= 0 {
        let one = 1u64.to_ne_bytes();
        // SAFETY: `one` is 8 readable bytes. Should the descriptor have been closed meanwhile, the write fails harmlessly:
        // `Receiver::drop` takes the handlers back before the descriptor is closed.
        unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// All signals held back on this thread; let in again on drop (as they were before).
///
/// For the moment of a fork: a signal that comes while the child still has the handlers of its parent would be lost to it.
pub struct Blocked {
    former: libc::sigset_t,
}

impl Blocked {
    /// Blocks every signal that can be blocked.
    pub fn all() -> io::Result<Blocked> {
        // SAFETY: sigset_t is plain data that the calls fill in before it is read; both pointers outlive the calls.
        unsafe {
            let mut all = MaybeUninit::uninit();
            libc::sigfillset(all.as_mut_ptr());
            let mut former = MaybeUninit::uninit();
            match libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), former.as_mut_ptr()) {
                0 => Ok(Blocked { former: former.assume_init() }),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: `former` is a mask that pthread_sigmask itself gave.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.former, std::ptr::null_mut()) };
    }
}

/// Lets `signal` do what it does by default in this process.
pub fn reset(signal: Signal) -> io::Result<()> {
    // SAFETY: SIG_DFL is a valid disposition for every signal; the kernel refuses those that cannot be set.
    match unsafe { libc::signal(signal.number(), libc::SIG_DFL) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::{Pid, kill, wait_readable};
    use std::time::Duration;

    // One test, because handlers are per process and tests share one.
    #[test]
    fn signals_are_counted_and_given_back() {
        let receiver = Receiver::install(&[Signal::USR1, Signal::WINCH]).unwrap();
        assert!(Receiver::install(&[Signal::USR1]).is_err(), "a second receiver");
        let me = std::process::id() as Pid;
        for count in 1..=2 {
            kill(me, Signal::WINCH).unwrap();
            // Another thread of the test process may be the one that runs the handler, whenever it is scheduled.
            while DELIVERED[libc::SIGWINCH as usize].load(Ordering::SeqCst) < count {
                std::thread::yield_now();
            }
        }
        assert_eq!(wait_readable([receiver.as_fd()], Some(Duration::from_secs(5))).unwrap(), [true]);
        assert_eq!(receiver.take(), [(Signal::WINCH, 2)]);
        assert_eq!(receiver.take(), []);
        drop(receiver);
        let again = Receiver::install(&[Signal::USR1]).unwrap();
        kill(me, Signal::WINCH).unwrap();
        assert_eq!(again.take(), [], "WINCH is ignored by default again");
    }

    #[test]
    fn names() {
        assert_eq!(Signal::TERM.to_string(), "SIGTERM");
        assert_eq!(Signal::TTOU.short_name(), "ttou");
        assert_eq!(Signal::dump_stack().to_string(), "SIGRTMIN+2");
        assert_eq!(Signal::from_number(126).to_string(), "signal 126");
    }
}
