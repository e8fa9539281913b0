//! `wsgi.file_wrapper`: a file as a response, PEP 3333 "Optional Platform-Specific File Handling".
//!
//! The wrapper is an ordinary iterable of blocks. When the application returns it unchanged and the file is one that the
//! kernel can read by itself, [`FileWrapper::real_file`] gives the server a descriptor to send from.

use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// What applications call as `environ["wsgi.file_wrapper"](file, block_size)`.
#[pyclass(module = "asteri._asteri", name = "FileWrapper", frozen)]
pub struct FileWrapper {
    /// Anything with `read(size)`.
    #[pyo3(get)]
    filelike: Py<PyAny>,
    /// Bytes per block when it is iterated.
    #[pyo3(get)]
    block_size: usize,
}

/// A piece of a regular file.
pub struct FileSlice {
    pub file: OwnedFd,
    pub offset: u64,
    pub len: u64,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, block_size = 8192))]
    fn new(filelike: Py<PyAny>, block_size: usize) -> Self {
        Self { filelike, block_size: block_size.max(1) }
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let block = self.filelike.bind(py).call_method1("read", (self.block_size,))?;
        Ok(if block.is_truthy()? { Some(block) } else { None })
    }

    /// Closes the file, if it can be closed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        // Looked up now and not at the start: Django gives the file its `close` only after it has wrapped it.
        if let Some(close) = self.filelike.bind(py).getattr_opt("close")? {
            close.call0()?;
        }
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.filelike)
    }
}

impl FileWrapper {
    /// What is left of the file from its current position, when it is a regular file whose bytes are what `read()`
    /// would return. `None` otherwise: the blocks have to be read through Python.
    pub fn real_file(&self, py: Python<'_>) -> Option<FileSlice> {
        let filelike = self.filelike.bind(py);
        if !is_plain(filelike).unwrap_or(false) {
            return None;
        }
        // tell() knows what a buffered reader has already read ahead; the descriptor's own offset does not.
        let offset: u64 = filelike.call_method0("tell").ok()?.extract().ok()?;
        let fd: RawFd = filelike.call_method0("fileno").ok()?.extract().ok()?;
        if fd < 0 {
            return None;
        }
        // SAFETY: `fileno()` of an open io.FileIO is an open descriptor, which `filelike` keeps open over this call.
        let file = File::from(unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().ok()?);
        let metadata = file.metadata().ok()?;
        // Files of /proc and the like have contents but no size; one that is really empty is soon read.
        if !metadata.is_file() || metadata.len() == 0 {
            return None;
        }
        Some(FileSlice { len: metadata.len().saturating_sub(offset), offset, file: file.into() })
    }
}

/// Whether `read()` of this object returns the bytes of its descriptor and nothing else.
///
/// Only the exact classes of `open(…, "rb")`: a subclass may override `read()`, and `gzip.GzipFile` has a `fileno()` too.
fn is_plain(filelike: &Bound<'_, PyAny>) -> PyResult<bool> {
    static FILE_IO: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static READER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static RANDOM: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = filelike.py();
    let file_io = FILE_IO.import(py, "io", "FileIO")?;
    if filelike.is_exact_instance(file_io) {
        return Ok(true);
    }
    let random = filelike.is_exact_instance(RANDOM.import(py, "io", "BufferedRandom")?);
    if random {
        // It may hold written bytes that the descriptor does not know of.
        filelike.call_method0("flush")?;
    }
    let buffered = random || filelike.is_exact_instance(READER.import(py, "io", "BufferedReader")?);
    Ok(buffered && filelike.getattr("raw")?.is_exact_instance(file_io))
}
