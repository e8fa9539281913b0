//! One stream: a request and the response to it.

use crate::connection::Streaming;
use crate::content::Collector;
use crate::outbox::Outbox;
use crate::request::ReadyRequest;
use crate::slab::Key;
use asteri_proto::h2::block;
use asteri_proto::h2::connection::Connection as Link;
use asteri_proto::h2::priority::Priority;
use asteri_proto::pace::Pace;
use asteri_proto::time::Moment;
use std::io;

/// What a stream is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Content arrives that the application gets with the request.
    Collecting,
    /// A request waits for the application.
    Queued,
    /// The application is at it.
    InApplication,
    /// The application is done; the rest of the response is being delivered.
    Delivering,
    /// The application speaks WebSocket with the peer.
    Upgraded,
}

/// Bytes of a response that go to the connection in one go, before others have their turn.
const PIECE: u64 = 64 * 1024;

/// No deadline.
pub(crate) const NEVER: Moment = Moment(u64::MAX);

pub(crate) struct Exchange {
    pub connection: Key,
    pub id: u32,
    pub phase: Phase,
    pub is_head: bool,
    /// While collecting.
    pub partial: Option<(ReadyRequest, Collector)>,
    /// Where requests are handed out with their head.
    pub input: Streaming,
    /// Content that was received, in bytes.
    pub received: u64,
    /// Content that the client cannot know to be taken: it counts against its window.
    pub unreleased: usize,
    /// Nobody wants what the client still sends of the request.
    pub deaf: bool,
    pub pace: Pace,
    pub awaits_continue: bool,
    /// The final head was given by the application.
    pub begun: bool,
    /// Head blocks that are to be sent, the final one last.
    heads: Vec<u8>,
    pub out: Outbox,
    trailers: Vec<u8>,
    /// All of the response is there.
    pub finished: bool,
    /// It is in the list of those that have something to send.
    pub ready: bool,
    /// When the client must have made room for some of the response.
    pub write_deadline: Moment,
    pub priority: Priority,
    /// When it last gave something to the connection.
    pub turn: u64,
}

/// What came of giving output to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pumped {
    /// The stream has ended.
    Done,
    /// All that there is was given.
    Idle,
    /// There is more, and others may have their turn first.
    More,
    /// The client has to make room first.
    Blocked,
    /// The client has taken the stream back, or the response could not be kept.
    Gone,
}

impl Exchange {
    pub fn new(connection: Key, id: u32, pace: Pace) -> Self {
        Self {
            connection,
            id,
            phase: Phase::Collecting,
            is_head: false,
            partial: None,
            input: Streaming::default(),
            received: 0,
            unreleased: 0,
            deaf: false,
            pace,
            awaits_continue: false,
            begun: false,
            heads: Vec::new(),
            out: Outbox::default(),
            trailers: Vec::new(),
            finished: false,
            ready: false,
            write_deadline: NEVER,
            priority: Priority::default(),
            turn: 0,
        }
    }

    /// An application has it.
    pub fn in_use(&self) -> bool {
        matches!(self.phase, Phase::InApplication | Phase::Upgraded)
    }

    /// Takes head blocks from the start of what the application sends; says where the content begins.
    pub fn take_heads(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while !self.begun
            && let Some((block, length)) = block::read(bytes.get(at..).unwrap_or_default())
        {
            self.begun = !block.is_interim();
            at += length;
        }
        self.heads.extend_from_slice(bytes.get(..at).unwrap_or_default());
        at
    }

    /// Sends 100 (Continue) if the client waits for it.
    pub fn send_continue(&mut self, link: &mut Link) {
        if std::mem::take(&mut self.awaits_continue) {
            link.send_head(self.id, 100, block::lines(&[]), false);
        }
    }

    /// The trailer section: field lines as [`block::lines`] reads them.
    pub fn set_trailers(&mut self, section: &[u8]) {
        if block::lines(section).next().is_some() {
            self.trailers = section.to_vec();
        }
    }

    /// Nothing of the response has been given, so that it may be sent without being kept.
    pub fn is_untouched(&self) -> bool {
        !self.begun && self.heads.is_empty() && self.out.is_empty() && self.trailers.is_empty()
    }

    /// Which stream is first to send: the most urgent one; of these the oldest, while those of which the client can use parts
    /// take turns behind it (RFC 9218 §10).
    pub fn rank(&self) -> (u8, Option<u64>, u32) {
        (self.priority.urgency, self.priority.incremental.then_some(self.turn), self.id)
    }

    /// Gives the application's output to the connection, as far as the client has room for it. Says how many bytes of content.
    ///
    /// # Errors
    /// When what was kept in a file cannot be read.
    pub(super) fn pump(&mut self, link: &mut Link) -> io::Result<(Pumped, u64)> {
        let heads = std::mem::take(&mut self.heads);
        let mut left = &heads[..];
        while let Some((block, length)) = block::read(left) {
            left = left.get(length..).unwrap_or_default();
            let ends = !block.is_interim() && self.ends();
            if !link.send_head(self.id, block.status, block.fields(), ends) {
                return Ok((Pumped::Gone, 0));
            }
            if ends {
                return Ok((Pumped::Done, 0));
            }
        }
        let mut moved = 0;
        while !self.out.is_empty() {
            if link.room(self.id) == 0 {
                return Ok((Pumped::Blocked, moved));
            }
            let (out, last) = (&mut self.out, self.finished && self.trailers.is_empty());
            let sent = link.send_content(self.id, |frame, most| {
                out.take(frame, most)?;
                Ok(last && out.is_empty())
            })?;
            let Some(sent) = sent else { return Ok((Pumped::Gone, moved)) };
            moved += sent as u64;
            if self.ends() {
                return Ok((Pumped::Done, moved));
            }
            if moved >= PIECE {
                return Ok((Pumped::More, moved));
            }
        }
        if !self.finished {
            return Ok((Pumped::Idle, moved));
        }
        let ended = match &self.trailers[..] {
            [] => link.send_content(self.id, |_, _| Ok(true))?.is_some(),
            trailers => link.send_trailers(self.id, block::lines(trailers)),
        };
        Ok((if ended { Pumped::Done } else { Pumped::Gone }, moved))
    }

    /// Whether what is given next is the end.
    fn ends(&self) -> bool {
        self.finished && self.out.is_empty() && self.trailers.is_empty()
    }
}
