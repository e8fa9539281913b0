//! Tells the crate which CPython it is being built for (see `src/version.rs`).

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let config = pyo3_build_config::get();
    assert!(
        !config.build_flags().0.contains(&pyo3_build_config::BuildFlag::Py_GIL_DISABLED),
        "asteri needs a CPython with a GIL: the free-threaded build is not supported yet"
    );
    let version = pyo3_build_config::get().version();
    println!("cargo:rustc-env=ASTERI_BUILT_FOR={}.{}", version.major, version.minor);
}
