//! What hosts and gateways do with a stream: the counterparts of what `respond.rs` and `streaming.rs` do with a connection.

use super::Http2;
use super::exchange::{Exchange, Phase};
use super::send::FULL;
use crate::notice::Notice;
use crate::outbox::Room;
use crate::reactor::streaming::{HIGH, LOW};
use crate::reactor::{Reactor, Sent};
use crate::request::ReadyRequest;
use crate::slab::Key;
use crate::stream::{Receive, Sending};
use crate::sys::clock;
use asteri_proto::error::ProtocolError;
use asteri_proto::h1::request::Version;
use asteri_proto::h1::response::error_response;
use asteri_proto::h2::block;
use asteri_proto::h2::reason::Reason;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

/// Content that need not be kept, in bytes: what fits into a frame that everybody takes.
const AT_ONCE: usize = 16_384;

impl Reactor {
    /// Whether a request may still be run: its client may have taken it back while it waited.
    pub(in crate::reactor) fn begin_on_stream(&mut self, request: &ReadyRequest) -> bool {
        let Some(exchange) = self.streams.get_mut(request.key) else {
            self.counters.abandoned += 1;
            self.observer.notice(&Notice::SkippedAbandoned(request.peer));
            return false;
        };
        if exchange.phase != Phase::Queued {
            return false;
        }
        exchange.phase = Phase::InApplication;
        let key = exchange.connection;
        self.current = Some(request.key);
        if let Some(http2) = self.http2_of(key) {
            http2.queued = http2.queued.saturating_sub(1);
            if http2.dirty.is_some() && http2.queued == 0 {
                // With a pool of threads nobody else may come by for long.
                self.flush_soon(key);
            }
        }
        true
    }

    fn http2_of(&mut self, key: Key) -> Option<&mut Http2> {
        self.connections.get_mut(key)?.http2.as_deref_mut()
    }

    /// Takes output of an application that has the request.
    fn take_output(&mut self, stream: Key, bytes: &[u8]) -> Sent {
        let Some(exchange) = self.streams.get_mut(stream).filter(|exchange| exchange.in_use()) else {
            return Sent::Gone;
        };
        let at = exchange.take_heads(bytes);
        let memory = if self.streamed { usize::MAX } else { self.settings.response_memory };
        let room = Room { memory, folder: &self.settings.spool_folder };
        if let Err(error) = exchange.out.push(&bytes[at..], room) {
            self.observer.notice(&Notice::ResponseSpoolFailed(&error));
            self.abort_on_stream(stream);
            return Sent::Gone;
        }
        self.offer(stream);
        Sent::Accepted
    }

    /// The stream has something to send.
    pub(super) fn offer(&mut self, stream: Key) {
        let Some(exchange) = self.streams.get_mut(stream) else { return };
        if std::mem::replace(&mut exchange.ready, true) {
            return;
        }
        let key = exchange.connection;
        if let Some(http2) = self.http2_of(key) {
            http2.ready.push(stream);
        }
    }

    pub(in crate::reactor) fn connection_of(&mut self, stream: Key) -> Option<Key> {
        self.streams.get_mut(stream).map(|exchange| exchange.connection)
    }

    /// Sends output.
    pub(in crate::reactor) fn respond_on_stream(&mut self, stream: Key, bytes: &[u8]) -> Sent {
        self.now = clock::now();
        if self.take_output(stream, bytes) == Sent::Gone {
            return Sent::Gone;
        }
        if let Some(key) = self.connection_of(stream) {
            self.flush_http2(key);
        }
        self.standing_of_stream(stream)
    }

    /// Takes output that may leave together with what follows.
    pub(in crate::reactor) fn hold_on_stream(&mut self, stream: Key, bytes: &[u8]) -> Sent {
        if self.take_output(stream, bytes) == Sent::Gone {
            return Sent::Gone;
        }
        if let Some(key) = self.connection_of(stream) {
            self.touch(key);
        }
        self.standing_of_stream(stream)
    }

