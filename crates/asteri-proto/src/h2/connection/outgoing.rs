//! Responses, and the end of streams and of the connection.

use super::incoming::LAST_CALL;
use super::{Connection, State};
use crate::h2::block::Lines;
use crate::h2::flow::FIRST_WINDOW;
use crate::h2::frames::{self, Frame, HEADER, PREFACE};
use crate::h2::reason::{Fault, Reason};
use crate::h2::streams::Past;
use std::io;

/// A piece of content that is no larger, in bytes, as the client leaves no room for more, costs it something (CVE-2019-9511).
const TINY: usize = 64;

/// Settings (RFC 9113 §6.5.2, RFC 8441 §3).
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

impl Connection {
    /// What a server says first (RFC 9113 §3.4).
    pub(super) fn greet(&mut self, window: u32) {
        let rules = self.rules;
        let mut settings = Vec::with_capacity(30);
        for (name, value) in [
            (MAX_CONCURRENT_STREAMS, rules.max_concurrent_streams),
            (INITIAL_WINDOW_SIZE, rules.initial_window_size),
            (MAX_FRAME_SIZE, rules.max_frame_size),
            (MAX_HEADER_LIST_SIZE, rules.max_header_list_size),
        ] {
            settings.extend_from_slice(&name.to_be_bytes());
            settings.extend_from_slice(&value.to_be_bytes());
        }
        if rules.connect {
            settings.extend_from_slice(&ENABLE_CONNECT_PROTOCOL.to_be_bytes());
            settings.extend_from_slice(&1u32.to_be_bytes());
        }
        self.put_frame(frames::SETTINGS, 0, 0, &settings);
        if window > FIRST_WINDOW {
            self.put_window_update(0, window - FIRST_WINDOW);
        }
    }

    /// Writes a response head, or an interim one. `ends`: nothing follows. Says whether the stream is there to take it.
    pub fn send_head(&mut self, stream: u32, status: u16, fields: Lines<'_>, ends: bool) -> bool {
        let Some(open) = self.streams.get_mut(stream).filter(|open| !open.answered) else { return false };
        open.answered = ends;
        let at = self.begin_section();
        self.encoder.status(&mut self.out, status);
        self.put_fields(fields);
        self.end_section(at, stream, ends);
        true
    }

    /// Writes the trailer section, which ends the response.
    pub fn send_trailers(&mut self, stream: u32, fields: Lines<'_>) -> bool {
        let Some(open) = self.streams.get_mut(stream).filter(|open| !open.answered) else { return false };
        open.answered = true;
        let at = self.begin_section();
        self.put_fields(fields);
        self.end_section(at, stream, true);
        true
    }

    fn begin_section(&mut self) -> usize {
        let at = self.out.len();
        self.out.extend_from_slice(&[0; HEADER]);
        self.encoder.begin(&mut self.out);
        at
    }

    fn put_fields(&mut self, fields: Lines<'_>) {
        for (name, value) in fields {
            self.encoder.field(&mut self.out, name, value);
        }
    }

    /// Gives the section that begins at `at` its frame, or its frames if it is long.
    fn end_section(&mut self, at: usize, stream: u32, ends: bool) {
        let most = self.frame_size as usize;
        let length = self.out.len() - at - HEADER;
        let end_stream = if ends { frames::END_STREAM } else { 0 };
        if length <= most {
            return self.patch(at, length, frames::HEADERS, frames::END_HEADERS | end_stream, stream);
        }
        let section = self.out.split_off(at + HEADER);
        let mut pieces = section.chunks(most).peekable();
        let (mut kind, mut flags) = (frames::HEADERS, end_stream);
        self.out.truncate(at);
        while let Some(piece) = pieces.next() {
            let last = if pieces.peek().is_none() { frames::END_HEADERS } else { 0 };
            self.put_frame(kind, flags | last, stream, piece);
            (kind, flags) = (frames::CONTINUATION, 0);
        }
    }

    /// Writes the header of a frame into the place that was left for it.
    fn patch(&mut self, at: usize, length: usize, kind: u8, flags: u8, stream: u32) {
        let length = u32::try_from(length).unwrap_or(0);
        if let Some(place) = self.out.get_mut(at..at + HEADER) {
            place.copy_from_slice(&Frame { length, kind, flags, stream }.header());
        }
    }

    /// How much content may be sent on a stream now, in bytes.
    #[must_use]
    pub fn room(&self, stream: u32) -> usize {
        let window = self.streams.get(stream).map_or(0, |open| open.window.min(self.window));
        usize::try_from(window).unwrap_or(0)
    }

