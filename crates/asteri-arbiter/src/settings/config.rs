//! The resolved configuration: a value and an origin for every setting, and a typed getter for each that is served.
//!
//! Getters look their setting up by name, so read what you need once and keep it; nothing here belongs in the path of a
//! request. Paths are as the user wrote them: relative ones start at [`Config::chdir`], which the process has made its
//! current folder by then.

use super::app::AppSpec;
use super::networks::Networks;
use super::problem::Problem;
use super::python::ConfigSpec;
use super::resolve::Action;
use super::setting::Setting;
use super::source::Assignment;
use super::table;
use super::value::{Origin, Value};
use crate::logs::{Colour, Level, Target};
use asteri_proto::limits::HeaderMap;
use asteri_server::listener::BindSpec;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Settings of a server. Immutable once resolved; share it in an `Arc`.
#[derive(Clone, Debug)]
pub struct Config {
    /// In the order of [`table::all`].
    values: Vec<Effective>,
    start_folder: PathBuf,
    config_file: Option<ConfigSpec>,
    bind: Vec<BindSpec>,
    app: Option<AppSpec>,
}

/// The value of one setting, and where it came from.
#[derive(Clone, Debug)]
pub struct Effective {
    pub setting: &'static Setting,
    pub value: Value,
    pub origin: Origin,
}

/// How application code is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerClass {
    /// One request at a time per process.
    Sync,
}

impl WorkerClass {
    /// The name as `worker_class` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
        }
    }
}

impl Config {
    /// Applies assignments to the defaults, later ones win.
    pub(super) fn new(start_folder: PathBuf, config_file: Option<ConfigSpec>, assignments: Vec<Assignment>) -> Self {
        let mut values: Vec<Effective> = table::all()
            .map(|setting| Effective { setting, value: setting.default_value(), origin: Origin::Default })
            .collect();
        for Assignment { setting, value, origin } in assignments {
            if let Some(slot) = table::index(setting.name).and_then(|i| values.get_mut(i)) {
                // None is how a config file asks for the default.
                slot.value = if value == Value::None { setting.default_value() } else { value };
                slot.origin = origin;
            }
        }
        let mut config = Self { values, start_folder, config_file, bind: Vec::new(), app: None };
        config.bind = config.list("bind").iter().filter_map(|address| address.parse().ok()).collect();
        config
    }

    pub(super) fn set_app(&mut self, app: AppSpec) {
        self.app = Some(app);
    }

