//! One connection's TLS: bytes of the socket in, bytes for the socket out. No socket.

use super::acceptor::Current;
use super::details::Details;
use asteri_proto::time::Moment;
use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use std::io::{BufRead, Write};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Bytes that are encrypted at a time. What the socket does not take of them is kept; more would be kept in vain.
pub(crate) const PIECE: usize = 32 * 1024;

/// A handshake that had to wait for the server gets the time back, but no more than so many times what it has at first.
const GRACES: u32 = 8;

/// The TLS of one connection.
///
/// It never keeps content: what arrives is handed on at once, what is to be sent is asked for only when it can be.
pub(crate) struct Session {
    /// `None` while it is with the [desk](super::desk).
    tls: Option<Box<ServerConnection>>,
    /// While it is away: that somebody waits for it.
    waits: Option<Arc<()>>,
    current: Arc<Current>,
    /// How long the handshake may take, and when it has to be done.
    patience: Duration,
    deadline: Moment,
    /// When the session left last.
    departed: Moment,
    /// How much may still be added to the deadline for times when it was away.
    grace: Duration,
    /// Nothing has arrived yet.
    untouched: bool,
    /// The peer has said that it sends no more (RFC 8446 §6.1).
    ended: bool,
    details: Option<Arc<Details>>,
}

/// What came of bytes that have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The handshake goes on, or application data has come.
    Goes,
    /// The handshake is done, by whichever way.
    Done { resumed: bool },
}

impl Session {
    pub(super) fn new(mut tls: ServerConnection, current: Arc<Current>, patience: Duration, now: Moment) -> Self {
        // The limit is the caller's, who asks for no more than a piece at a time.
        tls.set_buffer_limit(None);
        Self {
            tls: Some(Box::new(tls)),
            waits: None,
            current,
            patience,
            deadline: now + patience,
            departed: now,
            grace: patience.saturating_mul(GRACES),
            untouched: true,
            ended: false,
            details: None,
        }
    }

    /// The peer can begin only now.
    pub fn begin(&mut self, now: Moment) {
        self.deadline = now + self.patience;
    }

    pub fn is_untouched(&self) -> bool {
        self.untouched
    }

    /// When the handshake must be done, until it is.
    pub fn handshake_deadline(&self) -> Option<Moment> {
        self.details.is_none().then_some(self.deadline)
    }

    /// What applications are told, once the handshake is done.
    pub fn details(&self) -> Option<&Arc<Details>> {
        self.details.as_ref()
    }

    /// The peer has closed its side in good order.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes what has arrived, all of it, and puts application data behind `plain`.
    ///
    /// # Errors
    /// The peer does not speak TLS, or not as it should. What there is to [`output`](Self::output) tells it why.
    pub fn receive(&mut self, sealed: &[u8], plain: &mut Vec<u8>) -> Result<Progress, rustls::Error> {
        self.untouched = false;
        if !self.ended
            && let Some(tls) = &mut self.tls
        {
            self.ended = process(tls, sealed, plain)?;
        }
        Ok(self.progress())
    }

