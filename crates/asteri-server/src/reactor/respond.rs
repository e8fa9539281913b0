//! From the application's bytes to the socket, and what follows an answer.

use super::Reactor;
use crate::connection::{Connection, Stage};
use crate::notice::Notice;
use crate::outbox::Room;
use crate::slab::Key;
use crate::sys::socket::{self, Pending};
use asteri_proto::h1::request::Version;
use asteri_proto::h1::response;
use asteri_proto::time::Moment;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

/// Bytes of a response that may be held for a moment, to be sent together with what follows.
const HOLD: usize = 16 * 1024;

/// What became of bytes that were to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Sent, or kept for the client: as good as sent.
    Accepted,
    /// Kept, but the client is so far behind that the application should wait.
    FarBehind,
    /// There is nobody to send to any more.
    Gone,
}

impl Reactor {
    /// Sends for the application that has the request of this connection.
    #[inline]
    pub fn respond(&mut self, key: Key, bytes: &[u8]) -> Sent {
        if key.is_stream() {
            return self.respond_on_stream(key, bytes);
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return Sent::Gone;
        };
        if connection.stage != Stage::InApplication {
            return Sent::Gone;
        }
        connection.response_begun = true;
        if connection.together {
            self.send_together();
        }
        self.send(key, bytes)
    }

    /// Keeps bytes of the application for the next send, as something is sure to follow very soon: more of the response, its
    /// end, or the standby thread with [`send_held`](Self::send_held).
    pub fn hold(&mut self, key: Key, bytes: &[u8]) -> Sent {
        if key.is_stream() {
            return self.hold_on_stream(key, bytes);
        }
        let room = Room { memory: self.settings.response_memory, folder: &self.settings.spool_folder };
        match self.connections.get_mut(key) {
            Some(connection)
                if connection.stage == Stage::InApplication
                    && (connection.held || connection.outbox.is_none())
                    && connection.kept() + bytes.len() as u64 <= HOLD.min(room.memory) as u64 =>
            {
                self.counters.bytes_sent += bytes.len() as u64;
                connection.response_begun = true;
                connection.held = true;
                match connection.outbox.get_or_insert_default().push(bytes, room) {
                    Ok(()) => Sent::Accepted,
                    Err(_) => Sent::Gone,
                }
            }
            _ => self.respond(key, bytes),
        }
    }

    /// Sends what the application's response has held back, and what else waits for others. Runs on: the standby thread, when a call has become long.
    pub fn send_held(&mut self) {
        self.send_together();
        // Whoever sends this turns the reactor next, which sends what streams have.
        if let Some(key) = self.current
            && self.connections.get_mut(key).is_some_and(|connection| connection.held)
        {
            self.now = crate::sys::clock::now();
            self.deliver(key);
        }
    }

    /// Sends `before` and then part of a file of the application.
    pub fn respond_file(&mut self, key: Key, before: &[u8], file: File, offset: u64, length: u64) -> Sent {
        if key.is_stream() {
            return self.respond_file_on_stream(key, before, file, offset, length);
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return Sent::Gone;
        };
        if connection.stage != Stage::InApplication {
            return Sent::Gone;
        }
        connection.response_begun = true;
        // The kernel waits with a packet that is not full for what follows at once.
        if self.send_part(key, before, length > 0) == Sent::Gone {
            return Sent::Gone;
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return Sent::Gone;
        };
        self.now = crate::sys::clock::now();
        self.counters.bytes_sent += length;
        connection.outbox.get_or_insert_default().push_file(file, offset, length);
        self.deliver(key);
        self.standing(key)
    }

    /// How far the client is behind.
    pub fn standing(&mut self, key: Key) -> Sent {
        if key.is_stream() {
            return self.standing_of_stream(key);
        }
        match self.connections.get_mut(key) {
            Some(connection) if connection.stage != Stage::InApplication => Sent::Gone,
            Some(connection) if connection.kept() > self.settings.response_spool => Sent::FarBehind,
            Some(_) => Sent::Accepted,
            None => Sent::Gone,
        }
    }

    /// Bytes that are kept for a client.
    pub fn kept_for(&mut self, key: Key) -> u64 {
        if key.is_stream() {
            return self.kept_for_stream(key);
        }
        self.connections.get_mut(key).map_or(0, |connection| connection.kept())
    }

    /// The socket of a connection whose client the application has to wait for.
    pub fn socket_of(&mut self, key: Key) -> Option<io::Result<std::os::fd::OwnedFd>> {
        if key.is_stream() {
            return self.socket_of_stream(key);
        }
        self.connections.get_mut(key).map(|connection| connection.socket.try_clone())
    }

    /// Whether the client has left for certain: nothing more can be delivered.
    pub fn client_has_left(&mut self, key: Key) -> bool {
        if key.is_stream() {
            return self.stream_has_left(key);
        }
        self.connections.get_mut(key).is_none_or(|connection| connection.stage != Stage::InApplication)
    }

