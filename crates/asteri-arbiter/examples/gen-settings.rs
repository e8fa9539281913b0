//! Writes `docs/reference/settings.md` from the table of settings; with `--check` only says whether it is up to date.

use asteri_arbiter::settings::reference_page;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/settings.md");
    let page = reference_page();
    if std::env::args().any(|arg| arg == "--check") {
        if std::fs::read_to_string(&path).is_ok_and(|text| text == page) {
            return ExitCode::SUCCESS;
        }
        eprintln!("docs/reference/settings.md is out of date");
        eprintln!("  try:  cargo run -p asteri-arbiter --example gen-settings");
        return ExitCode::FAILURE;
    }
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, page));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}
