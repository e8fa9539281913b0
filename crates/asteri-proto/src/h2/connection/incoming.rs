//! Frames, and what they mean (RFC 9113 §6).

use super::content::Content;
use super::{Block, Connection, Event, FRAME_SIZE, STREAM_FAULT, State};
use crate::h2::allowance::{name, price};
use crate::h2::flow::{FIRST_WINDOW, LARGEST_WINDOW, Receiving, open};
use crate::h2::frames::{self, Frame, HEADER, PREFACE};
use crate::h2::priority::Priority;
use crate::h2::reason::{Fault, Reason};
use crate::h2::section::Section;
use crate::h2::streams::{Past, Stream};
use crate::time::Moment;

/// Settings (RFC 9113 §6.5.2).
const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;

/// Bytes of a `PRIORITY_UPDATE` that are looked at: many times what the known parameters take. A longer one says nothing.
const LONGEST_UPDATE: usize = 64;

/// The payload of the PING whose answer says that the client has read our GOAWAY (RFC 9113 §6.8).
pub(super) const LAST_CALL: &[u8; 8] = b"goodbye?";

/// The number of a stream at the beginning of a payload; the first bit is reserved or means something else.
fn number(payload: &[u8]) -> Option<u32> {
    payload.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes) & 0x7fff_ffff)
}

impl Connection {
    /// Looks at `input`: all bytes that have come and were not used. Says how many of them are used from now on, and what they mean.
    /// With [`Event::Request`] and [`Event::Malformed`], the fields are in `section`, which need not be the same one in each call.
    ///
    /// # Errors
    /// The client has broken a rule of the connection, which has ended; the last words are in [`Connection::out`]. Whatever comes
    /// afterwards means nothing.
    pub fn receive(&mut self, input: &[u8], section: &mut Section, now: Moment) -> Result<(usize, Event), Fault> {
        self.now = now;
        let mut at = 0;
        loop {
            if self.state == State::Over {
                return Ok((input.len(), Event::NeedData));
            }
            let Some(rest) = input.get(at..).filter(|rest| !rest.is_empty()) else {
                return Ok((input.len(), Event::NeedData));
            };
            if self.content.is_some() {
                let (used, event) = self.receive_content(rest, at)?;
                at += used;
                match event {
                    Some(event) => return Ok((at, event)),
                    None => continue,
                }
            }
            if self.skip > 0 {
                let skipped = self.skip.min(rest.len());
                self.skip -= skipped;
                at += skipped;
                continue;
            }
            if self.preface > 0 {
                at += self.receive_preface(rest)?;
                continue;
            }
            let (used, event) = self.receive_frame(rest, section)?;
            at += used;
            if let Some(event) = event {
                return Ok((at, event));
            }
        }
    }

    fn receive_preface(&mut self, rest: &[u8]) -> Result<usize, Fault> {
        let expected = PREFACE.get(PREFACE.len() - self.preface..).unwrap_or_default();
        let count = expected.len().min(rest.len());
        if rest.get(..count) != expected.get(..count) {
            return Err(self.fault(Reason::PROTOCOL_ERROR));
        }
        self.preface -= count;
        Ok(count)
    }

