//! The listening sockets, which belong to the arbiter: those in use, and those that a reload has taken out of use.

use std::os::fd::{AsFd, AsRawFd};

use asteri_server::listener::{BindSpec, ListenError, ListenOptions, Listener, Listening};
use asteri_server::sync::Handover;

/// An open listener and its number: addresses come back, numbers do not.
#[derive(Debug)]
struct Open {
    serial: u64,
    listener: Listener,
}

/// Which listeners a worker has, by their numbers.
#[derive(Clone, Debug)]
pub(super) struct ListenerSet(Vec<u64>);

/// All open listeners.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// What new workers listen on, in the order of the setting.
    current: Vec<Open>,
    /// No longer wanted. Kept open as long as a reload may be taken back, and until all workers that serve them have been
    /// told to leave: those have descriptors of their own, and empty the accept queue.
    retired: Vec<Open>,
    last_serial: u64,
    /// Through which workers with the same list of listeners give each other connections. Without one (no descriptors) they
    /// keep what they have.
    handover: Option<Handover>,
}

impl Sockets {
    /// Makes `wanted` the current listeners: keeps those that are open, opens the missing, retires the rest.
    ///
    /// # Errors
    /// When one cannot be opened; then everything is as it was.
    pub fn arrange(&mut self, wanted: &[Listening], options: &ListenOptions) -> Result<(), ListenError> {
        let mut opened: Vec<Listener> = Vec::new();
        for (position, one) in wanted.iter().enumerate() {
            let spec = &one.address;
            if wanted[..position].iter().any(|other| other.address == *spec) {
                remove_files(&opened);
                let remedy = Some("name each address once".to_owned());
                return Err(ListenError { address: spec.to_string(), problem: "it is named twice".to_owned(), remedy });
            }
            if !self.all().any(|open| open.listener.spec() == spec) {
                match self.refuse_own(spec, &opened).and_then(|()| open(one, options)) {
                    Ok(listener) => opened.push(listener),
                    Err(error) => {
                        remove_files(&opened);
                        return Err(error);
                    }
                }
            }
        }
        let now = self.listeners().map(|listener| (listener.spec(), listener.speech()));
        let same = now.eq(wanted.iter().map(|one| (&one.address, one.speech)));
        let mut pool: Vec<Open> = self.current.drain(..).chain(self.retired.drain(..)).collect();
        for listener in opened {
            self.last_serial += 1;
            pool.push(Open { serial: self.last_serial, listener });
        }
        for one in wanted {
            if let Some(position) = pool.iter().position(|open| *open.listener.spec() == one.address) {
                let mut open = pool.swap_remove(position);
                open.listener.set_speech(one.speech);
                // A changed backlog takes effect at once. It worked when the socket was opened, so it works again.
                let _ = open.listener.set_backlog(options.backlog);
                open.listener.set_defer_accept(options.defer_accept);
                self.current.push(open);
            }
        }
        self.retired = pool;
        // A connection in the channel names its listener by its place in the list.
        if !same || self.handover.is_none() {
            self.handover = Handover::new().ok();
        }
        Ok(())
    }

    /// `fd://N` means a descriptor that the server was started with. After that one has been closed, its number may be that of
    /// a listener that was opened later; adopted, it would have two owners, and the first to close it would take it from the other.
    fn refuse_own(&self, spec: &BindSpec, opened: &[Listener]) -> Result<(), ListenError> {
        let own = || self.all().map(|open| &open.listener).chain(opened);
        let BindSpec::Fd(number) = spec else { return Ok(()) };
        let Some(owner) = own().find(|listener| listener.as_fd().as_raw_fd() == *number) else { return Ok(()) };
        Err(ListenError {
            address: spec.to_string(),
            problem: format!("the number belongs to the server's own listener at {}", owner.address()),
            remedy: Some("a descriptor that was given up by a reload comes back with a restart only".to_owned()),
        })
    }

    fn all(&self) -> impl Iterator<Item = &Open> {
        self.current.iter().chain(&self.retired)
    }

    /// What new workers listen on, in the order of the setting.
    pub fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.current.iter().map(|open| &open.listener)
    }

    /// What a worker that is forked now gets.
    pub fn set(&self) -> ListenerSet {
        ListenerSet(self.current.iter().map(|open| open.serial).collect())
    }

    /// Whether new workers serve everything that a worker with `set` serves.
    pub fn are_current(&self, set: &ListenerSet) -> bool {
        set.0.iter().all(|serial| self.current.iter().any(|open| open.serial == *serial))
    }

    /// Closes what is no longer wanted and in none of the sets `used`.
    pub fn close_retired<'a>(&mut self, used: impl Iterator<Item = &'a ListenerSet> + Clone) {
        self.retired.retain(|open| {
            let is_used = used.clone().any(|set| set.0.contains(&open.serial));
            if !is_used {
                open.listener.remove_file();
            }
            is_used
        });
    }

    /// Takes over the sockets of the arbiter before this one: those that [`arrange`](Self::arrange) asks for next are used, the others
    /// closed.
    pub fn inherit(&mut self, listeners: Vec<Listener>) {
        for listener in listeners {
            self.last_serial += 1;
            self.retired.push(Open { serial: self.last_serial, listener });
        }
    }

    /// The arbiter that made the files of inherited sockets is gone: they are this one's to remove.
    pub fn own_files(&mut self) {
        self.current.iter_mut().chain(&mut self.retired).for_each(|open| open.listener.own_file());
    }

    /// Closes everything; workers that drain still have their own descriptors. `keep_files`: somebody else listens there too.
    pub fn close_all(&mut self, keep_files: bool) {
        for open in self.current.drain(..).chain(self.retired.drain(..)) {
            if !keep_files {
                open.listener.remove_file();
            }
        }
    }

    /// In a worker: all that is left of them there.
    pub fn into_parts(self) -> (Vec<Listener>, Option<Handover>) {
        (self.current.into_iter().map(|open| open.listener).collect(), self.handover)
    }
}

