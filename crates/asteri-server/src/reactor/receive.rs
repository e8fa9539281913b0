//! From bytes to requests.
//!
//! A request that arrives in one piece is parsed where it was received, and the receive buffer itself goes on to the
//! application: nothing is copied. Only what is not complete is moved to the connection.

use super::http2::Opening;
use super::{Reactor, SCRATCH, Scratch};
use crate::connection::{Connection, Partial, Stage};
use crate::content::{Body, Collector};
use crate::notice::Notice;
use crate::request::ReadyRequest;
use crate::slab::Key;
use crate::sys::{clock, socket};
use asteri_proto::error::ProtocolError;
use asteri_proto::h1::connection::Event;
use asteri_proto::h1::request::{BodyFraming, Version};
use asteri_proto::h1::response;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// Reads per connection before others get their turn.
pub(super) const READS: usize = 4;

/// A client that closes its sending side so soon after its request does not do so for lack of patience.
pub(super) const TOGETHER: Duration = Duration::from_millis(50);

/// Our own failure, told to the client in the same way as its own.
pub(super) const CONTENT_NOT_STORED: ProtocolError = ProtocolError {
    status: 500,
    code: "content-not-stored",
    section: "RFC 9110 §15.6.1",
    detail: "the content could not be written to the spool folder",
};

/// What a connection has been read in one go.
#[derive(Default)]
pub(super) struct Reads {
    count: usize,
    /// What was kept has been looked at.
    begun: bool,
}

/// What there is to look at.
pub(super) enum Input {
    /// Whoever takes them gives the buffer back: to the connection, with [`Reactor::keep`], or to the scratch.
    Bytes(Vec<u8>),
    /// Nothing more for now.
    Nothing,
    /// The connection is closed.
    Gone,
}

/// What became of the bytes that were received.
pub(super) enum Step {
    Request(ReadyRequest),
    /// All is used or kept; the buffer comes back.
    More(Vec<u8>),
    /// The connection does not receive requests any more.
    Over,
}

/// A request while one buffer is looked at.
enum Content {
    /// The head starts at this offset of the buffer; it is in the scratch request.
    Here { base: usize, collector: Collector },
    /// The head was kept from an earlier buffer.
    Kept(Box<Partial>),
}

impl Content {
    fn collector(&mut self) -> &mut Collector {
        match self {
            Self::Here { collector, .. } => collector,
            Self::Kept(partial) => &mut partial.content,
        }
    }
}

impl Reactor {
    pub(super) fn receive(&mut self, key: Key, scratch: &mut Scratch) -> Option<ReadyRequest> {
        let mut reads = Reads::default();
        let is_new = |connection: &mut Connection| !connection.watched && connection.tls.is_none();
        let mut is_new = self.connections.get_mut(key).is_some_and(is_new);
        loop {
            let input = self.next_input(key, &mut reads, scratch);
            if std::mem::take(&mut is_new) {
                self.note_first_look(!matches!(input, Input::Nothing));
            }
            let buffer = match input {
                Input::Bytes(buffer) => buffer,
                Input::Nothing => break,
                Input::Gone => return None,
            };
            match self.opening(key, &buffer) {
                Opening::Other => {}
                Opening::Undecided => {
                    self.keep(key, buffer, 0, scratch);
                    continue;
                }
                Opening::Http2 => {
                    self.begin_http2(key, None, &buffer, scratch);
                    scratch.give_buffer(buffer);
                    self.receive_http2(key, scratch);
                    return None;
                }
            }
            match self.advance(key, buffer, scratch) {
                Step::Request(request) => return Some(request),
                Step::More(buffer) => scratch.give_buffer(buffer),
                Step::Over => return None,
            }
        }
        self.schedule(key);
        None
    }