    /// Takes a frame, or as much of it as there is.
    fn receive_frame(&mut self, rest: &[u8], section: &mut Section) -> Result<(usize, Option<Event>), Fault> {
        let mut used = 0;
        let frame = if let Some(frame) = self.partial {
            frame
        } else {
            if self.have == 0 && self.block.is_none() {
                self.since = self.now;
            }
            let frame = match rest.first_chunk::<HEADER>() {
                Some(header) if self.have == 0 => {
                    used = HEADER;
                    Frame::of(header)
                }
                _ => {
                    used = (HEADER - self.have).min(rest.len());
                    if let (Some(to), Some(from)) = (self.header.get_mut(self.have..self.have + used), rest.get(..used))
                    {
                        to.copy_from_slice(from);
                    }
                    self.have += used;
                    if self.have < HEADER {
                        return Ok((used, None));
                    }
                    self.have = 0;
                    Frame::of(&self.header)
                }
            };
            self.check_frame(frame)?;
            match frame.kind {
                frames::DATA => {
                    return Ok((used, self.begin_content(frame)?));
                }
                frames::HEADERS
                | frames::PRIORITY
                | frames::RST_STREAM
                | frames::SETTINGS
                | frames::PING
                | frames::GOAWAY
                | frames::WINDOW_UPDATE
                | frames::CONTINUATION
                | frames::PRIORITY_UPDATE => {}
                frames::PUSH_PROMISE => return Err(self.fault(Reason::PROTOCOL_ERROR)),
                _ => {
                    self.skip = frame.length as usize;
                    return Ok((used, None));
                }
            }
            frame
        };
        let length = frame.length as usize;
        let here = rest.get(used..).unwrap_or_default();
        if self.partial.is_none()
            && let Some(payload) = here.get(..length)
        {
            let event = self.frame(frame, payload, section)?;
            return Ok((used + length, event));
        }
        let more = (length - self.payload.len()).min(here.len());
        self.payload.extend_from_slice(here.get(..more).unwrap_or_default());
        used += more;
        if self.payload.len() < length {
            self.partial = Some(frame);
            return Ok((used, None));
        }
        self.partial = None;
        let mut payload = std::mem::take(&mut self.payload);
        let event = self.frame(frame, &payload, section);
        payload.clear();
        // A large one was for a large frame, which is no rule.
        if payload.capacity() <= 1024 {
            self.payload = payload;
        }
        Ok((used, event?))
    }

    /// What can be said of a frame by its header.
    fn check_frame(&mut self, frame: Frame) -> Result<(), Fault> {
        if frame.length > self.rules.max_frame_size || !has_possible_size(frame) {
            return Err(self.fault(Reason::FRAME_SIZE_ERROR));
        }
        let awaited = match &self.block {
            Some(block) => frame.kind == frames::CONTINUATION && frame.stream == block.stream,
            None => frame.kind != frames::CONTINUATION,
        };
        let is_settings = frame.kind == frames::SETTINGS && frame.flags & frames::ACK == 0;
        if !awaited || !self.greeted && !is_settings {
            return Err(self.fault(Reason::PROTOCOL_ERROR));
        }
        let of_a_stream = match frame.kind {
            frames::DATA | frames::HEADERS | frames::PRIORITY | frames::RST_STREAM | frames::CONTINUATION => true,
            frames::SETTINGS | frames::PING | frames::GOAWAY | frames::PRIORITY_UPDATE => false,
            // Of both, or unknown.
            _ => frame.stream != 0,
        };
        if of_a_stream != (frame.stream != 0) {
            return Err(self.fault(Reason::PROTOCOL_ERROR));
        }
        self.take_allowance(price(frame), name(frame.kind))?;
        // Frames may be large for the sake of content, which is handed on as it comes. These are kept until they are whole.
        let kept = matches!(
            frame.kind,
            frames::HEADERS | frames::SETTINGS | frames::GOAWAY | frames::CONTINUATION | frames::PRIORITY_UPDATE
        );
        if kept && frame.length as usize > self.largest_section() {
            return Err(self.fault(Reason::ENHANCE_YOUR_CALM));
        }
        Ok(())
    }

    /// A field section has to be understood for the sake of the table, even if it is too large. One that is far too large, in bytes as
    /// they come, ends all.
    fn largest_section(&self) -> usize {
        (self.rules.max_header_list_size.max(FRAME_SIZE) as usize).saturating_mul(2)
    }

    /// A frame that is here in full.
    fn frame(&mut self, frame: Frame, payload: &[u8], section: &mut Section) -> Result<Option<Event>, Fault> {
        match frame.kind {
            frames::HEADERS => self.headers(frame, payload, section),
            frames::CONTINUATION => self.continuation(frame, payload, section),
            frames::PRIORITY => self.priority(frame, payload),
            frames::RST_STREAM => self.taken_back(frame),
            frames::SETTINGS => self.settings(frame, payload),
            frames::PING => Ok(self.ping(frame, payload)),
            frames::GOAWAY => Ok(self.going_away(payload)),
            frames::WINDOW_UPDATE => self.window_update(frame, payload),
            frames::PRIORITY_UPDATE => self.priority_update(payload),
            _ => Ok(None),
        }
    }

