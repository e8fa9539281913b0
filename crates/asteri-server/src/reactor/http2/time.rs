//! Deadlines of connections and streams, and how both end.

use super::Http2;
use super::exchange::{Exchange, NEVER, Phase};
use super::send::FULL;
use crate::notice::Notice;
use crate::reactor::Reactor;
use crate::slab::Key;
use asteri_proto::h2::reason::Reason;
use asteri_proto::time::Moment;

impl Http2 {
    /// Opens no more streams, and ends when those that are open have; a client that does not react has until `give_up`.
    pub(super) fn close(&mut self, give_up: Moment) {
        if self.give_up == NEVER {
            self.give_up = give_up;
            self.link.close();
        }
    }
}

impl Reactor {
    pub(super) fn take_http2(&mut self, key: Key) -> Option<Box<Http2>> {
        self.connections.get_mut(key)?.http2.take()
    }

    /// Gives it back; if the connection was closed meanwhile, its streams end.
    pub(super) fn put_http2(&mut self, key: Key, http2: Box<Http2>) {
        match self.connections.get_mut(key) {
            Some(connection) => connection.http2 = Some(http2),
            None => self.abandon_streams(http2),
        }
    }

    /// When time alone changes something.
    pub(super) fn http2_deadline(&mut self, http2: &Http2) -> Moment {
        let timeouts = &self.settings.http.timeouts;
        let mut next = NEVER;
        if let Some(since) = http2.link.within_head_since() {
            next = next.min(since + timeouts.header);
        } else if http2.open.is_empty() && http2.give_up == NEVER {
            let patience = if http2.used { timeouts.keepalive } else { timeouts.header };
            next = next.min(http2.idle_since + patience);
        }
        if http2.open.is_empty() || http2.link.is_warned() {
            next = next.min(http2.give_up);
        }
        for stream in &http2.open {
            if let Some(exchange) = self.streams.get_mut(*stream) {
                next = next.min(exchange.deadline());
            }
        }
        next
    }

    pub(in crate::reactor) fn on_http2_deadline(&mut self, key: Key, now: Moment) {
        let (header, linger, keepalive) = {
            let timeouts = &self.settings.http.timeouts;
            (timeouts.header, timeouts.linger, timeouts.keepalive)
        };
        let backlog = self.connections.get_mut(key).is_some_and(|connection| connection.outbox.is_some());
        let Some(mut http2) = self.take_http2(key) else { return };
        let quiet = http2.open.is_empty();
        let within = http2.link.within_head_since();
        if now >= http2.give_up {
            http2.link.close_for_good();
        }
        let unread = http2.link.out.len() >= FULL;
        if within.is_some_and(|since| now >= since + header) && unread {
            // What is missing may have come: it is not read before the client has taken some of what is to be sent.
            http2.link.resumed(now);
        } else if within.is_some_and(|since| now >= since + header) {
            self.counters.timeouts += 1;
            if !http2.link.has_begun() {
                self.put_http2(key, http2);
                return self.close(key);
            }
            http2.link.abort(Reason::ENHANCE_YOUR_CALM);
        } else if quiet && now >= http2.give_up {
            http2.link.abort(Reason::NO_ERROR);
        } else if quiet && within.is_none() && now >= http2.idle_since + if http2.used { keepalive } else { header } {
            // One that was just begun and is on its way is served: a client learns first that there will be no more.
            http2.close(now + linger);
        }
        let mut websockets = Vec::new();
        for stream in http2.open.clone() {
            if self.on_stream_deadline(&mut http2, stream, now, backlog) {
                websockets.push(stream);
            }
        }
        self.put_http2(key, http2);
        for stream in websockets {
            self.on_websocket_deadline(stream, now);
        }
        self.flush_http2(key);
    }

