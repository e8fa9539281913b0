//! The gateway and the reactor as the event loop and `python/asteri/_asgi.py` see them.
//!
//! The loop turns the reactor whenever its descriptor is readable. Which loop it is, the lifespan, and the order of things at
//! the start and the end of a worker are decided in `_asgi.py`; what happens to a request is not.

use std::cell::{Cell, OnceCell, RefCell};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use asteri_arbiter::logs::{ErrorLog, Level};
use asteri_server::ReadyRequest;
use asteri_server::host::Left;
use asteri_server::hosted::{Happening, Hosted};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::gateway::{Gateway, Options};
use super::wire::Wire;

/// What a worker brings for its server.
pub struct Setup {
    pub hosted: Arc<Hosted>,
    pub application: Py<PyAny>,
    /// For the gateway, which is made when there is a loop.
    pub options: Options,
    /// `auto`, `asyncio`, `uvloop` or `rloop`.
    pub loop_name: &'static str,
    /// `auto`, `on` or `off`.
    pub lifespan: &'static str,
    /// Whether the application is one of ASGI 2.
    pub double_callable: bool,
    pub graceful_timeout: Duration,
    /// Tells the arbiter that the worker serves from now on.
    pub ready: Box<dyn Fn()>,
    /// Says why the worker cannot boot: a line, and what belongs below it.
    pub boot_failed: BootFailed,
}

type BootFailed = Box<dyn Fn(&str, &str)>;

/// See the module.
#[pyclass(module = "asteri._asteri", unsendable)]
pub struct Server {
    hosted: Arc<Hosted>,
    gateway: OnceCell<Rc<Gateway>>,
    /// Until the gateway is made.
    options: RefCell<Option<Options>>,
    log: ErrorLog,
    ready: Box<dyn Fn()>,
    boot_failed: BootFailed,
    on_draining: OnceCell<Py<PyAny>>,
    on_left: OnceCell<Py<PyAny>>,
    has_left: Cell<bool>,
    #[pyo3(get)]
    application: Py<PyAny>,
    #[pyo3(get)]
    loop_name: &'static str,
    #[pyo3(get)]
    lifespan: &'static str,
    #[pyo3(get)]
    double_callable: bool,
    /// Seconds.
    #[pyo3(get)]
    graceful_timeout: f64,
}

impl Server {
    /// A server that does not serve yet.
    pub fn new(setup: Setup) -> Self {
        Self {
            hosted: setup.hosted,
            gateway: OnceCell::new(),
            log: setup.options.log.clone(),
            options: RefCell::new(Some(setup.options)),
            ready: setup.ready,
            boot_failed: setup.boot_failed,
            on_draining: OnceCell::new(),
            on_left: OnceCell::new(),
            has_left: Cell::new(false),
            application: setup.application,
            loop_name: setup.loop_name,
            lifespan: setup.lifespan,
            double_callable: setup.double_callable,
            graceful_timeout: setup.graceful_timeout.as_secs_f64(),
        }
    }

    fn gateway(&self) -> PyResult<&Rc<Gateway>> {
        self.gateway.get().ok_or_else(|| PyRuntimeError::new_err("the server has not been prepared"))
    }

    fn tell(
        &self,
        py: Python<'_>,
        listener: &OnceCell<Py<PyAny>>,
        arguments: impl for<'py> pyo3::call::PyCallArgs<'py>,
    ) {
        if let Some(listener) = listener.get()
            && let Err(error) = listener.bind(py).call1(arguments)
        {
            error.write_unraisable(py, None);
        }
    }
}

#[pymethods]
impl Server {
    /// Makes the gateway for `application` on `event_loop`; returns the dict for `scope["state"]` of the lifespan.
    /// `on_draining()` is called when the worker is told to finish, `on_left(why)` when it has: `drained`, `quit` or `failed`.
    fn prepare(
        &self,
        py: Python<'_>,
        application: Py<PyAny>,
        event_loop: &Bound<'_, PyAny>,
        on_draining: Py<PyAny>,
        on_left: Py<PyAny>,
    ) -> PyResult<Py<PyDict>> {
        let options = self.options.borrow_mut().take();
        let options = options.ok_or_else(|| PyRuntimeError::new_err("the server has been prepared already"))?;
        let hosted = Arc::clone(&self.hosted);
        let ended = Box::new(move |request: Option<ReadyRequest>| match request {
            Some(request) => hosted.request_ended_with(request),
            None => hosted.request_ended(),
        });
        let gateway = Gateway::new(py, application, event_loop, options, ended)?;
        let state = gateway.state(py);
        let _ = (self.gateway.set(gateway), self.on_draining.set(on_draining), self.on_left.set(on_left));
        Ok(state)
    }

    /// The descriptor that is readable when there is something to do for `turn`.
    fn fileno(&self) -> RawFd {
        self.hosted.fd().as_raw_fd()
    }

    /// Tells the arbiter that the worker serves from now on.
    fn ready(&self) {
        (self.ready)();
    }

    /// Does what is ready.
    fn turn(&self, py: Python<'_>) -> PyResult<()> {
        let gateway = self.gateway()?;
        let mut refreshed = false;
        let left = self.hosted.turn(&mut |happening| match happening {
            Happening::Request(request) => {
                if !std::mem::replace(&mut refreshed, true) {
                    gateway.refresh(py);
                }
                let stream = self.hosted.stream(&request);
                gateway.begin(py, request, Wire::Stream(stream));
            }
            Happening::News(ticket) => gateway.news(py, ticket),
            Happening::Draining => {
                gateway.drain(py);
                self.tell(py, &self.on_draining, ());
            }
        });
        crate::pylog::deliver(py);
        let why = match left {
            Ok(None) => return Ok(()),
            Ok(Some(Left::Drained)) => "drained",
            Ok(Some(Left::Quit)) => "quit",
            Err(error) => {
                self.log.critical("a worker cannot serve", &[("error", &error)]);
                "failed"
            }
        };
        if !self.has_left.replace(true) {
            self.tell(py, &self.on_left, (why,));
        }
        Ok(())
    }

    /// Cancels the tasks of all requests; how many there were.
    fn cancel_all(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.gateway()?.cancel_all(py))
    }

    /// The number of requests that the application has.
    fn running(&self) -> usize {
        self.hosted.running()
    }

    /// Writes to the error log. `level`: `error`, `warning`, `info` or `debug`; `detail`: lines below the message, such as a
    /// traceback.
    #[pyo3(signature = (level, text, detail = ""))]
    fn log(&self, level: &str, text: &str, detail: &str) -> PyResult<()> {
        let level = match level {
            "error" => Level::Error,
            "warning" => Level::Warning,
            "info" => Level::Info,
            "debug" => Level::Debug,
            other => return Err(PyValueError::new_err(format!("there is no level \"{other}\""))),
        };
        self.log.record(level, text, &[], detail.as_bytes());
        Ok(())
    }

    /// Says why the worker cannot boot.
    #[pyo3(signature = (text, detail = ""))]
    fn boot_failed(&self, text: &str, detail: &str) {
        (self.boot_failed)(text, detail);
    }

    /// Lets go of what the gateway holds.
    fn close(&self) {
        if let Some(gateway) = self.gateway.get() {
            gateway.close();
        }
    }
}
