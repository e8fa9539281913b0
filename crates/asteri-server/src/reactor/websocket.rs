//! Connections, and streams of HTTP/2 (RFC 8441), that speak WebSocket: RFC 6455, with the frames in [`asteri_proto::ws`].
//!
//! Messages wait in a bounded queue; while it is full the socket is not read. Pings, their answers and the closing
//! handshake are dealt with here: the application need not be there for them.

use super::receive::{Input, Reads};
use super::{Reactor, Scratch, Sent};
use crate::connection::{Stage, Streaming};
use crate::notice::Notice;
use crate::slab::Key;
use crate::stream::{Message, Ping, Sending};
use crate::sys::clock;
use crate::sys::socket::Peer;
use asteri_proto::time::Moment;
use asteri_proto::ws::{self, Event};
use std::collections::VecDeque;
use std::time::Duration;

/// How long the peer may take to answer a closing frame.
const CLOSING: Duration = Duration::from_secs(5);

/// No code was in the closing frame (RFC 6455 §7.4.1).
const NO_CODE: u16 = 1005;
/// There was no closing frame.
const ABNORMAL: u16 = 1006;
/// For a peer that does not answer pings.
const UNEXPECTED: u16 = 1011;

/// Payload that may wait for the application, in bytes, whatever the number of messages. One message may exceed it.
const QUEUED: usize = 1 << 20;

/// Undelivered bytes above which nothing is read: the answers to the pings of a peer that takes nothing would become ever more.
pub(super) const DEAF: u64 = 1 << 20;

/// The frames' side of a connection.
pub(crate) struct WebSocket {
    codec: ws::Connection,
    inbox: VecDeque<Message>,
    /// Bytes of payload in there.
    waiting: usize,
    /// Messages that may wait.
    most: usize,
    /// How the connection was closed by the peer, or what it did wrong.
    closed: Option<(u16, String)>,
    /// What the peer did wrong, while the application has not dealt with the messages before it.
    failure: Option<ws::Failure>,
    ping: Option<Ping>,
    next_ping: Moment,
    pong_due: Moment,
    /// The application has let go of it.
    pub abandoned: bool,
    /// When we stop waiting for the peer's part of the closing handshake.
    give_up: Moment,
}

const NEVER: Moment = Moment(u64::MAX);

impl WebSocket {
    pub(super) fn is_full(&self) -> bool {
        self.inbox.len() >= self.most || self.waiting >= QUEUED
    }

    /// When time alone changes something.
    pub fn next_deadline(&self) -> Option<Moment> {
        let next = self.next_ping.min(self.pong_due).min(self.give_up);
        (next != NEVER).then_some(next)
    }

    /// The answer to a ping gets its time anew: it could not be heard.
    fn spare(&mut self, now: Moment) {
        if let Some(ping) = self.ping
            && self.pong_due != NEVER
        {
            self.pong_due = self.pong_due.max(now + ping.timeout);
        }
    }

    fn take(&mut self) -> Option<Message> {
        let message = self.inbox.pop_front()?;
        self.waiting -= payload(&message);
        Some(message)
    }

    fn put(&mut self, message: Message) {
        self.waiting += payload(&message);
        self.inbox.push_back(message);
    }

    /// What the application is told after the last message.
    fn farewell(&self) -> Message {
        let (code, reason) = self.closed.clone().unwrap_or((ABNORMAL, String::new()));
        Message::Disconnected { code, reason }
    }
}

fn payload(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) => bytes.len(),
        Message::Pending | Message::Disconnected { .. } => 0,
    }
}

