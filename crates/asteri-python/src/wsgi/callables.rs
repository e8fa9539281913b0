//! `start_response`, `write` and `wsgi.early_hints` as the application sees them.
//!
//! Builtin functions over raw C entry points: `start_response` is called for every request, and this is the cheapest
//! callable there is. What they accept is what PEP 3333 says and no more, so that a mistake shows at its place, with the
//! application's own frame at the bottom of the traceback.

use std::ffi::{CStr, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use asteri_proto::fields::{is_field_value, is_token};
use asteri_proto::h1::request::Version;
use asteri_proto::h1::response::interim;
use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::call::{Call, Stage, Stop, is_over};
use crate::shim::{self, Text};

/// A definition that CPython keeps a pointer to.
struct Definition(ffi::PyMethodDef);

// SAFETY: never written after it was made; its pointers are to static text and code.
unsafe impl Sync for Definition {}

static START_RESPONSE: Definition = definition(c"start_response", start_response);
static WRITE: Definition = definition(c"write", write);
static EARLY_HINTS: Definition = definition(c"early_hints", early_hints);

const fn definition(name: &'static CStr, function: ffi::PyCFunctionFastWithKeywords) -> Definition {
    Definition(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS as c_int,
        ml_doc: ptr::null(),
    })
}

/// The three callables of one [`Call`].
pub struct Callables {
    pub call: Py<Call>,
    pub start_response: Py<PyAny>,
    pub write: Py<PyAny>,
    pub early_hints: Py<PyAny>,
}

impl Callables {
    /// New ones. `server`: the `Server` field.
    ///
    /// # Errors
    /// `MemoryError`.
    pub fn new(py: Python<'_>, server: Option<Box<[u8]>>) -> PyResult<Self> {
        let call = Bound::new(py, Call::new(server))?;
        Ok(Self {
            start_response: bind(&START_RESPONSE, &call)?,
            write: bind(&WRITE, &call)?,
            early_hints: bind(&EARLY_HINTS, &call)?,
            call: call.unbind(),
        })
    }
}

fn bind(definition: &'static Definition, call: &Bound<'_, Call>) -> PyResult<Py<PyAny>> {
    let raw = (&raw const definition.0).cast_mut();
    // SAFETY: CPython reads the definition, which is static, and takes a reference to `call`; it returns a new reference
    // or null with an exception set.
    unsafe {
        let function = ffi::PyCFunction_NewEx(raw, call.as_ptr(), ptr::null_mut());
        Ok(Bound::from_owned_ptr_or_err(call.py(), function)?.unbind())
    }
}

/// The arguments of one call from Python.
struct Arguments<'a, 'py> {
    positional: &'a [*mut ffi::PyObject],
    keyword_values: &'a [*mut ffi::PyObject],
    keyword_names: Option<Bound<'py, PyTuple>>,
    py: Python<'py>,
}

impl<'a, 'py> Arguments<'a, 'py> {
    /// Positional argument `index`.
    #[inline]
    fn get(&self, index: usize) -> Option<&'a Bound<'py, PyAny>> {
        // SAFETY: CPython keeps the arguments alive until the call returns.
        self.positional.get(index).map(|pointer| unsafe { Bound::ref_from_ptr(self.py, pointer) })
    }

    /// The one argument of a function that takes one.
    fn only(&self, usage: &'static str) -> PyResult<&'a Bound<'py, PyAny>> {
        match (self.get(0), self.positional.len(), self.keyword_values.len()) {
            (Some(argument), 1, 0) => Ok(argument),
            _ => Err(PyTypeError::new_err(format!("expected {usage}"))),
        }
    }

    /// Argument `index`, or the only keyword argument, which must be called `name`.
    fn get_or_named(&self, index: usize, name: &str, usage: &'static str) -> PyResult<Option<&'a Bound<'py, PyAny>>> {
        let Some(names) = &self.keyword_names else { return Ok(self.get(index)) };
        if self.positional.len() > index || names.len() != 1 || names.get_item(0)?.extract::<String>()? != name {
            return Err(PyTypeError::new_err(format!("expected {usage}")));
        }
        // SAFETY: as in `get`.
        Ok(self.keyword_values.first().map(|pointer| unsafe { Bound::ref_from_ptr(self.py, pointer) }))
    }
}