    /// Sends `before`, then a part of a file.
    pub(in crate::reactor) fn respond_file_on_stream(
        &mut self,
        stream: Key,
        before: &[u8],
        file: File,
        offset: u64,
        length: u64,
    ) -> Sent {
        self.now = clock::now();
        if self.take_output(stream, before) == Sent::Gone {
            return Sent::Gone;
        }
        let Some(exchange) = self.streams.get_mut(stream) else { return Sent::Gone };
        exchange.out.push_file(file, offset, length);
        let key = exchange.connection;
        self.flush_http2(key);
        self.standing_of_stream(stream)
    }

    /// How far the client is behind.
    pub(in crate::reactor) fn standing_of_stream(&mut self, stream: Key) -> Sent {
        match self.streams.get_mut(stream) {
            Some(exchange) if !exchange.in_use() => Sent::Gone,
            Some(exchange) if exchange.out.kept() > self.settings.response_spool => Sent::FarBehind,
            Some(_) => Sent::Accepted,
            None => Sent::Gone,
        }
    }

    /// Bytes that are kept for the client of a stream.
    pub(in crate::reactor) fn kept_for_stream(&mut self, stream: Key) -> u64 {
        self.streams.get_mut(stream).map_or(0, |exchange| exchange.out.kept())
    }

    pub(in crate::reactor) fn socket_of_stream(&mut self, stream: Key) -> Option<io::Result<OwnedFd>> {
        let key = self.connection_of(stream)?;
        self.socket_of(key)
    }

    pub(in crate::reactor) fn stream_has_left(&mut self, stream: Key) -> bool {
        self.streams.get_mut(stream).is_none_or(|exchange| !exchange.in_use())
    }

    /// The trailer section of a response whose content was given.
    pub fn set_trailers(&mut self, stream: Key, section: &[u8]) {
        if let Some(exchange) = self.streams.get_mut(stream).filter(|exchange| exchange.in_use()) {
            exchange.set_trailers(section);
        }
    }

    /// The application has given its whole response, the last of it in `bytes`.
    pub(in crate::reactor) fn finish_stream_with(&mut self, stream: Key, bytes: &[u8]) -> Sent {
        if self.finish_at_once(stream, bytes) {
            return Sent::Accepted;
        }
        let sent = if bytes.is_empty() { Sent::Accepted } else { self.hold_on_stream(stream, bytes) };
        self.finish_on_stream(stream);
        sent
    }

    /// A response that is there in one piece, is short, and for which there is room, goes to the connection without being kept. Not
    /// if others wait to be sent, as who is first is decided among all of them.
    fn finish_at_once(&mut self, stream: Key, bytes: &[u8]) -> bool {
        let untouched = |exchange: &&mut Exchange| exchange.phase == Phase::InApplication && exchange.is_untouched();
        let Some(exchange) = self.streams.get_mut(stream).filter(untouched) else { return false };
        let (key, id) = (exchange.connection, exchange.id);
        let Some((block, length)) = block::read(bytes).filter(|(block, _)| !block.is_interim()) else { return false };
        let content = bytes.get(length..).unwrap_or_default();
        let Some(mut http2) = self.take_http2(key) else { return false };
        let link = &mut http2.link;
        let fits = content.len() <= link.room(id).min(AT_ONCE) && link.out.len() < FULL && http2.ready.is_empty();
        let begun = fits && link.send_head(id, block.status, block.fields(), content.is_empty());
        if begun && !content.is_empty() {
            let filled = link.send_content(id, |frame, _| {
                frame.extend_from_slice(content);
                Ok(true)
            });
            debug_assert!(filled.is_ok_and(|sent| sent == Some(content.len())), "there is room for all of it");
        }
        if begun {
            self.now = clock::now();
            self.current = None;
            self.close_stream(&mut http2, stream);
        }
        self.put_http2(key, http2);
        if begun {
            self.flush_complete(key);
        }
        begun
    }

