//! What time alone changes: the deadlines of connections, and what follows when one passes.

use super::Reactor;
use crate::connection::Stage;
use crate::notice::Notice;
use crate::slab::Key;
use crate::sys::clock;
use crate::sys::epoll::Interest;
use crate::sys::socket::{self, Pending};
use crate::wheel::Alarm;
use asteri_proto::h1::connection::Timeout;
use asteri_proto::time::Moment;
use std::os::fd::AsFd;
use std::time::Duration;

impl Reactor {
    /// When time alone changes something.
    pub fn next_wake(&self) -> Option<Moment> {
        [self.wheel.next(), self.accepting.retry_at()].into_iter().flatten().min()
    }

    /// Whether that moment has come. A turner who waits and is always given events must [`poll`](Self::poll) for it.
    pub fn is_due(&self) -> bool {
        self.next_wake().is_some_and(|wake| wake <= clock::now())
    }

    /// How long the turner may wait for events.
    pub fn patience(&self) -> Option<Duration> {
        let wake = self.next_wake()?;
        // The coarse clock lags by up to one of its ticks: without the extra millisecond the last wait would be for 0.
        Some(Duration::from_millis(wake.0.saturating_sub(clock::now().0) + 1))
    }

    /// Leaves a connection to itself until something happens: watches its socket and its next deadline. An edge that has
    /// passed is not lost, as a socket that is ready when it is added to the epoll set is announced.
    pub(super) fn schedule(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !connection.watched {
            if self.epoll.add(connection.socket.as_fd(), Interest::Connection, key.token()).is_err() {
                self.close(key);
                return;
            }
            connection.watched = true;
        }
        if let Some(deadline) = connection.next_deadline(&self.settings.http) {
            self.wheel.schedule(key, &mut connection.alarm, deadline);
        }
    }

    /// Never with responses that wait for each other: their connections have no deadline of their own yet.
    pub(super) fn expire(&mut self, now: Moment) {
        debug_assert!(self.together_since().is_none(), "whoever lets time pass has sent them");
        // Those that are back have been waiting for this look.
        self.take_handshakes();
        self.wheel.expire(now);
        while let Some(key) = self.wheel.pop() {
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            connection.alarm = Alarm::NONE;
            match connection.next_deadline(&self.settings.http) {
                Some(deadline) if deadline <= now => self.on_deadline(key, now),
                Some(_) => self.schedule(key),
                None => {}
            }
        }
    }

    /// Lets time pass once all events that were fetched are worked off.
    pub fn expire_fetched(&mut self) {
        if self.next_event == self.event_count {
            self.expire(self.fetched);
        }
    }

    pub(super) fn on_deadline(&mut self, key: Key, now: Moment) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let stalled = connection.undelivered() > 0 && connection.deadline <= now;
        match connection.stage {
            Stage::ProxyHeader if connection.deadline <= now => self.close(key),
            Stage::ProxyHeader => self.on_proxy_header_deadline(key),
            Stage::Receiving if connection.is_in_handshake() => self.end_handshake(key, now),
            Stage::Receiving if connection.is_idle() && connection.deadline <= now => self.close_idle(key),
            Stage::Receiving => match connection.http.on_timeout(&self.settings.http, now) {
                Timeout::NotYet => self.schedule(key),
                Timeout::CloseIdle => self.close_idle(key),
                Timeout::Refuse(error) => {
                    self.counters.timeouts += 1;
                    self.refuse(key, error);
                }
            },
            Stage::InApplication | Stage::Upgraded | Stage::Multiplexed if stalled => self.end_stalled(key, now),
            Stage::InApplication => self.on_content_deadline(key, now),
            Stage::Upgraded => self.on_websocket_deadline(key, now),
            Stage::Multiplexed => self.on_http2_deadline(key, now),
            Stage::Delivering { .. } => self.end_stalled(key, now),
            Stage::Lingering => self.close(key),
            Stage::Queued => {}
        }
    }

    /// Closes a connection on which no request has come in time. One that has come this instant, and that no event has told of
    /// yet, is served: its sender could not know. From the close on nothing can be done for those still on their way.
    pub(super) fn close_idle(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if socket::pending(connection.socket.as_fd()) != Pending::Bytes {
            return self.close(key);
        }
        connection.readable = true;
        self.wake(key);
    }

    /// A client has taken nothing for the write timeout, as it seems.
    pub(super) fn end_stalled(&mut self, key: Key, now: Moment) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        // The kernel says that a socket is writable when a good part of its buffer is free, which at a few kilobytes a second
        // takes longer than any sensible timeout; but the buffer tells whether the client takes anything.
        let in_kernel = socket::unacknowledged(connection.socket.as_fd());
        if in_kernel < connection.in_kernel {
            connection.in_kernel = in_kernel;
            connection.deadline = now + self.settings.http.timeouts.write_idle;
            return self.schedule(key);
        }
        self.counters.timeouts += 1;
        self.observer.notice(&Notice::WriteTimeout(connection.peer));
        self.reset(key);
    }
}
