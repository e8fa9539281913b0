//! A typed getter for every setting that is served.
//!
//! Getters look their setting up by name, so read what you need once and keep it; nothing here belongs in the path of a
//! request. Paths are as the user wrote them: relative ones start at [`Config::chdir`], which the process has made its
//! current folder by then.

use super::app::AppSpec;
use super::config::Config;
use super::networks::Networks;
use super::value::Value;
use super::worker_type::{self, Choice, WorkerType};
use crate::arbiter::{ControlOptions, ReloadEngine, ReloadOptions};
use crate::logs::{self, AccessFormat, Colour, Level};
use asteri_proto::limits::HeaderMap;
use asteri_server::listener::{Bind, Listening, Protocol, ProxyProtocol, Speech};
use asteri_server::warm_up::Target;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    pub fn pythonpath(&self) -> Vec<OsString> {
        let folders = self.text("pythonpath").unwrap_or_default().split(',');
        folders.map(str::trim).filter(|folder| !folder.is_empty()).map(OsString::from).collect()
    }
}

/// Sockets.
impl Config {
    /// Addresses to listen on, at least one; `--host`, `--port`, `--uds` and `--fd` are among them.
    #[must_use]
    pub fn bind(&self) -> &[Bind] {
        &self.bind
    }

    /// The same with everything decided: what an address does not say follows from the other settings.
    #[must_use]
    pub fn listening(&self) -> Vec<Listening> {
        let word = |name| self.text(name).unwrap_or_default();
        let protocol: Protocol = word("protocol").parse().unwrap_or_default();
        let proxy: ProxyProtocol = word("proxy_protocol").parse().unwrap_or_default();
        // Without a word at any address, TLS is for all that can be reached from elsewhere.
        let named = self.bind.iter().any(|bind| bind.options.tls);
        let everywhere = self.text("certfile").is_some() && !named;
        let tls = |bind: &Bind| bind.options.tls || everywhere && bind.address.is_ip();
        let listening = |bind: &Bind| Listening {
            address: bind.address.clone(),
            speech: Speech {
                proxy: bind.options.proxy.unwrap_or(proxy),
                tls: tls(bind),
                protocol: bind.options.protocol.unwrap_or(protocol),
            },
            mode: bind.options.mode,
        };
        self.bind.iter().map(listening).collect()
    }

    /// Length of the accept queue.
    #[must_use]
    pub fn backlog(&self) -> i32 {
        i32::try_from(self.count("backlog")).unwrap_or(i32::MAX)
    }

    /// Whether connections that say nothing are left to the kernel at first.
    #[must_use]
    pub fn defer_accept(&self) -> bool {
        self.switch("defer_accept")
    }

    /// Whether other servers may listen on the same ports.
    #[must_use]
    pub fn reuse_port(&self) -> bool {
        self.switch("reuse_port")
    }

    /// Permission bits of the files of Unix sockets; `None` leaves them to the umask.
    #[must_use]
    pub fn uds_mode(&self) -> Option<u32> {
        self.mode("uds_mode")
    }
}

/// What counts as the memory of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Resident pages, those that are shared in parts.
    Pss,
    /// Resident pages.
    Rss,
}