    /// Whether the client has made room on a stream, whatever there is on all of them together.
    #[must_use]
    pub fn has_window(&self, stream: u32) -> bool {
        self.streams.get(stream).is_some_and(|open| open.window > 0)
    }

    /// Writes one frame of content. `fill` is told how much it may add to the end of what it is given, at the most, and says whether
    /// nothing follows. Says how much it was; `None`: the stream is over.
    ///
    /// # Errors
    /// Those of `fill`; then nothing was written.
    pub fn send_content(
        &mut self,
        stream: u32,
        fill: impl FnOnce(&mut Vec<u8>, usize) -> io::Result<bool>,
    ) -> io::Result<Option<usize>> {
        let most = self.room(stream).min(self.frame_size as usize);
        let Some(open) = self.streams.get_mut(stream).filter(|open| !open.answered) else { return Ok(None) };
        let at = self.out.len();
        self.out.extend_from_slice(&[0; HEADER]);
        let ends = match fill(&mut self.out, most) {
            Ok(ends) => ends,
            Err(error) => {
                self.out.truncate(at);
                return Err(error);
            }
        };
        let length = self.out.len() - at - HEADER;
        debug_assert!(length <= most, "more content than there is room for");
        if length == 0 && !ends {
            self.out.truncate(at);
            return Ok(Some(0));
        }
        if length == most && length <= TINY && !ends {
            self.allowance.spend(1);
        }
        let size = i64::try_from(length).unwrap_or(i64::MAX);
        open.window -= size;
        self.window -= size;
        open.answered = ends;
        let flags = if ends { frames::END_STREAM } else { 0 };
        self.patch(at, length, frames::DATA, flags, stream);
        Ok(Some(length))
    }

    // ---- the end of streams

    /// The owner has nothing more to do with a stream. If its response is complete and the request is not, the client is told that
    /// the rest is not needed (RFC 9113 §8.1).
    pub fn close_stream(&mut self, stream: u32) {
        let Some(open) = self.streams.get(stream) else { return };
        match (open.answered, open.ended) {
            (true, true) => {
                self.forget(stream, Past::Closed);
            }
            (true, false) => {
                self.reset(stream, Reason::NO_ERROR);
            }
            (false, _) => {
                self.reset(stream, Reason::CANCEL);
            }
        }
    }

    /// The request of a stream turns out to be malformed: it ends with an error.
    ///
    /// # Errors
    /// It was one too many, and the connection has ended.
    pub fn malformed(&mut self, stream: u32) -> Result<(), Fault> {
        self.stream_fault(stream, Reason::PROTOCOL_ERROR).map(drop)
    }

    /// Ends a stream. Says what the owner calls it, if it was open.
    pub fn reset(&mut self, stream: u32, reason: Reason) -> Option<u64> {
        let tag = self.forget(stream, Past::Reset)?;
        self.put_frame(frames::RST_STREAM, 0, stream, &reason.0.to_be_bytes());
        Some(tag)
    }

    /// A stream is over.
    pub(super) fn forget(&mut self, stream: u32, how: Past) -> Option<u64> {
        let gone = self.streams.remove(stream, how)?;
        if let Some(opened) = self.receiving.take(gone.untaken) {
            self.put_window_update(0, opened);
        }
        Some(gone.tag)
    }

    // ---- the end of the connection

    /// Takes no further streams, and is over when those that are open have ended (RFC 9113 §6.8). The client may have opened some that
    /// we do not know of yet: what it opens before it answers is served.
    pub fn close(&mut self) {
        if self.state == State::Open {
            self.state = State::Warned;
            self.go_away((1 << 31) - 1, Reason::NO_ERROR);
            self.put_frame(frames::PING, 0, 0, LAST_CALL);
        }
    }

    /// Serves no further streams even if the client has not answered [`close`](Self::close).
    pub fn close_for_good(&mut self) {
        if self.state == State::Warned {
            self.close_now();
        }
    }

    /// The client has read that it is to open no more streams.
    pub(super) fn close_now(&mut self) {
        let last = self.streams.last;
        self.state = State::Closing;
        self.go_away(last, Reason::NO_ERROR);
    }

    /// Ends, with whatever is open. A client whose preface has not come is told nothing.
    pub fn abort(&mut self, reason: Reason) {
        if self.state == State::Over {
            return;
        }
        self.state = State::Over;
        if self.preface < PREFACE.len() {
            self.go_away(self.streams.last, reason);
        }
    }

    fn go_away(&mut self, last: u32, reason: Reason) {
        let [l0, l1, l2, l3] = last.to_be_bytes();
        let [r0, r1, r2, r3] = reason.0.to_be_bytes();
        self.put_frame(frames::GOAWAY, 0, 0, &[l0, l1, l2, l3, r0, r1, r2, r3]);
    }
}
