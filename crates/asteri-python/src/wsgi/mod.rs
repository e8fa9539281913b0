//! The WSGI gateway: one request in, one call of the application, one response out (PEP 3333).
//!
//! | File | Part |
//! |---|---|
//! | `environ` | the `environ` dict, from a template |
//! | `call`, `callables`, `staged` | `start_response`, `write`, `wsgi.early_hints`, and the state behind them |
//! | `input`, `errors`, `file_wrapper` | the objects of those names in the environ |
//! | `response` | from the returned iterable to bytes |
//! | `report` | what goes wrong, in the log and for the client |
//!
//! Objects that an application usually lets go of again (the callables, `wsgi.input`) are used for the next request too;
//! the reference count tells whether it has. That test, and the borrowed references elsewhere, need the interpreter's
//! lock: this gateway serves one application thread.

mod call;
mod callables;
mod dry_run;
mod environ;
mod errors;
mod exchange;
mod file_wrapper;
mod input;
mod peers;
mod report;
mod response;
mod staged;

use std::sync::Arc;
use std::time::Instant;

use asteri_arbiter::logs::{AccessLog, ErrorLog};
use asteri_server::sys::forks;
use asteri_server::{Body, ReadyRequest};
use pyo3::prelude::*;
use pyo3::types::PyDict;

pub use dry_run::register;
pub use environ::{EnvironOptions, ListenerName};
pub use exchange::Exchange;

use call::Call;
use callables::Callables;
use environ::{Environ, EnvironError, EnvironObjects};
use errors::ErrorStream;
use file_wrapper::FileWrapper;
use input::Input;
use response::Failure;

use crate::shim;

/// What the operator decides about the gateway.
pub struct Options {
    pub environ: EnvironOptions,
    /// The `Server` field of responses.
    pub server_field: Option<Box<[u8]>>,
    /// Whether the kernel may copy files to clients.
    pub sendfile: bool,
    pub log: ErrorLog,
    /// Where a line per request goes.
    pub access_log: Option<Arc<AccessLog>>,
}

/// A WSGI application and all that is kept between its calls.
///
/// *Runs on:* the application thread, attached to the interpreter.
pub struct Gateway {
    application: Py<PyAny>,
    environ: Environ,
    callables: Callables,
    input: Py<Input>,
    /// Whether `input` holds content of the last request.
    input_loaded: bool,
    errors: Py<ErrorStream>,
    server_field: Option<Box<[u8]>>,
    sendfile: bool,
    log: ErrorLog,
    access_log: Option<Arc<AccessLog>>,
}

impl Gateway {
    /// Prepares for serving `application`.
    ///
    /// # Errors
    /// `MemoryError`.
    pub fn new(py: Python<'_>, application: Py<PyAny>, options: Options) -> PyResult<Self> {
        let Options { environ, server_field, sendfile, log, access_log } = options;
        let callables = Callables::new(py, server_field.clone())?;
        let input = Bound::new(py, Input::empty())?;
        let errors = Bound::new(py, ErrorStream::new(log.clone()))?;
        let file_wrapper = py.get_type::<FileWrapper>();
        let objects = EnvironObjects {
            input: input.as_any(),
            errors: errors.as_any(),
            file_wrapper: file_wrapper.as_any(),
            early_hints: callables.early_hints.bind(py),
        };
        let environ = Environ::new(py, environ, &objects)?;
        Ok(Self {
            application,
            environ,
            callables,
            input: input.unbind(),
            input_loaded: false,
            errors: errors.unbind(),
            server_field,
            sendfile,
            log,
            access_log,
        })
    }

    /// Serves one request. The exchange is finished or aborted on return.
    pub fn serve(&mut self, py: Python<'_>, request: &mut ReadyRequest, out: &mut dyn Exchange) {
        let began = self.access_log.is_some().then(Instant::now);
        let content_length = request.body.len();
        if self.load_input(py, request).is_err() {
            // Only if the application's thread is inside a method of the old object, which cannot be.
            out.abort();
            return;
        }
        let environ = match self.environ.build(py, request, content_length) {
            Ok(environ) => environ,
            Err(error) => return self.refuse(py, request, out, error),
        };
        let status = self.run(py, request, &environ, out);
        if let (Some(began), Some(log)) = (began, &self.access_log) {
            let state = self.callables.call.get().state();
            report::access(log, request, &environ, &state, status, began.elapsed());
        }
        drop(environ);
        self.recover(py);
    }

