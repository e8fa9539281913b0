//! `REMOTE_ADDR` and `REMOTE_PORT`: a connection sends many requests, its address is made into text once.

use std::fmt::Write as _;

use asteri_server::Peer;
use pyo3::prelude::*;

use crate::shim;

/// The texts of the addresses seen lately, in a direct-mapped table of fixed size.
pub struct PeerTexts {
    slots: Box<[Option<Texts>]>,
    scratch: String,
}

struct Texts {
    peer: std::net::SocketAddr,
    address: Py<PyAny>,
    port: Py<PyAny>,
}

const SLOTS: usize = 128;

impl PeerTexts {
    /// An empty table.
    pub fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| None).collect(), scratch: String::new() }
    }

    /// Address and port of a peer; `None` on a Unix socket.
    ///
    /// # Errors
    /// `MemoryError`.
    #[inline]
    pub fn lookup(&mut self, py: Python<'_>, peer: &Peer) -> PyResult<Option<(&Py<PyAny>, &Py<PyAny>)>> {
        let Peer::Ip(peer) = peer else { return Ok(None) };
        // Ports of one client differ in their low bits.
        let slot = usize::from(peer.port()) % SLOTS;
        if !matches!(&self.slots[slot], Some(texts) if texts.peer == *peer) {
            let address = self.text(py, &peer.ip())?;
            let port = self.text(py, &peer.port())?;
            self.slots[slot] = Some(Texts { peer: *peer, address, port });
        }
        Ok(self.slots[slot].as_ref().map(|texts| (&texts.address, &texts.port)))
    }

    fn text(&mut self, py: Python<'_>, value: &dyn std::fmt::Display) -> PyResult<Py<PyAny>> {
        self.scratch.clear();
        // Writing to a String cannot fail.
        let _ = write!(self.scratch, "{value}");
        Ok(shim::latin1(py, self.scratch.as_bytes())?.unbind())
    }
}