    fn headers(&mut self, frame: Frame, payload: &[u8], section: &mut Section) -> Result<Option<Event>, Fault> {
        let mut fragment = payload;
        let mut padding = 0;
        if frame.flags & frames::PADDED != 0
            && let Some((length, rest)) = fragment.split_first()
        {
            padding = usize::from(*length);
            fragment = rest;
        }
        let mut depends_on_itself = false;
        if frame.flags & frames::WITH_PRIORITY != 0
            && let Some((priority, rest)) = fragment.split_first_chunk::<5>()
        {
            depends_on_itself = number(priority) == Some(frame.stream);
            fragment = rest;
        }
        let Some(length) = fragment.len().checked_sub(padding) else {
            return Err(self.fault(Reason::PROTOCOL_ERROR));
        };
        let fragment = fragment.get(..length).unwrap_or_default();
        let ends = frame.flags & frames::END_STREAM != 0;
        if frame.flags & frames::END_HEADERS != 0 {
            return self.field_section(frame.stream, ends, depends_on_itself, fragment, section);
        }
        let bytes = fragment.to_vec();
        self.block = Some(Box::new(Block { stream: frame.stream, ends, depends_on_itself, bytes }));
        Ok(None)
    }

    fn continuation(&mut self, frame: Frame, payload: &[u8], section: &mut Section) -> Result<Option<Event>, Fault> {
        let most = self.largest_section();
        let Some(block) = &mut self.block else { return Ok(None) };
        block.bytes.extend_from_slice(payload);
        if block.bytes.len() > most {
            return Err(self.fault(Reason::ENHANCE_YOUR_CALM));
        }
        if frame.flags & frames::END_HEADERS == 0 {
            return Ok(None);
        }
        let Some(block) = self.block.take() else { return Ok(None) };
        self.field_section(block.stream, block.ends, block.depends_on_itself, &block.bytes, section)
    }

    /// A field section is complete: a request, or the trailer section of one.
    fn field_section(
        &mut self,
        id: u32,
        ends: bool,
        depends_on_itself: bool,
        bytes: &[u8],
        section: &mut Section,
    ) -> Result<Option<Event>, Fault> {
        section.begin(self.rules.max_header_list_size as usize);
        if self.decoder.decode(bytes, |name, value| section.add(name, value)).is_err() {
            return Err(self.fault(Reason::COMPRESSION_ERROR));
        }
        if section.is_absurd() {
            return Err(self.fault(Reason::ENHANCE_YOUR_CALM));
        }
        // There are no pushed streams, whose numbers would be even.
        if id.is_multiple_of(2) {
            return Err(self.fault(Reason::PROTOCOL_ERROR));
        }
        if id <= self.streams.last {
            return self.trailers(id, ends, section);
        }
        self.streams.last = id;
        let closed = matches!(self.state, State::Closing);
        if closed || self.streams.len() >= self.rules.max_concurrent_streams as usize {
            self.reset_unopened(id, Reason::REFUSED_STREAM);
            return self.take_allowance(1, "refused-streams").map(|()| None);
        }
        let checked = if section.is_too_large() { Ok(()) } else { section.check_request(self.rules.connect) };
        if depends_on_itself || checked.is_err() {
            self.take_allowance(STREAM_FAULT, "stream-errors")?;
            self.reset_unopened(id, Reason::PROTOCOL_ERROR);
            return Ok(checked.err().map(Event::Malformed));
        }
        let size = if self.acknowledged { self.rules.initial_window_size } else { self.unacknowledged_window() };
        self.streams.push(Stream {
            id,
            tag: u64::MAX,
            window: i64::from(self.first_window),
            receiving: Receiving::new(size),
            untaken: 0,
            expected: None,
            received: 0,
            ended: ends,
            answered: false,
        });
        Ok(Some(Event::Request { stream: id, ends, too_large: section.is_too_large() }))
    }

    /// Until the client knows ours, it keeps to the first window that everybody has.
    fn unacknowledged_window(&self) -> u32 {
        self.rules.initial_window_size.max(FIRST_WINDOW)
    }

    fn reset_unopened(&mut self, id: u32, reason: Reason) {
        self.put_frame(frames::RST_STREAM, 0, id, &reason.0.to_be_bytes());
        self.streams.remember(id, Past::Reset);
    }

