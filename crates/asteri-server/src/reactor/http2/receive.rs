//! From bytes to requests, and their content.
//!
//! Requests go to the reactor's queue in the order in which they are complete.

use super::Http2;
use super::exchange::{Exchange, Phase};
use super::send::FULL;
use crate::content::Collector;
use crate::notice::Notice;
use crate::reactor::receive::{CONTENT_NOT_STORED, READS};
use crate::reactor::{Reactor, Scratch};
use crate::request::ReadyRequest;
use crate::slab::Key;
use asteri_proto::error::{BODY_TOO_LARGE, CONNECT_NOT_SUPPORTED, HEAD_TOO_LARGE, ProtocolError};
use asteri_proto::h1::request::BodyFraming;
use asteri_proto::h2::connection::Event;
use asteri_proto::h2::priority::Priority;
use asteri_proto::h2::reason::{Fault, Reason};
use asteri_proto::h2::request::{self, Pseudo};
use asteri_proto::h2::section::Section;
use asteri_proto::pace::Pace;

/// Streams to come whose priorities are remembered.
const EXPECTED: usize = 100;

/// A field section that has come.
struct Head<'a> {
    stream: u32,
    ends: bool,
    too_large: bool,
    section: &'a mut Section,
}

impl Reactor {
    /// Reads what has come, as long as it is taken.
    pub(in crate::reactor) fn receive_http2(&mut self, key: Key, scratch: &mut Scratch) {
        for _ in 0..READS {
            let Some(connection) = self.connections.get_mut(key) else { return };
            let Some(http2) = &connection.http2 else { return };
            if !connection.readable || http2.link.out.len() >= FULL || http2.link.is_over() {
                break;
            }
            let mut buffer = scratch.take_buffer();
            let read = self.read(key, &mut buffer);
            if read == Ok(true) {
                self.take_in_http2(key, &buffer, scratch);
            }
            scratch.give_buffer(buffer);
            match read {
                Ok(true) => {}
                Ok(false) => break,
                Err(()) => return,
            }
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(http2) = &connection.http2 else { return };
        // With too much to send, each delivery leads back here.
        if connection.readable && !http2.link.is_over() && http2.link.out.len() < FULL {
            self.wake(key);
        }
        self.touch(key);
    }

    /// Understands bytes that have come.
    pub(super) fn take_in_http2(&mut self, key: Key, bytes: &[u8], scratch: &mut Scratch) {
        let Some(mut http2) = self.take_http2(key) else { return };
        match &mut http2.upgrade {
            None => self.understand(key, &mut http2, bytes, scratch),
            Some(upgrade) => {
                if let Some(told) = upgrade.receive(bytes) {
                    http2.upgrade = None;
                    self.understand(key, &mut http2, &told, scratch);
                }
            }
        }
        self.put_http2(key, http2);
        self.receive_frames_on_streams();
    }

    fn understand(&mut self, key: Key, http2: &mut Http2, mut bytes: &[u8], scratch: &mut Scratch) {
        let mut section = std::mem::take(&mut self.section);
        loop {
            match http2.link.receive(bytes, &mut section, self.now) {
                Ok((_, Event::NeedData)) => break,
                Ok((used, Event::Request { stream, ends, too_large })) => {
                    let head = Head { stream, ends, too_large, section: &mut section };
                    self.open_stream(key, http2, head, scratch);
                    bytes = bytes.get(used..).unwrap_or_default();
                }
                Ok((used, event)) => {
                    self.on_http2_event(key, http2, event, bytes, &section);
                    bytes = bytes.get(used..).unwrap_or_default();
                }
                Err(fault) => {
                    self.tell_fault(key, fault);
                    break;
                }
            }
        }
        self.section = section;
    }

    fn on_http2_event(&mut self, key: Key, http2: &mut Http2, event: Event, bytes: &[u8], section: &Section) {
        match event {
            Event::NeedData | Event::Request { .. } => {}
            Event::Malformed(error) => self.tell_refused(key, error, &line_of(&section.pseudo())),
            Event::Content { tag, bytes: range, ends } => {
                let stream = Key::from_token(tag);
                self.keep_content(http2, stream, bytes.get(range).unwrap_or_default());
                if ends {
                    self.end_content(http2, stream);
                }
                self.tell_of_content(stream);
            }
            Event::End { tag } => {
                self.end_content(http2, Key::from_token(tag));
                self.tell_of_content(Key::from_token(tag));
            }
            Event::Reset { tag, by_client } => {
                if by_client {
                    self.counters.http2_resets += 1;
                } else {
                    self.counters.refused += 1;
                }
                self.lose_stream(http2, Key::from_token(tag));
            }
            Event::Priority { stream, priority } => self.prioritize(http2, stream, priority),
            Event::Leaving => http2.close(self.now + self.settings.http.timeouts.linger),
        }
    }

    /// Heeds frames about priorities; they count more than the field of the request, and may come before it (RFC 9218 §7).
    fn prioritize(&mut self, http2: &mut Http2, id: u32, priority: Priority) {
        if id > http2.link.last_stream() {
            http2.expected.retain(|(other, _)| *other != id);
            if http2.expected.len() == EXPECTED {
                http2.expected.remove(0);
            }
            http2.expected.push((id, priority));
            return;
        }
        for stream in &http2.open {
            if let Some(exchange) = self.streams.get_mut(*stream).filter(|exchange| exchange.id == id) {
                exchange.priority = priority;
            }
        }
    }

    pub(super) fn tell_fault(&mut self, key: Key, fault: Fault) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let peer = connection.peer;
        if !fault.remote {
            self.counters.refused += 1;
            self.counters.http2_floods += u64::from(fault.reason == Reason::ENHANCE_YOUR_CALM);
        }
        self.observer.notice(&match fault.flood {
            Some(frames) => Notice::Http2Flood { peer, frames },
            None => Notice::Http2Fault { peer, reason: fault.reason.name(), remote: fault.remote },
        });
    }

