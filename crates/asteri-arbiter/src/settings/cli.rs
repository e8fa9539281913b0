//! The command line, derived from the table; arguments in environment variables go the same way.

use super::kind::{Kind, near};
use super::problem::{Problem, shell_quote};
use super::python::quote;
use super::setting::{Setting, Status};
use super::source::{Assignment, Source};
use super::table;
use super::value::Value;
use asteri_server::listener::Bind;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::ffi::OsString;

const APPLICATION: &str = "application";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What arguments can lead to besides assignments.
pub(super) enum Parsed {
    Assignments(Vec<Assignment>),
    /// The text of `--help` or `--version`.
    Text(String),
}

/// Reads arguments (without the program's name). Problems with single values are added to `problems`.
///
/// # Errors
/// The arguments cannot be told apart, for example because of an unknown flag.
pub(super) fn parse(args: &[OsString], source: Source, problems: &mut Vec<Problem>) -> Result<Parsed, Problem> {
    if let Some(arg) = args.iter().find(|arg| arg.to_str().is_none()) {
        let shown = quote(&arg.to_string_lossy());
        return Err(Problem::new("arguments", format!("got {shown}, expected UTF-8")).from(source.origin("")));
    }
    match command().try_get_matches_from(args) {
        Ok(matches) => {
            let mut reader = Reader { matches: &matches, source, problems };
            Ok(Parsed::Assignments(reader.assignments()))
        }
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Parsed::Text(error.to_string().trim_end().to_owned()))
        }
        Err(error) => Err(explain(&error, source)),
    }
}

/// The text of `--help` for a terminal of that width.
#[must_use]
pub fn help(width: usize) -> String {
    command().term_width(width).render_help().to_string()
}

fn command() -> Command {
    let mut command = Command::new("asteri")
        .version(VERSION)
        .about("Asteri, a Python application server")
        .override_usage("asteri [OPTIONS] [APPLICATION]")
        .after_help(
            "The application is module:attribute, for example asteri.demo:app.\n\
             Values in brackets are defaults. Settings also come from environment variables, ./asteri.conf.py or \
             ./gunicorn.conf.py, GUNICORN_CMD_ARGS and ASTERI_CMD_ARGS; later ones win, flags always. The reference \
             page has all settings, and those of Gunicorn that this version refuses.",
        )
        .max_term_width(110)
        .no_binary_name(true)
        .disable_version_flag(true)
        .disable_help_flag(true)
        // As argparse, which Gunicorn uses: `--worker-cl sync`.
        .infer_long_args(true)
        .args_override_self(true)
        .arg(Arg::new(APPLICATION).value_name("APPLICATION").help("Application to serve: module:attribute"));
    for setting in table::all() {
        command = command.args(args_of(setting));
    }
    command
        .arg(Arg::new("help").short('h').long("help").action(ArgAction::Help).help("Print this help"))
        .arg(Arg::new("version").short('v').long("version").action(ArgAction::Version).help("Print the version"))
}

/// The flags of one setting: the preferred one, its other spellings, and the one that turns a switch off. Each has an
/// argument of its own, with the flag as its name, so that messages can say which one was used.
fn args_of(setting: &'static Setting) -> Vec<Arg> {
    let Some(long) = setting.long_flag() else { return Vec::new() };
    let served = matches!(setting.status, Status::Built | Status::Partly(_));
    let on_by_default = setting.default_value() == Value::Bool(true);

    let base = |flag: &'static str| {
        let arg = Arg::new(flag).long(&flag[2..]).help_heading(setting.section.title());
        let Some(placeholder) = setting.kind.placeholder() else { return arg.action(ArgAction::SetTrue) };
        let arg = arg.action(ArgAction::Append).value_name(placeholder).allow_negative_numbers(true);
        match setting.bare {
            Some(bare) => arg.num_args(0..=1).default_missing_value(bare),
            None => arg,
        }
    };

    let mut args = Vec::new();
    let mut preferred = base(long).help(help_of(setting)).hide(!served || on_by_default);
    if let Some(short) = setting.flags.iter().find(|flag| !flag.starts_with("--")).and_then(|f| f.chars().nth(1)) {
        preferred = preferred.short(short);
    }
    args.push(preferred);
    args.extend(
        setting.flags.iter().filter(|flag| flag.starts_with("--") && **flag != long).map(|f| base(f).hide(true)),
    );
    if let Some(off) = setting.off_flag() {
        let arg = Arg::new(off).long(&off[2..]).action(ArgAction::SetTrue);
        let arg = arg.help_heading(setting.section.title()).help(setting.off_help);
        args.push(arg.hide(!served || !on_by_default));
    }
    args
}

