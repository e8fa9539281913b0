//! One application call: what `start_response`, `write` and `wsgi.early_hints` of PEP 3333 act upon.
//!
//! The three callables are builtins over one [`Call`] object, which lives as long as the gateway and is armed with the
//! way to the client for the length of each call. One that an application has kept does nothing afterwards but raise.

use std::cell::{RefCell, RefMut};
use std::ffi::c_ulong;
use std::ptr::NonNull;

use asteri_proto::h1::response::{BodyEncoder, ResponseError, ResponseFraming};
use asteri_server::ClientGone;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::exchange::Exchange;
use super::staged::Staged;
use crate::shim;

/// The object that the callables are bound to.
#[pyclass(module = "asteri._asteri", name = "Call", frozen)]
pub struct Call {
    state: RefCell<State>,
}

// SAFETY: a Call is touched only with the interpreter's lock held (this extension does not declare itself free of it),
// and `Call::state` refuses every thread but the one that armed it. The lock is let go of inside a borrow only by
// `Exchange::flush`, and then a second borrow fails instead of aliasing.
unsafe impl Send for Call {}
// SAFETY: as above.
unsafe impl Sync for Call {}

/// How far the response has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// `start_response` has not been called.
    Nothing,
    /// The head is known and may still be replaced.
    Staged,
    /// The head is on its way.
    Begun,
}

/// What a call has brought so far.
pub struct State {
    /// Set only while the application runs; see [`Call::arm`].
    out: Option<NonNull<dyn Exchange>>,
    thread: c_ulong,
    pub stage: Stage,
    pub staged: Staged,
    encoder: Option<BodyEncoder>,
    framing: ResponseFraming,
    keep_alive: bool,
    /// Bytes of content given to the encoder and accepted.
    pub sent: u64,
    /// Bytes beyond the declared length.
    pub cut: u64,
    /// The client has left.
    pub gone: bool,
    /// `write`, while the call is armed: `start_response` returns it.
    pub write: Option<Py<PyAny>>,
    server: Option<Box<[u8]>>,
}

/// Ends the armed time of a [`Call`].
pub struct Armed<'a>(&'a Call);

impl Drop for Armed<'_> {
    fn drop(&mut self) {
        // Nobody can hold a borrow here: the callables return before their caller, the application, does.
        if let Ok(mut state) = self.0.state.try_borrow_mut() {
            state.out = None;
        }
    }
}

impl Call {
    /// A call that is not armed. `server`: the `Server` field.
    pub fn new(server: Option<Box<[u8]>>) -> Self {
        Self {
            state: RefCell::new(State {
                out: None,
                thread: 0,
                stage: Stage::Nothing,
                staged: Staged::default(),
                encoder: None,
                framing: ResponseFraming::NoContent,
                keep_alive: false,
                sent: 0,
                cut: 0,
                gone: false,
                write: None,
                server,
            }),
        }
    }

    /// Connects the callables with a client until the guard is dropped.
    #[inline]
    pub fn arm<'a>(&'a self, out: &'a mut (dyn Exchange + 'a)) -> Armed<'a> {
        let mut state = self.state.borrow_mut();
        let out: NonNull<dyn Exchange + 'a> = NonNull::from(out);
        // SAFETY: only the lifetime changes. The guard borrows `out` for 'a and takes the pointer away when it is
        // dropped, so the pointer is never used beyond 'a, nor beside the reference it was made from.
        let out = unsafe { std::mem::transmute::<NonNull<dyn Exchange + 'a>, NonNull<dyn Exchange + 'static>>(out) };
        state.out = Some(out);
        state.thread = shim::thread();
        state.stage = Stage::Nothing;
        state.encoder = None;
        state.sent = 0;
        state.cut = 0;
        state.gone = false;
        Armed(self)
    }

    /// The state, for the gateway itself. Never held while Python code may run.
    #[inline]
    pub fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// The state, for a callable in the hands of the application.
    ///
    /// # Errors
    /// `RuntimeError` when the request is over, or from another thread.
    #[inline]
    pub fn state_for(&self, callable: &str) -> PyResult<RefMut<'_, State>> {
        let state = self.state.try_borrow_mut().map_err(|_| {
            PyRuntimeError::new_err(format!("{callable}() was called while another call for this request is under way"))
        })?;
        if state.out.is_none() {
            return Err(PyRuntimeError::new_err(format!("{callable}() was called after its request was over")));
        }
        if state.thread != shim::thread() {
            return Err(PyRuntimeError::new_err(format!(
                "{callable}() was called from another thread than the one that serves the request"
            )));
        }
        Ok(state)
    }
}

