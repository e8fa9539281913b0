//! The driver of one connection, from its preface to its end.
//!
//! [`Connection::receive`] turns what has arrived into [`Event`]s. What is to be sent, answers to frames included, collects in
//! [`Connection::out`]; the owner takes it from there. Streams that the client has open are known by numbers, and by a tag of the
//! owner's choice.
//!
//! * `incoming.rs`: frames, and what they mean
//! * `content.rs`: DATA, which is handed on as it arrives
//! * `outgoing.rs`: responses, and the end

mod content;
mod incoming;
mod outgoing;
#[cfg(test)]
mod tests;

use super::allowance::Allowance;
use super::flow::{FIRST_WINDOW, LARGEST_WINDOW, Receiving};
use super::frames::{self, Frame, HEADER, PREFACE};
use super::hpack::{Decoder, Encoder};
use super::priority::Priority;
use super::reason::{Fault, Reason};
use super::streams::Streams;
use crate::error::ProtocolError;
use crate::time::Moment;
use content::Content;
use std::ops::Range;

/// What the client may send before any of it is taken, on all streams together, in bytes; twice the window of a stream if that is more,
/// so that one whose application is slow does not hold up the others at once.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What a stream that we end for what the client did wrong on it takes from the allowance (CVE-2025-8671): a proxy may have a few bad
/// clients among many.
const STREAM_FAULT: u32 = 8;
/// The largest frame that anybody takes (RFC 9113 §4.2), in bytes.
const FRAME_SIZE: u32 = 16_384;
/// The table that clients may use for what they send (RFC 9113 §6.5.2), in bytes.
const TABLE_SIZE: usize = 4096;

/// What we tell the client that it has to keep to.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Streams that may be open at once.
    pub max_concurrent_streams: u32,
    /// Content that may come on a stream before any of it is taken, in bytes.
    pub initial_window_size: u32,
    /// Payload of a frame, in bytes: 16,384 to 16,777,215.
    pub max_frame_size: u32,
    /// Field section, in bytes as RFC 9113 §10.5.1 counts them.
    pub max_header_list_size: u32,
    /// Whether CONNECT may have a `:protocol` (RFC 8441).
    pub connect: bool,
}

/// What has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// All input is used, and there is nothing more to say of it.
    NeedData,
    /// A request: its fields are in the section. The owner gives the stream a tag, or answers.
    Request {
        /// Its number.
        stream: u32,
        /// There is no content, and no trailer section.
        ends: bool,
        /// The section is larger than is allowed, and not kept in full.
        too_large: bool,
    },
    /// A request that is malformed; its stream has been ended. What is known of it is in the section.
    Malformed(ProtocolError),
    /// Content: this part of the input.
    Content {
        /// The owner's name of the stream.
        tag: u64,
        /// Where in the input.
        bytes: Range<usize>,
        /// It is the last of the request.
        ends: bool,
    },
    /// A request has come to its end.
    End {
        /// The owner's name of the stream.
        tag: u64,
    },
    /// A stream is over before its time.
    Reset {
        /// The owner's name of the stream.
        tag: u64,
        /// The client has taken it back; else it has broken a rule.
        by_client: bool,
    },
    /// How soon a response is wanted (RFC 9218 §7.1); the stream may be one to come.
    Priority {
        /// Its number.
        stream: u32,
        /// What is wanted.
        priority: Priority,
    },
    /// The client opens no more streams.
    Leaving,
}

/// A field section that is arriving in several frames.
#[derive(Debug)]
struct Block {
    stream: u32,
    ends: bool,
    depends_on_itself: bool,
    bytes: Vec<u8>,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The client was told to open no more streams; those that it opens before it knows are served.
    Warned,
    /// Streams that it opens from now on are not.
    Closing,
    Over,
}

/// See the module.
#[derive(Debug)]
pub struct Connection {
    rules: Rules,
    state: State,
    /// Bytes of the preface that are still to come.
    preface: usize,
    /// The client has sent settings, as it must before anything else.
    greeted: bool,
    /// The client keeps to our settings.
    acknowledged: bool,
    /// The header of a frame, and how much of it has come.
    header: [u8; HEADER],
    have: usize,
    /// A frame whose payload is not here in full, and what there is of it.
    partial: Option<Frame>,
    payload: Vec<u8>,
    /// Bytes that are passed over.
    skip: usize,
    content: Option<Content>,
    block: Option<Box<Block>>,
    /// Since when what is expected of the client is.
    since: Moment,
    decoder: Decoder,
    encoder: Encoder,
    streams: Streams,
    receiving: Receiving,
    /// What we may send on all streams together, in bytes.
    window: i64,
    /// What the client wants: the first window of a stream, and the largest frame.
    first_window: u32,
    frame_size: u32,
    allowance: Allowance,
    /// When bytes came last.
    now: Moment,
    /// The client leaves, for this reason.
    told: Option<Reason>,
    /// What is to be sent.
    pub out: Vec<u8>,
}