    /// The value and origin of any setting in the table, by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Effective> {
        table::index(name).and_then(|i| self.values.get(i))
    }

    /// All settings, in the order of the table.
    pub fn all(&self) -> impl Iterator<Item = &Effective> {
        self.values.iter()
    }

    /// Where the value of a setting came from.
    #[must_use]
    pub fn origin(&self, name: &str) -> &Origin {
        self.get(name).map_or(&Origin::Default, |effective| &effective.origin)
    }

    /// The sources that contributed, weakest first, for the start-up line: `PORT, asteri.conf.py, command line`.
    #[must_use]
    pub fn sources(&self) -> Vec<String> {
        let rank = |origin: &Origin| match origin {
            Origin::Default => 0,
            Origin::Environment { .. } => 1,
            Origin::File { .. } => 2,
            Origin::Arguments { variable: "GUNICORN_CMD_ARGS", .. } => 3,
            Origin::Arguments { .. } => 4,
            Origin::CommandLine { .. } => 5,
        };
        let mut sources: Vec<(u8, String)> = self
            .values
            .iter()
            .filter(|effective| effective.origin != Origin::Default)
            .map(|effective| (rank(&effective.origin), effective.origin.source().to_owned()))
            .collect();
        sources.sort();
        sources.dedup();
        sources.into_iter().map(|(_, source)| source).collect()
    }

    /// A message about a value that turns out to be wrong later, when it is used: who needs a setting and finds that the
    /// user does not exist says `config.problem("user", "the name of a user of this system")`.
    #[must_use]
    pub fn problem(&self, name: &str, expected: &str) -> Problem {
        match self.get(name) {
            Some(effective) => {
                let what = format!("got {}, expected {expected}", effective.value.python());
                Problem::new(name, what).from(&effective.origin)
            }
            None => Problem::new(name, format!("expected {expected}")),
        }
    }

    /// The folder in which the server was started, absolute.
    #[must_use]
    pub fn start_folder(&self) -> &Path {
        &self.start_folder
    }

    /// The config file or module that was run, if any.
    #[must_use]
    pub fn config_file(&self) -> Option<&ConfigSpec> {
        self.config_file.as_ref()
    }

    pub(super) fn action(&self) -> Action {
        match (self.switch("print_config"), self.switch("check_config")) {
            (true, _) => Action::PrintConfig,
            (_, true) => Action::CheckConfig,
            _ => Action::Run,
        }
    }

    // Getters by variant. A variant that does not fit the table is a mistake in this file, which the tests find because
    // they call each getter; the neutral answer keeps a mistake from stopping a server.

    fn value(&self, name: &str) -> &Value {
        debug_assert!(table::index(name).is_some(), "no setting {name}");
        self.get(name).map_or(&Value::None, |effective| &effective.value)
    }

    fn switch(&self, name: &str) -> bool {
        matches!(self.value(name), Value::Bool(true))
    }

    fn count(&self, name: &str) -> u64 {
        match self.value(name) {
            Value::Count(n) | Value::Size(n) => *n,
            _ => 0,
        }
    }

    fn size(&self, name: &str) -> usize {
        usize::try_from(self.count(name)).unwrap_or(usize::MAX)
    }

    fn duration(&self, name: &str) -> Duration {
        match self.value(name) {
            Value::Duration(duration) => *duration,
            _ => Duration::ZERO,
        }
    }

    fn mode(&self, name: &str) -> Option<u32> {
        match self.value(name) {
            Value::Mode(bits) => Some(*bits),
            _ => None,
        }
    }

    /// Empty texts count as none.
    fn text(&self, name: &str) -> Option<&str> {
        match self.value(name) {
            Value::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    fn list(&self, name: &str) -> &[String] {
        match self.value(name) {
            Value::List(items) => items,
            _ => &[],
        }
    }
}

/// Application and configuration.
impl Config {
    /// The application. There is always one when the action is to run or to check.
    #[must_use]
    pub fn app(&self) -> Option<&AppSpec> {
        self.app.as_ref()
    }

    /// Whether `--factory` was given; [`Config::app`] has taken it into account.
    #[must_use]
    pub fn factory(&self) -> bool {
        self.switch("factory")
    }

    /// The folder to work in, absolute; it also goes first on the Python path.
    #[must_use]
    pub fn chdir(&self) -> PathBuf {
        self.text("chdir").map_or_else(|| self.start_folder.clone(), |folder| self.start_folder.join(folder))
    }

    /// Folders for the Python path.
    #[must_use]
    pub fn pythonpath(&self) -> Vec<PathBuf> {
        let folders = self.text("pythonpath").unwrap_or_default().split(',');
        folders.map(str::trim).filter(|folder| !folder.is_empty()).map(PathBuf::from).collect()
    }
}

/// Sockets.
impl Config {
    /// Addresses to listen on, at least one; `--host`, `--port`, `--uds` and `--fd` are among them.
    #[must_use]
    pub fn bind(&self) -> &[BindSpec] {
        &self.bind
    }

    /// Length of the accept queue.
    #[must_use]
    pub fn backlog(&self) -> i32 {
        i32::try_from(self.count("backlog")).unwrap_or(i32::MAX)
    }

    /// Permission bits of the files of Unix sockets; `None` leaves them to the umask.
    #[must_use]
    pub fn uds_mode(&self) -> Option<u32> {
        self.mode("uds_mode")
    }
}

/// Workers.
impl Config {
    /// At least 1.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.size("workers")
    }

    #[must_use]
    pub fn worker_class(&self) -> WorkerClass {
        // The only one so far; the table refuses the others.
        WorkerClass::Sync
    }

    /// Threads per worker, at least 1.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.size("threads")
    }

    /// Open connections per worker, at least 1.
    #[must_use]
    pub fn worker_connections(&self) -> usize {
        self.size("worker_connections")
    }

    /// Requests until a worker is replaced; 0 is never.
    #[must_use]
    pub fn max_requests(&self) -> u64 {
        self.count("max_requests")
    }

    /// Upper bound of the random addition to [`Config::max_requests`].
    #[must_use]
    pub fn max_requests_jitter(&self) -> u64 {
        self.count("max_requests_jitter")
    }

    /// Zero is never.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.duration("timeout")
    }

    #[must_use]
    pub fn graceful_timeout(&self) -> Duration {
        self.duration("graceful_timeout")
    }
}

/// Limits and timeouts, as the user gave them; [`Config::http`] has them with "no limit" turned into large numbers.
impl Config {
    /// Bytes; 0 leaves it to [`Config::limit_request_head`].
    #[must_use]
    pub fn limit_request_line(&self) -> usize {
        self.size("limit_request_line")
    }

    /// 0 is the most that is possible.
    #[must_use]
    pub fn limit_request_fields(&self) -> usize {
        self.size("limit_request_fields")
    }

    /// Bytes; 0 leaves it to [`Config::limit_request_head`].
    #[must_use]
    pub fn limit_request_field_size(&self) -> usize {
        self.size("limit_request_field_size")
    }

    /// Bytes; 0 is the most that is possible.
    #[must_use]
    pub fn limit_request_head(&self) -> usize {
        self.size("limit_request_head")
    }