impl Reactor {
    /// Sends the head of a 101 response, or of a 200 on a stream; frames from here on.
    pub fn upgrade(
        &mut self,
        key: Key,
        head: &[u8],
        codec: ws::Connection,
        ping: Option<Ping>,
        most: usize,
    ) -> Sending {
        let sent = self.respond(key, head);
        if sent == Sent::Gone {
            return Sending::Gone;
        }
        let now = clock::now();
        let Some(stream) = self.begin_frames(key) else { return Sending::Gone };
        stream.websocket = Some(Box::new(WebSocket {
            codec,
            inbox: VecDeque::new(),
            waiting: 0,
            most: most.max(1),
            closed: None,
            failure: None,
            ping,
            next_ping: ping.map_or(NEVER, |ping| now + ping.interval),
            pong_due: NEVER,
            abandoned: false,
            give_up: NEVER,
        }));
        // Frames may have come behind the request.
        self.go_on(key);
        self.after_sending(key, sent)
    }

    fn begin_frames(&mut self, key: Key) -> Option<&mut Streaming> {
        if key.is_stream() {
            return self.begin_frames_on_stream(key);
        }
        let connection = self.connections.get_mut(key)?;
        connection.stage = Stage::Upgraded;
        Some(connection.stream.get_or_insert_default())
    }

    /// What goes on with an application that speaks WebSocket.
    fn frames_side(&mut self, key: Key) -> Option<&mut Streaming> {
        if key.is_stream() {
            return self.frames_side_of_stream(key);
        }
        let connection = self.connections.get_mut(key)?;
        if connection.stage != Stage::Upgraded {
            return None;
        }
        connection.stream.as_deref_mut()
    }

    fn websocket(&mut self, key: Key) -> Option<&mut WebSocket> {
        self.frames_side(key)?.websocket.as_deref_mut()
    }

    fn send_frame(&mut self, key: Key, bytes: &[u8]) -> Sent {
        if key.is_stream() { self.send_on_stream(key, bytes) } else { self.send(key, bytes) }
    }

    /// More can be understood than before, or another deadline holds.
    fn go_on(&mut self, key: Key) {
        if key.is_stream() {
            return self.expect_frames(key);
        }
        self.wake(key);
        self.schedule(key);
    }

    /// Whether the peer has not taken all that was sent.
    fn is_behind(&mut self, key: Key) -> bool {
        if key.is_stream() {
            return self.stream_is_behind(key);
        }
        self.connections.get_mut(key).is_some_and(|connection| connection.undelivered() > 0)
    }

    /// Reads and understands frames as long as there is room for messages.
    pub(super) fn receive_frames(&mut self, key: Key, scratch: &mut Scratch) {
        let mut reads = Reads::default();
        loop {
            let Some(websocket) = self.websocket(key) else { return };
            if websocket.is_full() || websocket.failure.is_some() {
                break;
            }
            if self.connections.get_mut(key).is_some_and(|connection| connection.undelivered() > DEAF) {
                // Each delivery leads back here.
                break;
            }
            let buffer = match self.next_input(key, &mut reads, scratch) {
                Input::Bytes(buffer) => buffer,
                Input::Nothing => break,
                // Without a closing frame.
                Input::Gone => return,
            };
            match self.take_frames(key, &buffer) {
                Some(used) => self.keep(key, buffer, used, scratch),
                None => return scratch.give_buffer(buffer),
            }
        }
        self.tell_of_messages(key);
        self.schedule(key);
    }

    /// Says how much of `input` is used up; `None` when the connection is at its end.
    pub(super) fn take_frames(&mut self, key: Key, input: &[u8]) -> Option<usize> {
        let mut replies = Vec::new();
        let mut position = 0;
        let mut last = false;
        let now = self.now;
        let websocket = self.websocket(key)?;
        while !websocket.is_full() {
            match websocket.codec.receive(&input[position..], &mut replies) {
                Ok((used, event)) => {
                    position += used;
                    match event {
                        Event::NeedData => break,
                        Event::Text(text) => websocket.put(Message::Text(text)),
                        Event::Binary(bytes) => websocket.put(Message::Binary(bytes)),
                        Event::Pong(true) => websocket.pong_due = NEVER,
                        Event::Pong(false) | Event::Ping => {}
                        Event::Close { code, reason } => {
                            websocket.closed.get_or_insert((code, reason));
                            last = true;
                            break;
                        }
                    }
                }
                Err(failure) if websocket.codec.is_closing() => {
                    websocket.closed.get_or_insert((failure.code, failure.reason.to_owned()));
                    last = true;
                    break;
                }
                Err(failure) => {
                    // Its answers to what came before are to arrive before our last word, but not at any time.
                    websocket.failure = Some(failure);
                    websocket.give_up = now + CLOSING;
                    (websocket.next_ping, websocket.pong_due) = (NEVER, NEVER);
                    position = input.len();
                    break;
                }
            }
        }
        if !replies.is_empty() && self.send_frame(key, &replies) == Sent::Gone {
            return None;
        }
        if last {
            self.end_websocket(key);
            return None;
        }
        if self.is_failing(key) && self.awaits_messages(key) {
            self.fail_websocket(key);
            return None;
        }
        Some(position)
    }

