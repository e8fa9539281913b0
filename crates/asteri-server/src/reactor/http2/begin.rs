//! How a connection comes to speak HTTP/2: by the handshake of TLS (RFC 9113 §3.2), as the client knows (§3.3), or as it asks for in
//! a request of HTTP/1.1.

use super::Http2;
use crate::connection::Stage;
use crate::reactor::{Reactor, Scratch, Sent};
use crate::slab::Key;
use asteri_proto::h1::request::RequestHead;
use asteri_proto::h2::frames::PREFACE;
use asteri_proto::h2::upgrade::{self, Upgrade};

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::reactor) enum Opening {
    /// HTTP/1, or nothing that is known here.
    Other,
    /// The beginning of the preface, and not all of it.
    Undecided,
    /// HTTP/2.
    Http2,
}

impl Reactor {
    /// What a connection speaks whose first bytes have come.
    pub(in crate::reactor) fn opening(&mut self, key: Key, input: &[u8]) -> Opening {
        let prior_knowledge = self.settings.http2.prior_knowledge;
        let Some(connection) = self.connections.get_mut(key) else { return Opening::Other };
        if connection.is_uwsgi() {
            return Opening::Other;
        }
        let fresh = connection.http.is_fresh();
        if let Some(tls) = &connection.tls {
            let agreed = tls.details().is_some_and(|details| details.protocol.as_deref() == Some(b"h2"));
            return if fresh && agreed { Opening::Http2 } else { Opening::Other };
        }
        if !prior_knowledge {
            return Opening::Other;
        }
        match (fresh, input) {
            (true, input) if input.starts_with(PREFACE) => Opening::Http2,
            (true, input) if !input.is_empty() && PREFACE.starts_with(input) => Opening::Undecided,
            _ => Opening::Other,
        }
    }

    /// What a request asks to go on with, if that is allowed.
    pub(in crate::reactor) fn upgrade_asked(&self, head: &RequestHead, bytes: &[u8]) -> Option<Upgrade> {
        if self.settings.http2.upgrade { upgrade::offer(head, bytes) } else { None }
    }

    /// The request becomes the first stream; `rest` came behind it.
    pub(in crate::reactor) fn upgrade_to_http2(
        &mut self,
        key: Key,
        upgrade: Upgrade,
        rest: &[u8],
        scratch: &mut Scratch,
    ) {
        if self.send(key, upgrade::SWITCHING) != Sent::Gone {
            self.begin_http2(key, Some(upgrade), rest, scratch);
        }
    }

    /// From here on the connection speaks HTTP/2; `input` is what came of it.
    pub(in crate::reactor) fn begin_http2(
        &mut self,
        key: Key,
        upgrade: Option<Upgrade>,
        input: &[u8],
        scratch: &mut Scratch,
    ) {
        let now = self.now;
        let mut http2 = Box::new(Http2::new(&self.settings.http2, self.streamed, now));
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.stage = Stage::Multiplexed;
        connection.partial = None;
        http2.upgrade = upgrade;
        if self.draining {
            http2.close(now + self.settings.drain_idle);
        }
        connection.http2 = Some(http2);
        self.counters.http2_connections += 1;
        self.take_in_http2(key, input, scratch);
        self.touch(key);
    }
}