    /// What is there to look at: first what is kept from earlier, then that with what it is short of behind it.
    pub(super) fn next_input(&mut self, key: Key, reads: &mut Reads, scratch: &mut Scratch) -> Input {
        let Some(connection) = self.connections.get_mut(key) else { return Input::Gone };
        let kept = !connection.input.is_empty();
        let unseen = kept && !std::mem::replace(&mut reads.begun, true);
        if !unseen && !connection.readable {
            return Input::Nothing;
        }
        if !unseen && reads.count == READS {
            self.wake(key);
            return Input::Nothing;
        }
        let mut buffer = if kept { std::mem::take(&mut connection.input) } else { scratch.take_buffer() };
        if unseen {
            return Input::Bytes(buffer);
        }
        reads.begun = true;
        reads.count += 1;
        if kept {
            buffer.reserve(buffer.len().clamp(1024, SCRATCH));
        }
        match self.read(key, &mut buffer) {
            Ok(true) => Input::Bytes(buffer),
            Ok(false) => {
                self.keep(key, buffer, 0, scratch);
                Input::Nothing
            }
            Err(()) => {
                scratch.give_buffer(buffer);
                Input::Gone
            }
        }
    }

    /// Reads once. `Ok(false)`: nothing more is there now. `Err`: the connection is gone.
    pub(super) fn read(&mut self, key: Key, buffer: &mut Vec<u8>) -> Result<bool, ()> {
        let Some(connection) = self.connections.get_mut(key) else {
            return Err(());
        };
        if connection.tls.is_some() {
            return self.read_sealed(key, buffer);
        }
        let room = buffer.capacity() - buffer.len();
        match socket::receive(connection.socket.as_fd(), buffer) {
            Ok(0) => {
                connection.peer_closed = true;
                self.end_of_stream(key, buffer);
                Err(())
            }
            Ok(count) => {
                // A read that was not filled has emptied the socket; but no further edge will tell of an end that the
                // kernel has announced already.
                if count < room && !connection.peer_closed {
                    connection.readable = false;
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.readable = false;
                Ok(false)
            }
            Err(_) => {
                self.close(key);
                Err(())
            }
        }
    }

    pub(super) fn end_of_stream(&mut self, key: Key, rest: &[u8]) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        match connection.http.received_eof() {
            Ok(()) => self.close(key),
            Err(error) if connection.stage == Stage::InApplication => self.fail_stream(key, error),
            Err(error) => {
                connection.input = rest.to_vec();
                self.refuse(key, error);
            }
        }
    }

