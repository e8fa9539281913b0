//! One connection's state, as small as it can be while it is idle.

use crate::content::Collector;
use crate::listener::{Protocol, Speech};
use crate::outbox::Outbox;
use crate::reactor::{Http2, WebSocket};
use crate::sys::socket::{self, Peer, Pending};
use crate::tls::Session;
use crate::wheel::Alarm;
use asteri_proto::h1::connection::Connection as Http1;
use asteri_proto::h1::request::RequestHead;
use asteri_proto::limits::Config;
use asteri_proto::proxy::Told;
use asteri_proto::time::Moment;
use std::os::fd::{AsFd, OwnedFd};

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Waiting for the PROXY header, which comes before everything else.
    ProxyHeader,
    /// Waiting for a request, or receiving one.
    Receiving,
    /// A complete request waits for the application.
    Queued,
    /// The application is at it. Nothing is read meanwhile: further requests wait in the socket.
    InApplication,
    /// The application is done; the rest of the response is being delivered.
    Delivering { keep_alive: bool },
    /// The application speaks WebSocket with the peer.
    Upgraded,
    /// The peer speaks HTTP/2: what an application has are its streams.
    Multiplexed,
    /// All is sent; what the peer still sends is thrown away until it has read our answer, as closing now would reset
    /// the connection and could destroy the answer on its way (RFC 9112 §9.6).
    Lingering,
}

/// A request whose content is still arriving.
pub(crate) struct Partial {
    pub head: RequestHead,
    /// The bytes of the head.
    pub bytes: Vec<u8>,
    pub content: Collector,
}

/// A request that was handed out with its head: what goes on between connection and application meanwhile.
#[derive(Default)]
pub(crate) struct Streaming {
    /// Content that has arrived and was not taken.
    pub content: Vec<u8>,
    /// All content has arrived.
    pub complete: bool,
    /// The application has been told so.
    pub told_complete: bool,
    /// The peer had closed its sending side when the request came, and waits for the answer all the same.
    pub half_closed: bool,
    /// The application waits for content, a message, or the end of the connection.
    pub awaits_input: bool,
    /// The application waits for the peer to take what was sent.
    pub awaits_room: bool,
    pub websocket: Option<Box<WebSocket>>,
}

impl Streaming {
    /// Content that may wait for the application, in bytes. With more, nothing is read from the socket.
    pub const MOST: usize = 64 * 1024;

    /// Whether the application is behind, and not the peer.
    pub fn is_full(&self) -> bool {
        self.content.len() >= Self::MOST
    }

    /// As for the next request.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

pub(crate) struct Connection {
    pub socket: OwnedFd,
    /// The client, as far as it is known: the other end of the socket, or whom the PROXY header names.
    pub peer: Peer,
    pub listener: u16,
    /// What is spoken on it.
    pub speech: Speech,
    /// What is between the socket and HTTP; `None` where nothing is.
    pub tls: Option<Box<Session>>,
    /// The other end of the socket is a proxy that is trusted to speak for its clients.
    pub trusted: bool,
    /// The other end of the socket may speak what is spoken on the listener.
    pub may_speak: bool,
    /// What the PROXY header said.
    pub told: Option<Box<Told>>,
    pub stage: Stage,
    /// Whether the socket is in the epoll set. A connection that brings one request and is closed after the answer never is.
    pub watched: bool,
    /// The kernel may have bytes for us: no edge will announce those again.
    pub readable: bool,
    /// It is in the list of those that have something to do without a new event.
    pub woken: bool,
    /// The peer has closed its sending side (or more).
    pub peer_closed: bool,
    /// The earliest moment at which it can have done so; with an event loop, when that was noticed.
    pub closed_at: Moment,
    /// The request that is being answered is a HEAD request.
    pub is_head: bool,
    /// The application has sent the first bytes of its response.
    pub response_begun: bool,
    pub http: Http1,
    /// Bytes received and not yet understood: part of a head, or requests behind the one that is being answered.
    pub input: Vec<u8>,
    pub partial: Option<Box<Partial>>,
    pub outbox: Option<Box<Outbox>>,
    /// Where requests are handed out with their head. Kept for the next one.
    pub stream: Option<Box<Streaming>>,
    /// With [`Stage::Multiplexed`].
    pub http2: Option<Box<Http2>>,
    /// What is in the outbox was put there to be sent together with what follows: nobody has tried to send it yet.
    pub held: bool,
    /// Its response waits to leave together with others.
    pub together: bool,
    /// While delivering: when the peer must have taken something. While lingering: when we close. While draining and
    /// idle: when we stop waiting for one more request.
    pub deadline: Moment,
    /// While delivering: bytes that the kernel held when the deadline was set. A client that reads slowly makes them fewer
    /// long before the kernel finds the socket writable again.
    pub in_kernel: u32,
    pub alarm: Alarm,
}

impl Connection {
    pub fn new(socket: OwnedFd, peer: Peer, listener: u16, now: Moment) -> Self {
        Self {
            socket,
            peer,
            listener,
            speech: Speech::default(),
            tls: None,
            trusted: false,
            may_speak: true,
            told: None,
            stage: Stage::Receiving,
            watched: false,
            readable: true,
            woken: false,
            peer_closed: false,
            closed_at: Moment(0),
            is_head: false,
            response_begun: false,
            http: Http1::new(now),
            input: Vec::new(),
            partial: None,
            outbox: None,
            stream: None,
            http2: None,
            held: false,
            together: false,
            deadline: Moment(u64::MAX),
            in_kernel: 0,
            alarm: Alarm::NONE,
        }
    }

