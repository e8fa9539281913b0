//! How an application answers: bytes go into a buffer, the buffer goes to the client.
//!
//! The application never waits for its client. What the socket does not take at once is kept (in memory, then in a file)
//! and delivered by the reactor, whoever turns it. The one exception is a response that has outgrown even the file's
//! limit, as an endless response to a slow reader must not fill the disk: [`Responder::lag`] says so after a flush.

use crate::date::DateCache;
use crate::host::Shared;
use crate::reactor::Sent;
use crate::request::ReadyRequest;
use crate::slab::Key;
use crate::sys::{epoll, forks};
use asteri_proto::h1::response::ResponseContext;
use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
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

/// Buffers above this size, in bytes, are given back after the response: one of a megabyte must not pin a megabyte for ever.
const LARGE: usize = 256 * 1024;

/// The way to the client of one request, and then to that of the next. Dropped or armed anew without
/// [`finish`](Self::finish), it aborts the response.
pub struct Responder {
    shared: Arc<Shared>,
    key: Key,
    buffer: Vec<u8>,
    date: DateCache,
    context: ResponseContext,
    /// Runs a function with the interpreter let go.
    block: fn(&mut dyn FnMut()),
    state: State,
    /// When the last part was sent, if one was.
    last_sent: Option<Instant>,
    /// Since it was found that the client is far behind.
    behind: Option<Behind>,
}

/// How it goes with a client that is far behind.
struct Behind {
    /// The least number of bytes that were kept for it.
    least: u64,
    /// Since when it has been that number.
    since: Instant,
}

/// A client that is far behind: something to wait for.
///
/// It has nothing of the [`Responder`], which others may use meanwhile.
pub struct Lag {
    socket: OwnedFd,
    block: fn(&mut dyn FnMut()),
}

impl Lag {
    /// Waits for a moment in which the client may catch up.
    pub fn wait(self) {
        (self.block)(&mut || {
            epoll::wait_writable(self.socket.as_fd(), Duration::from_millis(100));
            // Whoever delivers needs a moment; without one, a writable socket would make this a busy loop.
            std::thread::sleep(Duration::from_millis(5));
        });
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Gone,
    Finished,
}

impl Responder {
    /// One that leads nowhere yet. `block` runs a function that may take long and touches nothing of the application, with the
    /// interpreter let go.
    pub(crate) fn new(shared: Arc<Shared>, block: fn(&mut dyn FnMut())) -> Self {
        Self {
            shared,
            key: Key::from_token(u64::MAX),
            buffer: Vec::with_capacity(16 * 1024),
            date: DateCache::new(),
            context: ResponseContext::default(),
            block,
            state: State::Finished,
            last_sent: None,
            behind: None,
        }
    }

    /// Connects it with the client of `request`, which the application has been given.
    pub fn arm(&mut self, request: &ReadyRequest) {
        self.settle_unfinished();
        self.buffer.clear();
        if self.buffer.capacity() > LARGE {
            self.buffer = Vec::with_capacity(16 * 1024);
        }
        self.key = request.key;
        self.context = self.shared.context_of(request);
        self.state = State::Open;
        self.last_sent = None;
        self.behind = None;
    }

    /// What the response head depends on. `keep_alive` is false when the server is going to close the connection.
    #[must_use]
    pub fn context(&self) -> ResponseContext {
        let keep_alive = self.context.keep_alive && !self.shared.closes_connections();
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
        &mut self.buffer
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
        let mut reactor = self.shared.lock();
        let sent = reactor.respond(self.key, &self.buffer);
        self.shared.nudge(&mut reactor);
        drop(reactor);
        self.buffer.clear();
        self.settle(sent)
    }

    /// Sends what is in the buffer as one part of a response that has more to come.
    ///
    /// A part that comes right after another one may be held for a moment and sent with the next: most applications that yield
    /// their response in pieces yield them at once, and each piece of its own costs a packet. PEP 3333 permits that where
    /// another thread sees to it that the part is sent while the application makes the next: the standby thread does so as
    /// soon as the call has lasted for a few milliseconds, and from then on nothing is held. Where there is no such thread, each
    /// part is sent alone.
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
        let sent = if self.stands_by() {
            reactor.hold(self.key, &self.buffer)
        } else {
            reactor.respond(self.key, &self.buffer)
        };
        self.shared.nudge(&mut reactor);
        drop(reactor);
        self.buffer.clear();
        self.settle(sent)
    }