    pub(super) fn tell_refused(&mut self, key: Key, error: ProtocolError, sample: &[u8]) {
        self.counters.refused += 1;
        if let Some(connection) = self.connections.get_mut(key) {
            let sample = &sample[..sample.len().min(Notice::SAMPLE)];
            self.observer.notice(&Notice::Refused { peer: connection.peer, error, sample });
        }
    }

    /// A request has come, or its head.
    fn open_stream(&mut self, key: Key, http2: &mut Http2, received: Head<'_>, scratch: &mut Scratch) {
        let Head { stream: id, ends, too_large, section } = received;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let config = self.settings.http_of(connection.trusted);
        let mut request = scratch.take_request();
        let judged =
            if too_large { Err(HEAD_TOO_LARGE) } else { request::judge(section, ends, &mut request.head, config) };
        let judged = match judged {
            // Only an application that works bit by bit can speak it.
            Ok(()) if request.head.protocol.is_some() && !self.streamed => Err(CONNECT_NOT_SUPPORTED),
            judged => judged,
        };
        http2.used = true;
        if let Err(error) = judged
            && request::is_malformed(&error)
        {
            self.tell_refused(key, error, &line_of(&section.pseudo()));
            if let Err(fault) = http2.link.malformed(id) {
                self.tell_fault(key, fault);
            }
            return;
        }
        let mut exchange = Exchange::new(key, id, Pace::new(&config.timeouts, self.now));
        exchange.is_head = section.pseudo().method == b"HEAD";
        exchange.priority = http2.expected_priority(id).unwrap_or_else(|| Priority::of(section.values(b"priority")));
        request.base = 0;
        request.came_from(key, connection, self.now);
        request.half_closed = false;
        let Ok(stream) = self.streams.insert(exchange) else { return };
        http2.link.set_tag(id, stream.token());
        http2.open.push(stream);
        request.key = stream;
        if let Err(error) = judged {
            return self.refuse_stream(http2, stream, error, &line_of(&section.pseudo()));
        }
        section.swap_bytes(&mut request.buffer);
        self.settings.proxies.attribute(&mut request, &*self.observer);
        let Some(exchange) = self.streams.get_mut(stream) else { return };
        exchange.awaits_continue = request.head.expect_continue && !ends;
        let expected = match request.head.framing {
            BodyFraming::Length(length) => length,
            BodyFraming::None | BodyFraming::Chunked => 0,
        };
        if let BodyFraming::Length(length) = request.head.framing {
            http2.link.expect_content(id, length);
        }
        exchange.input.complete = ends;
        if ends || self.streamed {
            self.queue_request(http2, request);
            return;
        }
        exchange.send_continue(&mut http2.link);
        exchange.phase = Phase::Collecting;
        exchange.partial = Some((request, Collector::new(expected, self.settings.request_memory)));
    }

