//! The reactor: all sockets of one worker, driven by readiness.
//!
//! It never blocks and never calls an application. Whoever turns it (the application's thread, or the standby thread
//! while the application runs) locks it, lets it [`poll`](Reactor::poll), takes complete requests with
//! [`next_request`](Reactor::next_request), and unlocks it before it runs or waits. Others lock it to send. Nothing in here is
//! borrowed over a call into the application: connections are named by [`Key`].
//!
//! * `turn.rs`: events are fetched and connections do what they can; `scratch.rs`: what they receive into
//! * `queue.rs`: requests between the reactor and the application
//! * `time.rs`: deadlines; `end.rs`: how connections end
//! * `accept.rs`: new connections, and when not to take them
//! * `handover.rs`: connections given to and taken from sibling workers
//! * `proxy.rs`: what a proxy says before the first byte of a connection
//! * `receive.rs`: from bytes to requests
//! * `respond.rs`: from the application's bytes to the socket, and what follows an answer
//! * `sealed.rs`: what is different with TLS
//! * `streaming.rs`: requests that are handed out with their head, while their content arrives
//! * `together.rs`: responses that leave together
//! * `uwsgi.rs`: packets, which become heads
//! * `websocket.rs`: connections that speak frames
//! * `http2/`: connections with many streams

mod accept;
mod end;
mod handover;
mod http2;
mod proxy;
mod queue;
mod receive;
mod respond;
mod scratch;
mod sealed;
mod streaming;
mod time;
mod together;
mod turn;
mod uwsgi;
mod websocket;

pub use handover::Handover;
pub(crate) use http2::{Batching, Http2};
pub(crate) use respond::Sent;
pub(crate) use scratch::{SCRATCH, Scratch};

use crate::connection::Connection;
use crate::date::DateCache;
use crate::listener::Listener;
use crate::notice::Observer;
use crate::request::ReadyRequest;
use crate::settings::Settings;
use crate::slab::{Key, Slab};
use crate::sys::clock;
use crate::sys::epoll::{Epoll, Event, Interest};
use crate::tls::Desk;
use crate::wheel::Wheel;
use accept::Accepting;
use asteri_proto::h2::section::Section;
use asteri_proto::time::Moment;
use http2::Exchange;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use together::Together;
use turn::Turns;
pub(crate) use websocket::WebSocket;

/// Events taken from the kernel at a time. Also the bound on the work between two looks at the clock.
pub(crate) const EVENTS: usize = 128;

/// Tokens of descriptors that are no connections.
const LISTENER_TOKEN: u64 = Key::RESERVED as u64;
const CONTROL_TOKEN: u64 = LISTENER_TOKEN + 0x8000;
const HANDOVER_TOKEN: u64 = LISTENER_TOKEN + 0x8001;
/// Ends a wait and means nothing else.
const WAKE_TOKEN: u64 = LISTENER_TOKEN + 0x8002;
/// The timer of a host that cannot wait with a time limit.
const TIMER_TOKEN: u64 = LISTENER_TOKEN + 0x8003;

/// Who turns the reactor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turner {
    /// The application's thread: a complete request is run at once.
    Application,
    /// The standby thread: complete requests wait in the queue.
    Standby,
}

pub(crate) struct Reactor {
    epoll: Arc<Epoll>,
    events: Box<[Event; EVENTS]>,
    /// Events that are not looked at yet are `events[next_event..event_count]`. They are kept here and not on a stack,
    /// so that the standby thread finds them when the application runs in the middle of a batch.
    next_event: usize,
    event_count: usize,
    connections: Slab<Connection>,
    /// Streams of those that speak HTTP/2.
    streams: Slab<Exchange>,
    wheel: Wheel,
    /// Connections that have something to do without a new event.
    woken: VecDeque<Key>,
    /// How many of them are looked at before the next poll: one that is woken again and again, as by a client that never
    /// stops pipelining, must not keep the others out.
    woken_now: usize,
    /// Complete requests that wait for the application, in the order in which they were complete.
    queue: VecDeque<ReadyRequest>,
    /// Requests that other threads than the turner have answered: memory to be used again.
    answered: Vec<ReadyRequest>,
    /// The connection whose request the application has.
    current: Option<Key>,
    accepting: Accepting,
    handover: Option<Handover>,
    /// Whether connections that have something to say go to a sibling.
    generous: bool,
    draining: bool,
    now: Moment,
    /// Everything that was ready at this moment has been fetched, so a deadline up to here that the events have not moved
    /// has really passed. After this process was suspended for a while, the clock alone would condemn clients whose bytes
    /// came in time.
    fetched: Moment,
    /// Since when that can have happened of which the events at hand tell.
    turns: Turns,
    date: DateCache,
    settings: Arc<Settings>,
    observer: Arc<dyn Observer>,
    control_ready: bool,
    timer_ready: bool,
    /// Whoever turns it waits for events, at most until then.
    away_until: Option<Moment>,
    counters: Counters,
    /// Requests are handed out as soon as their head is there.
    streamed: bool,
    /// Streams whose application may have waited for what has happened.
    news: VecDeque<Key>,
    /// Messages of WebSockets whose connection is closed, until the application has taken them.
    departed: HashMap<Key, Box<WebSocket>>,
    /// Streams whose last bytes wait for the end of this turn.
    held: Vec<Key>,
    /// Complete responses that wait for each other.
    together: Together,
    /// For frames that are being written.
    frames: Vec<u8>,
    /// Who makes handshakes, if not whoever turns it.
    desk: Option<Desk>,
    /// For bytes of TLS on their way in or out, and for pieces of files that are to be encrypted.
    sealed: Vec<u8>,
    piece: Vec<u8>,
    /// Connections of HTTP/2 that have something to send.
    touched: Vec<Key>,
    batching: Batching,
    /// Streams that speak WebSocket and have frames to be understood.
    framed: Vec<Key>,
    /// For the fields of a request of HTTP/2.
    section: Section,
}

