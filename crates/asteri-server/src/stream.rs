//! One request of an application that works bit by bit (ASGI): its content, its response, or the messages of its WebSocket.
//!
//! Nothing here waits. What cannot be done now is told (`Pending`, `Full`), and a [`Happening::News`] with the stream's
//! [`Ticket`] says when to try again.
//!
//! [`Happening::News`]: crate::hosted::Happening::News

use crate::date::DateCache;
use crate::host::Shared;
use crate::reactor::Sent;
use crate::request::ReadyRequest;
use crate::slab::Key;
use crate::sys::forks;
use asteri_proto::h1::response::ResponseContext;
use asteri_proto::ws;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Which stream is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub(crate) Key);

impl Ticket {
    /// A small number: the place of its connection, which a later stream may have again while there is still news of this one.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.index()
    }
}

/// The next part of the content.
#[derive(Debug, PartialEq, Eq)]
pub enum Receive {
    /// With `more` false it is the last one, and may be empty.
    Content { bytes: Vec<u8>, more: bool },
    /// Nothing is there now.
    Pending,
    /// The client has left, or the request is over.
    Disconnected,
}

/// What became of bytes that were to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// They are on their way, or as good as.
    Sent,
    /// They are kept, but the client is behind: wait for news before sending more.
    Full,
    /// Nobody is there to receive them.
    Gone,
}

/// What came over a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    Text(String),
    Binary(Vec<u8>),
    /// Nothing is there now.
    Pending,
    /// The connection is closed, or is being closed: 1005 without a code of the peer's, 1006 without a closing frame
    /// (RFC 6455 §7.4.1). Stays so.
    Disconnected {
        code: u16,
        reason: String,
    },
}

/// How a WebSocket finds out whether its peer is still there.
#[derive(Clone, Copy, Debug)]
pub struct Ping {
    /// From one to the next.
    pub interval: Duration,
    /// How long the answer may take.
    pub timeout: Duration,
}

/// See the module. Dropped before [`finish`](Self::finish), it aborts the response, or closes the WebSocket without a word.
pub struct Stream {
    shared: Arc<Shared>,
    key: Key,
    context: ResponseContext,
    /// All content of the request has arrived, as far as was known at first.
    is_whole: bool,
    over: AtomicBool,
}

impl Stream {
    pub(crate) fn new(shared: Arc<Shared>, request: &ReadyRequest) -> Self {
        let context = shared.context_of(request);
        Self { shared, key: request.key, context, is_whole: request.is_whole, over: AtomicBool::new(false) }
    }