impl State {
    /// The way to the client.
    ///
    /// # Panics
    /// When the call is not armed, which is a bug of the gateway.
    #[inline]
    pub fn out(&mut self) -> &mut (dyn Exchange + 'static) {
        let mut out = self.out.expect("the call is armed while the response is being made");
        // SAFETY: `Call::arm` made the pointer from an exclusive reference that outlives the armed time, and nobody
        // uses that reference meanwhile; the result borrows `self`, so there is one at a time.
        unsafe { out.as_mut() }
    }

    /// Puts the staged head into the buffer. `known`: the length of the whole body.
    ///
    /// # Errors
    /// What makes the head impossible to send; the buffer is then as before.
    pub fn begin(&mut self, known: Option<u64>) -> Result<(), ResponseError> {
        let context = self.out().context();
        let date = self.out().date();
        let server = self.server.take();
        let mut out = self.out.expect("armed, as out() has just shown");
        // SAFETY: as in `out()`; `self.staged` is another field, and the exchange does not reach into the call.
        let buffer = unsafe { out.as_mut() }.buffer();
        let written = self.staged.write(buffer, context, known, &date, server.as_deref());
        self.server = server;
        let (head, _) = written?;
        self.stage = Stage::Begun;
        self.framing = head.framing;
        self.keep_alive = head.keep_alive;
        self.encoder = Some(BodyEncoder::new(head.framing));
        Ok(())
    }

    /// Puts content into the buffer, framed.
    #[inline]
    pub fn push(&mut self, content: &[u8]) {
        let Some(mut encoder) = self.encoder.take() else { return };
        let written = encoder.encode(content, self.out().buffer());
        self.encoder = Some(encoder);
        self.sent += written.accepted as u64;
        self.cut += written.cut as u64;
    }

    /// Sends the buffer.
    ///
    /// # Errors
    /// The client has left.
    pub fn flush(&mut self) -> Result<(), ClientGone> {
        let flushed = self.out().flush();
        self.gone |= flushed.is_err();
        flushed
    }

    /// Sends the buffer as one part of several, see [`Exchange::flush_part`](super::exchange::Exchange::flush_part).
    ///
    /// # Errors
    /// The client has left.
    pub fn flush_part(&mut self) -> Result<(), ClientGone> {
        let flushed = self.out().flush_part();
        self.gone |= flushed.is_err();
        flushed
    }

    /// Sends a part of a file as content; no more of it than was declared.
    ///
    /// # Errors
    /// The client has left.
    pub fn push_file(&mut self, file: super::file_wrapper::FileSlice) -> Result<(), ClientGone> {
        let Some(mut encoder) = self.encoder.take() else { return Ok(()) };
        let len = encoder.begin_run(file.len, self.out().buffer());
        self.cut += file.len - len;
        let sent = if len > 0 { self.out().send_file(file.file, file.offset, len) } else { Ok(()) };
        encoder.end_run(self.out().buffer());
        self.encoder = Some(encoder);
        match sent {
            Ok(()) => self.sent += len,
            Err(_) => self.gone = true,
        }
        sent
    }

    /// The `Server` field.
    pub fn server(&self) -> Option<&[u8]> {
        self.server.as_deref()
    }

    /// Whether content is sent at all: not for HEAD, 204 and 304.
    pub fn wants_content(&self) -> bool {
        self.framing != ResponseFraming::NoContent
    }

    /// Ends the response.
    ///
    /// # Errors
    /// The number of bytes that were declared and did not come; the connection is then broken.
    pub fn finish(&mut self) -> Result<(), u64> {
        let keep_alive = self.keep_alive;
        let Some(encoder) = self.encoder.take() else { return Ok(()) };
        match encoder.finish(self.out().buffer()) {
            Ok(()) => {
                self.out().finish(keep_alive);
                Ok(())
            }
            Err(short) => {
                // What there is goes out first: the client may be able to use it, and sees that it is not all.
                let _ = self.flush();
                self.out().abort();
                Err(short.missing)
            }
        }
    }
}
