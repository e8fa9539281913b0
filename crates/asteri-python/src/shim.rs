//! The interpreter's object layouts, behind a handful of functions.
//!
//! Everything here reads or writes CPython objects directly, where the portable API costs a call, an allocation or a
//! UTF-8 copy per field. What differs between CPython minors is answered by `pyo3-ffi`'s accessors of the version this
//! crate was built for; [`crate::version`] refuses to be imported into any other.
//!
//! All functions: *Runs on:* a thread attached to the interpreter (proved by the `Python` token).

use std::ffi::{CStr, c_int, c_uint, c_ulong, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple, PyType};

/// A new `str` with one character per byte, the "latin-1 rule" of PEP 3333: bytes travel in the low 256 code points.
///
/// # Errors
/// `MemoryError`.
#[inline]
pub fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    // A str must be stored in its narrowest form: comparisons rely on it.
    let widest: u32 = if bytes.is_ascii() { 0x7f } else { 0xff };
    let len = ffi::Py_ssize_t::try_from(bytes.len()).map_err(|_| PyMemoryError::new_err(()))?;
    // SAFETY: PyUnicode_New returns a new reference or null with an exception set. A fresh string of `len` characters
    // below 256 has `len` writable bytes at its 1-byte data; nobody else has seen it yet. The empty string is the
    // shared singleton, into which zero bytes are copied.
    unsafe {
        let object = Bound::from_owned_ptr_or_err(py, ffi::PyUnicode_New(len, widest))?;
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), ffi::PyUnicode_1BYTE_DATA(object.as_ptr()), bytes.len());
        Ok(object)
    }
}

/// What a text argument of the application turned out to be.
pub enum Text<'a> {
    /// One byte per character.
    Latin1(&'a [u8]),
    /// A `str` with characters above U+00FF.
    Wide,
    /// Not a `str`.
    Other,
}

/// The characters of a `str`, borrowed from the object.
#[inline]
pub fn text<'a>(object: &'a Bound<'_, PyAny>) -> Text<'a> {
    let raw = object.as_ptr();
    // SAFETY: `raw` is a live object; the accessors are used only after PyUnicode_Check, and on CPython before 3.12
    // only once PyUnicode_READY has settled its representation. A str is immutable, so the slice is valid for as long
    // as `object` keeps it alive.
    unsafe {
        if ffi::PyUnicode_Check(raw) == 0 {
            return Text::Other;
        }
        if ffi::PyUnicode_READY(raw) < 0 {
            ffi::PyErr_Clear();
            return Text::Wide;
        }
        if ffi::PyUnicode_KIND(raw) != ffi::PyUnicode_1BYTE_KIND {
            return Text::Wide;
        }
        let len = usize::try_from(ffi::PyUnicode_GET_LENGTH(raw)).unwrap_or(0);
        Text::Latin1(std::slice::from_raw_parts(ffi::PyUnicode_DATA(raw).cast::<u8>(), len))
    }
}

/// The content of a `bytes` object (or of a subclass), borrowed from it.
#[inline]
pub fn bytes<'a>(object: &'a Bound<'_, PyAny>) -> Option<&'a [u8]> {
    let raw = object.as_ptr();
    // SAFETY: the accessors are used only after PyBytes_Check; bytes are immutable and live as long as `object`.
    unsafe {
        if ffi::PyBytes_Check(raw) == 0 {
            return None;
        }
        let len = usize::try_from(ffi::Py_SIZE(raw)).unwrap_or(0);
        Some(std::slice::from_raw_parts(ffi::PyBytes_AS_STRING(raw).cast::<u8>(), len))
    }
}

/// The value of an `int` that is not negative, and small.
#[inline]
pub fn small_number(object: &Bound<'_, PyAny>) -> Option<u32> {
    let raw = object.as_ptr();
    // SAFETY: a live object, and an int when it is asked for its value. For that exact type it
    // raises nothing, and says so where the value does not fit.
    unsafe {
        if ffi::PyLong_CheckExact(raw) == 0 {
            return None;
        }
        let mut overflow = 0;
        let value = ffi::PyLong_AsLongAndOverflow(raw, &raw mut overflow);
        u32::try_from(value).ok().filter(|_| overflow == 0)
    }
}

