//! One application call: what `start_response`, `write` and `wsgi.early_hints` of PEP 3333 act upon.
//!
//! The three callables are builtins over one [`Call`] object, which is used for one request after another and is armed with
//! the way to the client for the length of each. One that an application has kept does nothing afterwards but raise.
//!
//! While Python code runs, other greenlets may run on the same thread, and other threads: so the state is borrowed for one
//! step at a time, in which nothing of Python runs and nobody waits.

use std::cell::{RefCell, RefMut};
use std::ffi::c_ulong;
use std::ptr::NonNull;

use asteri_proto::h1::response::{BodyEncoder, ResponseError, ResponseFraming};
use asteri_server::ClientGone;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::exchange::{Exchange, Wait};
use super::staged::Staged;
use crate::shim;

/// The object that the callables are bound to.
#[pyclass(module = "asteri._asteri", name = "Call", frozen)]
pub struct Call {
    state: RefCell<State>,
}

// SAFETY: a Call is touched only with the interpreter's lock held (this extension does not declare itself free of it),
// which nobody lets go of inside a borrow; what belongs to one thread, the way to the client, is out of reach of others,
// as `Call::state_for` refuses every thread but the one that armed it.
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
    /// Set only while the request is under way; see [`Call::arm`].
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

/// Why the rest of a response cannot be sent.
pub enum Stop {
    /// The client has left.
    Gone,
    /// The request was over before the client had caught up.
    Over,
    /// An exception came while the client was waited for.
    Raised(PyErr),
}

impl From<ClientGone> for Stop {
    fn from(_: ClientGone) -> Self {
        Self::Gone
    }
}

/// What the access log says of a response.
pub struct Outcome {
    /// Status and fields, if they were sent.
    pub head: Option<Staged>,
    /// Bytes of content.
    pub sent: u64,
}

/// Ends the armed time of a [`Call`].
pub struct Armed<'a, 'py> {
    call: &'a Call,
    py: Python<'py>,
}

impl Drop for Armed<'_, '_> {
    fn drop(&mut self) {
        // A borrow that is held now would be a bug, and its holder about to use what is no longer there: better the panic.
        let mut state = self.call.state.borrow_mut();
        state.out = None;
        if let Some(write) = state.write.take() {
            write.drop_ref(self.py);
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

    /// Connects the callables with a client until the guard is dropped. `write` is what `start_response` returns.
    ///
    /// # Safety
    /// `out` is on the heap, or on a stack that stays where it is while the guard exists: that of a greenlet is put aside
    /// while others run.
    #[inline]
    pub unsafe fn arm<'a, 'py>(
        &'a self,
        out: &'a mut (dyn Exchange + 'a),
        write: &Bound<'py, PyAny>,
    ) -> Armed<'a, 'py> {
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
        state.write = Some(write.clone().unbind());
        Armed { call: self, py: write.py() }
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
        let state = self.state.borrow_mut();
        if state.out.is_none() {
            return Err(is_over(callable));
        }
        if state.thread != shim::thread() {
            return Err(PyRuntimeError::new_err(format!(
                "{callable}() was called from another thread than the one that serves the request"
            )));
        }
        Ok(state)
    }

    /// Waits as long as the client is too far behind for more. Others may run meanwhile, and do anything.
    ///
    /// # Errors
    /// See [`Stop`].
    #[inline]
    pub fn catch_up(&self) -> Result<(), Stop> {
        loop {
            let Some(wait) = self.state.borrow_mut().lag()? else { return Ok(()) };
            wait();
            // What was thrown at a greenlet that waits is found here: that it is to end, or a timeout of the application's.
            if let Some(error) = Python::attach(PyErr::take) {
                return Err(Stop::Raised(error));
            }
            // Whoever waits in `write` holds that function, so a desk has not used this call for another request since.
            if self.state.borrow_mut().out.is_none() {
                return Err(Stop::Over);
            }
        }
    }

    /// What has become of the response, when it is over. [`Self::give_back`] takes the memory.
    pub fn outcome(&self) -> Outcome {
        let mut state = self.state.borrow_mut();
        // What was staged may be of a response that was replaced by an error page, or of an earlier request.
        let begun = state.stage == Stage::Begun;
        Outcome { head: begun.then(|| std::mem::take(&mut state.staged)), sent: state.sent }
    }

    /// Uses the memory of an outcome for the next response.
    pub fn give_back(&self, outcome: Outcome) {
        if let Some(head) = outcome.head {
            self.state.borrow_mut().staged = head;
        }
    }
}

/// What the callables of a request raise afterwards.
#[cold]
pub fn is_over(callable: &str) -> PyErr {
    PyRuntimeError::new_err(format!("{callable}() was called after its request was over"))
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
        let head = written?;
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
        let is_last = self.encoder.as_ref().is_some_and(BodyEncoder::is_complete);
        let flushed = if is_last { self.out().flush_last() } else { self.out().flush_part() };
        self.gone |= flushed.is_err();
        flushed
    }

    /// What to wait for before more is sent, see [`Exchange::lag`](super::exchange::Exchange::lag).
    ///
    /// # Errors
    /// The client has left.
    #[inline]
    fn lag(&mut self) -> Result<Option<Wait>, ClientGone> {
        let lag = self.out().lag();
        self.gone |= lag.is_err();
        lag
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