impl Connection {
    /// For a connection whose first byte (of the preface) is still to come.
    #[must_use]
    pub fn new(rules: Rules, now: Moment) -> Self {
        let window = CONNECTION_WINDOW.max(rules.initial_window_size.saturating_mul(2)).min(LARGEST_WINDOW as u32);
        let mut receiving = Receiving::new(FIRST_WINDOW);
        receiving.resize(window);
        let mut connection = Self {
            rules,
            state: State::Open,
            preface: PREFACE.len(),
            greeted: false,
            acknowledged: false,
            header: [0; HEADER],
            have: 0,
            partial: None,
            payload: Vec::new(),
            skip: 0,
            content: None,
            block: None,
            since: now,
            decoder: Decoder::new(TABLE_SIZE),
            encoder: Encoder::new(),
            streams: Streams::default(),
            receiving,
            window: i64::from(FIRST_WINDOW),
            first_window: FIRST_WINDOW,
            frame_size: FRAME_SIZE,
            allowance: Allowance::new(now),
            now,
            told: None,
            out: Vec::new(),
        };
        connection.greet(window);
        connection
    }

    /// The stream is called so from now on.
    pub fn set_tag(&mut self, stream: u32, tag: u64) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.tag = tag;
        }
    }

    /// How long the content of a request is said to be: it has to be that (RFC 9113 §8.1.1).
    pub fn expect_content(&mut self, stream: u32, length: u64) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.expected = Some(length);
        }
    }

    /// Streams that are open.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// The highest number of a stream so far.
    #[must_use]
    pub fn last_stream(&self) -> u32 {
        self.streams.last
    }

    /// Whether it has ended: nothing more is understood, and what is in [`Connection::out`] are the last words.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self.state {
            State::Over => true,
            State::Closing => self.streams.len() == 0,
            State::Open | State::Warned => false,
        }
    }

    /// What the client has said for which it leaves, if that is an error.
    #[must_use]
    pub fn told(&self) -> Option<Fault> {
        let reason = self.told.filter(|reason| *reason != Reason::NO_ERROR)?;
        Some(Fault { reason, remote: true, flood: None })
    }

    /// Whether the preface has come.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.preface == 0
    }

    /// Since when the client has not gone on with something small that it has begun: its preface, a frame that is not content, a field
    /// section.
    #[must_use]
    pub fn within_head_since(&self) -> Option<Moment> {
        let within =
            self.preface > 0 || self.have > 0 || self.partial.is_some() || self.block.is_some() || self.skip > 0;
        within.then_some(self.since)
    }

    /// Nothing was read for a while: the client has its time anew.
    pub fn resumed(&mut self, now: Moment) {
        self.since = now;
    }

    /// Whether content that was not taken fills the window of all streams together, so that the client can send hardly any.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.receiving.is_short_of(FRAME_SIZE)
    }

    /// Whether the client has been told to open no more streams, and has not answered.
    #[must_use]
    pub fn is_warned(&self) -> bool {
        self.state == State::Warned
    }

    /// So many bytes of [`Connection::out`] were sent.
    pub fn sent(&mut self, bytes: usize) {
        self.allowance.sent(bytes);
    }

    /// Lets go of memory that a transfer has needed and silence does not.
    pub fn shrink(&mut self) {
        if self.out.is_empty() {
            self.out = Vec::new();
        }
        if self.partial.is_none() {
            self.payload = Vec::new();
        }
    }

    /// It ends at once, as the client has broken a rule.
    fn fault(&mut self, reason: Reason) -> Fault {
        self.abort(reason);
        Fault::of(reason)
    }

    /// `what` it is for, should it be one too many.
    fn take_allowance(&mut self, price: u32, what: &'static str) -> Result<(), Fault> {
        if price == 0 || self.allowance.take(price, self.now) {
            return Ok(());
        }
        self.abort(Reason::ENHANCE_YOUR_CALM);
        Err(Fault { reason: Reason::ENHANCE_YOUR_CALM, remote: false, flood: Some(what) })
    }

    /// A stream on which the client has broken a rule ends. Too many of them, and the connection does.
    fn stream_fault(&mut self, stream: u32, reason: Reason) -> Result<Option<u64>, Fault> {
        self.take_allowance(STREAM_FAULT, "stream-errors")?;
        Ok(self.reset(stream, reason))
    }

    /// The same, where there is an owner to be told.
    fn reset_event(&mut self, stream: u32, reason: Reason) -> Result<Option<Event>, Fault> {
        let tag = self.stream_fault(stream, reason)?;
        Ok(tag.map(|tag| Event::Reset { tag, by_client: false }))
    }

    fn put_frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap_or(0);
        self.out.extend_from_slice(&Frame { length, kind, flags, stream }.header());
        self.out.extend_from_slice(payload);
    }

    fn put_window_update(&mut self, stream: u32, by: u32) {
        self.put_frame(frames::WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    }
}