/// Sets `dict[key] = value`.
///
/// # Errors
/// `MemoryError`.
#[inline]
pub fn set<T>(dict: &Bound<'_, PyDict>, key: &Py<PyString>, value: &Bound<'_, T>) -> PyResult<()> {
    // SAFETY: three live objects, the first a dict; PyDict_SetItem takes references of its own.
    let failed = unsafe { ffi::PyDict_SetItem(dict.as_ptr(), key.as_ptr(), value.as_ptr()) } < 0;
    if failed { Err(PyErr::fetch(dict.py())) } else { Ok(()) }
}

/// `dict[key]`, if the key is there.
///
/// # Errors
/// Those of comparing keys: a dict may have keys of any type.
#[inline]
pub fn get<'py>(dict: &Bound<'py, PyDict>, key: &Py<PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
    // SAFETY: a live dict and a live key. The borrowed reference that is returned is made ours before anything can run.
    unsafe {
        let value = ffi::PyDict_GetItemWithError(dict.as_ptr(), key.as_ptr());
        if value.is_null() && !ffi::PyErr_Occurred().is_null() {
            return Err(PyErr::fetch(dict.py()));
        }
        Ok(Bound::from_borrowed_ptr_or_opt(dict.py(), value))
    }
}

/// How many items a dict has.
#[inline]
pub fn len(dict: &Bound<'_, PyDict>) -> ffi::Py_ssize_t {
    // SAFETY: a live dict.
    unsafe { (*dict.as_ptr().cast::<ffi::PyDictObject>()).ma_used }
}

/// Inserts `value` unless `key` is present; `Some(present)` when it was.
///
/// # Errors
/// `MemoryError`.
#[inline]
pub fn insert_or_get<'py>(
    dict: &Bound<'py, PyDict>,
    key: &Py<PyString>,
    value: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    // SAFETY: three live objects, the first a dict. PyDict_SetDefault returns a borrowed reference that the dict keeps
    // alive; it is made ours before anything can run.
    unsafe {
        // That it returns `value` says nothing: equal texts may be one object, and then it was there before.
        let before = len(dict);
        let present = ffi::PyDict_SetDefault(dict.as_ptr(), key.as_ptr(), value.as_ptr());
        if present.is_null() {
            return Err(PyErr::fetch(dict.py()));
        }
        if len(dict) > before {
            return Ok(None);
        }
        Ok(Some(Bound::from_borrowed_ptr(dict.py(), present)))
    }
}

/// A shallow copy that keeps the size of the hash table.
///
/// # Errors
/// `MemoryError`.
#[inline]
pub fn copy_dict<'py>(py: Python<'py>, template: &Py<PyDict>) -> PyResult<Bound<'py, PyDict>> {
    // SAFETY: PyDict_Copy of a live dict returns a new reference to a dict, or null with an exception set.
    unsafe { Ok(Bound::from_owned_ptr_or_err(py, ffi::PyDict_Copy(template.as_ptr()))?.cast_into_unchecked()) }
}

/// Whether a dict has just these objects as keys and values, in this order.
#[inline]
pub fn has_items(py: Python<'_>, dict: &Py<PyDict>, items: &[(Py<PyAny>, Py<PyAny>)]) -> bool {
    let (mut at, mut key, mut value) = (0, std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: a live dict, which nobody changes meanwhile, as no code of Python runs; the references are borrowed and only
    // compared.
    unsafe {
        usize::try_from(len(dict.bind(py))) == Ok(items.len())
            && items.iter().all(|(wanted_key, wanted_value)| {
                ffi::PyDict_Next(dict.as_ptr(), &raw mut at, &raw mut key, &raw mut value) != 0
                    && key == wanted_key.as_ptr()
                    && value == wanted_value.as_ptr()
            })
    }
}

/// Calls `callable(argument, **named)`. The callable must not keep `named`: it is used for other calls.
///
/// # Errors
/// Whatever the callable raises.
#[inline]
pub fn call_named<'py>(
    callable: &Bound<'py, PyAny>,
    argument: Bound<'py, PyAny>,
    named: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = callable.py();
    // SAFETY: PyTuple_New returns a new reference or null with an exception set, and its only place is filled, with a reference
    // that it takes over, before anybody sees it. PyObject_Call gets three live objects of the types that it wants; it returns a
    // new reference or null with an exception set.
    unsafe {
        let arguments = Bound::from_owned_ptr_or_err(py, ffi::PyTuple_New(1))?;
        ffi::PyTuple_SET_ITEM(arguments.as_ptr(), 0, argument.into_ptr());
        Bound::from_owned_ptr_or_err(py, ffi::PyObject_Call(callable.as_ptr(), arguments.as_ptr(), named.as_ptr()))
    }
}

