//! A server in a thread of the test, and a small HTTP client.

#![allow(dead_code, reason = "each test program uses a part of it")]

use asteri_proto::h1::response::{BodyEncoder, HeadWriter};
use asteri_proto::time::Moment;
use asteri_server::host::Counters;
use asteri_server::listener::{BindSpec, ListenOptions, Listener, Speech};
use asteri_server::notice::Ignore;
use asteri_server::settings::Settings;
use asteri_server::sync::{self, Application, Control, Handover, Left, Order, Worker};
use asteri_server::sys::eventfd::EventFd;
use asteri_server::threads::Pool;
use asteri_server::{Body, ReadyRequest, Responder};
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The address of a server that has none.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub struct Server {
    address: SocketAddr,
    handover: Handover,
    control: Arc<Switch>,
    thread: Option<JoinHandle<Left>>,
}

struct Switch {
    event: EventFd,
    drain: AtomicBool,
    quit: AtomicBool,
    calls: AtomicUsize,
    queued: AtomicU64,
    waited_ms: AtomicU64,
    timeouts: AtomicU64,
    has_sibling: AtomicBool,
}

impl Control for Switch {
    fn poll(&self) -> Order {
        self.event.clear();
        if self.quit.load(Ordering::SeqCst) {
            Order::Quit
        } else if self.drain.load(Ordering::SeqCst) {
            Order::Drain { empty_queue: true }
        } else {
            Order::Serve
        }
    }

    fn beat(&self, counters: Counters, _: usize) {
        self.queued.fetch_add(counters.queued, Ordering::SeqCst);
        self.waited_ms.fetch_add(counters.waited_ms, Ordering::SeqCst);
        self.timeouts.fetch_add(counters.timeouts, Ordering::SeqCst);
    }

    fn request_begins(&self, _: &ReadyRequest) {
        self.calls.fetch_add(1, Ordering::SeqCst);
    }

    fn call_begins(&self, request: &ReadyRequest, _: Moment) {
        self.request_begins(request);
    }

    fn accept_while_busy(&self) -> bool {
        true
    }

    fn idle_sibling(&self) -> bool {
        self.has_sibling.load(Ordering::SeqCst)
    }
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_threads(0, change)
    }

    /// A worker with so many application threads beside that of the sockets; with 0, a sync worker.
    pub fn start_threads(threads: usize, change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_at("127.0.0.1:0", Speech::default(), threads, change)
    }

    /// The same at another address, and where something else than plain HTTP is spoken.
    pub fn start_at(spec: &str, speech: Speech, threads: usize, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        let spec: BindSpec = spec.parse().unwrap();
        let mut listener = Listener::open(&spec, &ListenOptions::default()).unwrap();
        listener.set_speech(speech);
        let address = listener.ip().unwrap_or(NOWHERE);
        Self::run(address, vec![listener], Handover::new().unwrap(), settings, threads, None)
    }

    /// A worker that answers one connection before it takes any, and whose only thread comes late; with a sibling that is
    /// free at once.
    pub fn start_held(first: OwnedFd) -> (Self, Self) {
        let channel = Handover::new().unwrap();
        let sibling = Self::run(NOWHERE, Vec::new(), channel.clone(), Settings::default(), 0, None);
        (Self::run(NOWHERE, Vec::new(), channel, Settings::default(), 1, Some(first)), sibling)
    }

    /// A worker without a listener of its own: it has only what this one gives it.
    pub fn start_sibling(&self) -> Self {
        let sibling = Self::run(self.address, Vec::new(), self.handover.clone(), Settings::default(), 0, None);
        self.control.has_sibling.store(true, Ordering::SeqCst);
        sibling
    }

    fn run(
        address: SocketAddr,
        listeners: Vec<Listener>,
        handover: Handover,
        settings: Settings,
        threads: usize,
        first: Option<OwnedFd>,
    ) -> Self {
        let control = Arc::new(Switch {
            event: EventFd::new().unwrap(),
            drain: AtomicBool::new(false),
            quit: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            queued: AtomicU64::new(0),
            waited_ms: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            has_sibling: AtomicBool::new(first.is_some()),
        });
        let switch = Arc::clone(&control);
        let channel = handover.clone();
        let thread = std::thread::spawn(move || {
            let worker = Worker {
                listeners,
                handover: Some(channel),
                control_fds: vec![switch.event.as_fd()],
                control: Arc::clone(&switch) as Arc<dyn Control>,
                settings: Arc::new(settings),
                observer: Arc::new(Ignore),
                first,
            };
            if threads == 0 { sync::run(worker, &mut Echo).unwrap() } else { run_threads(worker, threads) }
        });
        Self { address, handover, control, thread: Some(thread) }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// How many requests have waited for the application, and for how many milliseconds in all, as of the last beat.
    pub fn waits(&self) -> (u64, u64) {
        (self.control.queued.load(Ordering::SeqCst), self.control.waited_ms.load(Ordering::SeqCst))
    }

    /// Waits until the server has left by itself; says how many clients were too slow for it.
    pub fn timeouts_at_the_end(self) -> u64 {
        let control = Arc::clone(&self.control);
        self.join();
        control.timeouts.load(Ordering::SeqCst)
    }

    pub fn calls(&self) -> usize {
        self.control.calls.load(Ordering::SeqCst)
    }

    /// Waits until the application has been called so often.
    pub fn wait_for_calls(&self, count: usize) {
        while self.calls() < count {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn drain(&self) {
        self.control.drain.store(true, Ordering::SeqCst);
        self.control.event.wake();
    }

    /// Waits until the server has left by itself.
    pub fn join(mut self) {
        let left = self.thread.take().unwrap().join().unwrap();
        assert_eq!(left, Left::Drained);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.control.quit.store(true, Ordering::SeqCst);
            self.control.event.wake();
            let _ = thread.join();
        }
    }
}

/// As a gthread worker does it.
fn run_threads(worker: Worker<'_>, threads: usize) -> Left {
    let late = worker.first.is_some();
    let pool = Pool::start(worker).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                if late {
                    std::thread::sleep(Duration::from_millis(300));
                }
                pool.serve(&mut Echo)
            });
        }
        loop {
            if let Some(left) = pool.wait(Echo::block, Duration::from_secs(1)) {
                return left.unwrap();
            }
        }
    })
}