/// What has happened since the last time the counters were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub accepted: u64,
    pub refused: u64,
    pub timeouts: u64,
    pub bytes_sent: u64,
    pub abandoned: u64,
    /// Connections that spoke HTTP/2.
    pub http2_connections: u64,
    /// Streams that clients took back.
    pub http2_resets: u64,
    /// Connections that were ended since their clients flooded them.
    pub http2_floods: u64,
    /// Complete requests that waited for the application, and for how many milliseconds in all.
    pub queued: u64,
    pub waited_ms: u64,
    /// TLS handshakes that were done, how many of them resumed a session, and connections that failed at TLS.
    pub tls_handshakes: u64,
    pub tls_resumed: u64,
    pub tls_failures: u64,
}

impl Reactor {
    /// `control` are descriptors that end the wait when they become readable: signals, the arbiter's life line.
    pub fn new(
        epoll: Arc<Epoll>,
        listeners: Vec<Listener>,
        handover: Option<Handover>,
        control: &[BorrowedFd<'_>],
        settings: Arc<Settings>,
        observer: Arc<dyn Observer>,
    ) -> io::Result<Self> {
        for fd in control {
            epoll.add(*fd, Interest::Readable, CONTROL_TOKEN)?;
        }
        let now = clock::now();
        let mut reactor = Self {
            epoll,
            events: Box::new([Event::NONE; EVENTS]),
            next_event: 0,
            event_count: 0,
            connections: Slab::new(),
            streams: Slab::of_streams(),
            wheel: Wheel::new(now),
            woken: VecDeque::new(),
            woken_now: 0,
            queue: VecDeque::new(),
            answered: Vec::new(),
            current: None,
            accepting: Accepting::new(listeners),
            handover,
            generous: false,
            draining: false,
            now,
            fetched: now,
            turns: Turns::new(now),
            date: DateCache::new(),
            settings,
            observer,
            control_ready: false,
            timer_ready: false,
            away_until: None,
            counters: Counters::default(),
            streamed: false,
            news: VecDeque::new(),
            departed: HashMap::new(),
            held: Vec::new(),
            together: Together::new(),
            frames: Vec::new(),
            desk: None,
            sealed: Vec::new(),
            piece: Vec::new(),
            touched: Vec::new(),
            batching: Batching::Loop,
            framed: Vec::new(),
            section: Section::default(),
        };
        reactor.watch_listeners()?;
        Ok(reactor)
    }

    /// When complete responses of HTTP/2 leave. To be called before the first turn.
    pub fn set_batching(&mut self, batching: Batching) {
        self.batching = batching;
    }

    /// The value for the `Date` field.
    pub fn date(&mut self) -> [u8; 29] {
        self.date.get()
    }

    /// Whether a control descriptor has become readable since the last call.
    pub fn take_control(&mut self) -> bool {
        std::mem::take(&mut self.control_ready)
    }

    pub fn take_counters(&mut self) -> Counters {
        std::mem::take(&mut self.counters)
    }

    pub fn open_connections(&self) -> usize {
        self.connections.len()
    }

    /// Ends the wait of whoever waits for this reactor's events when `fd` becomes readable.
    ///
    /// # Errors
    /// Those of epoll.
    pub fn watch_wake(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.epoll.add(fd, Interest::Readable, WAKE_TOKEN)
    }

    /// The same, and tells of it by [`Reactor::take_timer`].
    ///
    /// # Errors
    /// Those of epoll.
    pub fn watch_timer(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.epoll.add(fd, Interest::Readable, TIMER_TOKEN)
    }

    /// Whether the timer has gone off since the last call.
    pub fn take_timer(&mut self) -> bool {
        std::mem::take(&mut self.timer_ready)
    }
}

#[cfg(test)]
impl Reactor {
    /// One that listens at the address that is returned.
    fn listening() -> (Self, std::net::SocketAddr) {
        use crate::listener::{BindSpec, ListenOptions};
        let spec: BindSpec = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::open(&spec, &ListenOptions::default()).unwrap();
        let address = listener.ip().unwrap();
        let (epoll, settings) = (Arc::new(Epoll::new().unwrap()), Arc::new(Settings::default()));
        let reactor = Self::new(epoll, vec![listener], None, &[], settings, Arc::new(crate::notice::Ignore)).unwrap();
        (reactor, address)
    }
}
