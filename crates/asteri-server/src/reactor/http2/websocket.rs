//! WebSockets on streams (RFC 8441): frames are the content of both directions.

use super::exchange::{Exchange, Phase};
use crate::connection::Streaming;
use crate::reactor::websocket::DEAF;
use crate::reactor::{Reactor, Sent};
use crate::slab::Key;
use crate::sys::clock;
use asteri_proto::h2::reason::Reason;

impl Reactor {
    fn upgraded(&mut self, stream: Key) -> Option<&mut Exchange> {
        self.streams.get_mut(stream).filter(|exchange| exchange.phase == Phase::Upgraded)
    }

    pub(in crate::reactor) fn begin_frames_on_stream(&mut self, stream: Key) -> Option<&mut Streaming> {
        let exchange = self.streams.get_mut(stream)?;
        exchange.phase = Phase::Upgraded;
        Some(&mut exchange.input)
    }

    pub(in crate::reactor) fn frames_side_of_stream(&mut self, stream: Key) -> Option<&mut Streaming> {
        self.upgraded(stream).map(|exchange| &mut exchange.input)
    }

    pub(in crate::reactor) fn stream_is_behind(&mut self, stream: Key) -> bool {
        self.upgraded(stream).is_some_and(|exchange| !exchange.out.is_empty())
    }

    pub(in crate::reactor) fn send_on_stream(&mut self, stream: Key, bytes: &[u8]) -> Sent {
        self.now = clock::now();
        if self.hold_on_stream(stream, bytes) == Sent::Gone {
            return Sent::Gone;
        }
        if let Some(key) = self.connection_of(stream) {
            self.flush_soon(key);
        }
        self.standing_of_stream(stream)
    }

    /// There may be frames to understand; done when nothing else is in the middle of anything.
    pub(in crate::reactor) fn expect_frames(&mut self, stream: Key) {
        self.framed.push(stream);
        if let Some(key) = self.connection_of(stream) {
            // Whoever flushes looks for frames, too.
            self.flush_soon(key);
        }
    }

    /// Understands what has come on streams that speak WebSocket.
    pub(super) fn receive_frames_on_streams(&mut self) {
        while let Some(stream) = self.framed.pop() {
            self.receive_frames_on_stream(stream);
        }
    }

    fn receive_frames_on_stream(&mut self, stream: Key) {
        loop {
            let Some(exchange) = self.upgraded(stream) else { return };
            let full = exchange.input.websocket.as_ref().is_none_or(|websocket| websocket.is_full());
            if full || exchange.input.content.is_empty() || exchange.out.len() > DEAF {
                break;
            }
            let mut content = std::mem::take(&mut exchange.input.content);
            let Some(used) = self.take_frames(stream, &content) else { return };
            self.release_on_stream(stream, used);
            let Some(exchange) = self.upgraded(stream) else { return };
            content.drain(..used);
            exchange.input.content = content;
            if used == 0 {
                break;
            }
        }
        self.tell_of_messages(stream);
        let Some(exchange) = self.upgraded(stream) else { return };
        let full = exchange.input.websocket.as_ref().is_some_and(|websocket| websocket.is_full());
        let key = exchange.connection;
        let unheard = exchange.out.len() > DEAF && !exchange.input.content.is_empty();
        if exchange.input.complete && !full && !unheard {
            // The peer has ended the stream without a closing frame: as if it had closed a connection (RFC 8441 §5).
            let id = exchange.id;
            let Some(mut http2) = self.take_http2(key) else { return };
            http2.link.reset(id, Reason::CANCEL);
            self.lose_stream(&mut http2, stream);
            self.put_http2(key, http2);
        }
        self.touch(key);
    }

    /// Both closing frames are sent, or ours is the last word.
    pub(in crate::reactor) fn end_websocket_on_stream(&mut self, stream: Key) {
        self.news.push_back(stream);
        let Some(exchange) = self.upgraded(stream) else { return };
        let key = exchange.connection;
        exchange.phase = Phase::Delivering;
        exchange.finished = true;
        if let Some(websocket) = exchange.input.websocket.take()
            && !websocket.abandoned
        {
            self.departed.insert(stream, websocket);
        }
        self.offer(stream);
        self.flush_soon(key);
    }
}
