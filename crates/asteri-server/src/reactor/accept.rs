//! New connections, and when not to take them.
//!
//! A connection that is not accepted is not lost: it waits in the kernel's queue, where a sibling process may take it.
//! So this worker takes none while it is full, while descriptors are short, and while it is busy and has siblings.

use super::{HANDOVER_TOKEN, LISTENER_TOKEN, Reactor};
use crate::connection::{Connection, Stage};
use crate::listener::{Listener, ProxyProtocol, Speech};
use crate::notice::Notice;
use crate::sys::epoll::Interest;
use crate::sys::socket::{self, AcceptFailure};
use crate::sys::{clock, deferred};
use asteri_proto::proxy::Told;
use asteri_proto::time::Moment;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How long to wait for descriptors that some other process may give back.
const RETRY: Duration = Duration::from_millis(100);
/// At most one notice about missing descriptors in this time.
const QUIET: Duration = Duration::from_secs(10);
/// How long connections that only the kernel knows are waited for when nobody will listen any more: it gives them out after a second.
const DEFERRED: Duration = Duration::from_millis(1500);
/// From one round of emptying the queue, and one look for such connections, to the next.
const LOOK: Duration = Duration::from_millis(25);

pub(super) struct Accepting {
    listeners: Vec<Listener>,
    /// What is spoken on them, also after they have been closed.
    speech: Vec<Speech>,
    /// Whether the listeners are in the epoll set.
    watched: bool,
    /// Set while the worker is busy and its siblings shall have the connections.
    suspended: bool,
    /// Set until the worker has answered its first connection.
    held: bool,
    /// After each connection it is the siblings' turn.
    rotating: bool,
    /// How many connections an event is likely to stand for.
    expected: Expected,
    /// Whether requests come with their connections.
    early: Early,
    /// Out of descriptors: when to try again.
    retry_at: Option<Moment>,
    noticed_at: Option<Moment>,
    /// Draining for good: when the accept queue is left alone even if it is not empty.
    finish_by: Option<Moment>,
    /// Draining for good: when to go on with that.
    again_at: Option<Moment>,
    /// Draining for good: ports at which there may be connections that only the kernel knows, and when to look for them again.
    deferring: Vec<u16>,
    look_at: Moment,
    /// The last look found none.
    found_none: bool,
}

/// How many connections to take for one event. To try a queue once too often costs a system call; one that is left with
/// something in it makes another event.
#[derive(Default)]
struct Expected {
    /// So many beside the first.
    more: usize,
    /// So many events pass before more are tried again ...
    patience: u32,
    /// ... and after the next failure so many.
    longest: u32,
}

impl Expected {
    /// At most so many events pass until it is noticed that more connections come now.
    const LONGEST: u32 = 16;

    fn count(&self) -> usize {
        self.more + 1
    }

    /// So many were taken, and then the queue was seen to be empty or not.
    fn note(&mut self, taken: usize, empty: bool) {
        if empty {
            self.more = taken.saturating_sub(1);
            self.patience = self.longest;
            self.longest = (self.longest * 2 + 1).min(Self::LONGEST);
        } else if self.patience > 0 {
            self.patience -= 1;
        } else {
            if self.more > 0 {
                self.longest = 0;
            }
            self.more = (self.more * 2 + 1).min(usize::from(u16::MAX));
        }
    }
}

/// Whether a request is there when its connection is taken. That is usual over a network and with a server that has much to do;
/// with an idle one on the same machine it is the exception, and the look would be for nothing.
struct Early {
    /// The last 32 looks, one bit for each.
    seen: u32,
    /// Connections since the last look that was made all the same.
    skipped: u8,
}

impl Default for Early {
    fn default() -> Self {
        Self { seen: u32::MAX, skipped: 0 }
    }
}

impl Early {
    /// After so many connections that were not looked at, one is.
    const SELDOM: u8 = 32;

    fn note(&mut self, early: bool) {
        self.seen = self.seen << 1 | u32::from(early);
    }

    fn is_worth_a_look(&mut self) -> bool {
        if self.seen != 0 {
            return true;
        }
        self.skipped = (self.skipped + 1) % Self::SELDOM;
        self.skipped == 0
    }
}