    /// Calls the application and sends what it returns. The status that was sent, or 0.
    fn run(&self, py: Python<'_>, request: &ReadyRequest, environ: &Bound<'_, PyDict>, out: &mut dyn Exchange) -> u16 {
        let call: &Call = self.callables.call.get();
        let armed = call.arm(out);
        call.state().write = Some(self.callables.write.clone_ref(py));
        let iterable = shim::call2(self.application.bind(py), environ.as_any(), self.callables.start_response.bind(py));
        let outcome = match &iterable {
            Ok(iterable) => response::send(call, iterable, self.sendfile),
            Err(error) => Err(Failure::Application(error.clone_ref(py))),
        };
        if forks::is_child() {
            report::leave_child(py, outcome);
        }
        let status = match outcome {
            Ok(()) => call.state().staged.status(),
            Err(failure) => report::failure(py, &self.log, request, call, failure),
        };
        report::cut(&self.log, request, call);
        // From here on the callables refuse: what close() might still say is no part of the response.
        call.state().write = None;
        drop(armed);
        if let Ok(iterable) = iterable {
            self.close(py, request, iterable);
        }
        status
    }

    /// PEP 3333: `close()` is called on completion of the request, however it ended.
    #[inline]
    fn close(&self, py: Python<'_>, request: &ReadyRequest, iterable: Bound<'_, PyAny>) {
        if shim::Items::of(&iterable).is_some() {
            return;
        }
        let closed = match iterable.getattr_opt(self.environ.keys().close.bind(py)) {
            Ok(Some(close)) => close.call0().map(drop),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = closed {
            report::exception(py, &self.log, "close() of the response failed", request, &error);
        }
    }

    fn load_input(&mut self, py: Python<'_>, request: &mut ReadyRequest) -> PyResult<()> {
        if matches!(request.body, Body::Empty) && !self.input_loaded {
            return Ok(());
        }
        let body = std::mem::replace(&mut request.body, Body::Empty);
        self.input_loaded = !matches!(body, Body::Empty);
        self.input.bind(py).try_borrow_mut()?.load(body);
        Ok(())
    }

    #[cold]
    fn refuse(&self, py: Python<'_>, request: &ReadyRequest, out: &mut dyn Exchange, error: EnvironError) {
        let status = match error {
            EnvironError::Refused(detail) => {
                report::refused(&self.log, request, detail);
                400
            }
            EnvironError::Python(error) => {
                report::exception(py, &self.log, "the environ could not be made", request, &error);
                500
            }
        };
        report::error_page(out, status, self.server_field.as_deref());
    }

    /// Replaces what the application has kept, so that the next request finds objects nobody else holds.
    #[inline]
    fn recover(&mut self, py: Python<'_>) {
        let templates = self.environ.template_count() as isize;
        let kept = shim::references(&self.callables.start_response) != 1
            || shim::references(&self.callables.write) != 1
            || shim::references(&self.callables.early_hints) != 1 + templates;
        let kept_input = shim::references(&self.input) != 1 + templates;
        if kept || kept_input {
            self.replace(py, kept, kept_input);
        }
        if self.input_loaded
            && let Ok(mut input) = self.input.bind(py).try_borrow_mut()
        {
            // The content may be a large file, and the next request may be long in coming.
            input.load(Body::Empty);
            self.input_loaded = false;
        }
        if self.errors.bind(py).try_borrow().is_ok_and(|errors| errors.has_rest())
            && let Ok(mut errors) = self.errors.bind(py).try_borrow_mut()
        {
            errors.end_line();
        }
    }

    #[cold]
    fn replace(&mut self, py: Python<'_>, callables: bool, input: bool) {
        let replaced = (|| {
            if callables {
                self.callables = Callables::new(py, self.server_field.clone())?;
            }
            if input {
                self.input = Bound::new(py, Input::empty())?.unbind();
                self.input_loaded = false;
            }
            self.environ.replace(py, self.input.bind(py).as_any(), self.callables.early_hints.bind(py))
        })();
        if let Err(error) = replaced {
            // Out of memory: the old objects stay in use, which is only less strict towards those who kept them.
            error.write_unraisable(py, None);
        }
    }
}
