//! What the reactor tells whoever keeps the logs.
//!
//! Notices are facts, not text: the listener decides what is written and where.

use crate::sys::socket::Peer;
use asteri_proto::error::ProtocolError;
use std::io;

/// Something that happened below the application.
#[derive(Debug)]
pub enum Notice<'a> {
    /// A request was refused before it reached the application.
    Refused {
        peer: Peer,
        error: ProtocolError,
        /// The first bytes of what the peer sent, at most [`Notice::SAMPLE`] of them. Untrusted.
        sample: &'a [u8],
    },
    /// A field of a request was removed, or is not taken for the truth about its client.
    NotBelieved {
        peer: Peer,
        /// Its name. Untrusted.
        field: &'a [u8],
        /// A clause.
        why: &'static str,
    },
    /// No connection can be accepted until descriptors (or memory) come back.
    CannotAccept(&'a io::Error),
    /// Content of a request could not be kept; its client got a 500.
    RequestSpoolFailed(&'a io::Error),
    /// A response could not be kept for its slow client and was cut.
    ResponseSpoolFailed(&'a io::Error),
    /// A client took nothing of its response for the write timeout and was cut off.
    WriteTimeout(Peer),
    /// A peer did not finish its TLS handshake in time.
    HandshakeTimeout(Peer),
    /// A peer's TLS handshake was not done in time because others were before it in this worker.
    HandshakeLate(Peer),
    /// A peer does not speak TLS as it should, or gave no certificate that is good.
    TlsFailed { peer: Peer, error: String },
    /// A WebSocket's peer did not answer a ping in time and was cut off.
    PongTimeout(Peer),
    /// A request that waited for the application was dropped, as its client had left.
    SkippedAbandoned(Peer),
    /// A client of HTTP/2 sent too many frames of a kind that moves nothing, and was cut off.
    Http2Flood { peer: Peer, frames: &'static str },
    /// A connection of HTTP/2 ended with an error: of the client's making if it is ours to tell, else told by the client.
    Http2Fault { peer: Peer, reason: &'a str, remote: bool },
    /// The client of a request that hung in the application was answered with this status.
    AnsweredForHung(u16),
}

impl Notice<'_> {
    pub const SAMPLE: usize = 256;
}

/// Takes notices. Runs on: any thread of the server's, with the reactor locked: be quick, and do not call
/// back.
pub trait Observer: Send + Sync {
    fn notice(&self, notice: &Notice<'_>);
}

/// Looks away.
pub struct Ignore;

impl Observer for Ignore {
    fn notice(&self, _: &Notice<'_>) {}
}
