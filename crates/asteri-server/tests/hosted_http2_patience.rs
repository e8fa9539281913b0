//! Who is cut off on a connection of HTTP/2 and who is not, while time passes: only clients that could have gone on, and did not. And
//! what is kept of those that have left.

use asteri_proto::h1::response::HeadWriter;
use asteri_proto::ws::{self, handshake};
use asteri_server::host::{Control, Order, Worker};
use asteri_server::hosted::{Happening, Hosted, Mode};
use asteri_server::listener::{BindSpec, ListenOptions, Listener};
use asteri_server::notice::{Notice, Observer};
use asteri_server::settings::Settings;
use asteri_server::stream::{Message, Stream};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// GET and POST of / over http, from the static table, with a host (RFC 7541 appendix A).
const GET: &[u8] = b"\x82\x84\x86\x41\x01h";
const POST: &[u8] = b"\x83\x84\x86\x41\x01h";
/// What a client is given here before it is cut off.
const SHORT: Duration = Duration::from_millis(400);

#[derive(Default)]
struct Orders {
    drain: AtomicBool,
}

impl Control for Orders {
    fn poll(&self) -> Order {
        if self.drain.load(Ordering::Relaxed) { Order::Drain { empty_queue: false } } else { Order::Serve }
    }

    fn accept_while_busy(&self) -> bool {
        true
    }
}

/// Counts requests that were dropped, as their clients had left.
#[derive(Default)]
struct Dropped(AtomicUsize);

impl Observer for Dropped {
    fn notice(&self, notice: &Notice<'_>) {
        if matches!(notice, Notice::SkippedAbandoned(_)) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn room(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// A server that is turned by the test, and a client that has made its acquaintance.
struct Pair {
    hosted: Arc<Hosted>,
    orders: Arc<Orders>,
    dropped: Arc<Dropped>,
    client: UnixStream,
    streams: Vec<Stream>,
    /// What a WebSocket is answered with, by the last request that asks for one.
    welcome: Vec<u8>,
    unread: Vec<u8>,
    /// Kind, flags, stream and length of what has come, and the number at the beginning of it.
    heard: Vec<(u8, u8, u32, usize, u32)>,
}

impl Pair {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with(Mode::Streamed, change)
    }

    fn with(mode: Mode, change: impl FnOnce(&mut Settings)) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("asteri-patience-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let spec: BindSpec = format!("unix:{}", path.display()).parse().unwrap();
        let listener = Listener::open(&spec, &ListenOptions::default()).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut settings = Settings::default();
        settings.http2.prior_knowledge = true;
        change(&mut settings);
        let (orders, dropped) = (Arc::<Orders>::default(), Arc::<Dropped>::default());
        let worker = Worker {
            listeners: vec![listener],
            handover: None,
            control_fds: Vec::new(),
            control: Arc::clone(&orders) as Arc<dyn Control>,
            settings: Arc::new(settings),
            observer: Arc::clone(&dropped) as Arc<dyn Observer>,
            first: None,
        };
        let hosted = Hosted::new(worker, mode).unwrap();
        client.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(SETTINGS, 1, 0, &[])].concat()).unwrap();
        client.set_nonblocking(true).unwrap();
        Self {
            hosted,
            orders,
            dropped,
            client,
            streams: Vec::new(),
            welcome: Vec::new(),
            unread: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// Turns the server for so long.
    fn turn_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let mut on = |happening| {
                let Happening::Request(request) = happening else { return };
                let stream = self.hosted.stream(&request);
                if let Ok(Some(offer)) = handshake::offer(&request.head, request.bytes()) {
                    self.welcome.clear();
                    handshake::accept(&mut self.welcome, &offer, None, None, [], &stream.date(), None).unwrap();
                }
                self.streams.push(stream);
            };
            self.hosted.turn(&mut on).unwrap();
            if Instant::now() >= end {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).unwrap();
        self.turn_for(Duration::from_millis(5));
    }

    fn listen(&mut self) {
        let mut buffer = [0; 65_536];
        loop {
            match self.client.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        while let Some((head, behind)) = self.unread.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some(payload) = behind.get(..length) else { break };
            let number = payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            self.heard.push((head[3], head[4], stream, length, number));
            self.unread.drain(..9 + length);
        }
    }

    fn heard(&self, kind: u8) -> Vec<u32> {
        self.heard.iter().filter(|(other, ..)| *other == kind).map(|(_, _, stream, ..)| *stream).collect()
    }

    fn content(&self, stream: u32) -> usize {
        self.heard.iter().filter(|heard| heard.0 == DATA && heard.2 == stream).map(|heard| heard.3).sum()
    }

    fn answer(&self, at: usize, length: usize) {
        let stream = &self.streams[at];
        let mut out = Vec::new();
        let head = HeadWriter::start(&mut out, stream.context(), 200, b"OK").unwrap();
        head.finish(Some(length as u64), &stream.date(), None);
        out.resize(out.len() + length, 7);
        stream.finish_with(&out, true);
        self.hosted.request_ended();
    }
}

#[test]
fn a_response_is_not_late_while_another_takes_all_the_room() {
    let mut pair = Pair::new(|settings| settings.http.timeouts.write_idle = SHORT);
    pair.say(&[frame(HEADERS, 5, 1, GET), frame(HEADERS, 5, 3, GET)].concat());
    pair.answer(0, 10 << 20);
    pair.answer(1, 1000);
    let begun = Instant::now();
    while begun.elapsed() < 3 * SHORT {
        pair.listen();
        // As much as has come, as clients do whose windows are all of the same size.
        let taken = pair.content(1) as u32;
        pair.say(&[room(0, 10_000), room(1, 10_000)].concat());
        assert_eq!(pair.heard(RST_STREAM), [], "after {:?} and {taken} bytes", begun.elapsed());
    }
    pair.say(&room(0, 40 << 20));
    pair.say(&room(1, 40 << 20));
    while pair.content(1) < 10 << 20 || pair.content(3) < 1000 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        pair.listen();
        pair.turn_for(Duration::from_millis(1));
    }
}