fn help_of(setting: &Setting) -> String {
    let default = match setting.default_value() {
        Value::Bool(_) | Value::None | Value::Map(_) => String::new(),
        Value::List(items) => items.join(","),
        Value::Text(text) if text.contains(' ') => String::new(),
        other => other.text(),
    };
    let words = match (setting.kind, setting.status) {
        (Kind::Choice(words), Status::Built) => format!(": {}", words.join(", ")),
        _ => String::new(),
    };
    let default = if default.is_empty() { default } else { format!(" [{default}]") };
    format!("{}{words}{default}", setting.short_help())
}

/// Turns clap's matches into assignments.
struct Reader<'a> {
    matches: &'a ArgMatches,
    source: Source,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn assignments(&mut self) -> Vec<Assignment> {
        let mut assignments: Vec<_> = table::all().filter_map(|setting| self.assignment(setting)).collect();
        self.application(&mut assignments);
        self.shorthands(&mut assignments);
        assignments
    }

    fn assignment(&mut self, setting: &'static Setting) -> Option<Assignment> {
        let mut given = self.given(setting);
        // By position: of the flags that exclude each other the last one counts.
        given.sort_by_key(|(index, _, _)| *index);
        let (_, last_flag, _) = given.last()?;
        let texts: Vec<&str> = given.iter().map(|(_, _, text)| text.as_str()).collect();
        let origin = self.source.origin(last_flag);
        match setting.kind.from_texts(&texts) {
            Ok(value) => Some(Assignment { setting, value, origin }),
            Err(bad) => {
                let got = texts.last().map(|text| quote(text)).unwrap_or_default();
                self.problems.push(Problem::bad_value(setting, &got, &bad, &origin));
                None
            }
        }
    }

    /// All occurrences: position, flag, and the text that the kind reads.
    fn given(&self, setting: &Setting) -> Vec<(usize, String, String)> {
        let mut given = Vec::new();
        for flag in setting.flags.iter().filter(|flag| flag.starts_with("--")) {
            let Some(indices) = self.matches.indices_of(flag) else { continue };
            if matches!(setting.kind, Kind::Switch) {
                given.extend(self.last_switch(flag).map(|i| (i, (*flag).to_owned(), "true".to_owned())));
            } else if let Some(texts) = self.matches.get_many::<String>(flag) {
                given.extend(indices.zip(texts).map(|(i, text)| (i, (*flag).to_owned(), text.clone())));
            }
        }
        if let Some(off) = setting.off_flag() {
            given.extend(self.last_switch(off).map(|i| (i, off.to_owned(), "false".to_owned())));
        }
        given
    }

    /// The position of the last occurrence. A switch that did not occur has a default value, and even a position.
    fn last_switch(&self, flag: &str) -> Option<usize> {
        self.matches.get_flag(flag).then(|| self.matches.indices_of(flag)?.next_back())?
    }

    fn application(&mut self, assignments: &mut Vec<Assignment>) {
        let (Some(setting), Some(text)) = (table::find("wsgi_app"), self.matches.get_one::<String>(APPLICATION)) else {
            return;
        };
        let origin = self.source.origin("");
        match setting.kind.from_text(text) {
            Ok(value) => {
                assignments.retain(|assignment| assignment.setting.name != setting.name);
                assignments.push(Assignment { setting, value, origin });
            }
            Err(bad) => {
                let mut problem = Problem::bad_value(setting, &quote(text), &bad, &origin);
                problem.subject = APPLICATION.to_owned();
                self.problems.push(problem);
            }
        }
    }

    /// `--host`, `--port`, `--uds` and `--fd` become addresses of `bind`, after those that `--bind` gave.
    fn shorthands(&mut self, assignments: &mut Vec<Assignment>) {
        let given = |name| {
            let found = assignments.iter().find(|assignment| assignment.setting.name == name);
            found.map(|assignment| (assignment.setting, assignment.value.text()))
        };
        let (host, port) = (given("host"), given("port"));
        // The setting to blame, what was written, the address.
        let mut addresses = Vec::new();
        addresses.extend(given("uds").map(|(setting, path)| (setting, path.clone(), format!("unix:{path}"))));
        addresses.extend(given("fd").map(|(setting, fd)| (setting, fd.clone(), format!("fd://{fd}"))));
        if let Some((setting, written)) = host.clone().or(port.clone()) {
            let host = host.map_or_else(|| "127.0.0.1".to_owned(), |(_, host)| host);
            let port = port.map_or_else(|| "8000".to_owned(), |(_, port)| port);
            let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
            addresses.push((setting, written, format!("{host}:{port}")));
        }
        let mut binds = Vec::new();
        for (setting, written, address) in &addresses {
            let origin = self.source.origin(setting.long_flag().unwrap_or_default());
            if let Err(error) = address.parse::<Bind>() {
                let (expected, hint) = match setting.name {
                    "host" => ("a host name or IP address".to_owned(), "--host 127.0.0.1".to_owned()),
                    _ => (error.expected, format!("--bind {}", shell_quote(&error.example))),
                };
                let what = format!("got {}, expected {expected}", quote(written));
                self.problems.push(Problem::new(setting.name, what).from(origin).hint(hint));
            } else {
                binds.push((address.clone(), origin));
            }
        }
        let bind = assignments.iter_mut().find(|assignment| assignment.setting.name == "bind");
        match (bind, binds.first().cloned(), table::find("bind")) {
            (Some(Assignment { value: Value::List(all), .. }), ..) => {
                all.extend(binds.into_iter().map(|(bind, _)| bind))
            }
            (None, Some((_, origin)), Some(setting)) => {
                let value = Value::List(binds.into_iter().map(|(bind, _)| bind).collect());
                assignments.push(Assignment { setting, value, origin });
            }
            _ => {}
        }
    }
}

