//! From the applications' bytes to the socket.
//!
//! What is to be sent is given to the connection stream by stream, the most urgent first (RFC 9218), as far as the client has
//! room for it; the frames that come of it leave in one go.

use super::exchange::{NEVER, Phase, Pumped};
use super::{Batching, Http2, Link};
use crate::connection::Stage;
use crate::notice::Notice;
use crate::reactor::websocket::DEAF;
use crate::reactor::{Reactor, Sent};
use crate::request::ReadyRequest;
use crate::slab::Key;
use asteri_proto::h2::reason::Reason;
use asteri_proto::time::Moment;
use std::time::Duration;

/// Bytes that may wait to be sent. With more, nothing is read: what a client makes us say is bounded by what it listens to.
pub(super) const FULL: usize = 128 * 1024;
/// Content that is given to the connection before its frames are sent, in bytes.
const ROUND: u64 = 128 * 1024;
/// What one connection may send before others have their turn, in bytes.
const BUDGET: usize = 2 << 20;
/// A response that is complete waits at most so long for others that are about to be.
const LONGEST: Duration = Duration::from_millis(2);

impl Http2 {
    /// Whether what is to be sent has waited long enough.
    fn is_late(&self, now: Moment) -> bool {
        self.dirty.is_some_and(|since| now >= since + LONGEST)
    }
}

impl Reactor {
    /// Has the connection looked at by [`flush_touched`](Self::flush_touched).
    pub(in crate::reactor) fn touch(&mut self, key: Key) {
        let now = self.now;
        if let Some(connection) = self.connections.get_mut(key)
            && let Some(http2) = &mut connection.http2
            && http2.dirty.is_none()
        {
            http2.dirty = Some(now);
            self.touched.push(key);
        }
    }

    /// Sends what has come together.
    pub fn flush_touched(&mut self) {
        while let Some(key) = self.touched.pop() {
            self.flush_http2(key);
        }
    }

    /// Another request is to be run: clients that it is not from do not wait for it.
    pub(in crate::reactor) fn flush_for(&mut self, request: &ReadyRequest) {
        if self.touched.is_empty() {
            return;
        }
        let own = if request.key.is_stream() { self.connection_of(request.key) } else { None };
        let kept = self.touched.iter().position(|key| Some(*key) == own).map(|at| self.touched.swap_remove(at));
        self.flush_touched();
        self.touched.extend(kept);
    }

