//! Reading the events that an application sends: a dict with a `type`, and what else that type has.
//!
//! What is wrong with one is told with an exception out of `send()`, so that it shows at its place.

use asteri_proto::fields::is_token;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use crate::shim::{self, Items};

/// The types of events that an application may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Start,
    Body,
    PathSend,
    ZeroCopySend,
    EarlyHint,
    Trailers,
    Debug,
    Accept,
    Send,
    Close,
    DenialStart,
    DenialBody,
}

/// All of them, by name.
const KINDS: [(&str, Kind); 12] = [
    ("http.response.start", Kind::Start),
    ("http.response.body", Kind::Body),
    ("http.response.pathsend", Kind::PathSend),
    ("http.response.zerocopysend", Kind::ZeroCopySend),
    ("http.response.early_hint", Kind::EarlyHint),
    ("http.response.trailers", Kind::Trailers),
    ("http.response.debug", Kind::Debug),
    ("websocket.accept", Kind::Accept),
    ("websocket.send", Kind::Send),
    ("websocket.close", Kind::Close),
    ("websocket.http.response.start", Kind::DenialStart),
    ("websocket.http.response.body", Kind::DenialBody),
];

impl Kind {
    /// The kind of this name.
    pub fn named(name: &[u8]) -> Option<Self> {
        KINDS.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, kind)| *kind)
    }

    /// The name of this kind.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Whether it belongs to a scope of the type `websocket`.
    pub fn is_websocket(self) -> bool {
        matches!(self, Kind::Accept | Kind::Send | Kind::Close | Kind::DenialStart | Kind::DenialBody)
    }
}

/// One event.
#[derive(Clone, Copy)]
pub struct Message<'a, 'py> {
    dict: &'a Bound<'py, PyDict>,
    kind: Kind,
}

impl<'a, 'py> Message<'a, 'py> {
    /// An event whose type has been looked at.
    pub fn new(dict: &'a Bound<'py, PyDict>, kind: Kind) -> Self {
        Self { dict, kind }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The interpreter.
    pub fn py(&self) -> Python<'py> {
        self.dict.py()
    }

    /// How many keys it has.
    #[inline]
    pub fn len(&self) -> usize {
        self.dict.len()
    }

    /// The value of a key; `None` if the key is missing.
    #[inline]
    pub fn get(&self, key: &Py<PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
        shim::get(self.dict, key)
    }