#[test]
fn a_response_is_late_when_the_client_makes_room_for_nobody() {
    let mut pair = Pair::new(|settings| settings.http.timeouts.write_idle = SHORT);
    pair.say(&[frame(HEADERS, 5, 1, GET), frame(HEADERS, 5, 3, GET)].concat());
    pair.answer(0, 1 << 20);
    pair.answer(1, 1000);
    let begun = Instant::now();
    while pair.heard(RST_STREAM).len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        pair.listen();
        pair.turn_for(Duration::from_millis(10));
    }
    assert!(begun.elapsed() >= SHORT);
}

#[test]
fn a_request_is_not_late_while_content_of_others_takes_all_the_room() {
    let mut pair = Pair::new(|settings| settings.http.timeouts.body_idle = SHORT);
    // Sixteen windows of a stream, less a few bytes, are that of the connection.
    for stream in (1..33).step_by(2) {
        pair.say(&frame(HEADERS, 4, stream, POST));
        for length in [16_384, 16_384, 16_384, 16_383] {
            pair.say(&frame(DATA, 0, stream, &vec![7; length]));
        }
    }
    pair.say(&frame(HEADERS, 4, 33, POST));
    assert_eq!(pair.streams.len(), 17);
    pair.say(&frame(DATA, 0, 33, &[7; 16]));
    pair.streams[16].receive();
    pair.turn_for(2 * SHORT);
    pair.listen();
    assert_eq!(pair.heard(HEADERS), [], "nobody was told that it was slow");
    // Now it is the client's turn.
    for stream in &pair.streams {
        stream.receive();
    }
    pair.turn_for(2 * SHORT);
    pair.listen();
    assert_eq!(pair.heard(HEADERS).len(), 17);
}

#[test]
fn a_frame_is_not_late_that_was_not_read() {
    let mut pair = Pair::new(|settings| settings.http.timeouts.header = SHORT);
    let setting = [&[0, 4][..], &(1u32 << 30).to_be_bytes()].concat();
    let requests = (0..90).flat_map(|number| frame(HEADERS, 5, 2 * number + 1, GET)).collect::<Vec<u8>>();
    let last = frame(HEADERS, 5, 999, GET);
    pair.say(&[frame(SETTINGS, 0, 0, &setting), room(0, 1 << 30), requests, last[..5].to_vec()].concat());
    pair.turn_for(SHORT / 4);
    assert_eq!(pair.streams.len(), 90);
    for at in 0..90 {
        pair.answer(at, 16_000);
        pair.turn_for(Duration::ZERO);
    }
    // The client reads nothing for a while, and so the server does not either.
    pair.say(&last[5..]);
    pair.turn_for(2 * SHORT);
    let begun = Instant::now();
    while pair.streams.len() < 91 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        pair.listen();
        assert_eq!(pair.heard(GOAWAY), []);
        pair.turn_for(Duration::from_millis(5));
    }
}