    /// Whether the peer broke the protocol, and has not been told.
    fn is_failing(&mut self, key: Key) -> bool {
        self.websocket(key).is_some_and(|websocket| websocket.failure.is_some())
    }

    /// Whether the application has taken all messages and waits for the next.
    fn awaits_messages(&mut self, key: Key) -> bool {
        let Some(stream) = self.frames_side(key) else { return false };
        stream.awaits_input && stream.websocket.as_ref().is_some_and(|websocket| websocket.inbox.is_empty())
    }

    /// Tells the peer what it did wrong, which is the end.
    fn fail_websocket(&mut self, key: Key) {
        let Some(websocket) = self.websocket(key) else { return };
        let Some(failure) = websocket.failure.take() else { return };
        let mut out = Vec::new();
        websocket.codec.close(failure.code, failure.reason, &mut out);
        websocket.closed.get_or_insert((failure.code, failure.reason.to_owned()));
        if self.send_frame(key, &out) != Sent::Gone {
            self.end_websocket(key);
        }
    }

    pub(super) fn tell_of_messages(&mut self, key: Key) {
        if let Some(stream) = self.frames_side(key)
            && stream.websocket.as_ref().is_some_and(|websocket| !websocket.inbox.is_empty())
            && std::mem::take(&mut stream.awaits_input)
        {
            self.news.push_back(key);
        }
    }