    /// The application has given its whole response.
    pub(in crate::reactor) fn finish_on_stream(&mut self, stream: Key) {
        self.now = clock::now();
        self.current = None;
        // A WebSocket ends with the closing handshake.
        let in_application = |exchange: &&mut Exchange| exchange.phase == Phase::InApplication;
        let Some(exchange) = self.streams.get_mut(stream).filter(in_application) else { return };
        let key = exchange.connection;
        if !exchange.begun {
            return self.abort_on_stream(stream);
        }
        exchange.phase = Phase::Delivering;
        exchange.finished = true;
        self.offer(stream);
        self.flush_complete(key);
    }

    /// The application cannot complete its response: the client has to see that it is not whole.
    pub(in crate::reactor) fn abort_on_stream(&mut self, stream: Key) {
        self.current = None;
        let Some(exchange) = self.streams.get_mut(stream).filter(|exchange| exchange.in_use()) else { return };
        let reason = if exchange.phase == Phase::Upgraded { Reason::CANCEL } else { Reason::INTERNAL_ERROR };
        exchange.phase = Phase::Delivering;
        let key = exchange.connection;
        let Some(mut http2) = self.take_http2(key) else { return };
        if let Some(exchange) = self.streams.get_mut(stream) {
            // What there is goes first, as far as the client takes it now.
            let _ = exchange.pump(&mut http2.link);
            http2.link.reset(exchange.id, reason);
        }
        self.close_stream(&mut http2, stream);
        self.put_http2(key, http2);
        self.flush_soon(key);
    }

    // ---- answers of the server's own

    /// Refuses a request that no application has got.
    pub(super) fn refuse_stream(&mut self, http2: &mut Http2, stream: Key, error: ProtocolError, sample: &[u8]) {
        let Some(key) = self.connection_of(stream) else { return };
        self.tell_refused(key, error, sample);
        self.answer_on_stream(http2, stream, error.status, error.code);
    }

    /// The server's own answer, without any more of the application's.
    fn answer_on_stream(&mut self, http2: &mut Http2, stream: Key, status: u16, code: &str) {
        let date = self.date.get();
        let Some(exchange) = self.streams.get_mut(stream) else { return };
        if exchange.phase == Phase::Queued {
            http2.queued = http2.queued.saturating_sub(1);
        }
        let mut answer = Vec::with_capacity(256);
        let server = self.settings.server_field.as_deref();
        error_response(&mut answer, Version::Http2, status, code, &date, server, exchange.is_head);
        exchange.partial = None;
        // What the client still sends of the request is not wanted: it is told so with the end of the stream (RFC 9113 §8.1).
        exchange.deaf = true;
        exchange.phase = Phase::Delivering;
        exchange.finished = true;
        let at = exchange.take_heads(&answer);
        let room = Room { memory: usize::MAX, folder: &self.settings.spool_folder };
        // In memory, where it cannot fail.
        let _ = exchange.out.push(&answer[at..], room);
        if !std::mem::replace(&mut exchange.ready, true) {
            http2.ready.push(stream);
        }
    }

    /// A request turns out to be malformed, too large or too slow. Its client is told, if nothing else has been told to it yet.
    pub(super) fn fail_on_stream(&mut self, http2: &mut Http2, stream: Key, error: ProtocolError) {
        let Some(exchange) = self.streams.get_mut(stream) else { return };
        let in_use = exchange.in_use();
        if exchange.begun {
            self.counters.refused += 1;
            http2.link.reset(exchange.id, Reason::CANCEL);
            return self.lose_stream(http2, stream);
        }
        let line = |request: &ReadyRequest| {
            let (method, target) = request.method_and_target();
            [method, b" ", target, b" HTTP/2.0"].concat()
        };
        let sample = exchange.partial.as_ref().map(|(request, _)| line(request)).unwrap_or_default();
        self.refuse_stream(http2, stream, error, &sample);
        if in_use && self.streamed {
            self.news.push_back(stream);
        }
    }