    /// The value of a key; `None` if the key is missing or has the value `None`.
    #[inline]
    pub fn given(&self, key: &Py<PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.get(key)?.filter(|value| !value.is_none()))
    }

    /// A flag: false if it is missing.
    #[inline]
    pub fn flag(&self, key: &Py<PyString>) -> PyResult<bool> {
        match self.get(key)? {
            None => Ok(false),
            Some(value) => value.is_truthy(),
        }
    }

    /// Bytes; `None` if the key is missing or has the value `None`.
    #[inline]
    pub fn content(&self, key: &Py<PyString>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let given = self.get(key)?;
        self.content_of(key, given)
    }

    /// The same for the value of the key, if that is known.
    #[inline]
    pub fn content_of(
        &self,
        key: &Py<PyString>,
        given: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match given.filter(|value| !value.is_none()) {
            None => Ok(None),
            Some(value) => as_bytes(value).map(Some).map_err(|value| self.wrong(key, "bytes", &value)),
        }
    }

    /// A `str`; `None` if the key is missing or has the value `None`.
    pub fn text(&self, key: &Py<PyString>) -> PyResult<Option<Bound<'py, PyString>>> {
        match self.given(key)? {
            None => Ok(None),
            Some(value) => value.cast_into::<PyString>().map(Some).map_err(|error| {
                let value = error.into_inner();
                self.wrong(key, "a str", &value)
            }),
        }
    }

    /// A whole number; `None` if the key is missing or has the value `None`.
    pub fn number(&self, key: &Py<PyString>, expected: &str) -> PyResult<Option<u64>> {
        let Some(value) = self.given(key)? else { return Ok(None) };
        if let Some(number) = shim::small_number(&value) {
            return Ok(Some(number.into()));
        }
        value.extract().map(Some).map_err(|_| self.wrong(key, expected, &value))
    }

    /// The field lines of a list of pairs, each handed out in turn; `each` says whether it is a good one. Code of the application
    /// may run meanwhile, if its list is not one.
    #[inline]
    pub fn fields(&self, key: &Py<PyString>, each: impl FnMut(&[u8], &[u8]) -> bool) -> PyResult<()> {
        let given = self.get(key)?;
        self.fields_of(key, given, each)
    }

    /// The same for the value of the key, if that is known.
    #[inline]
    pub fn fields_of(
        &self,
        key: &Py<PyString>,
        given: Option<Bound<'py, PyAny>>,
        mut each: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> PyResult<()> {
        let Some(given) = given.filter(|value| !value.is_none()) else { return Ok(()) };
        let given = self.sequence(key, given)?;
        let Some(items) = Items::of_subclass(&given) else { return Ok(()) };
        let mut index = 0;
        while let Some(item) = items.get(index) {
            index += 1;
            // What nearly all applications give: tuples of bytes.
            if let Some((name, value)) = item.cast_exact::<PyTuple>().ok().and_then(shim::two)
                && let (Some(name), Some(value)) = (shim::bytes(&name), shim::bytes(&value))
            {
                if !each(name, value) {
                    return Err(self.bad_field(name, index));
                }
                continue;
            }
            let pair = match Items::of_subclass(&item) {
                Some(_) => item,
                None => self.pair(index, item)?,
            };
            let (name, value) = match Items::of_subclass(&pair) {
                Some(pair) if pair.len() == 2 => match (pair.get(0), pair.get(1)) {
                    (Some(name), Some(value)) => (name, value),
                    _ => return Err(self.no_pair(index)),
                },
                _ => return Err(self.no_pair(index)),
            };
            let wrong = |part: &str, value: &Bound<'_, PyAny>| {
                PyTypeError::new_err(format!(
                    "{}: the {part} of field {index} must be bytes, got {}",
                    self.kind.name(),
                    type_name(value)
                ))
            };
            let name = as_bytes(name).map_err(|name| wrong("name", &name))?;
            let value = as_bytes(value).map_err(|value| wrong("value", &value))?;
            let (name, value) = (name.as_bytes(), value.as_bytes());
            if !each(name, value) {
                return Err(self.bad_field(name, index));
            }
        }
        Ok(())
    }

    /// Values of `Link` fields.
    pub fn links(&self, key: &Py<PyString>) -> PyResult<Vec<Vec<u8>>> {
        let Some(given) = self.given(key)? else { return Ok(Vec::new()) };
        let given = self.sequence(key, given)?;
        let mut links = Vec::new();
        if let Some(items) = Items::of_subclass(&given) {
            while let Some(link) = items.get(links.len()) {
                let link = as_bytes(link).map_err(|link| self.wrong(key, "an iterable of bytes", &link))?;
                links.push(link.as_bytes().to_vec());
            }
        }
        Ok(links)
    }

    /// A list or tuple with the items of any iterable.
    fn sequence(&self, key: &Py<PyString>, given: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if Items::of_subclass(&given).is_some() {
            return Ok(given);
        }
        if given.is_instance_of::<PyDict>() || given.is_instance_of::<PyString>() || given.is_instance_of::<PyBytes>() {
            return Err(self.wrong(key, "an iterable of pairs", &given));
        }
        tuple_of(&given).map_err(|error| {
            if error.is_instance_of::<PyTypeError>(self.py()) { self.wrong(key, "an iterable", &given) } else { error }
        })
    }

    #[cold]
    fn pair(&self, index: usize, item: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if item.is_instance_of::<PyString>() || item.is_instance_of::<PyBytes>() {
            return Err(self.no_pair(index));
        }
        tuple_of(&item).map_err(|_| self.no_pair(index))
    }

    #[cold]
    fn no_pair(&self, index: usize) -> PyErr {
        PyTypeError::new_err(format!("{}: field {index} of the headers is no pair (name, value)", self.kind.name()))
    }

    #[cold]
    fn bad_field(&self, name: &[u8], index: usize) -> PyErr {
        let kind = self.kind.name();
        if is_token(name) {
            let name = String::from_utf8_lossy(name);
            return PyValueError::new_err(format!(
                "{kind}: the value of field \"{name}\" has a control character, such as a line break"
            ));
        }
        PyValueError::new_err(format!(
            "{kind}: the name of field {index} is not a token (RFC 9110 §5.1): \"{}\"",
            name.escape_ascii()
        ))
    }

    /// The value of a key has the wrong type.
    #[cold]
    pub fn wrong(&self, key: &Py<PyString>, expected: &str, value: &Bound<'_, PyAny>) -> PyErr {
        let key = key.bind(self.py()).to_string_lossy();
        PyTypeError::new_err(format!("{}: \"{key}\" must be {expected}, got {}", self.kind.name(), type_name(value)))
    }
}

/// `bytes` as they are; a copy of any other object with a buffer; anything else is handed back.
#[inline]
fn as_bytes<'py>(value: Bound<'py, PyAny>) -> Result<Bound<'py, PyBytes>, Bound<'py, PyAny>> {
    match value.cast_into::<PyBytes>() {
        Ok(bytes) => Ok(bytes),
        Err(error) => copied(error.into_inner()),
    }
}

#[cold]
fn copied<'py>(value: Bound<'py, PyAny>) -> Result<Bound<'py, PyBytes>, Bound<'py, PyAny>> {
    // SAFETY: a live object. PyBytes_FromObject returns a new reference to bytes, or null with an exception set; it is asked
    // only for objects with a buffer, as it would take a list of numbers too.
    let copy = unsafe {
        if ffi::PyObject_CheckBuffer(value.as_ptr()) == 0 {
            return Err(value);
        }
        Bound::from_owned_ptr_or_err(value.py(), ffi::PyBytes_FromObject(value.as_ptr()))
    };
    copy.and_then(|copy| Ok(copy.cast_into::<PyBytes>()?)).map_err(|_| value)
}

fn tuple_of<'py>(iterable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let items: Vec<_> = iterable.try_iter()?.collect::<PyResult<_>>()?;
    Ok(PyTuple::new(iterable.py(), items)?.into_any())
}

/// The name of an object's type, for messages.
pub fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "another type".to_owned(), |name| name.to_string())
}