    /// Lets the driver look at `buffer` until it needs more or a request is complete.
    fn advance(&mut self, key: Key, mut buffer: Vec<u8>, scratch: &mut Scratch) -> Step {
        let Some(connection) = self.connections.get_mut(key) else {
            return Step::Over;
        };
        let mut content = connection.partial.take().map(Content::Kept);
        let mut position = 0;
        loop {
            let Some(connection) = self.connections.get_mut(key) else {
                return Step::Over;
            };
            let progress = if connection.awaits_packet() {
                self.receive_packet(key, &mut buffer, scratch.head())
            } else {
                let config = self.settings.http_of(connection.trusted);
                connection.http.receive(&buffer[position..], scratch.head(), config, self.now)
            };
            let input = &buffer[position..];
            let Some(connection) = self.connections.get_mut(key) else {
                return Step::Over;
            };
            let (used, event) = match progress {
                Ok(progress) => progress,
                Err(error) => {
                    // What the notice shows of the request: its head, or what came of it.
                    connection.input = match content {
                        Some(Content::Kept(partial)) => partial.bytes,
                        Some(Content::Here { base, .. }) => buffer[base..base + scratch.head().len].to_vec(),
                        None => input.to_vec(),
                    };
                    scratch.give_buffer(buffer);
                    self.refuse(key, error);
                    return Step::Over;
                }
            };
            match event {
                Event::Head => {
                    let head = scratch.head();
                    let base = position + used - head.len;
                    connection.is_head = head.is_head(&buffer[base..]);
                    let clear = connection.tls.is_none();
                    let asked = if clear { self.upgrade_asked(head, &buffer[base..]) } else { None };
                    if let Some(upgrade) = asked {
                        self.upgrade_to_http2(key, upgrade, &buffer[position + used..], scratch);
                        scratch.give_buffer(buffer);
                        self.receive_http2(key, scratch);
                        return Step::Over;
                    }
                    let head = scratch.head();
                    if self.streamed {
                        return self.begin_stream(key, base, buffer, position + used, scratch);
                    }
                    if self.connections.get_mut(key).is_some_and(|connection| connection.http.ends_here()) {
                        return self.complete_with_head(key, base, buffer, position + used, scratch);
                    }
                    let expected = match head.framing {
                        BodyFraming::Length(length) => length,
                        BodyFraming::None | BodyFraming::Chunked => 0,
                    };
                    let collector = Collector::new(expected, self.settings.request_memory);
                    content = Some(Content::Here { base, collector });
                }
                Event::Body(range) => {
                    let Some(content) = &mut content else {
                        return Step::Over;
                    };
                    let (memory, folder) = (self.settings.request_memory, &self.settings.spool_folder);
                    if let Err(error) = content.collector().push(&input[range], memory, folder) {
                        scratch.give_buffer(buffer);
                        self.fail_to_spool(key, &error);
                        return Step::Over;
                    }
                    // A file may be slow.
                    self.now = clock::now();
                }
                Event::End => {
                    let Some(content) = content else {
                        return Step::Over;
                    };
                    return self.complete(key, content, buffer, position + used, scratch);
                }
                Event::NeedData => {
                    if connection.http.needs_continue() {
                        self.send_continue(key);
                    }
                    let partial = content.map(|content| match content {
                        Content::Here { base, collector } => {
                            let head = std::mem::take(scratch.head());
                            let bytes = buffer[base..base + head.len].to_vec();
                            Box::new(Partial { head, bytes, content: collector })
                        }
                        Content::Kept(partial) => partial,
                    });
                    let Some(connection) = self.connections.get_mut(key) else {
                        return Step::Over;
                    };
                    connection.partial = partial;
                    self.keep(key, buffer, position + used, scratch);
                    return Step::More(Vec::new());
                }
            }
            position += used;
        }
    }

    /// Keeps `buffer[from..]` with the connection until more arrives.
    pub(super) fn keep(&mut self, key: Key, mut buffer: Vec<u8>, from: usize, scratch: &mut Scratch) {
        let rest = buffer.len() - from;
        if rest > 0
            && let Some(connection) = self.connections.get_mut(key)
        {
            if buffer.capacity() >= SCRATCH && rest < SCRATCH / 2 {
                connection.input = buffer[from..].to_vec();
            } else {
                // It is the connection's own already, or so full that a copy would save nothing.
                buffer.drain(..from);
                connection.input = buffer;
                return;
            }
        }
        scratch.give_buffer(buffer);
    }

    /// A request that has no content has arrived. `end` is where the next one starts in `buffer`.
    fn complete_with_head(
        &mut self,
        key: Key,
        base: usize,
        buffer: Vec<u8>,
        end: usize,
        scratch: &mut Scratch,
    ) -> Step {
        let Some(connection) = self.connections.get_mut(key) else {
            return Step::Over;
        };
        if end < buffer.len() {
            connection.input = buffer[end..].to_vec();
        }
        connection.stage = Stage::Queued;
        connection.response_begun = false;
        let mut request = scratch.take_request();
        (request.base, request.buffer) = (base, buffer);
        request.body = Body::Empty;
        request.came_from(key, connection, self.now);
        self.settings.proxies.attribute(&mut request, &*self.observer);
        Step::Request(request)
    }

