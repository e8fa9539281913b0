//! `SCRIPT_NAME`: under which path the application is mounted, when the environment says so.
//!
//! Not a setting of the table, but a convention among WSGI servers: a variable of the process, or of `raw_env`. It is
//! read and judged once, at start: a wrong one would refuse nearly every request.

use super::config::Config;
use super::problem::{Problem, shell_quote};
use super::python::quote;
use super::source::Environment;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

impl Config {
    /// `SCRIPT_NAME` as it was given: empty, or a path. It may be percent-encoded, in any encoding of characters, and
    /// have slashes at its end.
    #[must_use]
    pub fn script_name(&self) -> &[u8] {
        &self.script_name
    }

    /// Takes it from the environment that the application will have.
    pub(super) fn read_script_name(&mut self, env: Environment<'_>) -> Result<(), Problem> {
        const NAME: &str = "SCRIPT_NAME";
        let in_raw_env =
            self.raw_env().filter(|(name, _)| *name == NAME).last().map(|(_, value)| OsString::from(value));
        let from = match in_raw_env {
            Some(_) => self.origin("raw_env").to_string(),
            None => format!("environment variable {NAME}"),
        };
        let value = in_raw_env.or_else(|| env(NAME)).unwrap_or_default().into_vec();
        if !value.is_empty() && (value[0] != b'/' || value.iter().any(u8::is_ascii_control)) {
            let text = String::from_utf8_lossy(&value);
            let meant: String = text.chars().filter(|c| !c.is_control()).collect();
            let what =
                format!("got {}, expected a path that begins with \"/\", without control characters", quote(&text));
            let hint = format!("{NAME}={}", shell_quote(&format!("/{}", meant.trim_matches('/'))));
            return Err(Problem::new(NAME, what).from(from).hint(hint));
        }
        self.script_name = value;
        Ok(())
    }
}
