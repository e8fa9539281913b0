//! The `gevent` worker: each request on a greenlet of its own, all of them on the main thread.
//!
//! Only workers of this type import gevent and patch the standard library. The arbiter asks whether gevent is there
//! ([`problem`]) without importing it.

use asteri_arbiter::arbiter::exit_code;
use asteri_arbiter::logs::{Level, shown};
use asteri_arbiter::settings::{Config, Problem};
use pyo3::prelude::*;

use super::{Booting, Station};
use crate::gevent::{self, arena};
use crate::host::Host;
use crate::wsgi::{Gateway, traceback};

/// The module of the package that speaks with gevent.
const PART: &str = "_gevent";

/// What keeps workers of this type from starting, as far as it can be told before there is one.
///
/// *Runs on:* the arbiter.
pub fn problem(py: Python<'_>, host: &Host, config: &Config) -> Option<Problem> {
    // Where workers will find modules, besides `sys.path` as it is now.
    let mut folders = vec![config.chdir().into_os_string()];
    folders.extend(config.pythonpath());
    let missing = host.part(py, PART).and_then(|part| part.call_method1("missing", (folders,)));
    // A finder that fails is better shown where the import itself does.
    let tries = missing.and_then(|tries| tries.extract::<Option<String>>()).ok().flatten()?;
    let problem = Problem::new("worker_class", "gevent workers need the package gevent, which is not installed");
    Some(problem.from(config.origin("worker_class")).hint(tries))
}

/// Makes this process one of greenlets: to be called before anything of the application is imported.
///
/// # Errors
/// The exit code; the reason has been logged.
pub fn patch(py: Python<'_>, host: &Host, booting: &Booting<'_>) -> Result<(), i32> {
    arena::install(py);
    match try_patch(py, host, booting.config) {
        // What was found is the same in all workers.
        Ok(findings) if booting.first => {
            for (what, from, tries) in findings {
                let detail = format!("  from: {from}\n  try:  {tries}");
                booting.log.record(Level::Warning, &what, &[], detail.as_bytes());
            }
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(error) => {
            let text = "a worker could not import gevent and patch the standard library";
            booting.fail(text, &format!("{text}: {error}"), &traceback(py, &error));
            Err(exit_code::BOOT)
        }
    }
}

/// A sentence, where it comes from, and what to try.
type Finding = (String, String, String);

fn try_patch(py: Python<'_>, host: &Host, config: &Config) -> PyResult<Vec<Finding>> {
    // gevent reads its settings from the environment, and may be in a folder of the application's.
    host.enter(py, config)?;
    host.part(py, PART)?.call_method0("patch")?.extract()
}

/// Serves `application`; the exit code.
pub fn serve(py: Python<'_>, host: &Host, mut station: Station, application: Py<PyAny>) -> i32 {
    let made = Gateway::new(py, application, station.wsgi_options(true))
        .and_then(|gateway| Ok((gateway, host.part(py, PART)?.getattr("Hub")?)));
    let (gateway, hub) = match made {
        Ok(made) => made,
        Err(error) => {
            station.log.critical("the gateway cannot be made", &[("error", &shown(&error))]);
            return exit_code::BOOT;
        }
    };
    let connections = station.config.worker_connections();
    let options = gevent::Options {
        // Without a limit of its own, that of open files is the one.
        concurrent: if connections == 0 { usize::MAX } else { connections },
        graceful: station.config.graceful_timeout(),
        log: station.log.clone(),
    };
    station.ends_unfinished();
    station.ready();
    let left = gevent::serve(py, &hub, gateway, station.worker(), options);
    station.leave(left)
}