    /// The application of a stream hangs, or waits behind one that does.
    pub(in crate::reactor) fn answer_in_place(&mut self, stream: Key, status: u16, code: &str) -> bool {
        let Some(exchange) = self.streams.get_mut(stream) else { return false };
        let open = matches!(exchange.phase, Phase::Queued | Phase::InApplication) && !exchange.begun;
        let key = exchange.connection;
        if !open {
            return false;
        }
        let Some(mut http2) = self.take_http2(key) else { return false };
        self.answer_on_stream(&mut http2, stream, status, code);
        self.put_http2(key, http2);
        self.flush_http2(key);
        true
    }

    // ---- for applications that work bit by bit

    /// The next part of the content.
    pub(in crate::reactor) fn take_stream_content(&mut self, stream: Key) -> Receive {
        let Some(exchange) = self.streams.get_mut(stream) else { return Receive::Disconnected };
        if exchange.phase != Phase::InApplication {
            return Receive::Disconnected;
        }
        let key = exchange.connection;
        let input = &mut exchange.input;
        if !input.content.is_empty() || input.complete && !input.told_complete {
            let bytes = std::mem::take(&mut input.content);
            input.told_complete = input.complete;
            let more = !input.complete;
            if !bytes.is_empty() {
                exchange.pace.resumed(&self.settings.http.timeouts, clock::now());
            }
            self.release_on_stream(stream, bytes.len());
            if more {
                self.flush_soon(key);
            }
            return Receive::Content { bytes, more };
        }
        input.awaits_input = true;
        if !input.complete && exchange.awaits_continue && !exchange.begun {
            self.now = clock::now();
            exchange.pace.resumed(&self.settings.http.timeouts, self.now);
            if let (Some(exchange), Some(http2)) = (
                self.streams.get_mut(stream),
                self.connections.get_mut(key).and_then(|connection| connection.http2.as_deref_mut()),
            ) {
                exchange.send_continue(&mut http2.link);
            }
            self.flush_soon(key);
        }
        Receive::Pending
    }

    /// The application has taken so much of the content, and the client may send as much again.
    pub(super) fn release_on_stream(&mut self, stream: Key, bytes: usize) {
        let Some(exchange) = self.streams.get_mut(stream) else { return };
        exchange.unreleased = exchange.unreleased.saturating_sub(bytes);
        let (key, id) = (exchange.connection, exchange.id);
        if let Some(http2) = self.http2_of(key) {
            http2.link.release(id, bytes);
        }
    }

    pub(super) fn tell_of_stream_input(&mut self, stream: Key) {
        if self.streamed
            && let Some(exchange) = self.streams.get_mut(stream)
            && (!exchange.input.content.is_empty() || exchange.input.complete)
            && std::mem::take(&mut exchange.input.awaits_input)
        {
            self.news.push_back(stream);
        }
    }

    /// The client has taken some of the response.
    pub(super) fn room_on_stream(&mut self, stream: Key) {
        if let Some(exchange) = self.streams.get_mut(stream)
            && exchange.out.len() <= LOW
            && std::mem::take(&mut exchange.input.awaits_room)
        {
            self.news.push_back(stream);
        }
    }

    pub(in crate::reactor) fn after_sending_on_stream(&mut self, stream: Key, sent: Sent) -> Sending {
        let Some(exchange) = self.streams.get_mut(stream).filter(|_| sent != Sent::Gone) else { return Sending::Gone };
        if exchange.out.len() <= HIGH {
            return Sending::Sent;
        }
        exchange.input.awaits_room = true;
        Sending::Full
    }

    pub(in crate::reactor) fn stream_is_full(&mut self, stream: Key) -> bool {
        let Some(exchange) = self.streams.get_mut(stream) else { return false };
        if !exchange.in_use() || exchange.out.len() <= LOW {
            return false;
        }
        exchange.input.awaits_room = true;
        true
    }

    /// A stream is over whose application may not know yet.
    pub(super) fn depart_stream(&mut self, stream: Key, mut exchange: Exchange) {
        if !self.streamed || !exchange.in_use() {
            return;
        }
        self.news.push_back(stream);
        if let Some(websocket) = exchange.input.websocket.take()
            && !websocket.abandoned
        {
            self.departed.insert(stream, websocket);
        }
    }
}
