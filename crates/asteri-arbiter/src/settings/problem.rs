//! Messages about settings: what is wrong, what was expected, where it came from, what to try.

use super::kind::Bad;
use super::python::quote;
use super::setting::{Refusal, Setting};
use super::value::{Origin, Value};
use std::fmt;

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting or flag.
    pub subject: String,
    /// What was found and what was expected.
    pub what: String,
    pub from: Option<String>,
    /// What to try.
    pub hint: Option<String>,
    /// Further lines, for example a traceback.
    pub detail: String,
}

impl Problem {
    /// A problem with only a first line; the rest is added by the other functions.
    #[must_use]
    pub fn new(subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self { subject: subject.into(), what: what.into(), from: None, hint: None, detail: String::new() }
    }

    #[must_use]
    pub fn from(mut self, from: impl fmt::Display) -> Self {
        self.from = Some(from.to_string());
        self
    }

    /// Completes `try: `.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A value that does not fit. `got` is what the user wrote, in Python's notation.
    pub(super) fn bad_value(setting: &Setting, got: &str, bad: &Bad, origin: &Origin) -> Self {
        let got = bad.got.as_deref().unwrap_or(got);
        let meant = bad.meant.clone().filter(|value| setting.kind.accepts(value)).or_else(|| general_example(setting));
        let problem = Self::new(setting.name, format!("got {got}, expected {}", bad.expected)).from(origin);
        match (setting.env, origin, meant) {
            (Some(env), Origin::Environment { variable }, _) => problem.hint(format!("{variable}={}", env.example)),
            (_, _, Some(meant)) => problem.hint(write_it(setting, &meant, origin)),
            (_, _, None) => problem,
        }
    }

    /// A well-formed value that is not served.
    pub(super) fn refused(setting: &Setting, value: &Value, refusal: &Refusal, origin: &Origin) -> Self {
        let got = value.python();
        Self::new(setting.name, format!("got {got}, {}", refusal.why)).from(origin).hint(refusal.instead.clone())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "asteri: {}: {}", self.subject, self.what)?;
        if let Some(from) = &self.from {
            write!(f, "\n  from: {from}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  try:  {hint}")?;
        }
        for line in self.detail.lines() {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

/// How to set `value`, in the notation of the place where the wrong one came from.
pub(super) fn write_it(setting: &Setting, value: &Value, origin: &Origin) -> String {
    let flag = setting.long_flag().map(|flag| match value {
        Value::Bool(true) => flag.to_owned(),
        Value::Bool(false) => setting.off_flag().unwrap_or(flag).to_owned(),
        _ => format!("{flag} {}", shell_quote(&value.text())),
    });
    let key = match value {
        // Gunicorn's notation for one address, one network, one name.
        Value::List(items) if items.len() == 1 => format!("{} = {}", setting.name, quote(&items[0])),
        _ => format!("{} = {}", setting.name, value.python()),
    };
    match (origin, flag) {
        (Origin::CommandLine { flag }, _) if flag.is_empty() => format!("asteri {}", shell_quote(&value.text())),
        (Origin::CommandLine { .. } | Origin::Arguments { .. }, Some(flag)) => flag,
        (_, Some(flag)) => format!("{key}      (or the flag {flag})"),
        (_, None) => key,
    }
}

fn general_example(setting: &Setting) -> Option<Value> {
    if let Some(text) = setting.kind.example() {
        return setting.kind.from_text(text).ok();
    }
    Some(setting.default_value()).filter(|value| !matches!(value, Value::None | Value::List(_)))
}

/// An argument as a shell wants it.
pub(super) fn shell_quote(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-+=./:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Why there is no configuration to run with: the process ends with this code after printing the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// 0 for help and version, whose text belongs on standard output; 1 for wrong settings, on standard error.
    pub code: i32,
    /// Without a line end.
    pub message: String,
}

impl Exit {
    pub(super) fn wrong(problems: &[Problem]) -> Self {
        let messages: Vec<_> = problems.iter().map(Problem::to_string).collect();
        Self { code: 1, message: messages.join("\n") }
    }
}
