//! What is different with TLS: bytes are decrypted on their way in and encrypted on their way out, and before the first
//! request there is a handshake, which has a deadline of its own.

use super::Reactor;
use super::receive::READS;
use crate::connection::{Connection, Stage};
use crate::notice::Notice;
use crate::slab::Key;
use crate::sys::{clock, socket};
use crate::tls::{Desk, Done, PIECE, Progress};
use asteri_proto::error::ProtocolError;
use asteri_proto::h1::connection::Connection as Http1;
use asteri_proto::time::Moment;
use std::io;
use std::os::fd::AsFd;

/// What is received at a time, in bytes: two of the largest records (RFC 8446 §5.2).
const RECEIVED: usize = 33 * 1024;

/// Encrypted bytes that wait for a peer which takes none, beyond what one piece makes: then it keeps asking for answers of TLS
/// itself and reads none of them.
const DEAF: usize = 2 * PIECE + 64 * 1024;

/// What a browser shows when somebody has left out the s of https.
const PLAIN_HTTP: ProtocolError = ProtocolError {
    status: 400,
    code: "plain-http-request-on-https-port",
    section: "RFC 9110 §4.2.2",
    detail: "a request in clear came to a port where TLS is spoken",
};

impl Reactor {
    /// As [`read`](Self::read), through TLS.
    pub(super) fn read_sealed(&mut self, key: Key, buffer: &mut Vec<u8>) -> Result<bool, ()> {
        let before = buffer.len();
        for _ in 0..READS {
            let Some(connection) = self.connections.get_mut(key) else { return Err(()) };
            let Some(tls) = &mut connection.tls else { return Err(()) };
            if tls.is_away() {
                // What else has come is looked at when it is back.
                return Ok(false);
            }
            if tls.has_ended() {
                connection.peer_closed = true;
                self.end_of_stream(key, buffer);
                return Err(());
            }
            let mut sealed = std::mem::take(&mut self.sealed);
            sealed.clear();
            sealed.reserve_exact(RECEIVED);
            let room = sealed.capacity();
            let received = socket::receive(connection.socket.as_fd(), &mut sealed);
            let outcome = match received {
                Ok(0) => {
                    connection.peer_closed = true;
                    self.end_of_stream(key, buffer);
                    Err(())
                }
                Ok(count) => {
                    if count < room && !connection.peer_closed {
                        connection.readable = false;
                    }
                    self.unseal(key, &sealed, buffer)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.readable = false;
                    self.sealed = sealed;
                    return Ok(false);
                }
                Err(_) => {
                    self.close(key);
                    Err(())
                }
            };
            self.sealed = sealed;
            outcome?;
            // Also where an answer is going to follow, as that may take long: the peer may wait for the end of the handshake first.
            self.send_output(key)?;
            if buffer.len() > before {
                return Ok(true);
            }
            if self.connections.get_mut(key).is_some_and(|connection| !connection.readable) {
                return Ok(false);
            }
        }
        self.wake(key);
        Ok(false)
    }

    fn unseal(&mut self, key: Key, sealed: &[u8], buffer: &mut Vec<u8>) -> Result<(), ()> {
        let Some(connection) = self.connections.get_mut(key) else { return Err(()) };
        let Some(tls) = &mut connection.tls else { return Err(()) };
        // No record begins with a letter.
        if tls.is_untouched() && sealed.first().is_some_and(u8::is_ascii_alphabetic) {
            connection.tls = None;
            connection.input = sealed.to_vec();
            self.counters.tls_failures += 1;
            self.refuse(key, PLAIN_HTTP);
            return Err(());
        }
        if let Some(desk) = &self.desk
            && let Some((session, waiting)) = tls.depart(self.now)
        {
            match desk.give(key, session, waiting, sealed) {
                Ok(()) => return Ok(()),
                // There is nobody at the desk any more.
                Err(session) => drop(tls.rejoin(session, Ok(false), self.now)),
            }
        }
        let received = tls.receive(sealed, buffer);
        self.after_unsealing(key, received)
    }