    /// What has changed since bytes were taken.
    fn progress(&mut self) -> Progress {
        if self.details.is_none()
            && let Some(tls) = self.tls.as_ref().filter(|tls| !tls.is_handshaking())
        {
            self.details = Some(Arc::new(Details::new(tls, &self.current.certificates)));
            return Progress::Done { resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed) };
        }
        Progress::Goes
    }

    /// Gives away what makes the handshake, for somebody else to go on with it as long as it is waited for. `None`: there is nothing in
    /// it that would take long.
    pub fn depart(&mut self, now: Moment) -> Option<(Box<ServerConnection>, Weak<()>)> {
        self.untouched = false;
        // When the keys are agreed upon, all that is left with TLS 1.3 is a hash, unless the client has certificates to show.
        let agreed = |tls: &ServerConnection| {
            tls.protocol_version() == Some(ProtocolVersion::TLSv1_3) && tls.negotiated_cipher_suite().is_some()
        };
        let easy = !self.current.asks && self.tls.as_deref().is_some_and(agreed);
        let tls = if self.details.is_some() || easy { None } else { self.tls.take() }?;
        let waits = Arc::new(());
        let waiting = Arc::downgrade(&waits);
        self.waits = Some(waits);
        self.departed = now;
        Some((tls, waiting))
    }

    /// Whether that is away: nothing can be received or sent before it is back.
    pub fn is_away(&self) -> bool {
        self.tls.is_none()
    }

    /// Takes it back, with what came of the bytes that it was given: whether the peer has closed its side.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn rejoin(
        &mut self,
        tls: Box<ServerConnection>,
        outcome: Result<bool, rustls::Error>,
        now: Moment,
    ) -> Result<Progress, rustls::Error> {
        self.tls = Some(tls);
        self.waits = None;
        // The peer had to wait for us. One that sends its message in small pieces gains nothing by it for long.
        let away = now.saturating_since(self.departed).min(self.grace);
        self.grace -= away;
        self.deadline = self.deadline + away;
        self.ended |= outcome?;
        Ok(self.progress())
    }

    /// Encrypts `plain` and puts it behind `out`, with what else there is to send before it.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        if let Some(tls) = &mut self.tls {
            // Cannot fail: there is no limit, and it goes to memory.
            let _ = tls.writer().write_all(plain);
        }
        self.output(out);
    }

    /// What TLS itself has to send.
    pub fn output(&mut self, out: &mut Vec<u8>) {
        let Some(tls) = &mut self.tls else { return };
        while tls.wants_write() {
            if tls.write_tls(out).is_err() {
                break;
            }
        }
    }

    /// Puts the message behind `out` by which the peer knows that it has got everything.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if self.details.is_some()
            && let Some(tls) = &mut self.tls
        {
            tls.send_close_notify();
            self.output(out);
        }
    }
}

/// Takes what has arrived, until the peer has closed its side; says whether it has. Application data goes behind `plain`.
pub(super) fn process(
    tls: &mut ServerConnection,
    mut sealed: &[u8],
    plain: &mut Vec<u8>,
) -> Result<bool, rustls::Error> {
    while !sealed.is_empty() {
        let taken = tls.read_tls(&mut sealed).map_err(|error| rustls::Error::General(error.to_string()))?;
        let state = tls.process_new_packets()?;
        if state.plaintext_bytes_to_read() > 0 {
            let mut reader = tls.reader();
            while let Ok(chunk) = reader.fill_buf() {
                if chunk.is_empty() {
                    break;
                }
                plain.extend_from_slice(chunk);
                let length = chunk.len();
                reader.consume(length);
            }
        }
        if state.peer_has_closed() {
            return Ok(true);
        }
        if taken == 0 {
            break;
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::super::details::ServerCertificates;
    use super::super::material::Material;
    use super::*;
    use rustls::ServerConfig;
    use rustls::crypto::ring;
    use rustls::server::ResolvesServerCertUsingSni;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn session() -> Session {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        let config = Arc::new(config);
        let certificates = Arc::new(ServerCertificates::new(&Material::default()));
        let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        Session::new(tls, Arc::new(Current { config, certificates, asks: false }), PATIENCE, Moment(0))
    }

    #[test]
    fn a_handshake_that_waits_for_us_gets_the_time_back() {
        let mut session = session();
        assert_eq!(session.handshake_deadline(), Some(Moment(5000)));
        let (tls, waiting) = session.depart(Moment(1000)).unwrap();
        assert!(session.is_away() && waiting.strong_count() == 1);
        assert_eq!(session.rejoin(tls, Ok(false), Moment(4000)), Ok(Progress::Goes));
        assert!(!session.is_away() && waiting.strong_count() == 0);
        assert_eq!(session.handshake_deadline(), Some(Moment(8000)));
    }

    #[test]
    fn small_pieces_do_not_renew_it_for_ever() {
        let mut session = session();
        for round in 0..100 {
            let (tls, _) = session.depart(Moment(round * 10_000)).unwrap();
            session.rejoin(tls, Ok(false), Moment(round * 10_000 + 9_000)).unwrap();
        }
        assert_eq!(session.handshake_deadline(), Some(Moment(5000) + PATIENCE * GRACES));
    }
}
