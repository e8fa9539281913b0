//! How an application answers: bytes go into a buffer, the buffer goes to the client.
//!
//! The application never waits for its client. What the socket does not take at once is kept (in memory, then in a file)
//! and delivered by the reactor, whoever turns it. The one exception is a response that has outgrown even the file's
//! limit: then [`Responder::flush`] waits, as an endless response to a slow reader must not fill the disk.

use crate::date::DateCache;
use crate::reactor::Sent;
use crate::slab::Key;
use crate::sync::Shared;
use crate::sys::{epoll, forks};
use asteri_proto::h1::response::ResponseContext;
use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// A part that comes within this time after one that was sent may be held.
const SOON: Duration = Duration::from_millis(1);

/// How long the application waits for a client that is far behind and takes nothing: less than the time after which the
/// arbiter would end the worker, as one client must not be able to bring that about.
const STALLED: Duration = Duration::from_secs(10);

/// The client has left, or was cut off: nothing more can be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientGone;

impl fmt::Display for ClientGone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the client has closed the connection")
    }
}

impl std::error::Error for ClientGone {}

/// The way to the client of one request. Dropped without [`finish`](Self::finish), it aborts the response.
pub struct Responder<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) key: Key,
    pub(crate) buffer: &'a mut Vec<u8>,
    pub(crate) date: &'a mut DateCache,
    pub(crate) context: ResponseContext,
    /// Runs a function with the interpreter let go.
    pub(crate) block: fn(&mut dyn FnMut()),
    pub(crate) state: State,
    /// When the last part was sent, if one was.
    pub(crate) last_sent: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    Gone,
    Finished,
}

impl Responder<'_> {
    /// What the response head depends on. `keep_alive` is false when the server is going to close the connection.
    #[must_use]
    pub fn context(&self) -> ResponseContext {
        let keep_alive = self.context.keep_alive && !self.shared.is_draining();
        ResponseContext { keep_alive, ..self.context }
    }

    /// The value for the `Date` field.
    pub fn date(&mut self) -> [u8; 29] {
        self.date.get()
    }

    /// The value for the `Server` field, if one is to be sent.
    #[must_use]
    pub fn server_field(&self) -> Option<&[u8]> {
        self.shared.settings.server_field.as_deref()
    }

    /// Bytes to be sent. Empty at first, and again after each flush.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.buffer
    }

    /// Sends what is in the buffer.
    ///
    /// # Errors
    /// When there is nobody to send to. The buffer is empty then too.
    pub fn flush(&mut self) -> Result<(), ClientGone> {
        if !self.is_open() {
            self.buffer.clear();
            return Err(ClientGone);
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        let sent = self.shared.lock().respond(self.key, self.buffer);
        self.buffer.clear();
        self.settle(sent)
    }

    /// Sends what is in the buffer as one part of a response that has more to come.
    ///
    /// A part that comes right after another one may be held for a moment and sent with the next: most applications that yield
    /// their response in pieces yield them at once, and each piece of its own costs a packet. PEP 3333 permits that where
    /// another thread sees to it that the part is sent while the application makes the next: the standby thread does so as
    /// soon as the call has lasted for a few milliseconds, and from then on nothing is held.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn flush_part(&mut self) -> Result<(), ClientGone> {
        let now = Instant::now();
        let soon = self.last_sent.is_some_and(|last| now.duration_since(last) < SOON);
        if !soon || self.buffer.is_empty() || !self.is_open() {
            self.last_sent = Some(now);
            return self.flush();
        }
        let mut reactor = self.shared.lock();
        // Looked at under the lock, which the standby thread takes after it has become active and before it sends.
        let sent = if self.shared.standby.is_active() {
            reactor.respond(self.key, self.buffer)
        } else {
            reactor.hold(self.key, self.buffer)
        };
        drop(reactor);
        self.buffer.clear();
        self.settle(sent)
    }

    /// Sends `length` bytes of a regular file from `offset`, behind what is in the buffer. The application is free at
    /// once: the kernel copies from the file to the socket as the client takes it.
    ///
    /// # Errors
    /// When there is nobody to send to.
    pub fn send_file(&mut self, file: OwnedFd, offset: u64, length: u64) -> Result<(), ClientGone> {
        if !self.is_open() {
            self.buffer.clear();
            return Err(ClientGone);
        }
        let sent = self.shared.lock().respond_file(self.key, self.buffer, File::from(file), offset, length);
        self.buffer.clear();
        self.settle(sent)
    }

    /// Whether there is somebody to send to. A child that the application has forked has nobody: the client is the worker's.
    /// It must not even look, as the lock may have been held at the moment of the fork.
    fn is_open(&mut self) -> bool {
        if self.state == State::Open && forks::is_child() {
            self.state = State::Gone;
        }
        self.state == State::Open
    }

    fn settle(&mut self, sent: Sent) -> Result<(), ClientGone> {
        match sent {
            Sent::Accepted => Ok(()),
            Sent::FarBehind => self.wait_for_client(),
            Sent::Gone => {
                self.state = State::Gone;
                Err(ClientGone)
            }
        }
    }

    /// Waits until the client has caught up. The standby thread delivers meanwhile, and enforces the write timeout.
    fn wait_for_client(&mut self) -> Result<(), ClientGone> {
        let mut least = u64::MAX;
        let mut since = Instant::now();
        loop {
            let socket = self.shared.lock().socket_of(self.key);
            let Some(Ok(socket)) = socket else {
                return self.settle(Sent::Gone);
            };
            (self.block)(&mut || {
                epoll::wait_writable(socket.as_fd(), Duration::from_millis(100));
                // Whoever delivers needs a moment; without one, a writable socket would make this a busy loop.
                std::thread::sleep(Duration::from_millis(5));
            });
            let mut reactor = self.shared.lock();
            let kept = reactor.kept_for(self.key);
            if kept < least {
                (least, since) = (kept, Instant::now());
            } else if since.elapsed() > STALLED {
                reactor.abort_response(self.key);
            }
            match reactor.standing(self.key) {
                Sent::FarBehind => {}
                sent => {
                    drop(reactor);
                    return self.settle(sent);
                }
            }
        }
    }

    /// Ends the response. Without `keep_alive` the connection is closed once all is delivered.
    pub fn finish(&mut self, keep_alive: bool) {
        if self.is_open() {
            let mut reactor = self.shared.lock();
            if !self.buffer.is_empty() {
                reactor.respond(self.key, self.buffer);
            }
            reactor.finish_response(self.key, keep_alive && self.context.keep_alive);
        }
        self.buffer.clear();
        self.state = State::Finished;
    }

    /// Gives up on a response that cannot be completed: the client sees the connection break.
    pub fn abort(&mut self) {
        if self.is_open() {
            self.shared.lock().abort_response(self.key);
        }
        self.buffer.clear();
        self.state = State::Finished;
    }

    /// Whether the client has left for certain.
    pub fn client_gone(&mut self) -> bool {
        if self.is_open() && self.shared.lock().client_has_left(self.key) {
            self.state = State::Gone;
        }
        self.state != State::Open
    }
}

impl Drop for Responder<'_> {
    fn drop(&mut self) {
        if self.state != State::Finished {
            self.abort();
        }
    }
}