    fn trailers(&mut self, id: u32, ends: bool, section: &Section) -> Result<Option<Event>, Fault> {
        let Some(stream) = self.streams.get_mut(id) else {
            return match self.streams.past(id) {
                Some(Past::Reset) => Ok(None),
                Some(Past::Closed) => Err(self.fault(Reason::STREAM_CLOSED)),
                // It was passed over, or is long forgotten.
                None => Err(self.fault(Reason::PROTOCOL_ERROR)),
            };
        };
        if stream.ended {
            return self.reset_event(id, Reason::STREAM_CLOSED);
        }
        let short = stream.expected.is_some_and(|expected| expected != stream.received);
        // What is too large is dropped, as all of them are.
        let malformed = !section.is_too_large() && section.check_trailers().is_err();
        if !ends || short || malformed {
            return self.reset_event(id, Reason::PROTOCOL_ERROR);
        }
        stream.ended = true;
        Ok(Some(Event::End { tag: stream.tag }))
    }

    fn priority(&mut self, frame: Frame, payload: &[u8]) -> Result<Option<Event>, Fault> {
        if number(payload) != Some(frame.stream) {
            return Ok(None);
        }
        if self.streams.get(frame.stream).is_some() {
            return self.reset_event(frame.stream, Reason::PROTOCOL_ERROR);
        }
        Err(self.fault(Reason::PROTOCOL_ERROR))
    }

    fn taken_back(&mut self, frame: Frame) -> Result<Option<Event>, Fault> {
        if self.is_idle(frame.stream) {
            return Err(self.fault(Reason::PROTOCOL_ERROR));
        }
        let tag = self.forget(frame.stream, Past::Closed);
        Ok(tag.map(|tag| Event::Reset { tag, by_client: true }))
    }

    /// Whether nobody has opened a stream of this number so far.
    pub(super) fn is_idle(&self, id: u32) -> bool {
        id > self.streams.last || id.is_multiple_of(2)
    }

    fn settings(&mut self, frame: Frame, payload: &[u8]) -> Result<Option<Event>, Fault> {
        if frame.flags & frames::ACK != 0 {
            if !std::mem::replace(&mut self.acknowledged, true) {
                let size = self.rules.initial_window_size;
                self.streams.iter_mut().for_each(|stream| stream.receiving.resize(size));
            }
            return Ok(None);
        }
        self.greeted = true;
        let mut first_window = self.first_window;
        for setting in payload.chunks_exact(6) {
            let &[i0, i1, v0, v1, v2, v3] = setting else { continue };
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            match u16::from_be_bytes([i0, i1]) {
                HEADER_TABLE_SIZE => self.encoder.set_limit(value),
                ENABLE_PUSH if value > 1 => return Err(self.fault(Reason::PROTOCOL_ERROR)),
                INITIAL_WINDOW_SIZE if i64::from(value) > LARGEST_WINDOW => {
                    return Err(self.fault(Reason::FLOW_CONTROL_ERROR));
                }
                INITIAL_WINDOW_SIZE => first_window = value,
                MAX_FRAME_SIZE if !(16_384..1 << 24).contains(&value) => {
                    return Err(self.fault(Reason::PROTOCOL_ERROR));
                }
                MAX_FRAME_SIZE => self.frame_size = value,
                _ => {}
            }
        }
        // Once per frame, however often it is in there: the streams may be many.
        let by = i64::from(first_window) - i64::from(self.first_window);
        self.first_window = first_window;
        if by != 0 && !self.streams.iter_mut().all(|stream| open(&mut stream.window, by)) {
            return Err(self.fault(Reason::FLOW_CONTROL_ERROR));
        }
        self.put_frame(frames::SETTINGS, frames::ACK, 0, &[]);
        Ok(None)
    }

    fn ping(&mut self, frame: Frame, payload: &[u8]) -> Option<Event> {
        if frame.flags & frames::ACK == 0 {
            self.put_frame(frames::PING, frames::ACK, 0, payload);
        } else if self.state == State::Warned && payload == LAST_CALL {
            self.close_now();
        }
        None
    }