    /// Who this is in [`Happening::News`](crate::hosted::Happening::News).
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        Ticket(self.key)
    }

    /// What the response head depends on. `keep_alive` is false when the server is going to close the connection.
    #[must_use]
    pub fn context(&self) -> ResponseContext {
        let keep_alive = self.context.keep_alive
            && !self.shared.closes_connections()
            && (self.is_whole || !forks::is_child() && self.shared.lock().content_is_complete(self.key));
        ResponseContext { keep_alive, ..self.context }
    }

    /// The value for the `Date` field.
    #[must_use]
    pub fn date(&self) -> [u8; 29] {
        if forks::is_child() {
            // As in `is_over`: the lock may have been held at the moment of the fork.
            return DateCache::new().get();
        }
        self.shared.lock().date()
    }

    /// The value for the `Server` field, if one is to be sent.
    #[must_use]
    pub fn server_field(&self) -> Option<&[u8]> {
        self.shared.settings.server_field.as_deref()
    }

    /// Takes what has arrived of the content. The client gets its 100 (Continue) by the first call that finds none.
    pub fn receive(&self) -> Receive {
        if self.is_over() {
            return Receive::Disconnected;
        }
        let mut reactor = self.shared.lock();
        let received = reactor.take_content(self.key);
        self.shared.nudge(&mut reactor);
        received
    }

    /// Sends bytes of the response, framed as its head says.
    pub fn send(&self, bytes: &[u8]) -> Sending {
        if self.is_over() {
            return Sending::Gone;
        }
        let mut reactor = self.shared.lock();
        let sending = reactor.respond_streamed(self.key, bytes);
        self.shared.nudge(&mut reactor);
        sending
    }

    /// Sends bytes of a response that has more to come. What an application sends within one turn, without waiting in between,
    /// leaves together at the end of the turn: each packet costs more than what is in it.
    pub fn send_part(&self, bytes: &[u8]) -> Sending {
        if self.is_over() {
            return Sending::Gone;
        }
        let mut reactor = self.shared.lock();
        if self.shared.is_turning() {
            return reactor.hold_streamed(self.key, bytes);
        }
        let sending = reactor.respond_streamed(self.key, bytes);
        self.shared.nudge(&mut reactor);
        sending
    }

    /// Sends `before`, then `length` bytes of a regular file from `offset`.
    pub fn send_file(&self, before: &[u8], file: File, offset: u64, length: u64) -> Sending {
        if self.is_over() {
            return Sending::Gone;
        }
        let mut reactor = self.shared.lock();
        let sending = reactor.respond_file_streamed(self.key, before, file, offset, length);
        self.shared.nudge(&mut reactor);
        sending
    }

    /// Whether a sender that was told [`Sending::Full`] still has to wait.
    pub fn is_full(&self) -> bool {
        !self.is_over() && self.shared.lock().is_full(self.key)
    }

    /// Whether the client has left, or the request is over.
    pub fn is_gone(&self) -> bool {
        self.is_over() || self.shared.lock().stream_is_gone(self.key)
    }

    /// Ends the response: all of it has been sent. Without `keep_alive` the connection is closed once it is delivered. A WebSocket
    /// is closed with 1000 (normal closure) unless that has been done.
    pub fn finish(&self, keep_alive: bool) {
        self.finish_with(&[], keep_alive);
    }

    /// The same, with the last bytes of the response.
    pub fn finish_with(&self, bytes: &[u8], keep_alive: bool) -> Sending {
        if !self.over.swap(true, Ordering::Relaxed) && !forks::is_child() {
            let mut reactor = self.shared.lock();
            reactor.close_websocket(self.key, 1000, "");
            reactor.forget_messages(self.key);
            let sent = reactor.finish_with(self.key, bytes, keep_alive && self.context.keep_alive);
            self.shared.nudge(&mut reactor);
            return if sent == Sent::Gone { Sending::Gone } else { Sending::Sent };
        }
        Sending::Gone
    }

    /// The trailer section of an HTTP/2 response, as [`asteri_proto::h2::block::lines`] reads it: before [`finish`](Self::finish), and
    /// for the other versions nothing.
    pub fn trailers(&self, section: &[u8]) {
        if !self.is_over() {
            self.shared.lock().set_trailers(self.key, section);
        }
    }

    /// Gives up on a response that cannot be completed, or on a WebSocket: the client sees the connection break.
    pub fn abort(&self) {
        if !self.over.swap(true, Ordering::Relaxed) && !forks::is_child() {
            let mut reactor = self.shared.lock();
            reactor.abort_response(self.key);
            reactor.forget_messages(self.key);
            self.shared.nudge(&mut reactor);
        }
    }

    // ---- WebSocket

    /// Sends `head`, the 101 (Switching Protocols), after which the connection speaks frames. At most `queue` messages wait for the
    /// application; with more, nothing is read.
    pub fn upgrade(&self, head: &[u8], codec: ws::Connection, ping: Option<Ping>, queue: usize) -> Sending {
        if self.is_over() {
            return Sending::Gone;
        }
        let mut reactor = self.shared.lock();
        let sending = reactor.upgrade(self.key, head, codec, ping, queue);
        self.shared.nudge(&mut reactor);
        sending
    }

    /// Takes the next message.
    pub fn receive_message(&self) -> Message {
        if self.is_over() {
            return Message::Disconnected { code: 1006, reason: String::new() };
        }
        let mut reactor = self.shared.lock();
        let message = reactor.take_message(self.key);
        self.shared.nudge(&mut reactor);
        message
    }

    /// Sends a text message.
    pub fn send_text(&self, text: &str) -> Sending {
        self.frames(|codec, out| codec.text(text, out))
    }

    /// Sends a binary message.
    pub fn send_binary(&self, bytes: &[u8]) -> Sending {
        self.frames(|codec, out| codec.binary(bytes, out))
    }

    /// Begins the closing handshake; the server sees to its end. A close of the peer's that was there first stays.
    pub fn close(&self, code: u16, reason: &str) {
        if !self.is_over() {
            let mut reactor = self.shared.lock();
            reactor.close_websocket(self.key, code, reason);
            self.shared.nudge(&mut reactor);
        }
    }

    fn frames(&self, write: impl FnOnce(&mut ws::Connection, &mut Vec<u8>) -> bool) -> Sending {
        if self.is_over() {
            return Sending::Gone;
        }
        let mut reactor = self.shared.lock();
        let sending = reactor.send_frames(self.key, write);
        self.shared.nudge(&mut reactor);
        sending
    }

    /// Over, or in a child that the application has forked: the client is the worker's.
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) || forks::is_child()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.abort();
    }
}