/// Calls `callable(first, second)` without building a tuple.
///
/// # Errors
/// Whatever the callable raises.
#[inline]
pub fn call2<'py>(
    callable: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    second: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    // The first slot is scratch for the callee, as PY_VECTORCALL_ARGUMENTS_OFFSET allows: bound methods put self there.
    let mut arguments = [std::ptr::null_mut(), first.as_ptr(), second.as_ptr()];
    // SAFETY: two live arguments follow one writable scratch slot, which is what the flag promises; the result is a
    // new reference or null with an exception set.
    unsafe {
        let result = ffi::PyObject_Vectorcall(
            callable.as_ptr(),
            arguments.as_mut_ptr().add(1),
            2 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
            std::ptr::null_mut(),
        );
        Bound::from_owned_ptr_or_err(callable.py(), result)
    }
}

/// Calls `callable(*positional, **named)`: the last of `arguments` are the values for the names in `names`.
///
/// # Errors
/// Whatever the callable raises.
#[inline]
pub fn call<'py, const N: usize>(
    callable: &Bound<'py, PyAny>,
    arguments: [&Bound<'py, PyAny>; N],
    names: Option<&Bound<'py, PyTuple>>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut slots = [std::ptr::null_mut(); 8];
    assert!(N < slots.len(), "calls with so many arguments are not made here");
    for (slot, argument) in slots[1..].iter_mut().zip(arguments) {
        *slot = argument.as_ptr();
    }
    let named = names.map_or(0, |names| names.len());
    // SAFETY: the slots hold one scratch place, as the flag promises, and N live arguments, of which the last are the values
    // of `names`; the result is a new reference or null with an exception set.
    unsafe {
        let result = ffi::PyObject_Vectorcall(
            callable.as_ptr(),
            slots.as_mut_ptr().add(1),
            (N - named) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
            names.map_or(std::ptr::null_mut(), |names| names.as_ptr()),
        );
        Bound::from_owned_ptr_or_err(callable.py(), result)
    }
}

/// Calls `object.method(*arguments)` without making the bound method.
///
/// # Errors
/// Whatever the method raises.
#[inline]
pub fn call_method<'py, const N: usize>(
    object: &Bound<'py, PyAny>,
    method: &Py<PyString>,
    arguments: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    let mut slots = [std::ptr::null_mut(); 8];
    assert!(N + 2 <= slots.len(), "calls with so many arguments are not made here");
    slots[1] = object.as_ptr();
    for (slot, argument) in slots[2..].iter_mut().zip(arguments) {
        *slot = argument.as_ptr();
    }
    // SAFETY: as in `call`; the object itself is the first argument.
    unsafe {
        let result = ffi::PyObject_VectorcallMethod(
            method.as_ptr(),
            slots.as_mut_ptr().add(1),
            (N + 1) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
            std::ptr::null_mut(),
        );
        Bound::from_owned_ptr_or_err(object.py(), result)
    }
}