    fn after_unsealing(&mut self, key: Key, received: Result<Progress, rustls::Error>) -> Result<(), ()> {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return Err(()) };
        let Some(tls) = &mut connection.tls else { return Err(()) };
        match received {
            Ok(progress) => {
                if tls.has_ended() {
                    // Nothing will announce that again.
                    connection.readable = true;
                    connection.peer_closed = true;
                    connection.closed_at = now;
                }
                if let Progress::Done { resumed } = progress {
                    // The time for a request begins now.
                    connection.http = Http1::new(now);
                    self.counters.tls_handshakes += 1;
                    self.counters.tls_resumed += u64::from(resumed);
                    if self.draining {
                        self.limit_idle_time(key);
                    }
                }
                Ok(())
            }
            Err(error) => {
                let notice = Notice::TlsFailed { peer: connection.peer, error: error.to_string() };
                self.observer.notice(&notice);
                self.counters.tls_failures += 1;
                self.fail_tls(key);
                Err(())
            }
        }
    }

    /// Handshakes are made by somebody else from now on.
    pub fn set_desk(&mut self, desk: Desk) {
        self.desk = Some(desk);
    }

    /// Goes on with connections whose handshakes have come one step further.
    pub(super) fn take_handshakes(&mut self) {
        let Some(desk) = self.desk.as_ref().filter(|desk| desk.has_done()) else { return };
        let done = desk.take();
        // They may have been here for as long as an application has kept the reactor.
        self.now = self.now.max(clock::now());
        for Done { key, tls, outcome, plain } in done {
            // It may have been closed meanwhile.
            let Some(connection) = self.connections.get_mut(key) else { continue };
            let Some(session) = &mut connection.tls else { continue };
            let received = session.rejoin(tls, outcome, self.now);
            if self.after_unsealing(key, received).is_err() || self.send_output(key).is_err() {
                continue;
            }
            if let Some(connection) = self.connections.get_mut(key) {
                connection.input = plain;
                if self.draining && connection.deadline == Moment(u64::MAX) {
                    // It may have passed while the session was away.
                    self.limit_idle_time(key);
                }
            }
            self.wake(key);
        }
    }

    /// The peer has broken the rules of TLS: it is told so, and nothing else any more.
    fn fail_tls(&mut self, key: Key) {
        if self.send_output(key).is_err() {
            return;
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.stage == Stage::Receiving && connection.outbox.is_none() {
            connection.tls = None;
            connection.partial = None;
            self.start_lingering(key);
        } else {
            self.reset(key);
        }
    }

    /// A peer has not finished its handshake in time, or not before a draining worker leaves.
    pub(super) fn end_handshake(&mut self, key: Key, now: Moment) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let overdue = connection.tls.as_ref().and_then(|tls| tls.handshake_deadline()).is_some_and(|at| at <= now);
        let away = connection.tls.as_ref().is_some_and(|tls| tls.is_away());
        if !overdue && away {
            // The peer is not the one who has to go on. It is told how long it has when the session is back.
            connection.deadline = Moment(u64::MAX);
            return self.schedule(key);
        }
        if !overdue {
            return self.close_idle(key);
        }
        let peer = connection.peer;
        self.counters.timeouts += 1;
        // While its session is away, it is the peer who waits.
        let notice = if away { Notice::HandshakeLate(peer) } else { Notice::HandshakeTimeout(peer) };
        self.observer.notice(&notice);
        self.close(key);
    }

    /// Sends what TLS itself has to say. `Err`: the connection is gone.
    fn send_output(&mut self, key: Key) -> Result<(), ()> {
        let Some(connection) = self.connections.get_mut(key) else { return Err(()) };
        let Some(tls) = &mut connection.tls else { return Err(()) };
        self.sealed.clear();
        tls.output(&mut self.sealed);
        if self.sealed.is_empty() {
            return Ok(());
        }
        let mut rest = &self.sealed[..];
        if connection.outbox.is_none() {
            match socket::send(connection.socket.as_fd(), rest, false) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.close(key);
                    return Err(());
                }
            }
            if rest.is_empty() {
                return Ok(());
            }
            connection.deadline = self.now + self.settings.http.timeouts.write_idle;
            connection.in_kernel = socket::unacknowledged(connection.socket.as_fd());
        }
        let outbox = connection.outbox.get_or_insert_default();
        outbox.push_sealed(rest);
        if outbox.sealed_len() > DEAF {
            self.reset(key);
            return Err(());
        }
        self.schedule(key);
        Ok(())
    }

    /// Encrypts and sends as much as the socket takes, where nothing waits to be sent before. Returns how much of `bytes` is
    /// dealt with; what was encrypted and not taken waits in the outbox.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) fn send_sealed(
        connection: &mut Connection,
        bytes: &[u8],
        more: bool,
        sealed: &mut Vec<u8>,
    ) -> io::Result<usize> {
        let Some(tls) = &mut connection.tls else { return Err(io::ErrorKind::NotConnected.into()) };
        let mut used = 0;
        while used < bytes.len() {
            let end = bytes.len().min(used + PIECE);
            sealed.clear();
            tls.seal(&bytes[used..end], sealed);
            used = end;
            let sent = match socket::send(connection.socket.as_fd(), sealed, more || used < bytes.len()) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            if sent < sealed.len() {
                connection.outbox.get_or_insert_default().push_sealed(&sealed[sent..]);
                break;
            }
        }
        Ok(used)
    }

    /// Ends TLS on a connection whose peer has been sent everything, and tells it so (RFC 8446 §6.1). `false`: that has to
    /// wait until the socket takes it, and the connection is delivered to the end first.
    pub(super) fn finish_tls(&mut self, key: Key) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return true };
        match Self::part(connection, &mut self.sealed) {
            Parting::Done => true,
            Parting::Gone => {
                self.close(key);
                false
            }
            Parting::Left(sent) => {
                connection.outbox.get_or_insert_default().push_sealed(&self.sealed[sent..]);
                connection.stage = Stage::Delivering { keep_alive: false };
                connection.deadline = self.now + self.settings.http.timeouts.write_idle;
                connection.in_kernel = socket::unacknowledged(connection.socket.as_fd());
                self.schedule(key);
                false
            }
        }
    }

    /// The same for one that is closed whatever comes of it.
    pub(super) fn say_goodbye(&mut self, connection: &mut Connection) {
        // A peer that takes nothing will not miss it: nothing that it waits for ends here.
        let _ = Self::part(connection, &mut self.sealed);
    }

    fn part(connection: &mut Connection, sealed: &mut Vec<u8>) -> Parting {
        let Some(mut tls) = connection.tls.take() else { return Parting::Done };
        if connection.outbox.is_some() {
            return Parting::Done;
        }
        sealed.clear();
        tls.close(sealed);
        if sealed.is_empty() {
            return Parting::Done;
        }
        match socket::send(connection.socket.as_fd(), sealed, false) {
            Ok(sent) if sent == sealed.len() => Parting::Done,
            Ok(sent) => Parting::Left(sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Parting::Left(0),
            Err(_) => Parting::Gone,
        }
    }
}

/// What came of the message by which TLS ends.
enum Parting {
    Done,
    /// The socket has taken so many bytes of it.
    Left(usize),
    /// Nobody is there any more.
    Gone,
}