    /// A request has arrived whole. `end` is where the next one starts in `buffer`.
    fn complete(&mut self, key: Key, content: Content, buffer: Vec<u8>, end: usize, scratch: &mut Scratch) -> Step {
        let Some(connection) = self.connections.get_mut(key) else {
            return Step::Over;
        };
        if end < buffer.len() {
            connection.input = buffer[end..].to_vec();
        }
        connection.stage = Stage::Queued;
        connection.response_begun = false;
        let mut request = scratch.take_request();
        let collector = match content {
            Content::Here { base, collector } => {
                (request.base, request.buffer) = (base, buffer);
                collector
            }
            Content::Kept(partial) => {
                scratch.give_buffer(buffer);
                (request.base, request.buffer, request.head) = (0, partial.bytes, partial.head);
                partial.content
            }
        };
        request.came_from(key, connection, self.now);
        self.settings.proxies.attribute(&mut request, &*self.observer);
        request.body = match collector.finish() {
            Ok(body) => body,
            Err(error) => {
                self.fail_to_spool(key, &error);
                return Step::Over;
            }
        };
        Step::Request(request)
    }

    fn fail_to_spool(&mut self, key: Key, error: &io::Error) {
        self.observer.notice(&Notice::RequestSpoolFailed(error));
        self.refuse(key, CONTENT_NOT_STORED);
    }

    pub(super) fn send_continue(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.http.continue_sent();
        let mut interim = Vec::with_capacity(32);
        if response::interim(&mut interim, Version::Http11, 100, []).is_ok() {
            self.send(key, &interim);
        }
    }

    /// Answers for the server: the request is not well formed, too large or too late. The connection cannot go on after
    /// that, as nobody knows where the next request would start.
    pub(super) fn refuse(&mut self, key: Key, error: ProtocolError) {
        self.counters.refused += 1;
        if self.streamed {
            self.tell(key);
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let sample = connection.partial.as_ref().map_or(&connection.input[..], |partial| &partial.bytes[..]);
        let sample = &sample[..sample.len().min(Notice::SAMPLE)];
        self.observer.notice(&Notice::Refused { peer: connection.peer, error, sample });
        connection.partial = None;
        self.answer_and_close(key, error.status, error.code);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.input = Vec::new();
        }
    }

    /// While lingering, everything is read and nothing is kept.
    pub(super) fn linger(&mut self, key: Key, scratch: &mut Scratch) {
        let mut buffer = scratch.take_buffer();
        for _ in 0..READS {
            let Some(connection) = self.connections.get_mut(key) else {
                break;
            };
            if !connection.readable {
                break;
            }
            buffer.clear();
            match socket::receive(connection.socket.as_fd(), &mut buffer) {
                Ok(0) => self.close(key),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => connection.readable = false,
                Err(_) => self.close(key),
            }
        }
        scratch.give_buffer(buffer);
        if self.connections.get_mut(key).is_some_and(|connection| connection.readable) {
            self.wake(key);
        }
    }
}

impl Reactor {
    /// Tells whether a request that was complete may still be run: its client may have left while it waited.
    pub(super) fn begin(&mut self, request: &ReadyRequest) -> bool {
        if request.key.is_stream() {
            return self.begin_on_stream(request);
        }
        let Some(connection) = self.connections.get_mut(request.key) else {
            self.counters.abandoned += 1;
            self.observer.notice(&Notice::SkippedAbandoned(request.peer));
            return false;
        };
        if connection.stage != Stage::Queued {
            return false;
        }
        // A client that closes its sending side and waits for the answer looks like one that left. It is taken for the
        // former when it may have closed together with the request, or asked for the connection to be closed anyway.
        let together = request.half_closed || connection.closed_at <= request.arrived + TOGETHER;
        let left = connection.peer_closed && !together && request.head.keep_alive;
        if left {
            self.counters.abandoned += 1;
            self.observer.notice(&Notice::SkippedAbandoned(request.peer));
            self.close(request.key);
            return false;
        }
        connection.stage = Stage::InApplication;
        self.current = Some(request.key);
        true
    }
}