#[test]
fn nothing_follows_the_last_words() {
    let mut pair = Pair::new(|_| {});
    pair.say(&frame(HEADERS, 5, 1, GET));
    pair.answer(0, 1 << 20);
    pair.turn_for(Duration::from_millis(20));
    pair.listen();
    assert_eq!(pair.content(1), 65_535);
    pair.say(&[room(0, 1 << 20), room(1, 1 << 20), frame(DATA, 0, 0, b"x")].concat());
    pair.listen();
    assert_eq!(pair.heard.last().map(|heard| heard.0), Some(GOAWAY));
    assert_eq!(pair.content(1), 65_535);
}

#[test]
fn a_worker_that_drains_does_not_wait_for_clients_that_heed_nothing() {
    let mut pair = Pair::new(|settings| settings.drain_idle = SHORT);
    pair.say(&frame(HEADERS, 5, 1, GET));
    pair.orders.drain.store(true, Ordering::Relaxed);
    // Whatever the client did not read, it may go on for a while.
    let begun = Instant::now();
    while pair.heard(GOAWAY).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        pair.turn_for(Duration::from_millis(10));
        pair.listen();
    }
    pair.say(&frame(HEADERS, 5, 3, GET));
    assert_eq!(pair.streams.len(), 2);
    pair.turn_for(2 * SHORT);
    pair.say(&frame(HEADERS, 5, 5, GET));
    pair.listen();
    assert_eq!((pair.streams.len(), pair.heard(RST_STREAM)), (2, vec![5]));
    pair.answer(0, 10);
    pair.answer(1, 10);
    pair.turn_for(Duration::from_millis(20));
    pair.listen();
    let ended = |heard: &&(u8, u8, u32, usize, u32)| heard.0 == DATA && heard.1 & END_STREAM != 0;
    assert_eq!(pair.heard.iter().filter(ended).count(), 2, "what was begun is finished");
}

#[test]
fn requests_of_a_client_that_has_left_do_not_wait_for_the_application() {
    let mut pair = Pair::with(Mode::Collected { concurrent: 1 }, |_| {});
    let requests = (0..50).flat_map(|number| frame(HEADERS, 5, 2 * number + 1, GET)).collect::<Vec<u8>>();
    pair.say(&requests);
    assert_eq!(pair.streams.len(), 1, "the others wait");
    pair.client.shutdown(std::net::Shutdown::Both).unwrap();
    pair.turn_for(Duration::from_millis(20));
    assert_eq!(pair.dropped.0.load(Ordering::Relaxed), 49);
    pair.hosted.request_ended();
    pair.turn_for(Duration::from_millis(20));
    assert_eq!((pair.streams.len(), pair.dropped.0.load(Ordering::Relaxed)), (1, 49), "once");
}

/// An application has sent a long message, of which the client has not taken most, and the client sends a short one.
fn frames_while_far_behind(flags: u8) {
    let mut pair = Pair::new(|_| {});
    let asked = [
        &b"\x02\x07CONNECT\x00\x09:protocol\x09websocket\x86\x84\x41\x01h"[..],
        b"\x00\x15sec-websocket-version\x0213",
    ];
    pair.say(&frame(HEADERS, 4, 1, &asked.concat()));
    let codec = ws::Connection::new(ws::Config { max_message: 1 << 22 }, None);
    pair.streams[0].upgrade(&pair.welcome, codec, None, 4);
    pair.streams[0].send_binary(&vec![7; 2 << 20]);
    // A text with a key that masks nothing.
    pair.say(&frame(DATA, flags, 1, b"\x81\x85\0\0\0\0hello"));
    assert!(matches!(pair.streams[0].receive_message(), Message::Pending), "the client has to listen first");
    pair.say(&[room(0, 4 << 20), room(1, 4 << 20)].concat());
    let begun = Instant::now();
    while pair.content(1) < 2 << 20 && pair.heard(RST_STREAM).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        pair.listen();
        pair.turn_for(Duration::from_millis(1));
    }
    pair.turn_for(Duration::from_millis(20));
    let message = pair.streams[0].receive_message();
    assert!(matches!(&message, Message::Text(text) if text == "hello"), "{message:?}");
}

#[test]
fn frames_that_came_while_the_client_was_far_behind_are_understood_when_it_is_not() {
    frames_while_far_behind(0);
}

#[test]
fn frames_are_understood_though_the_stream_ended_while_the_client_was_far_behind() {
    frames_while_far_behind(END_STREAM);
}
