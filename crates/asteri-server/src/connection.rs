//! One connection's state, as small as it can be while it is idle.

use crate::content::Collector;
use crate::outbox::Outbox;
use crate::sys::socket::Peer;
use crate::wheel::Alarm;
use asteri_proto::h1::connection::Connection as Http1;
use asteri_proto::h1::request::RequestHead;
use asteri_proto::limits::Config;
use asteri_proto::time::Moment;
use std::os::fd::OwnedFd;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Waiting for a request, or receiving one.
    Receiving,
    /// A complete request waits for the application.
    Queued,
    /// The application is at it. Nothing is read meanwhile: further requests wait in the socket.
    InApplication,
    /// The application is done; the rest of the response is being delivered.
    Delivering { keep_alive: bool },
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

pub(crate) struct Connection {
    pub socket: OwnedFd,
    pub peer: Peer,
    pub listener: u16,
    /// The peer is a proxy that is trusted to speak for its clients.
    pub trusted: bool,
    pub stage: Stage,
    /// Whether the socket is in the epoll set. A connection that brings one request and is closed after the answer never is.
    pub watched: bool,
    /// The kernel may have bytes for us: no edge will announce those again.
    pub readable: bool,
    /// It is in the list of those that have something to do without a new event.
    pub woken: bool,
    /// The peer has closed its sending side (or more).
    pub peer_closed: bool,
    /// The request that is being answered is a HEAD request.
    pub is_head: bool,
    /// The application has sent the first bytes of its response.
    pub response_begun: bool,
    pub http: Http1,
    /// Bytes received and not yet understood: part of a head, or requests behind the one that is being answered.
    pub input: Vec<u8>,
    pub partial: Option<Box<Partial>>,
    pub outbox: Option<Box<Outbox>>,
    /// What is in the outbox was put there to be sent together with what follows: nobody has tried to send it yet.
    pub held: bool,
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
            trusted: false,
            stage: Stage::Receiving,
            watched: false,
            readable: true,
            woken: false,
            peer_closed: false,
            is_head: false,
            response_begun: false,
            http: Http1::new(now),
            input: Vec::new(),
            partial: None,
            outbox: None,
            held: false,
            deadline: Moment(u64::MAX),
            in_kernel: 0,
            alarm: Alarm::NONE,
        }
    }

    /// No byte of a request has arrived since the last answer.
    pub fn is_idle(&self) -> bool {
        self.stage == Stage::Receiving && self.input.is_empty() && self.partial.is_none() && self.http.is_idle()
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
            Stage::Receiving => {
                [self.http.deadline(config), own.filter(|_| self.is_idle())].into_iter().flatten().min()
            }
            Stage::Queued => None,
            Stage::InApplication => own.filter(|_| self.undelivered() > 0),
            Stage::Delivering { .. } | Stage::Lingering => own,
        }
    }
}