impl Accepting {
    pub fn new(listeners: Vec<Listener>) -> Self {
        // Accepted sockets inherit it, which saves a system call for each. Without it every response in several pieces would
        // wait for the client's delayed acknowledgement, about 40 ms.
        for listener in &listeners {
            socket::set_nodelay(listener.as_fd());
        }
        let speech = listeners.iter().map(Listener::speech).collect();
        Self {
            listeners,
            speech,
            watched: false,
            suspended: false,
            held: false,
            rotating: false,
            expected: Expected::default(),
            early: Early::default(),
            retry_at: None,
            noticed_at: None,
            finish_by: None,
            again_at: None,
            deferring: Vec::new(),
            look_at: Moment(0),
            found_none: false,
        }
    }

    pub fn retry_at(&self) -> Option<Moment> {
        // While others are to have the connections, nothing is to be done.
        let again_at = self.again_at.filter(|_| !self.suspended);
        [self.retry_at, self.finish_by, again_at].into_iter().flatten().min()
    }

    /// The accept queue is to be emptied and then closed, within `time`; where connections are left to the kernel at first, these have to
    /// come out.
    pub fn finish(&mut self, now: Moment, time: Duration) {
        self.deferring = self.listeners.iter().filter_map(Listener::defers_at).collect();
        let time = if self.deferring.is_empty() { time } else { time.max(DEFERRED) };
        self.finish_by = Some(now + time);
        self.again_at = Some(now);
    }

    /// Whether there may be connections that only the kernel knows. That is not looked at all the time, as the kernel's list may be long.
    fn may_have_deferred(&mut self) -> bool {
        if self.deferring.is_empty() {
            return false;
        }
        let begun = clock::now();
        if begun < self.look_at {
            return true;
        }
        let found = deferred::has_deferred(&self.deferring).unwrap_or(true);
        if !found && self.found_none {
            self.deferring.clear();
            return false;
        }
        // The list is read in pieces while it changes, so that one look may miss a connection.
        self.found_none = !found;
        let ended = clock::now();
        self.look_at = ended + LOOK.max(ended.saturating_since(begun) * 10);
        true
    }

    pub fn is_closed(&self) -> bool {
        self.listeners.is_empty()
    }

    /// One descriptor more: no need to wait for the retry.
    pub fn note_descriptor_freed(&mut self) {
        if self.retry_at.is_some() {
            self.retry_at = Some(Moment(0));
        }
    }
}

impl Reactor {
    pub(super) fn watch_listeners(&mut self) -> io::Result<()> {
        if !self.accepting.watched {
            // Set before all are added: if one fails, those that were added have to be removed again.
            self.accepting.watched = true;
            for (index, listener) in self.accepting.listeners.iter().enumerate() {
                self.epoll.add(listener.as_fd(), Interest::Listener, LISTENER_TOKEN + index as u64)?;
            }
            if let Some(handover) = &self.handover {
                self.epoll.add(handover.readable_end().as_fd(), Interest::Listener, HANDOVER_TOKEN)?;
            }
        }
        Ok(())
    }

    fn unwatch_listeners(&mut self) {
        if std::mem::take(&mut self.accepting.watched) {
            for listener in &self.accepting.listeners {
                // It was added; the only failure would be that it is not there.
                let _ = self.epoll.remove(listener.as_fd());
            }
            if let Some(handover) = &self.handover {
                let _ = self.epoll.remove(handover.readable_end().as_fd());
            }
        }
    }

    pub(super) fn close_listeners(&mut self) {
        self.unwatch_listeners();
        self.accepting.listeners.clear();
        self.accepting.finish_by = None;
        self.accepting.again_at = None;
        self.accepting.retry_at = None;
    }

    /// Serves one connection, and takes no other until [`Reactor::open`].
    pub fn hold_back(&mut self, first: OwnedFd) {
        self.accepting.held = true;
        self.unwatch_listeners();
        let mut connection = Connection::new(first, socket::Peer::Unix, 0, self.now);
        // It is ourselves.
        connection.trusted = true;
        // Plain HTTP, whatever is spoken on the listener that it is said to come from.
        self.admit(connection);
    }

