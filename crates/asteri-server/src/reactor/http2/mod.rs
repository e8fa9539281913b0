//! Connections that speak HTTP/2 (RFC 9113): many requests at a time, each a stream with a name of its own.
//!
//! The driver ([`asteri_proto::h2::connection`]) does frames, header compression and flow control; here its events become requests, and
//! responses its frames. A stream is an [`Exchange`], named by a [`Key`] like a connection, so hosts and gateways see requests as
//! ever. What is read in one go is worked off before anything is sent: all of its requests run, then their responses leave together.
//!
//! * `begin.rs`: from the first byte to streams; prior knowledge and Upgrade
//! * `receive.rs`: from bytes to requests, and their content
//! * `send.rs`: from the applications' bytes to the socket
//! * `answer.rs`: what hosts and gateways do with a stream
//! * `websocket.rs`: streams that speak frames
//! * `time.rs`: deadlines, and the end

mod answer;
mod begin;
mod exchange;
mod receive;
mod send;
mod time;
mod websocket;

pub(super) use begin::Opening;
pub(crate) use exchange::Exchange;

use crate::settings::Http2Settings;
use crate::slab::Key;
use asteri_proto::h2::connection::{Connection as Link, Rules};
use asteri_proto::h2::priority::Priority;
use asteri_proto::h2::upgrade::Upgrade;
use asteri_proto::time::Moment;
use exchange::NEVER;

/// One connection's side of it.
pub(crate) struct Http2 {
    link: Link,
    /// A request of HTTP/1.1 that is to be the first stream, until the preface has come.
    upgrade: Option<Upgrade>,
    /// Streams that are not over.
    open: Vec<Key>,
    /// Priorities of streams to come, by their numbers.
    expected: Vec<(u32, Priority)>,
    /// Streams that have something to send.
    ready: Vec<Key>,
    /// Pieces of content that were given to the connection.
    turns: u64,
    /// When the last of them was.
    moved: Moment,
    /// Requests that wait for the application.
    queued: usize,
    /// Something is to be given to the socket, and when the first of it came.
    dirty: Option<Moment>,
    /// Since when no stream is open.
    idle_since: Moment,
    /// A stream has been opened.
    used: bool,
    /// It has been told to end, and when it ends in any case unless streams are open.
    give_up: Moment,
    /// When time alone changes something.
    pub deadline: Moment,
    /// For bytes on their way out.
    spare: Vec<u8>,
}

impl Http2 {
    fn new(settings: &Http2Settings, websockets: bool, now: Moment) -> Self {
        let rules = Rules {
            max_concurrent_streams: settings.max_concurrent_streams,
            initial_window_size: settings.initial_window_size,
            max_frame_size: settings.max_frame_size,
            max_header_list_size: settings.max_header_list_size,
            connect: websockets,
        };
        Self {
            link: Link::new(rules, now),
            upgrade: None,
            open: Vec::new(),
            expected: Vec::new(),
            ready: Vec::new(),
            turns: 0,
            moved: now,
            queued: 0,
            dirty: None,
            idle_since: now,
            used: false,
            give_up: NEVER,
            deadline: NEVER,
            spare: Vec::new(),
        }
    }

    /// A stream is opened: the priority that a frame has given it before, if one has.
    fn expected_priority(&mut self, id: u32) -> Option<Priority> {
        let found = self.expected.iter().find(|(expected, _)| *expected == id).map(|(_, priority)| *priority);
        // Streams that were passed over can never be opened.
        self.expected.retain(|(expected, _)| *expected > id);
        found
    }
}

/// When responses that are complete leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batching {
    /// When the thread that runs the application has nothing left to run, or the standby thread finds them.
    Loop,
    /// When the last request of the connection that waits for a thread was taken.
    Queue,
    /// At the end of the host's turn. Those that come outside of one: when the client has no other at work, or with the next.
    Turn { inside: bool },
}

impl Batching {
    /// The turner is an event loop, which does other things, too.
    pub fn is_hosted(self) -> bool {
        matches!(self, Self::Turn { .. })
    }
}