/// Runs the body of a C entry point: arguments in, exceptions out, panics stopped.
///
/// # Safety
/// To be called by CPython, with the arguments of a METH_FASTCALL | METH_KEYWORDS function that is bound to a [`Call`].
unsafe fn enter(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
    body: for<'py> fn(&Call, Arguments<'_, 'py>) -> PyResult<Py<PyAny>>,
) -> *mut ffi::PyObject {
    // SAFETY: CPython calls with its lock held, and with `nargs` positional arguments followed by one value for each
    // of `kwnames`; `slf` is the Call that `bind` bound, and the function object that is being called keeps it alive.
    let (py, call, arguments) = unsafe {
        let py = Python::assume_attached();
        let keyword_names =
            Bound::from_borrowed_ptr_or_opt(py, kwnames).map(|names| names.cast_into_unchecked::<PyTuple>());
        let positional = usize::try_from(nargs).unwrap_or(0);
        let all = positional + keyword_names.as_ref().map_or(0, |names| names.len());
        let all = if all == 0 { &[][..] } else { std::slice::from_raw_parts(args, all) };
        let (positional, keyword_values) = all.split_at(positional);
        let call = Bound::ref_from_ptr(py, &slf).cast_unchecked::<Call>().get();
        (py, call, Arguments { positional, keyword_values, keyword_names, py })
    };
    match catch_unwind(AssertUnwindSafe(|| body(call, arguments))) {
        Ok(Ok(result)) => result.into_ptr(),
        Ok(Err(error)) => {
            error.restore(py);
            ptr::null_mut()
        }
        Err(_) => {
            PyRuntimeError::new_err("a bug in asteri: the gateway panicked").restore(py);
            ptr::null_mut()
        }
    }
}

/// C entry points for the three definitions above.
macro_rules! entry_point {
    ($name:ident => $body:path) => {
        unsafe extern "C" fn $name(
            slf: *mut ffi::PyObject,
            args: *const *mut ffi::PyObject,
            nargs: ffi::Py_ssize_t,
            kwnames: *mut ffi::PyObject,
        ) -> *mut ffi::PyObject {
            // SAFETY: the definition of this function says METH_FASTCALL | METH_KEYWORDS, and `bind` bound it to a Call.
            unsafe { enter(slf, args, nargs, kwnames, $body) }
        }
    };
}

entry_point!(start_response => on_start_response);
entry_point!(write => on_write);
entry_point!(early_hints => on_early_hints);

const START_RESPONSE_USAGE: &str = "start_response(status, response_headers, exc_info=None)";

/// `start_response(status, response_headers, exc_info=None)` → `write`
fn on_start_response(call: &Call, arguments: Arguments<'_, '_>) -> PyResult<Py<PyAny>> {
    let (Some(status), Some(fields), 2..=3) = (arguments.get(0), arguments.get(1), arguments.positional.len()) else {
        return Err(PyTypeError::new_err(format!("expected {START_RESPONSE_USAGE}")));
    };
    let exc_info = arguments.get_or_named(2, "exc_info", START_RESPONSE_USAGE)?.filter(|given| !given.is_none());
    let mut state = call.state_for("start_response")?;
    match (state.stage, exc_info) {
        (Stage::Nothing, _) | (Stage::Staged, Some(_)) => {}
        (Stage::Begun, Some(exc_info)) => {
            drop(state);
            return Err(exception_of(exc_info)?);
        }
        (Stage::Staged | Stage::Begun, None) => {
            return Err(PyAssertionError::new_err(
                "start_response() was already called for this request; only with exc_info may it be called again",
            ));
        }
    }
    // A head that turns out wrong must not leave half of itself behind.
    state.stage = Stage::Nothing;
    let Some((number, reason)) = status_of(status) else {
        drop(state);
        return Err(wrong_status(status));
    };
    state.staged.start(number, reason);
    let staged = if fields.is_instance_of::<PyList>() {
        for_each_field(fields, |name, value| state.staged.field(name, value))
    } else {
        Err(WrongFields::List(fields))
    };
    if let Err(wrong) = staged {
        drop(state);
        return Err(wrong.explain("start_response"));
    }
    state.stage = Stage::Staged;
    match &state.write {
        Some(write) => Ok(write.clone_ref(arguments.py)),
        None => Err(PyRuntimeError::new_err("a bug in asteri: write() is missing")),
    }
}

