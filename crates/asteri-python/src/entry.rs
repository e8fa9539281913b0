//! The way into the server from Python, and the way out of each of its processes.

use std::ffi::OsString;
use std::sync::Arc;

use asteri_arbiter::arbiter::{self, Load, Outcome, exit_code};
use asteri_arbiter::logs::{AccessFormat, AccessLog, ErrorLog, shown};
use asteri_arbiter::settings::{Action, Config, Exit, Resolved, resolve};
use pyo3::prelude::*;

use crate::host::{ConfigFiles, Host};
use crate::process::PythonProcess;
use crate::worker;

/// Runs the server, or what else the command line asks for. `argv` begins with the program's name.
///
/// Returns the exit code of this process, which after a fork may be a worker: the caller hands it to `sys.exit`, so that
/// every process ends the way Python processes do.
#[pyfunction]
pub fn main(
    py: Python<'_>,
    argv: Vec<OsString>,
    load_config: Py<PyAny>,
    prepare: Py<PyAny>,
    load_application: Py<PyAny>,
) -> i32 {
    let argv = argv.into_iter().skip(1).collect();
    let host = Host { argv, load_config, prepare, load_application };
    let mut python = ConfigFiles { py, host: &host, callables: Vec::new() };
    let resolved = match resolve(&host.argv, &|name| std::env::var_os(name), &mut python) {
        Ok(resolved) => resolved,
        Err(Exit { code, message }) if code == exit_code::OK => {
            println!("{message}");
            return code;
        }
        Err(Exit { code, message }) => {
            eprintln!("{message}");
            return code;
        }
    };
    match resolved.action {
        Action::PrintConfig => {
            println!("{}", resolved.config.to_python());
            exit_code::OK
        }
        Action::CheckConfig => check(py, &host, &resolved),
        Action::Run => serve(py, &host, resolved),
    }
}

/// `--check-config`: what a worker would do, up to serving.
fn check(py: Python<'_>, host: &Host, resolved: &Resolved) -> i32 {
    for notice in &resolved.notices {
        eprintln!("asteri: {}: {}\n  from: {}", notice.setting, notice.text, notice.from);
    }
    match host.load_application(py, &resolved.config) {
        Ok(_) => exit_code::OK,
        Err(failure) => {
            eprintln!("{}", failure.message(&resolved.config));
            failure.code
        }
    }
}

fn serve(py: Python<'_>, host: &Host, resolved: Resolved) -> i32 {
    let config = Arc::new(resolved.config);
    let opened = enter_folder(&config).and_then(|()| open_logs(&config));
    let (log, access_log) = match opened {
        Ok(logs) => logs,
        Err(message) => {
            eprintln!("{message}");
            return exit_code::STARTUP;
        }
    };
    for notice in &resolved.notices {
        log.warning(&notice.text, &[("setting", &notice.setting), ("from", &shown(&notice.from))]);
    }
    let mut process = PythonProcess::new(py, host, &config, access_log);
    match arbiter::run(Load::new(config, log), &mut process) {
        Outcome::Exit(code) => code,
        Outcome::Worker(seat) => {
            let access_log = process.access_log_of(&seat.config);
            drop(process);
            worker::run(py, host, *seat, access_log)
        }
    }
}

fn enter_folder(config: &Config) -> Result<(), String> {
    std::env::set_current_dir(config.chdir()).map_err(|error| {
        let problem = config.problem("chdir", "a folder that can be entered");
        problem.hint(format!("another folder ({error})")).to_string()
    })
}

/// The logs that a configuration names.
///
/// # Errors
/// The message for the operator.
pub fn open_logs(config: &Config) -> Result<(ErrorLog, Option<Arc<AccessLog>>), String> {
    let log = ErrorLog::open(&config.errorlog(), config.loglevel(), config.color()).map_err(|error| {
        config.problem("errorlog", "a file that can be written to").hint(error.to_string()).to_string()
    })?;
    let Some(target) = config.accesslog() else { return Ok((log, None)) };
    let format = AccessFormat::compile(config.access_log_format()).map_err(|error| {
        config.problem("access_log_format", "a format of the access log").hint(error.to_string()).to_string()
    })?;
    let access_log = AccessLog::open(&target, format).map_err(|error| {
        config.problem("accesslog", "a file that can be written to").hint(error.to_string()).to_string()
    })?;
    Ok((log, Some(Arc::new(access_log))))
}