    /// Says whether it is one of a WebSocket, which is looked at when nothing else is in the middle of anything.
    fn on_stream_deadline(&mut self, http2: &mut Http2, stream: Key, now: Moment, backlog: bool) -> bool {
        let Some(exchange) = self.streams.get_mut(stream) else { return false };
        if exchange.deadline() > now {
            return false;
        }
        if exchange.write_deadline <= now {
            if backlog {
                // What the socket does not take has a deadline of its own.
                exchange.write_deadline = now + self.settings.http.timeouts.write_idle;
                return false;
            }
            let others_move = http2.moved + self.settings.http.timeouts.write_idle;
            if http2.link.has_window(exchange.id) && others_move > now {
                // The client has made room, and more urgent streams have taken it.
                exchange.write_deadline = others_move;
                return false;
            }
            http2.link.reset(exchange.id, Reason::CANCEL);
            self.counters.timeouts += 1;
            if let Some(connection) = self.connections.get_mut(exchange.connection) {
                self.observer.notice(&Notice::WriteTimeout(connection.peer));
            }
            self.lose_stream(http2, stream);
            return false;
        }
        if exchange.phase == Phase::Upgraded {
            return true;
        }
        if http2.link.is_shut() {
            // The client can send nothing, as applications do not take what it has sent on other streams.
            exchange.pace.resumed(&self.settings.http.timeouts, now);
            return false;
        }
        let error = exchange.pace.fault(&self.settings.http.timeouts, now);
        self.counters.timeouts += 1;
        self.fail_on_stream(http2, stream, error);
        false
    }

    // ---- the end of streams

    /// The response was given in full.
    pub(super) fn close_stream(&mut self, http2: &mut Http2, stream: Key) {
        self.forget_stream(http2, stream);
    }

    /// The stream is over before its time: the application finds out by its next step.
    pub(super) fn lose_stream(&mut self, http2: &mut Http2, stream: Key) {
        if let Some(exchange) = self.forget_stream(http2, stream) {
            if exchange.phase == Phase::Queued {
                self.forget_queued(stream);
            }
            self.depart_stream(stream, exchange);
        }
    }

    fn forget_stream(&mut self, http2: &mut Http2, stream: Key) -> Option<Exchange> {
        let exchange = self.streams.remove(stream)?;
        http2.link.close_stream(exchange.id);
        if let Some(at) = http2.open.iter().position(|open| *open == stream) {
            http2.open.swap_remove(at);
        }
        if exchange.phase == Phase::Queued {
            http2.queued = http2.queued.saturating_sub(1);
        }
        if http2.open.is_empty() {
            http2.idle_since = self.now;
        }
        Some(exchange)
    }

    /// The client has left a request that waits for the application: it is not kept until then, as the stream counts no more.
    fn forget_queued(&mut self, stream: Key) {
        if let Some(at) = self.queue.iter().position(|request| request.key == stream)
            && let Some(request) = self.queue.remove(at)
        {
            self.counters.abandoned += 1;
            self.observer.notice(&Notice::SkippedAbandoned(request.peer));
        }
    }

    /// The connection is closed.
    pub(in crate::reactor) fn abandon_streams(&mut self, mut http2: Box<Http2>) {
        while let Some(stream) = http2.open.pop() {
            if let Some(exchange) = self.streams.remove(stream) {
                self.depart_stream(stream, exchange);
            }
        }
        if http2.queued == 0 {
            return;
        }
        // Nor are these kept: a client that comes again and again would leave ever more of them behind.
        let Self { queue, streams, counters, observer, .. } = self;
        queue.retain(|request| {
            let waits = !request.key.is_stream() || streams.get_mut(request.key).is_some();
            if !waits {
                counters.abandoned += 1;
                observer.notice(&Notice::SkippedAbandoned(request.peer));
            }
            waits
        });
    }

    /// A worker that drains: no more streams, and those that are open are finished.
    pub(in crate::reactor) fn drain_http2(&mut self, key: Key) {
        let give_up = self.now + self.settings.drain_idle;
        let Some(mut http2) = self.take_http2(key) else { return };
        http2.close(give_up);
        self.put_http2(key, http2);
        self.flush_http2(key);
    }
}

impl Exchange {
    /// When time alone changes something.
    pub(super) fn deadline(&self) -> Moment {
        let content = match self.phase {
            Phase::Collecting => true,
            // What waits for the application, or for its word that the client may begin, is not late.
            Phase::InApplication => !self.deaf && !self.input.complete && self.unreleased == 0 && !self.awaits_continue,
            _ => false,
        };
        let frames = match (self.phase, &self.input.websocket) {
            (Phase::Upgraded, Some(websocket)) => websocket.next_deadline().unwrap_or(NEVER),
            _ => NEVER,
        };
        let content = if content { self.pace.deadline() } else { NEVER };
        self.write_deadline.min(content).min(frames)
    }
}
