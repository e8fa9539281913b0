//! Tells the crate which CPython it is being built for (see `src/version.rs`).

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let version = pyo3_build_config::get().version();
    println!("cargo:rustc-env=ASTERI_BUILT_FOR={}.{}", version.major, version.minor);
}