fn open(wanted: &Listening, options: &ListenOptions) -> Result<Listener, ListenError> {
    match wanted.mode {
        Some(mode) => Listener::open(&wanted.address, &ListenOptions { umask: !mode & 0o777, ..options.clone() }),
        None => Listener::open(&wanted.address, options),
    }
}

fn remove_files(listeners: &[Listener]) {
    for listener in listeners {
        listener.remove_file();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str) -> Listening {
        BindSpec::Tcp { host: host.to_owned(), port: 0 }.into()
    }

    fn addresses(listeners: &[Open]) -> Vec<String> {
        listeners.iter().map(|open| open.listener.address()).collect()
    }

    #[test]
    fn a_reload_keeps_opens_and_retires_and_can_be_taken_back() {
        let options = ListenOptions::default();
        let mut sockets = Sockets::default();
        let before = [tcp("127.0.0.1"), tcp("127.0.0.2")];
        sockets.arrange(&before, &options).unwrap();
        let old = addresses(&sockets.current);

        sockets.arrange(&[tcp("127.0.0.3"), tcp("127.0.0.2")], &options).unwrap();
        assert_eq!(addresses(&sockets.current)[1], old[1], "kept, with its port");
        assert_eq!(addresses(&sockets.retired), old[..1]);

        sockets.arrange(&before, &options).unwrap();
        assert_eq!(addresses(&sockets.current), old);
        assert_eq!(sockets.retired.len(), 1);
        sockets.close_retired(std::iter::empty());
        assert_eq!((addresses(&sockets.current), sockets.retired.len()), (old, 0));
    }

    #[test]
    fn what_is_retired_is_closed_when_nobody_uses_it() {
        let options = ListenOptions::default();
        let mut sockets = Sockets::default();
        sockets.arrange(&[tcp("127.0.0.1"), tcp("127.0.0.2")], &options).unwrap();
        let old = sockets.set();
        assert!(sockets.are_current(&old));
        sockets.arrange(&[tcp("127.0.0.2"), tcp("127.0.0.3")], &options).unwrap();
        let new = sockets.set();
        assert!(sockets.are_current(&new) && !sockets.are_current(&old));
        sockets.close_retired([&new, &old].into_iter());
        assert_eq!(sockets.retired.len(), 1);
        sockets.close_retired([&new].into_iter());
        assert_eq!(sockets.retired.len(), 0);
        sockets.arrange(&[tcp("127.0.0.1"), tcp("127.0.0.2")], &options).unwrap();
        assert!(!sockets.are_current(&old), "the same address is not the same socket");
    }

    #[test]
    fn a_descriptor_that_is_a_listener_of_ours_is_not_adopted() {
        let options = ListenOptions::default();
        let mut sockets = Sockets::default();
        sockets.arrange(&[tcp("127.0.0.1")], &options).unwrap();
        let own = sockets.current[0].listener.as_fd().as_raw_fd();
        let error = sockets.arrange(&[BindSpec::Fd(own).into()], &options).unwrap_err();
        assert!(error.problem.contains("the server's own listener at 127.0.0.1:"), "{error}");
        let error = sockets.arrange(&[tcp("127.0.0.1"), BindSpec::Fd(own).into()], &options).unwrap_err();
        assert!(error.problem.contains("the server's own listener"), "{error}");
    }

    #[test]
    fn what_cannot_be_opened_changes_nothing() {
        let options = ListenOptions::default();
        let mut sockets = Sockets::default();
        sockets.arrange(&[tcp("127.0.0.1")], &options).unwrap();
        let old = addresses(&sockets.current);
        sockets.arrange(&[tcp("127.0.0.2"), tcp("192.0.2.1")], &options).unwrap_err();
        assert_eq!((addresses(&sockets.current), sockets.retired.len()), (old.clone(), 0));
        let twice = sockets.arrange(&[BindSpec::Fd(9).into(), BindSpec::Fd(9).into()], &options);
        assert!(twice.is_err(), "a descriptor must not be adopted twice");
        sockets.arrange(&[tcp("127.0.0.2"), tcp("127.0.0.2")], &options).unwrap_err();
        assert_eq!(addresses(&sockets.current), old);
    }
}