    /// Both closing frames are sent, or ours is the last word: the rest is delivered, then the connection is closed.
    fn end_websocket(&mut self, key: Key) {
        if key.is_stream() {
            return self.end_websocket_on_stream(key);
        }
        self.tell(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        // The messages stay until the application has taken them.
        if let Some(websocket) = connection.stream.as_mut().and_then(|stream| stream.websocket.take())
            && !websocket.abandoned
        {
            self.departed.insert(key, websocket);
        }
        // The peer may be in the middle of a message. Were the socket closed, what comes of it would destroy our last frame on its way.
        connection.readable = true;
        connection.input = Vec::new();
        if connection.outbox.as_ref().is_some_and(|outbox| !outbox.is_empty()) {
            connection.stage = Stage::Delivering { keep_alive: false };
            self.schedule(key);
        } else {
            connection.outbox = None;
            self.after_response(key, false);
        }
    }

    pub(super) fn on_websocket_deadline(&mut self, key: Key, now: Moment) {
        let behind = self.is_behind(key);
        let Some(websocket) = self.websocket(key) else { return };
        if websocket.give_up <= now {
            if websocket.failure.is_some() {
                return self.fail_websocket(key);
            }
            if behind {
                // It has not been told yet. The write timeout sees to a peer that takes nothing.
                websocket.give_up = now + CLOSING;
                return self.schedule(key);
            }
            if key.is_stream() {
                return self.abort_on_stream(key);
            }
            return self.close(key);
        }
        if behind || websocket.is_full() {
            // The ping waits behind other bytes, or its answer behind messages that the application does not take.
            websocket.spare(now);
        }
        let mut out = Vec::new();
        if websocket.pong_due <= now {
            websocket.codec.close(UNEXPECTED, "no answer to a ping", &mut out);
            // For the application it is as if the connection had broken: nobody has closed it.
            self.counters.timeouts += 1;
            if let Some(peer) = self.peer_of(key) {
                self.observer.notice(&Notice::PongTimeout(peer));
            }
            if self.send_frame(key, &out) != Sent::Gone {
                self.end_websocket(key);
            }
            return;
        }
        if websocket.next_ping <= now {
            if let Some(ping) = websocket.ping {
                websocket.next_ping = now + ping.interval;
            }
            if let Some(ping) = websocket.ping
                && !behind
            {
                websocket.codec.ping(b"asteri", &mut out);
                websocket.pong_due = websocket.pong_due.min(now + ping.timeout);
            }
            if self.send_frame(key, &out) == Sent::Gone {
                return;
            }
        }
        self.schedule(key);
    }

    fn peer_of(&mut self, key: Key) -> Option<Peer> {
        let key = if key.is_stream() { self.connection_of(key)? } else { key };
        self.connections.get_mut(key).map(|connection| connection.peer)
    }

    // ---- for the application

    /// The next message.
    pub fn take_message(&mut self, key: Key) -> Message {
        let Some(websocket) = self.websocket(key) else {
            let Some(departed) = self.departed.get_mut(&key) else {
                return Message::Disconnected { code: ABNORMAL, reason: String::new() };
            };
            return departed.take().unwrap_or_else(|| departed.farewell());
        };
        let full = websocket.is_full();
        let Some(message) = websocket.take() else {
            if let Some((code, reason)) = websocket.closed.clone() {
                return Message::Disconnected { code, reason };
            }
            if websocket.failure.is_some() {
                self.fail_websocket(key);
                return self.take_message(key);
            }
            if let Some(stream) = self.frames_side(key) {
                stream.awaits_input = true;
            }
            return Message::Pending;
        };
        if full {
            websocket.spare(clock::now());
            if key.is_stream() {
                self.expect_frames(key);
            } else {
                self.wake(key);
            }
        }
        message
    }

    /// Lets the codec write frames, and sends them. `write` says whether it has written any: it has not when the connection is being
    /// closed.
    pub fn send_frames(&mut self, key: Key, write: impl FnOnce(&mut ws::Connection, &mut Vec<u8>) -> bool) -> Sending {
        let mut frames = std::mem::take(&mut self.frames);
        frames.clear();
        let Some(websocket) = self.websocket(key) else { return Sending::Gone };
        if !write(&mut websocket.codec, &mut frames) {
            return Sending::Gone;
        }
        let sent = self.send_frame(key, &frames);
        if frames.capacity() <= 64 * 1024 {
            self.frames = frames;
        }
        self.after_sending(key, sent)
    }

    /// Sends a closing frame and gives the peer a while to answer it.
    pub fn close_websocket(&mut self, key: Key, code: u16, reason: &str) {
        let Some(websocket) = self.websocket(key) else { return };
        if websocket.codec.is_closing() {
            return;
        }
        let mut frames = Vec::new();
        let now = clock::now();
        websocket.codec.close(code, reason, &mut frames);
        websocket.closed.get_or_insert((if code == 0 { NO_CODE } else { code }, reason.to_owned()));
        websocket.give_up = now + CLOSING;
        websocket.next_ping = NEVER;
        websocket.pong_due = NEVER;
        // Nobody takes these any more, and the peer's answer is behind them.
        websocket.most = usize::MAX;
        let failing = websocket.failure.take().is_some();
        if self.send_frame(key, &frames) != Sent::Gone {
            if failing {
                // What would be the peer's answer has no meaning.
                return self.end_websocket(key);
            }
            self.go_on(key);
        }
    }

    /// The application does not want what else may come.
    pub fn forget_messages(&mut self, key: Key) {
        // Looking for the key costs something in an empty table too, and this is asked at the end of every request.
        if !self.departed.is_empty() {
            self.departed.remove(&key);
        }
        if let Some(websocket) = self.websocket(key) {
            websocket.abandoned = true;
        }
    }
}