/// The number of references to `object`, for the "nobody else kept it" test of reusable objects.
#[inline]
pub fn references<T>(object: &Py<T>) -> isize {
    // SAFETY: a live object.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

/// The items of an exact `list` or `tuple`, each as an owned reference, one at a time.
///
/// Reads the length anew at every step, so a list that shrinks while it is read ends early instead of being overrun.
pub enum Items<'a, 'py> {
    /// A `list`.
    List(&'a Bound<'py, PyList>),
    /// A `tuple`.
    Tuple(&'a Bound<'py, PyTuple>),
}

impl<'a, 'py> Items<'a, 'py> {
    /// `None` when `object` is neither, or a subclass (which may iterate in its own way).
    #[inline]
    pub fn of(object: &'a Bound<'py, PyAny>) -> Option<Self> {
        if let Ok(list) = object.cast_exact::<PyList>() {
            Some(Items::List(list))
        } else if let Ok(tuple) = object.cast_exact::<PyTuple>() {
            Some(Items::Tuple(tuple))
        } else {
            None
        }
    }

    /// As [`Self::of`], for subclasses too: reads the underlying storage, whatever iteration the subclass defines.
    #[inline]
    pub fn of_subclass(object: &'a Bound<'py, PyAny>) -> Option<Self> {
        if let Ok(list) = object.cast::<PyList>() {
            Some(Items::List(list))
        } else if let Ok(tuple) = object.cast::<PyTuple>() {
            Some(Items::Tuple(tuple))
        } else {
            None
        }
    }

    /// How many there are now.
    #[inline]
    pub fn len(&self) -> usize {
        // SAFETY: the variants hold what their names say.
        let len = unsafe {
            match self {
                Items::List(list) => ffi::PyList_GET_SIZE(list.as_ptr()),
                Items::Tuple(tuple) => ffi::PyTuple_GET_SIZE(tuple.as_ptr()),
            }
        };
        usize::try_from(len).unwrap_or(0)
    }

    /// Item `index`, if there is one.
    #[inline]
    pub fn get(&self, index: usize) -> Option<Bound<'py, PyAny>> {
        if index >= self.len() {
            return None;
        }
        let at = ffi::Py_ssize_t::try_from(index).ok()?;
        // SAFETY: `at` is in bounds, checked just now with the interpreter lock held throughout; the borrowed item is
        // made ours at once.
        unsafe {
            match self {
                Items::List(list) => Some(Bound::from_borrowed_ptr(list.py(), ffi::PyList_GET_ITEM(list.as_ptr(), at))),
                Items::Tuple(tuple) => {
                    Some(Bound::from_borrowed_ptr(tuple.py(), ffi::PyTuple_GET_ITEM(tuple.as_ptr(), at)))
                }
            }
        }
    }
}

/// The items of a tuple of two.
#[inline]
pub fn two<'a, 'py>(tuple: &'a Bound<'py, PyTuple>) -> Option<(Borrowed<'a, 'py, PyAny>, Borrowed<'a, 'py, PyAny>)> {
    // SAFETY: a live tuple, whose items are as many as was looked at just now; it keeps them alive, and never changes.
    unsafe {
        (ffi::PyTuple_GET_SIZE(tuple.as_ptr()) == 2)
            .then(|| (tuple.get_borrowed_item_unchecked(0), tuple.get_borrowed_item_unchecked(1)))
    }
}

/// A list in the making, of a length that is known.
pub struct NewList<'py> {
    list: Bound<'py, PyAny>,
    len: usize,
    filled: usize,
}

impl<'py> NewList<'py> {
    /// A list that will have `len` items.
    ///
    /// # Errors
    /// `MemoryError`.
    #[inline]
    pub fn new(py: Python<'py>, len: usize) -> PyResult<Self> {
        let size = ffi::Py_ssize_t::try_from(len).map_err(|_| PyMemoryError::new_err(()))?;
        // SAFETY: PyList_New returns a new reference or null with an exception set. Its places are empty, which the collector
        // and the deallocator of lists allow for; nobody else sees it before `finish`.
        let list = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyList_New(size))? };
        Ok(Self { list, len, filled: 0 })
    }

    /// Puts an item into the next place.
    ///
    /// # Panics
    /// When the list is full.
    #[inline]
    pub fn push(&mut self, item: Bound<'py, PyAny>) {
        assert!(self.filled < self.len, "a list was made too short");
        // SAFETY: the place exists and is empty; the list takes over the reference.
        unsafe { ffi::PyList_SET_ITEM(self.list.as_ptr(), self.filled as ffi::Py_ssize_t, item.into_ptr()) };
        self.filled += 1;
    }

    /// The list.
    ///
    /// # Panics
    /// When a place is still empty.
    #[inline]
    pub fn finish(self) -> Bound<'py, PyAny> {
        assert!(self.filled == self.len, "a list was made too long");
        self.list
    }
}