    /// Tries at once; keeps what the socket does not take.
    #[inline]
    pub(super) fn send(&mut self, key: Key, bytes: &[u8]) -> Sent {
        self.send_part(key, bytes, false)
    }

    #[inline]
    fn send_part(&mut self, key: Key, bytes: &[u8], more: bool) -> Sent {
        let Some(connection) = self.connections.get_mut(key) else {
            return Sent::Gone;
        };
        self.counters.bytes_sent += bytes.len() as u64;
        if connection.outbox.is_some() {
            return self.keep_unsent(key, bytes, false);
        }
        let sent = match connection.tls {
            None => socket::send(connection.socket.as_fd(), bytes, more),
            Some(_) => Self::send_sealed(connection, bytes, more, &mut self.sealed),
        };
        match sent {
            Ok(count) if count == bytes.len() && connection.outbox.is_none() => Sent::Accepted,
            Ok(count) => self.keep_unsent(key, &bytes[count..], true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.keep_unsent(key, bytes, true),
            Err(_) => {
                self.close(key);
                Sent::Gone
            }
        }
    }

    /// Keeps what the socket does not take, or (not `tried`) what has to wait behind what it did not take before.
    #[inline(never)]
    fn keep_unsent(&mut self, key: Key, rest: &[u8], tried: bool) -> Sent {
        let Some(connection) = self.connections.get_mut(key) else {
            return Sent::Gone;
        };
        let held = connection.held;
        if tried {
            // The application may have taken long since the last look at the clock.
            self.now = crate::sys::clock::now();
            connection.deadline = self.now + self.settings.http.timeouts.write_idle;
            connection.in_kernel = socket::unacknowledged(connection.socket.as_fd());
        }
        // What HTTP/2 sends is bounded by itself, and of many streams.
        let in_memory = self.streamed || connection.stage == Stage::Multiplexed;
        let memory = if in_memory { usize::MAX } else { self.settings.response_memory };
        let room = Room { memory, folder: &self.settings.spool_folder };
        let kept = connection.outbox.get_or_insert_default().push(rest, room);
        if let Err(error) = kept {
            self.observer.notice(&Notice::ResponseSpoolFailed(&error));
            self.reset(key);
            return Sent::Gone;
        }
        if held {
            self.now = crate::sys::clock::now();
            self.deliver(key);
            return self.standing(key);
        }
        self.schedule(key);
        if self.connections.get_mut(key).is_some_and(|connection| connection.kept() > self.settings.response_spool) {
            return Sent::FarBehind;
        }
        Sent::Accepted
    }

    /// Sends what was kept, as far as the socket takes it.
    pub(super) fn deliver(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Some(outbox) = &mut connection.outbox else {
            return;
        };
        connection.held = false;
        let delivered = match &mut connection.tls {
            None => outbox.deliver(connection.socket.as_fd()),
            Some(tls) => outbox.deliver_sealed(connection.socket.as_fd(), tls, &mut self.piece),
        };
        match delivered {
            Ok(progress) if progress.drained => {
                connection.outbox = None;
                connection.deadline = Moment(u64::MAX);
                if let Stage::Delivering { keep_alive } = connection.stage {
                    self.after_response(key, keep_alive);
                } else if connection.stage == Stage::Multiplexed {
                    // There is room for more, and perhaps something to read that waited for it.
                    self.touch(key);
                    self.wake(key);
                } else if self.streamed {
                    self.room_again(key);
                }
            }
            Ok(progress) => {
                let more = progress.more;
                if progress.moved || connection.deadline == Moment(u64::MAX) {
                    connection.deadline = self.now + self.settings.http.timeouts.write_idle;
                    connection.in_kernel = socket::unacknowledged(connection.socket.as_fd());
                }
                self.schedule(key);
                if more {
                    self.wake(key);
                }
                if self.streamed {
                    self.room_again(key);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.reset(key),
            Err(_) => self.close(key),
        }
    }

    /// The application has given its whole response, the last of it in `bytes`.
    pub fn finish_with(&mut self, key: Key, bytes: &[u8], keep_alive: bool) -> Sent {
        if key.is_stream() {
            return self.finish_stream_with(key, bytes);
        }
        let sent =
            if bytes.is_empty() || self.put_together(key, bytes) { Sent::Accepted } else { self.respond(key, bytes) };
        self.finish_response(key, keep_alive);
        sent
    }

    /// The application has given its whole response.
    #[inline]
    pub fn finish_response(&mut self, key: Key, keep_alive: bool) {
        if key.is_stream() {
            return self.finish_on_stream(key);
        }
        self.now = crate::sys::clock::now();
        self.current = None;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.stage != Stage::InApplication {
            return;
        }
        // Content that nobody has asked for may be endless, and the next request is behind it.
        let keep_alive = keep_alive && connection.stream.as_ref().is_none_or(|stream| stream.complete);
        if connection.held {
            self.deliver(key);
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.together {
            connection.stage = Stage::Delivering { keep_alive };
        } else if connection.outbox.as_ref().is_some_and(|outbox| !outbox.is_empty()) {
            connection.stage = Stage::Delivering { keep_alive };
            self.schedule(key);
        } else {
            connection.outbox = None;
            self.after_response(key, keep_alive);
        }
        self.call_has_ended();
    }

    /// The application cannot complete its response: the client has to see that it is not whole.
    pub fn abort_response(&mut self, key: Key) {
        if key.is_stream() {
            return self.abort_on_stream(key);
        }
        self.current = None;
        if self.connections.get_mut(key).is_some_and(|connection| connection.together) {
            // What was given before still goes to the client.
            self.send_together();
        }
        if self.connections.get_mut(key).is_some_and(|connection| connection.in_use()) {
            self.reset(key);
        }
    }

    /// The last byte of a response has gone to the kernel.
    #[inline]
    pub(super) fn after_response(&mut self, key: Key, keep_alive: bool) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if let Some(stream) = &mut connection.stream {
            stream.clear();
        }
        if !keep_alive {
            if connection.tls.is_some() && !self.finish_tls(key) {
                return;
            }
            let Some(connection) = self.connections.get_mut(key) else { return };
            // With bytes unread in the kernel, a close would reset the connection and might destroy the answer.
            let unread = || socket::pending(connection.socket.as_fd()) == Pending::Bytes;
            if connection.readable || !connection.input.is_empty() || unread() {
                self.start_lingering(key);
            } else {
                // No application has it any more that would want to know.
                connection.stage = Stage::Lingering;
                self.close(key);
            }
            return;
        }
        connection.stage = Stage::Receiving;
        connection.deadline = Moment(u64::MAX);
        connection.is_head = false;
        connection.http.next_request(self.now);
        let more = connection.readable || connection.peer_closed || !connection.input.is_empty();
        if self.draining {
            self.limit_idle_time(key);
        } else if connection.watched {
            // As `schedule` would do it, who would have to find out first what is known here.
            let deadline = self.now + self.settings.http.timeouts.keepalive;
            self.wheel.schedule(key, &mut connection.alarm, deadline);
        } else {
            self.schedule(key);
        }
        if more {
            self.wake(key);
        }
    }

    pub(super) fn start_lingering(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.tls.is_some() && !self.finish_tls(key) {
            if let Some(connection) = self.connections.get_mut(key) {
                // It lingers once that is delivered.
                connection.readable = true;
            }
            return;
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        socket::shutdown_sending(connection.socket.as_fd());
        connection.stage = Stage::Lingering;
        connection.readable = true;
        connection.input = Vec::new();
        connection.deadline = self.now + self.settings.http.timeouts.linger;
        self.schedule(key);
        self.wake(key);
    }

    /// An answer of the server's own, the last one on this connection.
    pub(super) fn answer_and_close(&mut self, key: Key, status: u16, code: &str) {
        let mut answer = Vec::with_capacity(256);
        // Of a head that was refused, too, the first bytes may say HEAD.
        let is_head = |connection: &mut Connection| connection.is_head || connection.input.starts_with(b"HEAD ");
        let is_head = self.connections.get_mut(key).is_some_and(is_head);
        let server = self.settings.server_field.as_deref();
        response::error_response(&mut answer, Version::Http11, status, code, &self.date.get(), server, is_head);
        if self.send(key, &answer) == Sent::Gone {
            return;
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.outbox.is_some() {
            connection.readable = true;
            connection.stage = Stage::Delivering { keep_alive: false };
        } else {
            self.start_lingering(key);
        }
    }

    /// The application hangs and its process is about to be ended: answers its client, and those who wait behind it, while
    /// that is still possible. Returns whether the hanging request's client got an answer.
    pub fn answer_for_hung(&mut self) -> bool {
        self.give_queue(true);
        for request in std::mem::take(&mut self.queue) {
            if request.key.is_stream() {
                self.answer_in_place(request.key, 503, "worker-replaced");
            } else {
                self.answer_and_close(request.key, 503, "worker-replaced");
            }
        }
        let Some(key) = self.current else {
            return false;
        };
        if key.is_stream() {
            let answered = self.answer_in_place(key, 504, "application-timeout");
            if answered {
                self.observer.notice(&Notice::AnsweredForHung(504));
            }
            return answered;
        }
        let answerable =
            |connection: &mut Connection| connection.stage == Stage::InApplication && !connection.response_begun;
        if !self.connections.get_mut(key).is_some_and(answerable) {
            return false;
        }
        self.answer_and_close(key, 504, "application-timeout");
        self.observer.notice(&Notice::AnsweredForHung(504));
        true
    }
}