    /// No byte of a request has arrived since the last answer.
    pub fn is_idle(&self) -> bool {
        self.stage == Stage::Receiving && self.input.is_empty() && self.partial.is_none() && self.http.is_idle()
    }

    pub fn is_uwsgi(&self) -> bool {
        self.speech.protocol == Protocol::Uwsgi
    }

    /// The next bytes belong to a packet of uwsgi.
    #[inline]
    pub fn awaits_packet(&self) -> bool {
        self.is_uwsgi() && self.http.awaits_head()
    }

    /// Nothing is lost if it is closed, as far as is known here.
    pub fn is_unused(&self) -> bool {
        self.stage == Stage::ProxyHeader || self.is_idle()
    }

    /// The peer is still being agreed with on keys.
    pub fn is_in_handshake(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.handshake_deadline().is_some())
    }

    /// What the next receive would find. With TLS, bytes need not be anything that HTTP will see.
    pub fn pending(&self) -> Pending {
        match &self.tls {
            Some(tls) if tls.has_ended() => Pending::End,
            _ => socket::pending(self.socket.as_fd()),
        }
    }

    /// An application has it.
    pub fn in_use(&self) -> bool {
        matches!(self.stage, Stage::InApplication | Stage::Upgraded)
    }

    /// The peer is the one who has to go on: there is room for content of the request, and it is not waiting for our 100 (Continue).
    pub fn is_short_of_content(&self) -> bool {
        let has_room = self.stream.as_ref().is_some_and(|stream| !stream.complete && !stream.is_full());
        has_room && (self.response_begun || !self.http.needs_continue())
    }

    pub fn undelivered(&self) -> u64 {
        self.outbox.as_ref().map_or(0, |outbox| outbox.len())
    }

    /// Bytes of the response that are kept until the client takes them.
    pub fn kept(&self) -> u64 {
        self.outbox.as_ref().map_or(0, |outbox| outbox.kept())
    }

    /// The next moment at which time alone changes something.
    pub fn next_deadline(&self, config: &Config) -> Option<Moment> {
        let own = (self.deadline != Moment(u64::MAX)).then_some(self.deadline);
        match self.stage {
            // The own deadline ends the idle time of a draining worker; a request that has begun has the usual time.
            Stage::Receiving if self.is_in_handshake() => {
                let handshake = self.tls.as_ref().and_then(|tls| tls.handshake_deadline());
                [handshake, own].into_iter().flatten().min()
            }
            Stage::Receiving => {
                [self.http.deadline(config), own.filter(|_| self.is_idle())].into_iter().flatten().min()
            }
            Stage::ProxyHeader => [self.http.deadline(config), own].into_iter().flatten().min(),
            Stage::Queued => None,
            Stage::InApplication => {
                let content = self.is_short_of_content().then(|| self.http.deadline(config)).flatten();
                let half_open = self.stream.as_ref().is_some_and(|stream| stream.half_closed) && self.peer_closed;
                let leaves = half_open.then(|| self.closed_at + config.timeouts.body_idle);
                [own.filter(|_| self.undelivered() > 0), content, leaves].into_iter().flatten().min()
            }
            Stage::Upgraded => {
                let websocket = self.stream.as_ref().and_then(|stream| stream.websocket.as_ref());
                let frames = websocket.and_then(|websocket| websocket.next_deadline());
                [own.filter(|_| self.undelivered() > 0), frames].into_iter().flatten().min()
            }
            Stage::Multiplexed => {
                let streams = self.http2.as_ref().map(|http2| http2.deadline).filter(|next| *next != Moment(u64::MAX));
                [own.filter(|_| self.undelivered() > 0), streams].into_iter().flatten().min()
            }
            Stage::Delivering { .. } | Stage::Lingering => own,
        }
    }
}