    fn queue_request(&mut self, http2: &mut Http2, mut request: ReadyRequest) {
        request.arrived = self.now;
        if let Some(exchange) = self.streams.get_mut(request.key) {
            exchange.phase = Phase::Queued;
        }
        http2.queued += 1;
        self.queue.push_back(request);
    }

    /// Takes content that has come on a stream: into the collector, whose memory is not the client's concern, so that the window is
    /// opened again at once; or to where the application takes it, and opens the window by that.
    fn keep_content(&mut self, http2: &mut Http2, stream: Key, bytes: &[u8]) {
        let Some(exchange) = self.streams.get_mut(stream) else { return };
        let at_work = matches!(exchange.phase, Phase::Queued | Phase::InApplication | Phase::Upgraded);
        if exchange.deaf || exchange.partial.is_none() && !(self.streamed && at_work) {
            http2.link.release(exchange.id, bytes.len());
            return;
        }
        exchange.received += bytes.len() as u64;
        exchange.awaits_continue = false;
        exchange.pace.received(bytes.len(), &self.settings.http.timeouts, self.now);
        if exchange.phase != Phase::Upgraded && exchange.received > self.settings.http.limits.body_size {
            http2.link.release(exchange.id, bytes.len());
            return self.fail_on_stream(http2, stream, BODY_TOO_LARGE);
        }
        let Some((_, collector)) = &mut exchange.partial else {
            exchange.unreleased += bytes.len();
            exchange.input.content.extend_from_slice(bytes);
            return;
        };
        http2.link.release(exchange.id, bytes.len());
        if let Err(error) = collector.push(bytes, self.settings.request_memory, &self.settings.spool_folder) {
            self.observer.notice(&Notice::RequestSpoolFailed(&error));
            self.fail_on_stream(http2, stream, CONTENT_NOT_STORED);
        }
    }

    /// The request is complete.
    fn end_content(&mut self, http2: &mut Http2, stream: Key) {
        let Some(exchange) = self.streams.get_mut(stream) else { return };
        exchange.input.complete = true;
        let Some((mut request, collector)) = exchange.partial.take() else { return };
        match collector.finish() {
            Ok(body) => {
                request.body = body;
                self.queue_request(http2, request);
            }
            Err(error) => {
                self.observer.notice(&Notice::RequestSpoolFailed(&error));
                self.fail_on_stream(http2, stream, CONTENT_NOT_STORED);
            }
        }
    }

    fn tell_of_content(&mut self, stream: Key) {
        let upgraded = self.streams.get_mut(stream).is_some_and(|exchange| exchange.phase == Phase::Upgraded);
        if !upgraded {
            self.tell_of_stream_input(stream);
        } else if self.framed.last() != Some(&stream) {
            self.framed.push(stream);
        }
    }
}

/// What a request line would be, for the log.
fn line_of(pseudo: &Pseudo<'_>) -> Vec<u8> {
    [pseudo.method, b" ", pseudo.path.unwrap_or_default(), b" HTTP/2.0"].concat()
}
