//! The listening sockets, which belong to the arbiter: those in use, and those that a reload has taken out of use.

use asteri_server::listener::{BindSpec, ListenError, ListenOptions, Listener};
use asteri_server::sync::Handover;

/// All open listeners.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// What new workers listen on, in the order of the setting.
    pub current: Vec<Listener>,
    /// No longer wanted; kept open until the workers that still serve them have left, so that nothing in an accept queue is lost.
    pub retired: Vec<Listener>,
    /// Through which workers with the same list of listeners give each other connections. Without one (no descriptors) they
    /// keep what they have.
    pub handover: Option<Handover>,
}

impl Sockets {
    /// Makes `specs` the current listeners: keeps those that are open, opens the missing, retires the rest.
    ///
    /// # Errors
    /// When one cannot be opened; then everything is as it was.
    pub fn arrange(&mut self, specs: &[BindSpec], options: &ListenOptions) -> Result<(), ListenError> {
        let is_open =
            |spec: &BindSpec| self.current.iter().chain(&self.retired).any(|listener| listener.spec() == spec);
        let mut opened: Vec<Listener> = Vec::new();
        for (position, spec) in specs.iter().enumerate() {
            if specs[..position].contains(spec) {
                remove_files(&opened);
                let remedy = Some("name each address once".to_owned());
                return Err(ListenError { address: spec.to_string(), problem: "it is named twice".to_owned(), remedy });
            }
            if !is_open(spec) {
                match Listener::open(spec, options) {
                    Ok(listener) => opened.push(listener),
                    Err(error) => {
                        remove_files(&opened);
                        return Err(error);
                    }
                }
            }
        }
        let same = self.current.iter().map(Listener::spec).eq(specs);
        let mut pool: Vec<Listener> = self.current.drain(..).chain(self.retired.drain(..)).chain(opened).collect();
        for spec in specs {
            if let Some(position) = pool.iter().position(|listener| listener.spec() == spec) {
                let listener = pool.swap_remove(position);
                // A changed backlog takes effect at once. It worked when the socket was opened, so it works again.
                let _ = listener.set_backlog(options.backlog);
                self.current.push(listener);
            }
        }
        self.retired = pool;
        // A connection in the channel names its listener by its place in the list.
        if !same || self.handover.is_none() {
            self.handover = Handover::new().ok();
        }
        Ok(())
    }

    /// Closes what is no longer wanted.
    pub fn close_retired(&mut self) {
        remove_files(&self.retired);
        self.retired.clear();
    }

    /// Closes everything; workers that drain still have their own descriptors.
    pub fn close_all(&mut self) {
        self.close_retired();
        remove_files(&self.current);
        self.current.clear();
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

    fn tcp(host: &str) -> BindSpec {
        BindSpec::Tcp { host: host.to_owned(), port: 0 }
    }

    fn addresses(listeners: &[Listener]) -> Vec<String> {
        listeners.iter().map(Listener::address).collect()
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
        sockets.close_retired();
        assert_eq!(addresses(&sockets.current), old);
    }

    #[test]
    fn what_cannot_be_opened_changes_nothing() {
        let options = ListenOptions::default();
        let mut sockets = Sockets::default();
        sockets.arrange(&[tcp("127.0.0.1")], &options).unwrap();
        let old = addresses(&sockets.current);
        sockets.arrange(&[tcp("127.0.0.2"), tcp("192.0.2.1")], &options).unwrap_err();
        assert_eq!((addresses(&sockets.current), sockets.retired.len()), (old.clone(), 0));
        let twice = sockets.arrange(&[BindSpec::Fd(9), BindSpec::Fd(9)], &options);
        assert!(twice.is_err(), "a descriptor must not be adopted twice");
        sockets.arrange(&[tcp("127.0.0.2"), tcp("127.0.0.2")], &options).unwrap_err();
        assert_eq!(addresses(&sockets.current), old);
    }
}