struct Echo;

impl Application for Echo {
    fn call(&mut self, request: &mut ReadyRequest, out: &mut Responder) {
        let mut body = match std::mem::replace(&mut request.body, Body::Empty) {
            Body::Empty => b"Hello, World!".to_vec(),
            Body::Memory(bytes) => bytes,
            Body::Spooled(mut file, length) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes.len() as u64, length);
                bytes
            }
        };
        let path = String::from_utf8_lossy(request.head.path.of(request.bytes())).into_owned();
        let number = |prefix: &str| path.strip_prefix(prefix).and_then(|rest| rest.parse::<u64>().ok());
        if let Some(milliseconds) = number("/sleep/") {
            std::thread::sleep(Duration::from_millis(milliseconds));
        } else if let Some(count) = number("/bytes/") {
            body = vec![b'x'; usize::try_from(count).unwrap()];
        } else if let Some(count) = number("/sleep-then-bytes/") {
            std::thread::sleep(Duration::from_millis(300));
            body = vec![b'x'; usize::try_from(count).unwrap()];
        } else if let Some(count) = number("/file/") {
            return send_file(out, count);
        } else if let Some(count) = number("/parts/") {
            return parts(out, usize::try_from(count).unwrap());
        } else if let Some(count) = number("/stream/") {
            return stream(out, usize::try_from(count).unwrap());
        } else if path == "/panic" {
            panic!("as asked for");
        }
        let (context, date) = (out.context(), out.date());
        let buffer = out.buffer();
        let head = HeadWriter::start(buffer, context, 200, b"OK").unwrap();
        let head = head.finish(Some(body.len() as u64), &date, None);
        let mut encoder = BodyEncoder::new(head.framing);
        encoder.encode(&body, buffer);
        let whole = encoder.finish(buffer).is_ok();
        out.finish(head.keep_alive && whole);
    }

    fn block(wait: &mut dyn FnMut()) {
        wait();
    }
}

/// Sends a file of so many bytes.
fn send_file(out: &mut Responder, count: u64) {
    let file = asteri_server::sys::tempfile::unnamed(&std::env::temp_dir()).unwrap();
    file.set_len(count).unwrap();
    let (context, date) = (out.context(), out.date());
    let head = HeadWriter::start(out.buffer(), context, 200, b"OK").unwrap();
    let head = head.finish(Some(count), &date, None);
    if out.send_file(file.into(), 0, count).is_ok() {
        out.finish(head.keep_alive);
    }
}

/// Sends so many parts of four bytes at once, and after a while one more.
fn parts(out: &mut Responder, count: usize) {
    let (context, date) = (out.context(), out.date());
    let head = HeadWriter::start(out.buffer(), context, 200, b"OK").unwrap();
    let head = head.finish(Some(4 * (count as u64 + 1)), &date, None);
    let mut encoder = BodyEncoder::new(head.framing);
    for _ in 0..count {
        encoder.encode(b"part", out.buffer());
        out.flush_part().unwrap();
    }
    std::thread::sleep(Duration::from_millis(1500));
    encoder.encode(b"last", out.buffer());
    let whole = encoder.finish(out.buffer()).is_ok();
    out.finish(head.keep_alive && whole);
}

/// Sends so many bytes in pieces, each as soon as it is there.
fn stream(out: &mut Responder, count: usize) {
    let (context, date) = (out.context(), out.date());
    let head = HeadWriter::start(out.buffer(), context, 200, b"OK").unwrap();
    let head = head.finish(Some(count as u64), &date, None);
    let mut encoder = BodyEncoder::new(head.framing);
    let piece = vec![b'x'; 100_000];
    for _ in 0..count / piece.len() {
        encoder.encode(&piece, out.buffer());
        if out.flush().and_then(|()| out.catch_up()).is_err() {
            return;
        }
    }
    let whole = encoder.finish(out.buffer()).is_ok();
    out.finish(head.keep_alive && whole);
}

pub struct Response {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether the server says that it is going to close the connection.
    pub fn closes(&self) -> bool {
        self.field("connection") == Some("close")
    }
}

/// Reads one response that has a Content-Length, and no byte more.
pub fn read_response(stream: &mut impl Read) -> Response {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no status line: {line:?}")).parse().unwrap();
    let mut fields = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut response = Response { status, fields, body: Vec::new() };
    let length = response.field("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    response.body = vec![0; length];
    reader.into_inner().read_exact(&mut response.body).unwrap();
    response
}