/// The exception of an `exc_info`, with its traceback: what a late `start_response` raises again.
fn exception_of(exc_info: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let wrong = || PyTypeError::new_err("start_response(): exc_info must be a tuple as sys.exc_info() returns it");
    let parts = exc_info.cast::<PyTuple>().map_err(|_| wrong())?;
    let (Ok(value), Ok(traceback)) = (parts.get_item(1), parts.get_item(2)) else { return Err(wrong()) };
    let value = value.call_method1("with_traceback", (traceback,)).map_err(|_| wrong())?;
    Ok(PyErr::from_value(value))
}

/// The code and the reason phrase of a status that can be sent. Runs no Python code.
#[inline]
fn status_of<'a>(status: &'a Bound<'_, PyAny>) -> Option<(u16, &'a [u8])> {
    let Text::Latin1(text) = shim::text(status) else { return None };
    let (code, reason) = match text {
        [a, b, c] => ([*a, *b, *c], &b""[..]),
        [a, b, c, b' ', reason @ ..] => ([*a, *b, *c], reason),
        _ => return None,
    };
    if !code.iter().all(u8::is_ascii_digit) || code[0] < b'2' || !is_field_value(reason) {
        return None;
    }
    let number = code.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    Some((number, reason))
}

/// What is wrong with a status.
#[cold]
fn wrong_status(status: &Bound<'_, PyAny>) -> PyErr {
    match shim::text(status) {
        Text::Wide => PyValueError::new_err("start_response(): the status has characters above U+00FF"),
        Text::Other => PyTypeError::new_err(format!(
            "start_response(): the status must be a str such as \"200 OK\", got {}",
            kind(status)
        )),
        Text::Latin1(text) if !is_field_value(text) => {
            PyValueError::new_err("start_response(): the status has a control character")
        }
        Text::Latin1(_) => PyValueError::new_err(format!(
            "start_response(): the status must begin with a code from 200 to 999 and a space, as \"200 OK\" does, got {}",
            status.repr().map_or_else(|_| String::new(), |repr| repr.to_string())
        )),
    }
}

