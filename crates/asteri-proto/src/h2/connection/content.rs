//! DATA (RFC 9113 §6.1), which is handed on as it arrives.

use super::{Connection, Event};
use crate::h2::reason::{Fault, Reason};

/// A frame whose payload is arriving.
#[derive(Debug)]
pub(super) struct Content {
    stream: u32,
    /// Of the payload, in bytes.
    left: usize,
    /// It begins with the length of the padding.
    padded: bool,
    /// How much of what is left is padding.
    padding: usize,
    ends: bool,
    /// Nobody wants it.
    discarded: bool,
}

impl Content {
    pub fn new(stream: u32, length: usize, padded: bool, ends: bool) -> Self {
        Self { stream, left: length, padded, padding: 0, ends, discarded: false }
    }

    pub fn discard(&mut self) {
        self.discarded = true;
    }
}

impl Connection {
    /// Takes from the payload. `at` is where `rest` begins in the input.
    pub(super) fn receive_content(&mut self, rest: &[u8], at: usize) -> Result<(usize, Option<Event>), Fault> {
        let Some(content) = &mut self.content else { return Ok((0, None)) };
        let stream = content.stream;
        if std::mem::take(&mut content.padded) {
            let padding = rest.first().map_or(0, |byte| usize::from(*byte));
            content.left -= 1;
            content.padding = padding;
            if padding > content.left {
                return Err(self.fault(Reason::PROTOCOL_ERROR));
            }
            self.take(stream, 1);
            return self.after_content(1, None);
        }
        let bytes = content.left - content.padding;
        if bytes == 0 || content.discarded {
            // Padding, or what nobody wants: it is taken as it comes.
            let count = content.left.min(rest.len());
            content.left -= count;
            content.padding = content.padding.min(content.left);
            self.take(stream, count);
            return self.after_content(count, None);
        }
        let count = bytes.min(rest.len());
        content.left -= count;
        let ends = content.ends && content.left == 0;
        let Some(stream) = self.streams.get_mut(stream) else {
            // It has ended between two parts of the frame.
            content.discarded = true;
            content.left += count;
            return Ok((0, None));
        };
        stream.received += count as u64;
        let (id, tag) = (stream.id, stream.tag);
        let wrong =
            stream.expected.is_some_and(|expected| stream.received > expected || ends && stream.received < expected);
        if wrong {
            content.discarded = true;
            self.take(id, count);
            let event = self.reset_event(id, Reason::PROTOCOL_ERROR)?;
            return self.after_content(count, event);
        }
        stream.untaken += count;
        if ends {
            stream.ended = true;
            self.content = None;
        }
        let event = Event::Content { tag, bytes: at..at + count, ends };
        self.after_content(count, Some(event))
    }

    fn after_content(&mut self, used: usize, event: Option<Event>) -> Result<(usize, Option<Event>), Fault> {
        if event.is_none() && self.content.as_ref().is_some_and(|content| content.left == 0) {
            return Ok((used, self.end_content()?));
        }
        if self.content.as_ref().is_some_and(|content| content.left == 0) {
            // Its end has been told, or does not matter.
            self.content = None;
        }
        Ok((used, event))
    }

    /// The frame has come in full, and its end is still to be told.
    pub(super) fn end_content(&mut self) -> Result<Option<Event>, Fault> {
        let Some(content) = self.content.take().filter(|content| content.ends && !content.discarded) else {
            return Ok(None);
        };
        let Some(stream) = self.streams.get_mut(content.stream) else { return Ok(None) };
        if stream.expected.is_some_and(|expected| expected != stream.received) {
            return self.reset_event(content.stream, Reason::PROTOCOL_ERROR);
        }
        stream.ended = true;
        Ok(Some(Event::End { tag: stream.tag }))
    }

    /// Opens the windows again for bytes that nobody has to take. The stream may be over.
    fn take(&mut self, stream: u32, bytes: usize) {
        if let Some(opened) = self.receiving.take(bytes) {
            self.put_window_update(0, opened);
        }
        let Some(open) = self.streams.get_mut(stream).filter(|open| !open.ended) else { return };
        if let Some(opened) = open.receiving.take(bytes) {
            self.put_window_update(stream, opened);
        }
    }

    /// The owner has taken so much of the content of a stream, and the client may send as much again.
    pub fn release(&mut self, stream: u32, bytes: usize) {
        let Some(open) = self.streams.get_mut(stream) else { return };
        let bytes = bytes.min(open.untaken);
        open.untaken -= bytes;
        self.take(stream, bytes);
    }
}