    fn going_away(&mut self, payload: &[u8]) -> Option<Event> {
        let reason = payload.get(4..8).and_then(|code| code.first_chunk::<4>()).map(|code| u32::from_be_bytes(*code));
        let first = self.told.is_none();
        self.told = reason.map(Reason);
        first.then_some(Event::Leaving)
    }

    fn window_update(&mut self, frame: Frame, payload: &[u8]) -> Result<Option<Event>, Fault> {
        let by = number(payload).unwrap_or(0);
        if frame.stream == 0 {
            if by == 0 {
                return Err(self.fault(Reason::PROTOCOL_ERROR));
            }
            if !open(&mut self.window, i64::from(by)) {
                return Err(self.fault(Reason::FLOW_CONTROL_ERROR));
            }
            return Ok(None);
        }
        if self.is_idle(frame.stream) {
            return Err(self.fault(Reason::PROTOCOL_ERROR));
        }
        let Some(stream) = self.streams.get_mut(frame.stream) else { return Ok(None) };
        if by == 0 {
            return self.reset_event(frame.stream, Reason::PROTOCOL_ERROR);
        }
        if !open(&mut stream.window, i64::from(by)) {
            return self.reset_event(frame.stream, Reason::FLOW_CONTROL_ERROR);
        }
        Ok(None)
    }

    fn priority_update(&mut self, payload: &[u8]) -> Result<Option<Event>, Fault> {
        let stream = number(payload).unwrap_or(0);
        // There are no pushed streams, whose numbers would be even.
        if stream.is_multiple_of(2) {
            return Err(self.fault(Reason::PROTOCOL_ERROR));
        }
        let value = payload.get(4..).filter(|_| payload.len() <= LONGEST_UPDATE);
        Ok(value.map(|value| Event::Priority { stream, priority: Priority::of([value]) }))
    }

    fn begin_content(&mut self, frame: Frame) -> Result<Option<Event>, Fault> {
        if self.is_idle(frame.stream) {
            return Err(self.fault(Reason::PROTOCOL_ERROR));
        }
        let padded = frame.flags & frames::PADDED != 0;
        if padded && frame.length == 0 {
            return Err(self.fault(Reason::PROTOCOL_ERROR));
        }
        if !self.receiving.received(frame.length) {
            return Err(self.fault(Reason::FLOW_CONTROL_ERROR));
        }
        let ends = frame.flags & frames::END_STREAM != 0;
        let mut content = Content::new(frame.stream, frame.length as usize, padded, ends);
        let reason = match self.streams.get_mut(frame.stream) {
            Some(stream) if stream.ended => Some(Reason::STREAM_CLOSED),
            Some(stream) => (!stream.receiving.received(frame.length)).then_some(Reason::FLOW_CONTROL_ERROR),
            None => {
                content.discard();
                if self.streams.past(frame.stream) != Some(Past::Reset) {
                    self.take_allowance(1, "late-frames")?;
                    self.reset_unopened(frame.stream, Reason::STREAM_CLOSED);
                }
                None
            }
        };
        let event = match reason {
            None => None,
            Some(reason) => {
                content.discard();
                self.reset_event(frame.stream, reason)?
            }
        };
        self.content = Some(content);
        if frame.length == 0 {
            let end = self.end_content()?;
            return Ok(event.or(end));
        }
        Ok(event)
    }
}

/// Whether a frame of this type can have this size.
fn has_possible_size(frame: Frame) -> bool {
    match frame.kind {
        frames::RST_STREAM | frames::WINDOW_UPDATE => frame.length == 4,
        frames::SETTINGS if frame.flags & frames::ACK != 0 => frame.length == 0,
        frames::SETTINGS => frame.length.is_multiple_of(6),
        frames::PING => frame.length == 8,
        frames::GOAWAY => frame.length >= 8,
        frames::PRIORITY => frame.length == 5,
        frames::PRIORITY_UPDATE => frame.length >= 4,
        frames::HEADERS => {
            let flag = |flag: u8, size: u32| if frame.flags & flag == 0 { 0 } else { size };
            frame.length >= flag(frames::PADDED, 1) + flag(frames::WITH_PRIORITY, 5)
        }
        _ => true,
    }
}