/// clap's error in our words.
fn explain(error: &clap::Error, source: Source) -> Problem {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    // `--bind <ADDRESS>` or `-b, --bind <ADDRESS>`: the flag alone.
    let flag = argument.split([' ', ',', '[', '=']).next().unwrap_or(&argument).to_owned();
    let from = source.origin("");
    match error.kind() {
        ErrorKind::UnknownArgument if !flag.starts_with('-') => {
            let what = format!("got a second one, {}, expected one application", quote(&argument));
            Problem::new(APPLICATION, what).from(from).hint("asteri [OPTIONS] APPLICATION")
        }
        ErrorKind::UnknownArgument => {
            let flags_of = |setting: &'static Setting| setting.flags.iter().copied().chain(setting.off_flag());
            let flags: Vec<&str> = table::all().flat_map(flags_of).collect();
            let problem = Problem::new(&flag, "no such flag").from(from);
            match near(&flag, &flags) {
                Some(flag) => problem.hint(flag),
                None => problem.hint("asteri --help"),
            }
        }
        ErrorKind::InvalidValue | ErrorKind::TooFewValues => {
            let long = argument.split([' ', ',']).find(|part| part.starts_with("--")).unwrap_or(&flag);
            let setting = table::all().find(|setting| setting.flags.contains(&long));
            let expected = setting.map_or_else(|| "a value".to_owned(), |setting| setting.kind.expected());
            let problem = Problem::new(long, format!("got nothing, expected {expected}")).from(from);
            match setting.and_then(|setting| setting.kind.placeholder()) {
                Some(placeholder) => problem.hint(format!("{long} {placeholder}")),
                None => problem,
            }
        }
        ErrorKind::TooManyValues => {
            Problem::new(&flag, "got a value, expected none: it is a switch").from(from).hint(flag)
        }
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Problem::new("arguments", line).from(from).hint("asteri --help")
        }
    }
}