/// The tuple `(first, second)`.
///
/// # Errors
/// `MemoryError`.
#[inline]
pub fn pair<'py>(first: &Bound<'py, PyAny>, second: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: PyTuple_New returns a new reference or null with an exception set; both places of the fresh tuple are filled,
    // with references that it takes over, before anybody sees it.
    unsafe {
        let tuple = Bound::from_owned_ptr_or_err(first.py(), ffi::PyTuple_New(2))?;
        ffi::PyTuple_SET_ITEM(tuple.as_ptr(), 0, first.clone().into_ptr());
        ffi::PyTuple_SET_ITEM(tuple.as_ptr(), 1, second.into_ptr());
        Ok(tuple)
    }
}

/// A new type that the application cannot instantiate. `size`: of its instances; `slots`: ends with an empty one.
///
/// # Errors
/// `MemoryError`.
pub fn new_type(
    py: Python<'_>,
    name: &'static CStr,
    size: usize,
    flags: c_ulong,
    slots: &mut [ffi::PyType_Slot],
) -> PyResult<Py<PyType>> {
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: c_int::try_from(size)?,
        itemsize: 0,
        flags: c_uint::try_from(ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION | flags)?,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the description and what it points to outlive the call, and what CPython keeps pointers to (name, methods) is
    // static. It returns a new reference or null with an exception set.
    let kind = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&raw mut spec))? };
    Ok(kind.cast_into::<PyType>()?.unbind())
}

/// Whether `len(object)` can be asked without raising `TypeError`.
pub fn is_sized(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a live type; PyType_GetSlot answers null for a slot that is not filled.
    unsafe {
        let kind = ffi::Py_TYPE(object.as_ptr());
        let in_sequence: *mut c_void = ffi::PyType_GetSlot(kind, ffi::Py_sq_length);
        !in_sequence.is_null() || !ffi::PyType_GetSlot(kind, ffi::Py_mp_length).is_null()
    }
}

/// An identifier of the calling thread, cheap enough to compare at every call of the application.
#[inline]
pub fn thread() -> std::ffi::c_ulong {
    // SAFETY: has no preconditions.
    unsafe { ffi::PyThread_get_thread_ident() }
}

/// Runs `wait` with the interpreter's lock let go, then lets Python-level signal handlers run.
///
/// Unlike `Python::detach` it takes a closure that is not `Send`: the caller is the thread that made it, and `wait` must
/// touch nothing of Python, which nobody but the caller can know. What holds Python objects may be dropped in it: PyO3
/// knows that the lock is not held, and drops them later.
///
/// *Runs on:* an attached thread.
pub fn let_go(wait: &mut dyn FnMut()) {
    struct Here<'a>(&'a mut dyn FnMut());
    // SAFETY: `detach` runs the closure on the thread that calls it; the bound only keeps Python's objects out.
    unsafe impl Send for Here<'_> {}
    impl Here<'_> {
        fn run(self) {
            (self.0)();
        }
    }
    // SAFETY: this thread is attached, by the contract of this function, and is again when `detach` returns.
    let py = unsafe { Python::assume_attached() };
    crate::pylog::deliver(py);
    let here = Here(wait);
    py.detach(move || here.run());
    if let Err(error) = py.check_signals() {
        // A handler of the application that raises has nobody above it to raise to.
        error.write_unraisable(py, None);
    }
}

/// Makes the main thread raise `SystemExit` in the Python code that it runs. May be called from any thread, attached or not.
pub fn interrupt_main_thread() {
    extern "C" fn raise(_: *mut c_void) -> std::ffi::c_int {
        // SAFETY: pending calls run on the main thread with the lock held.
        crate::hooks::run_worker_int(unsafe { Python::assume_attached() });
        // SAFETY: as before; -1 says that an exception is set.
        unsafe { ffi::PyErr_SetNone(ffi::PyExc_SystemExit) };
        -1
    }
    INTERRUPTED.store(true, Ordering::Relaxed);
    // SAFETY: needs no lock. A full queue (32 calls) is an answer that can be ignored: then one of ours may be in it.
    unsafe { ffi::Py_AddPendingCall(Some(raise), std::ptr::null_mut()) };
}

/// Notes that the application's code is being interrupted by other means, so that what it raises is not taken for a failure of
/// its own.
pub fn note_interruption() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether [`interrupt_main_thread`] was called in this process.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
