//! A request that is complete and may be given to an application.

use crate::connection::Connection;
use crate::content::Body;
use crate::slab::Key;
use crate::sys::socket::Peer;
use crate::tls::Details;
use asteri_proto::h1::request::RequestHead;
use asteri_proto::proxy::Told;
use asteri_proto::time::Moment;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A well-formed request, head and content. It owns all its bytes: nothing of the reactor is borrowed while an
/// application runs. It is one pointer, since it goes through many hands; the memory behind it is used again.
#[derive(Debug)]
pub struct ReadyRequest(Box<Parts>);

/// What a request consists of.
#[derive(Debug)]
pub struct Parts {
    /// Which connection is to be answered.
    pub(crate) key: Key,
    /// Bytes as they were received; the head starts at `base`.
    pub(crate) buffer: Vec<u8>,
    pub(crate) base: usize,
    /// Memory for [`ReadyRequest::compact`].
    pub(crate) spare: Vec<u8>,
    pub head: RequestHead,
    pub body: Body,
    /// The client, as far as the connection tells: its other end, or whom the PROXY header names.
    pub peer: Peer,
    /// Whether the other end of the connection is believed what it says about its client in field lines.
    pub trusted: bool,
    /// What the PROXY header of the connection said.
    pub told: Option<Told>,
    /// How the connection is secured; `None`: not at all.
    pub tls: Option<Arc<Details>>,
    /// Whether the client speaks TLS, to us or to whoever is in front, where that is known from other than `secure_scheme_headers`.
    pub https: Option<bool>,
    /// The listener that the connection came from, by its place in the list.
    pub listener: usize,
    /// When the request was complete.
    pub arrived: Moment,
    /// Whether the peer had closed its sending side when the request was complete.
    pub(crate) half_closed: bool,
    /// Whether all of its content had arrived when it was handed out. Of a request of HTTP/2 this says nothing.
    pub(crate) is_whole: bool,
}

impl Deref for ReadyRequest {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl DerefMut for ReadyRequest {
    fn deref_mut(&mut self) -> &mut Parts {
        &mut self.0
    }
}

impl ReadyRequest {
    /// A request that came over no connection, for trying an application without a server. `buffer` is what the spans
    /// of `head` point into.
    #[must_use]
    pub fn detached(buffer: Vec<u8>, head: RequestHead, body: Body, peer: Peer, trusted: bool) -> Self {
        Self(Box::new(Parts { buffer, head, body, peer, trusted, ..Parts::blank() }))
    }

    /// One to be filled.
    pub(crate) fn blank() -> Self {
        Self(Box::new(Parts::blank()))
    }

    /// What the spans of [`Parts::head`] point into.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.base..]
    }

    /// Lets go of the large receive buffer: for requests that have to wait. Returns the buffer.
    pub(crate) fn compact(&mut self) -> Vec<u8> {
        if self.key.is_stream() {
            // It has its own.
            return Vec::new();
        }
        let mut own = std::mem::take(&mut self.spare);
        own.clear();
        own.extend_from_slice(&self.buffer[self.base..self.base + self.head.len]);
        self.base = 0;
        std::mem::replace(&mut self.buffer, own)
    }

    /// The request line's method and target, for the scoreboard.
    #[must_use]
    pub fn method_and_target(&self) -> (&[u8], &[u8]) {
        let bytes = self.bytes();
        (self.head.method.of(bytes), self.head.target.of(bytes))
    }
}

impl Parts {
    /// Takes over what a request has from its connection, which had it complete at `now`.
    pub(crate) fn came_from(&mut self, key: Key, connection: &Connection, now: Moment) {
        self.key = key;
        self.peer = connection.peer;
        self.trusted = connection.trusted;
        self.told = connection.told.as_deref().copied();
        self.tls = connection.tls.as_ref().and_then(|tls| tls.details().cloned());
        self.listener = usize::from(connection.listener);
        self.half_closed = connection.peer_closed;
        self.arrived = now;
        self.is_whole = connection.stream.as_ref().is_none_or(|stream| stream.complete);
    }

    fn blank() -> Self {
        Self {
            key: Key::from_token(u64::MAX),
            buffer: Vec::new(),
            base: 0,
            spare: Vec::new(),
            head: RequestHead::default(),
            body: Body::Empty,
            peer: Peer::Unix,
            trusted: false,
            told: None,
            tls: None,
            https: None,
            listener: 0,
            arrived: Moment::default(),
            half_closed: false,
            is_whole: false,
        }
    }
}