    /// Takes connections from now on.
    pub fn open(&mut self) {
        if std::mem::take(&mut self.accepting.held) {
            self.resume_accepting();
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.accepting.held
    }

    /// Leaves new connections to the siblings, or takes them again.
    pub fn suspend_accepting(&mut self, suspend: bool) {
        if self.accepting.suspended != suspend {
            self.accepting.suspended = suspend;
            if suspend {
                self.unwatch_listeners();
            } else {
                self.resume_accepting();
            }
        }
    }

    /// Lets siblings have their turn after each connection. Of the workers that wait for one, the kernel wakes the one that has
    /// waited longest in its list, where a worker keeps its place: the others would get none as long as that one is awake in
    /// time, and a worker that serves many requests at a time always is.
    pub fn rotate_accepting(&mut self) {
        self.accepting.rotating = true;
    }

    /// Goes to the end of that list.
    fn yield_place(&mut self, index: usize) {
        let Some(listener) = self.accepting.listeners.get(index).filter(|_| self.accepting.watched) else { return };
        let token = LISTENER_TOKEN + index as u64;
        let moved = self.epoll.remove(listener.as_fd());
        if moved.and_then(|()| self.epoll.add(listener.as_fd(), Interest::Listener, token)).is_err() {
            self.unwatch_listeners();
            self.accepting.retry_at = Some(self.now + RETRY);
        }
    }

    /// What is spoken on connections of a listener.
    fn speech_of(&self, listener: u16) -> Speech {
        self.accepting.speech.get(usize::from(listener)).copied().unwrap_or_default()
    }

    fn may_accept(&self) -> bool {
        !self.accepting.suspended && !self.accepting.held && self.connections.len() < self.settings.max_connections
    }

    /// Whether the reason not to take connections was that there were too many, and is gone.
    pub(super) fn could_accept_again(&self) -> bool {
        let accepting = &self.accepting;
        !accepting.watched && !accepting.listeners.is_empty() && accepting.retry_at.is_none() && self.may_accept()
    }

    /// Starts to take connections again once the reason not to is gone, and ends a drain's last round.
    pub(super) fn resume_accepting(&mut self) {
        if let Some(deadline) = self.accepting.finish_by {
            self.finish_accepting(self.now >= deadline);
        }
        if self.accepting.retry_at.is_some_and(|retry| retry > self.now) {
            return;
        }
        self.accepting.retry_at = None;
        if !self.accepting.watched && self.may_accept() && self.watch_listeners().is_err() {
            self.unwatch_listeners();
            self.accepting.retry_at = Some(self.now + RETRY);
        }
    }

    /// While draining for good: closes the listeners when their queue is empty, or for lack of time after one last round
    /// through the whole queue.
    fn finish_accepting(&mut self, out_of_time: bool) {
        if self.accepting.suspended && !out_of_time {
            return;
        }
        let rounds = if out_of_time { usize::MAX } else { self.settings.accept_batch };
        // Before the queue is looked at: that is where they are when they are not found here any more.
        let mut all_empty = out_of_time || !self.accepting.may_have_deferred();
        for index in 0..self.accepting.listeners.len() {
            all_empty &= self.accept_from(index, rounds);
        }
        if all_empty || out_of_time {
            self.close_listeners();
        } else {
            self.accepting.again_at = Some(self.now + LOOK);
        }
    }

    /// A listener is readable. It is obeyed even while accepting is suspended (the event came in the same batch as the request
    /// that keeps us busy): the kernel has woken only us, so no sibling knows of the connection. We can still give it away.
    pub(super) fn accept(&mut self, index: usize) {
        let before = self.counters.accepted;
        let rounds = self.accepting.expected.count().min(self.settings.accept_batch);
        let empty = self.accept_from(index, rounds);
        let taken = usize::try_from(self.counters.accepted - before).unwrap_or(usize::MAX);
        self.accepting.expected.note(taken, empty);
        if !self.may_accept() {
            self.unwatch_listeners();
        } else if self.accepting.rotating {
            self.yield_place(index);
        }
    }

    /// Says whether the queue was seen to be empty.
    fn accept_from(&mut self, index: usize, rounds: usize) -> bool {
        let mut broken = 0;
        for _ in 0..rounds {
            let Some(listener) = self.accepting.listeners.get(index) else {
                return true;
            };
            if self.connections.len() >= self.settings.max_connections {
                return false;
            }
            let error = match socket::accept(listener.as_fd()) {
                Ok((socket, peer)) => {
                    self.counters.accepted += 1;
                    let place = u16::try_from(index).unwrap_or(u16::MAX);
                    let mut connection = Connection::new(socket, peer, place, self.now);
                    connection.readable = self.accepting.early.is_worth_a_look();
                    self.welcome(connection, None);
                    continue;
                }
                Err(error) => error,
            };
            match AcceptFailure::of(&error) {
                AcceptFailure::Empty => return true,
                AcceptFailure::TryNext if broken < 64 => broken += 1,
                AcceptFailure::TryNext => return false,
                AcceptFailure::Exhausted => {
                    self.pause_accepting(&error);
                    return false;
                }
            }
        }
        false
    }

    /// Takes a connection in, whose peer is still the other end of its socket. `told`: its PROXY header, if that has been read.
    pub(super) fn welcome(&mut self, mut connection: Connection, told: Option<Told>) {
        connection.speech = self.speech_of(connection.listener);
        connection.trusted = self.settings.proxies.trusted.contain(connection.peer);
        connection.may_speak = !connection.is_uwsgi() || self.settings.proxies.uwsgi.contain(connection.peer);
        match told {
            Some(told) => connection.hear(told),
            None if connection.speech.proxy != ProxyProtocol::Off => connection.stage = Stage::ProxyHeader,
            None => {}
        }
        if connection.speech.tls {
            connection.tls = self.settings.tls.as_ref().and_then(|tls| tls.session(self.now));
            if connection.tls.is_none() {
                // It must not be spoken to in clear instead.
                return;
            }
        }
        self.admit(connection);
    }

    fn admit(&mut self, connection: Connection) {
        let Ok(key) = self.connections.insert(connection) else {
            return;
        };
        if self.draining {
            self.limit_idle_time(key);
        }
        if !self.connections.get_mut(key).is_some_and(|connection| connection.readable) {
            return self.schedule(key);
        }
        // The request may be there already: then the socket need not be watched.
        self.wake(key);
        self.woken_now += 1;
    }

    /// A connection was looked at for the first time: was there anything?
    pub(super) fn note_first_look(&mut self, found: bool) {
        self.accepting.early.note(found);
    }

    fn pause_accepting(&mut self, error: &io::Error) {
        self.unwatch_listeners();
        self.accepting.retry_at = Some(self.now + RETRY);
        if self.accepting.noticed_at.is_none_or(|at| at + QUIET <= self.now) {
            self.accepting.noticed_at = Some(self.now);
            self.observer.notice(&Notice::CannotAccept(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connection_per_event_costs_few_attempts_in_vain() {
        let mut expected = Expected::default();
        let mut vain = 0;
        for _ in 0..1000 {
            let attempts = expected.count();
            vain += usize::from(attempts > 1);
            expected.note(1, attempts > 1);
        }
        assert!(vain < 75, "{vain} of 1000");
    }

    #[test]
    fn many_at_once_are_soon_taken_many_at_a_time() {
        let mut expected = Expected::default();
        for _ in 0..100 {
            let attempts = expected.count();
            expected.note(1, attempts > 1);
        }
        let mut events = 0;
        while expected.count() < 16 {
            expected.note(expected.count(), false);
            events += 1;
        }
        assert!(events <= 16 + 4, "{events} events");
        expected.note(3, true);
        assert_eq!(expected.count(), 3);
    }

    #[test]
    fn connections_are_looked_at_while_that_finds_something_and_seldom_otherwise() {
        let mut early = Early::default();
        for _ in 0..32 {
            assert!(early.is_worth_a_look());
            early.note(false);
        }
        let looks = (0..320).filter(|_| early.is_worth_a_look()).count();
        assert_eq!(looks, 10);
        early.note(true);
        assert!(early.is_worth_a_look());
    }
}