/// Workers.
impl Config {
    /// At least 1.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.size("workers")
    }

    /// `None`: the application decides. `sync` with more than one thread is [`WorkerType::Gthread`], as with Gunicorn.
    #[must_use]
    pub fn worker_type(&self) -> Option<WorkerType> {
        match self.worker_choice()?.worker_type {
            Some(WorkerType::Sync) => Some(WorkerType::of_wsgi(self.threads())),
            other => other,
        }
    }

    /// What `worker_class` asks for. There is always something: the table refuses the rest.
    pub(super) fn worker_choice(&self) -> Option<Choice> {
        worker_type::choose(self.text("worker_class")?).ok()
    }

    /// Threads per gthread worker, at least 1.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.size("threads")
    }

    /// Open connections per worker, for gevent requests at once; 0 is as many as the limit of open files allows.
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

    /// Zero: a server that is told to stop takes no more connections.
    #[must_use]
    pub fn lame_duck(&self) -> Duration {
        self.duration("lame_duck")
    }

    #[must_use]
    pub fn graceful_timeout(&self) -> Duration {
        self.duration("graceful_timeout")
    }

    /// Time until a worker is replaced; zero is never.
    #[must_use]
    pub fn worker_lifetime(&self) -> Duration {
        self.duration("worker_lifetime")
    }

    /// Upper bound of the random addition to [`Config::worker_lifetime`].
    #[must_use]
    pub fn worker_lifetime_jitter(&self) -> Duration {
        self.duration("worker_lifetime_jitter")
    }

    /// Bytes at which a worker is replaced; 0 is no limit.
    #[must_use]
    pub fn worker_max_memory(&self) -> u64 {
        self.count("worker_max_memory")
    }

    /// Bytes at which a worker is killed; 0 is no limit.
    #[must_use]
    pub fn worker_max_memory_hard(&self) -> u64 {
        self.count("worker_max_memory_hard")
    }

    #[must_use]
    pub fn worker_memory_measure(&self) -> Measure {
        match self.text("worker_memory_measure") {
            Some("rss") => Measure::Rss,
            _ => Measure::Pss,
        }
    }

    /// What a new worker requests of itself.
    #[must_use]
    pub fn warmup_path(&self) -> Option<Target> {
        self.text("warmup_path").and_then(|text| text.parse().ok())
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

    /// Names of versions of HTTP for TLS, the preferred one first: `h1`, `h2`.
    pub fn http_protocols(&self) -> impl Iterator<Item = &str> {
        super::protocol_names(self.text("http_protocols").unwrap_or("h1"))
    }

    /// `off`, `prior-knowledge`, `upgrade` or `both`.
    #[must_use]
    pub fn http2_cleartext(&self) -> &str {
        self.text("http2_cleartext").unwrap_or("off")
    }

    #[must_use]
    pub fn http2_max_concurrent_streams(&self) -> u32 {
        u32::try_from(self.count("http2_max_concurrent_streams")).unwrap_or(u32::MAX)
    }

    /// Bytes.
    #[must_use]
    pub fn http2_initial_window_size(&self) -> u32 {
        u32::try_from(self.size("http2_initial_window_size")).unwrap_or(u32::MAX)
    }

    /// Bytes.
    #[must_use]
    pub fn http2_max_frame_size(&self) -> u32 {
        u32::try_from(self.size("http2_max_frame_size")).unwrap_or(u32::MAX)
    }

    /// Bytes.
    #[must_use]
    pub fn http2_max_header_list_size(&self) -> u32 {
        u32::try_from(self.size("http2_max_header_list_size")).unwrap_or(u32::MAX)
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

    /// Peers that may send a PROXY header.
    #[must_use]
    pub fn proxy_allow_ips(&self) -> Networks {
        Networks::new(self.list("proxy_allow_ips"))
    }

    /// Peers that may speak uwsgi.
    #[must_use]
    pub fn uwsgi_allow_ips(&self) -> Networks {
        Networks::new(self.list("uwsgi_allow_ips"))
    }

    /// Whether forwarding fields of trusted proxies decide who the client is.
    #[must_use]
    pub fn proxy_headers(&self) -> bool {
        self.switch("proxy_headers")
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

/// Development.
impl Config {
    /// How edits are noticed; `None` if they are not to be.
    #[must_use]
    pub fn reload_options(&self) -> Option<ReloadOptions> {
        let engine = match self.text("reload_engine") {
            Some("poll") => ReloadEngine::Poll,
            Some("inotify") => ReloadEngine::Inotify,
            _ => ReloadEngine::Auto,
        };
        let absolute = |pattern: &String| self.chdir().join(pattern).display().to_string();
        let extra_files = self.list("reload_extra_files").iter().map(absolute).collect();
        self.reload().then_some(ReloadOptions { engine, extra_files })
    }
}

/// The process.
impl Config {
    /// The control sockets; `None` if there are to be none.
    #[must_use]
    pub fn control_socket(&self) -> Option<ControlOptions> {
        let path = self.text("control_socket").map(PathBuf::from);
        let mode = self.mode("control_socket_mode").unwrap_or(0o600);
        (!self.switch("control_socket_disable")).then_some(ControlOptions { path, mode })
    }

    /// Whether the application is imported once, and workers are forked from the process that has.
    #[must_use]
    pub fn preload_app(&self) -> bool {
        self.switch("preload_app")
    }

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

    /// Whether the server goes to the background.
    #[must_use]
    pub fn daemon(&self) -> bool {
        self.switch("daemon")
    }

    /// Whether standard output and error of a server in the background stay what they are, unless they are a terminal.
    #[must_use]
    pub fn enable_stdio_inheritance(&self) -> bool {
        self.switch("enable_stdio_inheritance")
    }

    /// The name of the processes in the process list: `proc_name`, else `default_proc_name` where it was set, else the application.
    #[must_use]
    pub fn proc_name(&self) -> &str {
        let own_default = self.get("default_proc_name").is_some_and(|one| one.value == one.setting.default_value());
        let fallback = self.text(if own_default { "wsgi_app" } else { "default_proc_name" });
        self.text("proc_name").or(fallback).unwrap_or("asteri")
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
    pub fn accesslog(&self) -> Option<logs::Target> {
        self.text("accesslog").map(logs::Target::access_log)
    }

    /// A format that [`AccessFormat::compile`] accepts.
    #[must_use]
    pub fn access_log_format(&self) -> &str {
        self.text("access_log_format").unwrap_or(AccessFormat::DEFAULT)
    }

    /// Where the error log goes.
    #[must_use]
    pub fn errorlog(&self) -> logs::Target {
        logs::Target::error_log(self.text("errorlog").unwrap_or("-"))
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