    /// Sends what is in the buffer, which is the last of the response; what follows is its end. It may wait for a moment to leave
    /// together with the responses of other requests, and as in [`flush_part`](Self::flush_part) only where there is another
    /// thread to send it, if the end does not come soon.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn flush_last(&mut self) -> Result<(), ClientGone> {
        if self.last_sent.is_some() || self.buffer.is_empty() || !self.is_open() {
            return self.flush_part();
        }
        let mut reactor = self.shared.lock();
        if !self.may_wait() || !reactor.put_together(self.key, &self.buffer) {
            drop(reactor);
            return self.flush();
        }
        drop(reactor);
        self.buffer.clear();
        Ok(())
    }

    /// Whether there is a thread that will send what is held, should this call last. To be asked under the reactor's lock, which
    /// that thread takes after it has become active and before it sends.
    fn stands_by(&self) -> bool {
        self.shared.standby.as_ref().is_some_and(|standby| !standby.is_active())
    }

    /// Whether a response may wait for others, as far as it depends on the standby thread: one that is active already looks no more. Where
    /// there is none, it is the courier who sends what would wait too long. To be asked as [`stands_by`](Self::stands_by) is.
    fn may_wait(&self) -> bool {
        self.shared.standby.is_none() || self.stands_by()
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
        let mut reactor = self.shared.lock();
        let sent = reactor.respond_file(self.key, &self.buffer, File::from(file), offset, length);
        self.shared.nudge(&mut reactor);
        drop(reactor);
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
            Sent::FarBehind => {
                self.behind.get_or_insert_with(|| Behind { least: u64::MAX, since: Instant::now() });
                Ok(())
            }
            Sent::Gone => {
                self.state = State::Gone;
                Err(ClientGone)
            }
        }
    }

    /// Whether the client is so far behind that the application must not make more: then wait, and ask again. The reactor
    /// delivers meanwhile, and enforces the write timeout.
    ///
    /// # Errors
    /// When there is nobody to send to any more, or the client has taken nothing for long.
    pub fn lag(&mut self) -> Result<Option<Lag>, ClientGone> {
        if self.behind.is_none() {
            return Ok(None);
        }
        if !self.is_open() {
            return Err(ClientGone);
        }
        let mut reactor = self.shared.lock();
        let kept = reactor.kept_for(self.key);
        if let Some(behind) = &mut self.behind {
            if kept < behind.least {
                *behind = Behind { least: kept, since: Instant::now() };
            } else if behind.since.elapsed() > STALLED {
                reactor.abort_response(self.key);
            }
        }
        let (standing, socket) = (reactor.standing(self.key), reactor.socket_of(self.key));
        drop(reactor);
        match (standing, socket) {
            (Sent::Accepted, _) => {
                self.behind = None;
                Ok(None)
            }
            (Sent::FarBehind, Some(Ok(socket))) => Ok(Some(Lag { socket, block: self.block })),
            _ => self.settle(Sent::Gone).map(|()| None),
        }
    }

    /// Waits until the client has caught up, for applications that do nothing else meanwhile.
    ///
    /// # Errors
    /// As [`lag`](Self::lag).
    pub fn catch_up(&mut self) -> Result<(), ClientGone> {
        while let Some(lag) = self.lag()? {
            lag.wait();
        }
        Ok(())
    }

    /// Ends the response. Without `keep_alive` the connection is closed once all is delivered.
    pub fn finish(&mut self, keep_alive: bool) {
        if self.is_open() {
            let keep_alive = keep_alive && self.context.keep_alive;
            let mut reactor = self.shared.lock();
            if self.may_wait() || self.buffer.is_empty() {
                reactor.finish_with(self.key, &self.buffer, keep_alive);
            } else {
                reactor.respond(self.key, &self.buffer);
                reactor.finish_with(self.key, &[], keep_alive);
            }
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

    /// Aborts the response unless it is finished.
    pub(crate) fn settle_unfinished(&mut self) {
        if self.state != State::Finished {
            self.abort();
        }
    }

    /// Whether the client has left for certain.
    pub fn client_gone(&mut self) -> bool {
        if self.is_open() && self.shared.lock().client_has_left(self.key) {
            self.state = State::Gone;
        }
        self.state != State::Open
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.settle_unfinished();
    }
}
