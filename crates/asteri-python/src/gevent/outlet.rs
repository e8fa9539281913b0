//! The way to a client, with regard for the other greenlets.
//!
//! What a client does not take at once is kept for it, so sending never waits, and an application that yields a long body
//! without waiting for anything would have the thread for as long as that takes. So it lets others run now and then.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use asteri_proto::h1::response::ResponseContext;
use asteri_server::hosted::Hosted;
use asteri_server::{ClientGone, ReadyRequest, Responder};
use pyo3::prelude::*;

use crate::wsgi::{Exchange, Wait};

/// Bytes after which others get their turn: a few hundred microseconds of sending.
const TURN: usize = 256 * 1024;

/// How long a greenlet waits before it looks again whether a client that is far behind has caught up, in seconds.
const LOOK_AGAIN: f64 = 0.01;

/// A [`Responder`] for a greenlet. Used for one request after another.
pub struct Outlet {
    responder: Responder,
    /// Bytes sent since others had their turn.
    sent: usize,
}

impl Outlet {
    /// One that leads nowhere yet.
    pub fn new(hosted: &Hosted) -> Self {
        Self { responder: hosted.responder(give_way), sent: 0 }
    }

    /// Connects it with the client of `request`.
    pub fn arm(&mut self, request: &ReadyRequest) {
        self.responder.arm(request);
        self.sent = 0;
    }
}

impl Exchange for Outlet {
    #[inline]
    fn context(&self) -> ResponseContext {
        self.responder.context()
    }

    #[inline]
    fn date(&mut self) -> [u8; 29] {
        self.responder.date()
    }

    #[inline]
    fn buffer(&mut self) -> &mut Vec<u8> {
        self.responder.buffer()
    }

    fn flush(&mut self) -> Result<(), ClientGone> {
        self.sent += self.responder.buffer().len();
        self.responder.flush()
    }

    fn flush_part(&mut self) -> Result<(), ClientGone> {
        self.sent += self.responder.buffer().len();
        self.responder.flush_part()
    }

    fn flush_last(&mut self) -> Result<(), ClientGone> {
        self.sent += self.responder.buffer().len();
        self.responder.flush_last()
    }

    fn send_file(&mut self, file: OwnedFd, offset: u64, len: u64) -> Result<(), ClientGone> {
        self.responder.send_file(file, offset, len)
    }

    fn lag(&mut self) -> Result<Option<Wait>, ClientGone> {
        if let Some(lag) = self.responder.lag()? {
            self.sent = 0;
            return Ok(Some(Box::new(|| lag.wait())));
        }
        if self.sent < TURN {
            return Ok(None);
        }
        self.sent = 0;
        Ok(Some(Box::new(|| sleep(0.0))))
    }

    fn finish(&mut self, keep_alive: bool) {
        self.responder.finish(keep_alive);
    }

    fn abort(&mut self) {
        self.responder.abort();
    }

    fn client_gone(&mut self) -> bool {
        self.responder.client_gone()
    }
}

static SLEEP: OnceLock<Py<PyAny>> = OnceLock::new();

/// Tells what lets other greenlets run: `gevent.sleep`.
pub fn sleep_with(sleep: Py<PyAny>) {
    SLEEP.get_or_init(|| sleep);
}

/// Instead of `wait`, which would stop everybody.
fn give_way(_wait: &mut dyn FnMut()) {
    sleep(LOOK_AGAIN);
}

/// Lets others run. An exception that is thrown at this greenlet meanwhile stays set, for the gateway to find.
///
/// *Runs on:* the greenlet of a request, with nothing borrowed or locked.
fn sleep(seconds: f64) {
    let Some(sleep) = SLEEP.get() else { return };
    // SAFETY: the gateway serves requests on an attached thread, and has let go of nothing when it sends.
    let py = unsafe { Python::assume_attached() };
    if let Err(error) = sleep.call1(py, (seconds,)) {
        error.restore(py);
    }
}