/// What is wrong with a list of fields. To say it may run code of the application.
enum WrongFields<'a, 'py> {
    /// It is no list, or neither a list nor a tuple where both will do.
    List(&'a Bound<'py, PyAny>),
    /// The item of this number, from 1, is no tuple of two.
    Pair(usize, Bound<'py, PyAny>),
    /// It is, but name or value are wrong.
    Field(usize, Bound<'py, PyTuple>),
}

/// Hands out the fields of a list of tuples; `each` says whether it is a good one. Runs no Python code.
#[inline]
fn for_each_field<'a, 'py>(
    fields: &'a Bound<'py, PyAny>,
    mut each: impl FnMut(&[u8], &[u8]) -> bool,
) -> Result<(), WrongFields<'a, 'py>> {
    let Some(items) = shim::Items::of_subclass(fields) else {
        return Err(WrongFields::List(fields));
    };
    let mut index = 0;
    while let Some(item) = items.get(index) {
        index += 1;
        let pair = match item.cast_into::<PyTuple>() {
            Ok(pair) if shim::two(&pair).is_some() => pair,
            Ok(other) => return Err(WrongFields::Pair(index, other.into_any())),
            Err(error) => return Err(WrongFields::Pair(index, error.into_inner())),
        };
        let Some((name, value)) = shim::two(&pair) else { continue };
        match (shim::text(&name), shim::text(&value)) {
            (Text::Latin1(name), Text::Latin1(value)) if each(name, value) => {}
            _ => return Err(WrongFields::Field(index, pair)),
        }
    }
    Ok(())
}

impl WrongFields<'_, '_> {
    /// The exception for the application.
    #[cold]
    fn explain(&self, callable: &str) -> PyErr {
        match self {
            Self::List(fields) => PyTypeError::new_err(format!(
                "{callable}(): the response headers must be a list of tuples (name, value), got {}",
                kind(fields)
            )),
            Self::Pair(index, item) => PyTypeError::new_err(format!(
                "{callable}(): field {index} must be a tuple (name, value), got {}",
                kind(item)
            )),
            Self::Field(index, pair) => match (pair.get_item(0), pair.get_item(1)) {
                (Ok(name), Ok(value)) => wrong_field(callable, *index, &name, &value),
                (Err(error), _) | (_, Err(error)) => error,
            },
        }
    }
}

/// What is wrong with a field.
#[cold]
fn wrong_field(callable: &str, index: usize, name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyErr {
    let known = match shim::text(name) {
        Text::Other => {
            let kind = kind(name);
            return PyTypeError::new_err(format!("{callable}(): the name of field {index} must be a str, got {kind}"));
        }
        Text::Latin1(text) if is_token(text) => String::from_utf8_lossy(text).into_owned(),
        Text::Latin1(_) | Text::Wide => {
            let shown = name.repr().map_or_else(|_| String::new(), |repr| repr.to_string());
            return PyValueError::new_err(format!(
                "{callable}(): the name of field {index} is not a token (RFC 9110 §5.1): {shown}"
            ));
        }
    };
    match shim::text(value) {
        Text::Other => PyTypeError::new_err(format!(
            "{callable}(): the value of field \"{known}\" must be a str, got {}",
            kind(value)
        )),
        Text::Wide => PyValueError::new_err(format!(
            "{callable}(): the value of field \"{known}\" has characters above U+00FF, which a field cannot carry"
        )),
        Text::Latin1(_) => PyValueError::new_err(format!(
            "{callable}(): the value of field \"{known}\" has a control character, such as a line break"
        )),
    }
}

/// The name of an object's type, for messages.
fn kind(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "another type".to_owned(), |name| name.to_string())
}

/// `write(data)`: sends at once; for applications that cannot return an iterable.
fn on_write(call: &Call, arguments: Arguments<'_, '_>) -> PyResult<Py<PyAny>> {
    let data = arguments.only("write(data)")?;
    let Some(content) = shim::bytes(data) else {
        return Err(PyTypeError::new_err(format!("write(): expected bytes, got {}", kind(data))));
    };
    let mut state = call.state_for("write")?;
    if state.stage == Stage::Nothing {
        return Err(PyAssertionError::new_err("write() was called before start_response()"));
    }
    if !content.is_empty() {
        if state.stage == Stage::Staged {
            state.begin(None).map_err(|error| PyValueError::new_err(error.to_string()))?;
        }
        state.push(content);
        let sent = state.flush();
        drop(state);
        match sent.map_err(Stop::from).and_then(|()| call.catch_up()) {
            Ok(()) => {}
            Err(Stop::Gone) => return Err(PyBrokenPipeError::new_err("the client has closed the connection")),
            Err(Stop::Over) => return Err(is_over("write")),
            Err(Stop::Raised(error)) => return Err(error),
        }
    }
    Ok(arguments.py.None())
}

/// `early_hints(fields)`: a 103 response ahead of the final one (RFC 8297). Nothing is sent to HTTP/1.0 clients, which do
/// not know interim responses, and once the final response has begun.
fn on_early_hints(call: &Call, arguments: Arguments<'_, '_>) -> PyResult<Py<PyAny>> {
    let fields = arguments.only("early_hints(headers)")?;
    let mut lines: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for_each_field(fields, |name, value| {
        lines.push((name.to_vec(), value.to_vec()));
        is_token(name) && is_field_value(value)
    })
    .map_err(|wrong| wrong.explain("early_hints"))?;
    let mut state = call.state_for("early_hints")?;
    if state.stage != Stage::Begun && state.out().context().version != Version::Http10 {
        let lines = lines.iter().map(|(name, value)| (&name[..], &value[..]));
        let version = state.out().context().version;
        interim(state.out().buffer(), version, 103, lines).map_err(|error| PyValueError::new_err(error.to_string()))?;
        // A client that has left shows when the response is sent.
        let _ = state.flush();
    }
    Ok(arguments.py.None())
}