    /// Something has come that may leave together with what is about to come.
    pub(super) fn flush_soon(&mut self, key: Key) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(http2) = &connection.http2 else { return };
        let more_is_coming = match self.batching {
            Batching::Loop => true,
            Batching::Queue => http2.queued > 0,
            Batching::Turn { inside } => inside,
        };
        if more_is_coming && !http2.is_late(now) {
            self.touch(key);
        } else {
            self.flush_http2(key);
        }
    }

    /// A response is complete. Outside of the host's turns it waits for others that are at work for the same client: until the
    /// last of them is complete, or for the next turn, which has to come soon ([`has_unsent`](Self::has_unsent)).
    pub(super) fn flush_complete(&mut self, key: Key) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(http2) = &connection.http2 else { return };
        let outside = self.batching == Batching::Turn { inside: false };
        let mut at_work =
            |stream: &Key| self.streams.get_mut(*stream).is_some_and(|other| other.phase == Phase::InApplication);
        // The youngest first: they are likely to be the last to end.
        if outside && !http2.is_late(now) && http2.open.iter().rev().any(&mut at_work) {
            self.touch(key);
        } else {
            self.flush_soon(key);
        }
    }

    /// Whether something waits for the end of the host's next turn.
    pub fn has_unsent(&self) -> bool {
        matches!(self.batching, Batching::Turn { .. }) && !self.touched.is_empty()
    }

    /// Gives the socket all that it takes.
    pub(super) fn flush_http2(&mut self, key: Key) {
        let Some(mut http2) = self.take_http2(key) else { return };
        if http2.dirty.take().is_some() {
            self.touched.retain(|touched| *touched != key);
        }
        let mut sent = 0;
        loop {
            let backlog = self.connections.get_mut(key).is_some_and(|connection| connection.outbox.is_some());
            if backlog && !http2.link.is_over() {
                // When it is gone, this goes on.
                break;
            }
            // Nothing follows the last words.
            let more = !http2.link.is_over() && self.pump(&mut http2);
            http2.spare.clear();
            let out = std::mem::replace(&mut http2.link.out, std::mem::take(&mut http2.spare));
            let count = out.len();
            http2.link.sent(count);
            let gone = count > 0 && self.send(key, &out) == Sent::Gone;
            http2.spare = out;
            if gone {
                // The connection is closed, and its streams are to be told.
                return self.abandon_streams(http2);
            }
            sent += count;
            if !more && count < FULL {
                break;
            }
            if sent >= BUDGET {
                self.wake(key);
                break;
            }
        }
        if http2.spare.capacity() > FULL || http2.open.is_empty() {
            http2.spare = Vec::new();
        }
        if http2.open.is_empty() {
            http2.link.shrink();
        }
        if http2.link.is_over() {
            return self.end_http2(key, http2);
        }
        http2.deadline = self.http2_deadline(&http2);
        let listens = http2.link.out.len() < FULL;
        self.put_http2(key, http2);
        if listens && self.connections.get_mut(key).is_some_and(|connection| connection.readable) {
            // What is unread was left while there was too much to send, and makes no event of its own.
            self.wake(key);
        }
        self.schedule(key);
        self.receive_frames_on_streams();
    }

    /// Gives streams' output to the connection, up to a bound. Says whether there may be more.
    fn pump(&mut self, http2: &mut Http2) -> bool {
        if http2.ready.is_empty() {
            return false;
        }
        if http2.ready.len() > 1 {
            let streams = &mut self.streams;
            http2.ready.sort_by_key(|stream| streams.get_mut(*stream).map(|exchange| exchange.rank()));
        }
        let (mut round, mut more) = (0, false);
        let mut ready = std::mem::take(&mut http2.ready);
        ready.retain(|stream| {
            if round >= ROUND {
                more = true;
                return true;
            }
            http2.turns += 1;
            let (pumped, moved) = self.pump_stream(&mut http2.link, *stream, http2.turns);
            if moved > 0 {
                http2.moved = self.now;
            }
            round += moved;
            match pumped {
                Pumped::Done => self.close_stream(http2, *stream),
                Pumped::Gone => self.lose_stream(http2, *stream),
                Pumped::Idle => {}
                Pumped::Blocked => return true,
                Pumped::More => {
                    more = true;
                    // Who is less urgent waits until this one has no more, or no room.
                    round = ROUND;
                    return true;
                }
            }
            false
        });
        // Streams that became ready meanwhile.
        ready.append(&mut http2.ready);
        http2.ready = ready;
        more
    }

    fn pump_stream(&mut self, link: &mut Link, stream: Key, turn: u64) -> (Pumped, u64) {
        let now = self.now;
        let Some(exchange) = self.streams.get_mut(stream) else { return (Pumped::Idle, 0) };
        let was_deaf = exchange.out.len() > DEAF;
        let (pumped, moved) = match exchange.pump(link) {
            Ok(progress) => progress,
            Err(error) => {
                link.reset(exchange.id, Reason::INTERNAL_ERROR);
                self.observer.notice(&Notice::ResponseSpoolFailed(&error));
                return (Pumped::Gone, 0);
            }
        };
        if pumped != Pumped::Blocked {
            exchange.write_deadline = NEVER;
        } else if moved > 0 || exchange.write_deadline == NEVER {
            exchange.write_deadline = now + self.settings.http.timeouts.write_idle;
        }
        if moved > 0 {
            exchange.turn = turn;
        }
        exchange.ready &= matches!(pumped, Pumped::Blocked | Pumped::More);
        if was_deaf && exchange.out.len() <= DEAF && exchange.phase == Phase::Upgraded {
            // Its frames were left alone, as what they want answered could not be heard.
            self.framed.push(stream);
        }
        self.room_on_stream(stream);
        (pumped, moved)
    }

    /// It is over, and its last words are said.
    fn end_http2(&mut self, key: Key, http2: Box<Http2>) {
        if let Some(fault) = http2.link.told() {
            self.tell_fault(key, fault);
        }
        self.abandon_streams(http2);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.outbox.is_some() {
            connection.stage = Stage::Delivering { keep_alive: false };
            connection.readable = true;
            self.schedule(key);
        } else {
            self.after_response(key, false);
        }
    }
}
