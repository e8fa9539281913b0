//! The guard against the wrong interpreter.
//!
//! This crate reads object layouts that change between CPython minors. An extension built for 3.11 loads into 3.13
//! without complaint and then corrupts its heap, so the import is refused unless the two agree.

use std::ffi::CStr;

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// `"3.13"`: the CPython whose headers this extension was built with (from `build.rs`).
const BUILT_FOR: &str = env!("ASTERI_BUILT_FOR");

/// Refuses any interpreter but the one this extension was built for.
///
/// # Errors
/// `ImportError` that names both versions.
pub fn check() -> PyResult<()> {
    // SAFETY: Py_GetVersion returns a static NUL-terminated string and may be called at any time.
    let running = unsafe { CStr::from_ptr(ffi::Py_GetVersion()) }.to_string_lossy();
    let running = running.split_whitespace().next().unwrap_or_default();
    if minor_of(running) == BUILT_FOR {
        return Ok(());
    }
    Err(PyImportError::new_err(format!(
        "asteri was built for CPython {BUILT_FOR} but is being imported by CPython {running}; \
         install it again with this interpreter's own pip"
    )))
}

/// `"3.13.0rc1"` → `"3.13"`.
fn minor_of(version: &str) -> &str {
    let end = version.match_indices('.').nth(1).map_or(version.len(), |(at, _)| at);
    &version[..end]
}