    /// Bytes; 0 is no limit.
    #[must_use]
    pub fn limit_request_body(&self) -> u64 {
        self.count("limit_request_body")
    }

    /// Bytes of content per request, and per response, that stay in memory.
    #[must_use]
    pub fn body_buffer(&self) -> usize {
        self.size("body_buffer")
    }

    /// Folder for longer content; `None` is the system's.
    #[must_use]
    pub fn tmp_upload_dir(&self) -> Option<&Path> {
        self.text("tmp_upload_dir").map(Path::new)
    }

    /// Zero closes connections after each response.
    #[must_use]
    pub fn keepalive(&self) -> Duration {
        self.duration("keepalive")
    }

    /// Zero is no limit.
    #[must_use]
    pub fn header_timeout(&self) -> Duration {
        self.duration("header_timeout")
    }

    /// Zero is no limit.
    #[must_use]
    pub fn body_timeout(&self) -> Duration {
        self.duration("body_timeout")
    }

    /// Bytes per second; 0 is no limit.
    #[must_use]
    pub fn body_min_rate(&self) -> u32 {
        u32::try_from(self.count("body_min_rate")).unwrap_or(u32::MAX)
    }

    /// Zero is no limit.
    #[must_use]
    pub fn write_timeout(&self) -> Duration {
        self.duration("write_timeout")
    }
}

/// HTTP and proxies.
impl Config {
    #[must_use]
    pub fn server_header(&self) -> bool {
        self.switch("server_header")
    }

    #[must_use]
    pub fn header_map(&self) -> HeaderMap {
        match self.text("header_map") {
            Some("dangerous") => HeaderMap::Dangerous,
            Some("refuse") => HeaderMap::Refuse,
            _ => HeaderMap::Drop,
        }
    }

    #[must_use]
    pub fn permit_unconventional_http_method(&self) -> bool {
        self.switch("permit_unconventional_http_method")
    }

    #[must_use]
    pub fn casefold_http_method(&self) -> bool {
        self.switch("casefold_http_method")
    }

    /// Peers whose forwarding headers are believed.
    #[must_use]
    pub fn forwarded_allow_ips(&self) -> Networks {
        Networks::new(self.list("forwarded_allow_ips"))
    }

    /// Upper-case header names (`X-FORWARDED-PROTO`) and the value that means https.
    #[must_use]
    pub fn secure_scheme_headers(&self) -> &[(String, String)] {
        match self.value("secure_scheme_headers") {
            Value::Map(pairs) => pairs,
            _ => &[],
        }
    }

    /// Upper-case names with underscores (`SCRIPT_NAME`) that a trusted proxy may set.
    #[must_use]
    pub fn forwarder_headers(&self) -> &[String] {
        self.list("forwarder_headers")
    }
}

/// The process.
impl Config {
    #[must_use]
    pub fn pidfile(&self) -> Option<&Path> {
        self.text("pidfile").map(Path::new)
    }

    /// A name or a number; `None` is the user that Asteri runs as.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.text("user")
    }

    /// A name or a number; `None` is the group that Asteri runs as.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.text("group")
    }

    #[must_use]
    pub fn initgroups(&self) -> bool {
        self.switch("initgroups")
    }

    /// `None`: the umask stays as it is.
    #[must_use]
    pub fn umask(&self) -> Option<u32> {
        self.mode("umask")
    }

    /// Names and values for the environment of the application.
    pub fn raw_env(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list("raw_env").iter().filter_map(|pair| pair.split_once('='))
    }

    #[must_use]
    pub fn sendfile(&self) -> bool {
        self.switch("sendfile")
    }
}

/// Logs.
impl Config {
    /// `None`: no access log.
    #[must_use]
    pub fn accesslog(&self) -> Option<Target> {
        self.text("accesslog").map(Target::access_log)
    }

    /// A format that [`AccessFormat::compile`](crate::logs::AccessFormat::compile) accepts.
    #[must_use]
    pub fn access_log_format(&self) -> &str {
        self.text("access_log_format").unwrap_or(crate::logs::AccessFormat::DEFAULT)
    }

    /// Where the error log goes.
    #[must_use]
    pub fn errorlog(&self) -> Target {
        Target::error_log(self.text("errorlog").unwrap_or("-"))
    }

    #[must_use]
    pub fn loglevel(&self) -> Level {
        match self.text("loglevel") {
            Some("debug") => Level::Debug,
            Some("warning") => Level::Warning,
            Some("error") => Level::Error,
            Some("critical") => Level::Critical,
            _ => Level::Info,
        }
    }

    #[must_use]
    pub fn color(&self) -> Colour {
        match self.text("color") {
            Some("on") => Colour::On,
            Some("off") => Colour::Off,
            _ => Colour::Auto,
        }
    }
}
