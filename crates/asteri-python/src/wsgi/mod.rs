//! The WSGI gateway: one request in, one call of the application, one response out (PEP 3333).
//!
//! | File | Part |
//! |---|---|
//! | `environ`, `template` | the `environ` dict, from a template |
//! | `call`, `callables`, `staged` | `start_response`, `write`, `wsgi.early_hints`, and the state behind them |
//! | `input`, `errors`, `file_wrapper` | the objects of those names in the environ |
//! | `desk` | the objects of one call, used for one call after another |
//! | `response` | from the returned iterable to bytes |
//! | `report` | what goes wrong, in the log and for the client |
//!
//! A gateway belongs to one thread, but many calls may be under way at once: wherever Python code runs, it may switch to a
//! greenlet that serves another request with the same gateway. The stack of a greenlet is copied away meanwhile. So over
//! every call into Python nothing is borrowed and nothing locked, and nothing that another greenlet can reach points into
//! this one's stack. Reference counts are looked at and references borrowed on the strength of the interpreter's lock.

mod call;
mod callables;
mod desk;
mod dry_run;
mod environ;
mod errors;
mod exchange;
mod file_wrapper;
mod input;
pub(crate) mod report;
mod response;
pub(crate) mod staged;
mod template;

use std::sync::Arc;
use std::time::Instant;

use asteri_arbiter::logs::{AccessLog, ErrorLog};
use asteri_server::ReadyRequest;
use asteri_server::sys::forks;
use pyo3::prelude::*;
use pyo3::types::PyDict;

pub use environ::{EnvironOptions, ListenerName};
pub use exchange::{Exchange, Wait};
pub use report::traceback;

use desk::{Desk, Desks, Supplies};
use environ::{Environ, EnvironError};
use response::Failure;

use crate::hooks::{self, Ending, Observed, Observers};
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
/// *Runs on:* one application thread, attached to the interpreter.
pub struct Gateway {
    application: Py<PyAny>,
    environ: Environ,
    desks: Desks,
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
        let desks = Desks::new(py, Supplies { server_field: server_field.clone(), log: log.clone() })?;
        let usual = desks.take(py)?;
        let environ = Environ::new(py, environ, &usual.objects(py))?;
        desks.give_back(py, usual, &environ);
        Ok(Self { application, environ, desks, server_field, sendfile, log, access_log })
    }

    /// Serves one request. The exchange is finished or aborted on return.
    ///
    /// May be called again, for other requests, while the application runs.
    ///
    /// # Safety
    /// `out` is on the heap, or on a stack that stays where it is until this returns: not on that of a greenlet.
    pub unsafe fn serve(&self, py: Python<'_>, request: &mut ReadyRequest, out: &mut dyn Exchange) {
        let observers = hooks::observers();
        let began = (self.access_log.is_some() || observers.is_some()).then(Instant::now);
        let content_length = request.body.len();
        let mut desk = match self.desks.take(py) {
            Ok(desk) => desk,
            Err(error) => return self.refuse(py, request, out, error.into()),
        };
        let environ = match self.prepare(py, request, &mut desk, content_length) {
            Ok(environ) => environ,
            Err(error) => {
                self.refuse(py, request, out, error);
                return self.desks.give_back(py, desk, &self.environ);
            }
        };
        let observed = match observers.as_ref().map(|observers| self.observe(py, observers, request, &environ)) {
            None => None,
            Some(Ok(observed)) => Some(observed),
            Some(Err(observed)) => {
                report::error_page(out, 500, self.server_field.as_deref());
                observed.end(py, None, None);
                drop(environ);
                return self.desks.give_back(py, desk, &self.environ);
            }
        };
        // SAFETY: what this function asks for.
        let status = unsafe { self.run(py, request, &desk, &environ, out) };
        if let Some(began) = began {
            let (outcome, duration) = (desk.call().outcome(), began.elapsed());
            if let Some(log) = &self.access_log {
                report::access(log, request, &environ, &outcome, status, duration);
            }
            if let Some(observed) = observed {
                let ending = Ending { head: outcome.head.as_ref(), status, sent: outcome.sent, duration };
                observed.log(py, Some(&environ), &ending);
                observed.end(py, Some(&environ), Some(&ending));
            }
            desk.call().give_back(outcome);
        }
        drop(environ);
        self.desks.give_back(py, desk, &self.environ);
    }

    /// Tells those who are told of requests.
    ///
    /// # Errors
    /// The request is to be answered with 500; why has been logged.
    #[cold]
    fn observe(
        &self,
        py: Python<'_>,
        observers: &Arc<Observers>,
        request: &ReadyRequest,
        environ: &Bound<'_, PyDict>,
    ) -> Result<Observed, Observed> {
        let scheme = shim::get(environ, &self.environ.keys().url_scheme).ok().flatten();
        let scheme = scheme.unwrap_or_else(|| py.None().into_bound(py));
        let observed = observers.begin(py, request, &scheme, true)?;
        match observed.change_environ(environ) {
            Ok(()) => Ok(observed),
            Err(_) => Err(observed),
        }
    }

    /// The environ of a request, with its content.
    #[inline]
    fn prepare<'py>(
        &self,
        py: Python<'py>,
        request: &mut ReadyRequest,
        desk: &mut Desk,
        content_length: u64,
    ) -> Result<Bound<'py, PyDict>, EnvironError> {
        desk.load(py, request)?;
        let environ = self.environ.build(py, request, content_length)?;
        if !desk.is_usual() {
            self.environ.set_objects(&environ, &desk.objects(py))?;
        }
        Ok(environ)
    }

    /// Calls the application and sends what it returns. The status that was sent, or 0.
    ///
    /// # Safety
    /// As [`Self::serve`].
    #[inline]
    unsafe fn run(
        &self,
        py: Python<'_>,
        request: &ReadyRequest,
        desk: &Desk,
        environ: &Bound<'_, PyDict>,
        out: &mut dyn Exchange,
    ) -> u16 {
        let call = desk.call();
        // SAFETY: `out` stays where it is; the guard is dropped below.
        let armed = unsafe { call.arm(out, desk.callables.write.bind(py)) };
        let iterable = shim::call2(self.application.bind(py), environ.as_any(), desk.callables.start_response.bind(py));
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
}

/// Adds the classes of the gateway to the extension module.
///
/// # Errors
/// `MemoryError`.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<input::Input>()?;
    module.add_class::<errors::ErrorStream>()?;
    module.add_class::<file_wrapper::FileWrapper>()?;
    module.add_class::<dry_run::DryRun>()?;
    module.add_class::<dry_run::Answer>()
}
