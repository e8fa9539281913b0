//! Every setting that is served, through each of its doors: the command line, a config file, `GUNICORN_CMD_ARGS`. The
//! getter must give the same through all of them, and something else than by default.

use crate::support::{Start, text};
use asteri_arbiter::settings::{Config, RawEntry, RawValue, Status, table};
use std::collections::HashSet;
use std::fmt::Debug;

struct Row {
    name: &'static str,
    /// Arguments; empty if there is no flag.
    args: &'static [&'static str],
    /// The value in a config file; `None` if a file may not set it.
    file: Option<RawValue>,
    get: fn(&Config) -> String,
    expected: &'static str,
}

fn show(value: impl Debug) -> String {
    format!("{value:?}")
}

fn list(items: &[&str]) -> Option<RawValue> {
    Some(RawValue::List(items.iter().map(|item| text(item)).collect()))
}

fn binds(config: &Config) -> String {
    config.bind().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn tls(config: &Config, get: fn(asteri_server::tls::Options) -> String) -> String {
    config.tls().map_or("no TLS".to_owned(), get)
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let int = |n| Some(RawValue::Int(n));
    let on = || Some(RawValue::Bool(true));
    let off = || Some(RawValue::Bool(false));
    let string = |s| Some(text(s));
    let row = |name, args, file, get, expected| Row { name, args, file, get, expected };
    let hooks: fn(&Config) -> String = |c| show(c.hooks().map(|(setting, _)| setting.name).collect::<Vec<_>>());
    let hook = |name, expected| row(name, &[], Some(RawValue::Callable), hooks, expected);
    vec![
        row("config", &["-c", "/dev/null"], None, |c| show(c.config_file()), r#"Some(File("/dev/null"))"#),
        row("wsgi_app", &["shop:app"], string("shop:app"), |c| c.app().map_or(String::new(), |a| a.text.clone()), "shop:app"),
        row("factory", &["--factory", "shop:make"], None, |c| show(c.app().map(|a| &a.target)), r#"Some(Factory { path: ["make"], arguments: [] })"#),
        row("chdir", &["--chdir", "/"], string("/"), |c| show(c.chdir()), r#""/""#),
        row("pythonpath", &["--pythonpath", "a, b"], string("a,b"), |c| show(c.pythonpath()), r#"["a", "b"]"#),
        row("paste", &["--paste", "/dev/null#admin"], string("/dev/null#admin"), |c| c.app().map_or(String::new(), |a| a.text.clone()), "/dev/null#admin"),
        row("raw_paste_global_conf", &["--paste-global", "a=1"], list(&["a=1"]), |c| show(c.get("raw_paste_global_conf").map(|e| e.value.python())), r#"Some("[\"a=1\"]")"#),
        row("check_config", &["--check-config"], on(), |c| c.get("check_config").map_or(String::new(), |e| e.value.python()), "True"),
        row("print_config", &["--print-config"], on(), |c| c.get("print_config").map_or(String::new(), |e| e.value.python()), "True"),
        row("bind", &["-b", ":9000", "--bind=unix:/run/a.sock;mode=660"], list(&[":9000", "unix:/run/a.sock;mode=660"]), binds, "0.0.0.0:9000 unix:/run/a.sock;mode=660"),
        row("host", &["--host", "::1"], None, binds, "[::1]:8000"),
        row("port", &["--port", "9000"], None, binds, "127.0.0.1:9000"),
        row("uds", &["--uds", "/run/a.sock"], None, binds, "unix:/run/a.sock"),
        row("fd", &["--fd", "3"], None, binds, "fd://3"),
        row("uds_mode", &["--uds-mode", "660"], string("660"), |c| show(c.uds_mode()), "Some(432)"),
        row("reuse_port", &["--reuse-port"], on(), |c| show(c.reuse_port()), "true"),
        row("defer_accept", &["--no-defer-accept"], off(), |c| show(c.defer_accept()), "false"),
        row("backlog", &["--backlog", "64"], int(64), |c| show(c.backlog()), "64"),
        row("workers", &["-w", "3"], int(3), |c| show(c.workers()), "3"),
        row("worker_class", &["-k", "gunicorn.workers.ggevent.GeventWorker"], string("gevent"), |c| show(c.worker_type()), "Some(Gevent)"),
        row("threads", &["--threads=4"], int(4), |c| show(c.threads()), "4"),
        row("worker_connections", &["--worker-connections", "50"], int(50), |c| show(c.worker_connections()), "50"),
        row("max_requests", &["--max-requests", "1000"], int(1000), |c| show(c.max_requests()), "1000"),
        row("max_requests_jitter", &["--max-requests-jitter", "50"], int(50), |c| show(c.max_requests_jitter()), "50"),
        row("timeout", &["-t", "2m"], int(120), |c| show(c.timeout()), "120s"),
        row("graceful_timeout", &["--graceful-timeout", "1.5"], Some(RawValue::Float(1.5)), |c| show(c.graceful_timeout()), "1.5s"),
        row("worker_lifetime", &["--worker-lifetime", "1h"], int(3600), |c| show(c.worker_lifetime()), "3600s"),
        row("worker_lifetime_jitter", &["--worker-lifetime-jitter", "5m"], int(300), |c| show(c.worker_lifetime_jitter()), "300s"),
        row("worker_max_memory", &["--worker-max-memory", "1GiB"], string("1GiB"), |c| show(c.worker_max_memory()), "1073741824"),
        row("worker_max_memory_hard", &["--worker-max-memory-hard", "2000000"], int(2_000_000), |c| show(c.worker_max_memory_hard()), "2000000"),
        row("worker_memory_measure", &["--worker-memory-measure", "RSS"], string("rss"), |c| show(c.worker_memory_measure()), "Rss"),
        row("warmup_path", &["--warmup-path", "/warm"], string("/warm"), |c| show(c.warmup_path().map(|target| target.path().to_owned())), r#"Some("/warm")"#),
        row("lame_duck", &["--lame-duck", "20s"], int(20), |c| show(c.lame_duck()), "20s"),
        row("limit_request_line", &["--limit-request-line", "8KiB"], int(8192), |c| show(c.http().limits.request_line), "8192"),
        row("limit_request_fields", &["--limit-request-fields", "0"], int(0), |c| show(c.http().limits.fields), "32768"),
        row("limit_request_field_size", &["--limit-request-field_size", "0"], int(0), |c| show(c.http().limits.field_size), "65536"),
        row("limit_request_head", &["--limit-request-head", "16KiB"], string("16KiB"), |c| show(c.http().limits.head_size), "16384"),
        row("limit_request_body", &["--max-body-size", "10MB"], int(10_000_000), |c| show(c.http().limits.body_size), "10000000"),
        row("body_buffer", &["--body-buffer", "1MiB"], string("1MiB"), |c| show((c.body_buffer(), c.server().request_memory)), "(1048576, 1048576)"),
        row("tmp_upload_dir", &[], string("/"), |c| show(c.server().spool_folder), r#""/""#),
        row("keepalive", &["--keep-alive", "75"], int(75), |c| show(c.http().timeouts.keepalive), "75s"),
        row("header_timeout", &["--header-timeout", "500ms"], string("500ms"), |c| show(c.http().timeouts.header), "500ms"),
        row("body_timeout", &["--body-timeout", "0"], int(0), |c| show(c.http().timeouts.body_idle), "31536000s"),
        row("body_min_rate", &["--body-min-rate", "1KiB"], int(1024), |c| show(c.http().timeouts.body_min_rate), "1024"),
        row("write_timeout", &["--write-timeout", "5s"], int(5), |c| show(c.http().timeouts.write_idle), "5s"),
        row("server_header", &["--no-server-header"], off(), |c| show((c.server_header(), c.server().server_field)), "(false, None)"),
        row("header_map", &["--header-map", "REFUSE"], string("Refuse"), |c| show(c.http().policy.header_map), "Refuse"),
        row("permit_unconventional_http_method", &["--permit-unconventional-http-method"], on(), |c| show(c.http().policy.permit_unconventional_method), "true"),
        row("casefold_http_method", &["--casefold-http-method"], on(), |c| show(c.http().policy.casefold_method), "true"),
        row("http_parser", &["--http-parser", "auto"], string("auto"), |c| show(c.get("http_parser").map(|e| e.value.text())), r#"Some("auto")"#),
        row("behind", &["--behind", "alb"], string("alb"), |c| show(c.keepalive()), "75s"),
        row("forwarded_allow_ips", &["--forwarded-allow-ips", "10.0.0.0/8,::1"], list(&["10.0.0.0/8", "::1"]), |c| show(["10.1.1.1", "127.0.0.1"].map(|ip| c.forwarded_allow_ips().trusts(ip.parse().ok()))), "[true, false]"),
        row("secure_scheme_headers", &[], Some(RawValue::Dict(vec![(text("x-scheme"), text("https"))])), |c| show(c.secure_scheme_headers()), r#"[("X-SCHEME", "https")]"#),
        row("proxy_protocol", &["--proxy-protocol", "V2"], string("v2"), |c| show(c.listening()[0].speech.proxy), "V2"),
        row("protocol", &["--protocol", "uwsgi"], string("uwsgi"), |c| show(c.listening()[0].speech.protocol), "Uwsgi"),
        row("uwsgi_allow_ips", &["--uwsgi-allow-from", "10.0.0.0/8"], string("10.0.0.0/8"), |c| show(c.uwsgi_allow_ips().trusts("10.1.1.1".parse().ok())), "true"),
        row("proxy_headers", &["--proxy-headers"], on(), |c| show(c.proxy_headers()), "true"),
        row("proxy_allow_ips", &["--proxy-allow-from", "10.0.0.0/8"], string("10.0.0.0/8"), |c| show(c.proxy_allow_ips().trusts("10.1.1.1".parse().ok())), "true"),
        row("forwarder_headers", &["--forwarder-headers", "remote_user"], string("REMOTE_USER"), |c| show(c.forwarder_headers()), r#"["REMOTE_USER"]"#),
        row("pidfile", &["-p", "a.pid"], string("a.pid"), |c| show(c.pidfile()), r#"Some("a.pid")"#),
        row("preload_app", &["--preload"], on(), |c| show(c.preload_app()), "true"),
        row("user", &["-u", "33"], int(33), |c| show(c.user()), r#"Some("33")"#),
        row("group", &["-g", "www-data"], string("www-data"), |c| show(c.group()), r#"Some("www-data")"#),
        row("initgroups", &["--initgroups"], on(), |c| show(c.initgroups()), "true"),
        row("umask", &["-m", "022"], int(0o022), |c| show(c.umask()), "Some(18)"),
        row("raw_env", &["-e", "A=1", "--env", "B=x=y"], list(&["A=1", "B=x=y"]), |c| show(c.raw_env().collect::<Vec<_>>()), r#"[("A", "1"), ("B", "x=y")]"#),
        row("sendfile", &["--no-sendfile"], off(), |c| show(c.sendfile()), "false"),
        row("worker_tmp_dir", &["--worker-tmp-dir", "/dev/shm"], string("/dev/shm"), |c| show(c.get("worker_tmp_dir").map(|e| e.value.text())), r#"Some("/dev/shm")"#),
        row("daemon", &["-D"], on(), |c| show(c.daemon()), "true"),
        row("enable_stdio_inheritance", &["-R"], on(), |c| show(c.enable_stdio_inheritance()), "true"),
        row("proc_name", &["-n", "shop"], string("shop"), |c| c.proc_name().to_owned(), "shop"),
        row("default_proc_name", &[], string("shop"), |c| c.proc_name().to_owned(), "shop"),
        row("accesslog", &["--access-logfile", "-"], string("-"), |c| show(c.accesslog()), "Some(Stdout)"),
        row("access_log_format", &["--access-logformat", "json"], string("json"), |c| c.access_log_format().to_owned(), "json"),
        row("errorlog", &["--log-file", "e.log"], string("e.log"), |c| show(c.errorlog()), r#"File("e.log")"#),
        row("loglevel", &["--log-level", "WARNING"], string("warning"), |c| show(c.loglevel()), "Warning"),
        row("color", &["--colour", "off"], string("off"), |c| show(c.color()), "Off"),
        row("capture_output", &["--capture-output"], on(), |c| show(c.capture_output()), "true"),
        row("logger_class", &["--logger-class", "shop.Logger"], string("shop.Logger"), |c| show(c.python_logging()), "true"),
        row("logconfig", &["--log-config", "a.ini"], string("a.ini"), |c| show((c.logconfig(), c.python_logging())), r#"(Some("a.ini"), true)"#),
        row("logconfig_dict", &[], Some(RawValue::Dict(vec![(text("version"), RawValue::Int(1))])), |c| show(c.python_logging()), "true"),
        row("logconfig_json", &["--log-config-json", "a.json"], string("a.json"), |c| show((c.logconfig_json(), c.python_logging())), r#"(Some("a.json"), true)"#),
        row("syslog", &["--log-syslog"], on(), |c| show((c.syslog().is_some(), c.access_to_syslog())), "(true, true)"),
        row("syslog_addr", &["--log-syslog-to", "unix:///dev/log"], string("unix:///dev/log"), |c| show(c.get("syslog_addr").map(|e| e.value.text())), r#"Some("unix:///dev/log")"#),
        row("syslog_prefix", &["--log-syslog-prefix", "shop:1"], string("shop:1"), |c| c.syslog_prefix(), "shop.1"),
        row("syslog_facility", &["--log-syslog-facility", "LOCAL7"], string("local7"), |c| c.syslog_facility().to_owned(), "local7"),
        row("disable_redirect_access_to_syslog", &["--disable-redirect-access-to-syslog"], on(), |c| show(c.get("disable_redirect_access_to_syslog").map(|e| e.value.text())), r#"Some("true")"#),
        row("statsd_host", &["--statsd-host", "localhost:1"], string("localhost:1"), |c| show(c.statsd_host()), r#"Some(Udp("localhost", 1))"#),
        row("statsd_prefix", &["--statsd-prefix", "shop"], string("shop"), |c| c.statsd_prefix().to_owned(), "shop"),
        row("dogstatsd_tags", &["--dogstatsd-tags", "a:b"], string("a:b"), |c| c.dogstatsd_tags().to_owned(), "a:b"),
        row("enable_backlog_metric", &["--enable-backlog-metric"], on(), |c| show(c.enable_backlog_metric()), "true"),
        row("asgi_loop", &["--asgi-loop", "rloop"], string("rloop"), |c| show(c.asgi_loop()), "Rloop"),
        row("asgi_lifespan", &["--asgi-lifespan", "on"], string("on"), |c| show(c.asgi_lifespan()), "On"),
        row("asgi_disconnect_grace_period", &["--asgi-disconnect-grace-period", "0"], int(0), |c| show(c.asgi_disconnect_grace_period()), "0ns"),
        row("root_path", &["--root-path", "/shop/"], string("/shop"), |c| c.root_path().to_owned(), "/shop"),
        row("websocket_max_message_size", &["--ws-max-size", "0"], int(0), |c| show(c.ws_max_size() == u64::MAX), "true"),
        row("ws_max_queue", &["--ws-max-queue", "1"], int(1), |c| show(c.ws_max_queue()), "1"),
        row("ws_ping_interval", &["--ws-ping-interval", "0"], int(0), |c| show(c.ws_ping_interval()), "None"),
        row("ws_ping_timeout", &["--ws-ping-timeout", "500ms"], string("500ms"), |c| show(c.ws_ping_timeout()), "Some(500ms)"),
        row("ws_per_message_deflate", &["--no-ws-per-message-deflate"], off(), |c| show(c.ws_per_message_deflate()), "false"),
        row("certfile", &["--certfile", "b.pem"], string("b.pem"), |c| tls(c, |t| show(t.identity.certificate)), r#""b.pem""#),
        row("keyfile", &["--keyfile", "b.key"], string("b.key"), |c| tls(c, |t| show(t.identity.key)), r#"Some("b.key")"#),
        row("keyfile_password", &["--keyfile-password", "a b"], string("a b"), |c| tls(c, |t| show(t.password)), r#"Some("a b")"#),
        row("sni_certificates", &["--sni-certificate", "b.pem,b.key"], list(&["b.pem,b.key"]), |c| tls(c, |t| show(t.more)), r#"[Files { certificate: "b.pem", key: Some("b.key") }]"#),
        row("tls_min", &["--tls-min", "1.3"], string("1.3"), |c| tls(c, |t| show(t.oldest)), "Tls13"),
        row("ciphers", &["--ciphers", "ECDHE-RSA-AES128-GCM-SHA256:TLS_AES_128_GCM_SHA256"], string("ECDHE-RSA-AES128-GCM-SHA256 TLS_AES_128_GCM_SHA256"), |c| tls(c, |t| show(t.suites)), r#"["ECDHE-RSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256"]"#),
        row("cert_reqs", &["--cert-reqs", "1"], int(1), |c| tls(c, |t| show(t.ask)), "Optional"),
        row("ca_certs", &["--ca-certs", "b.pem"], string("b.pem"), |c| tls(c, |t| show(t.authorities)), r#"Some("b.pem")"#),
        row("crl_file", &["--crl-file", "crl.pem"], string("crl.pem"), |c| tls(c, |t| show(t.revocations)), r#"Some("crl.pem")"#),
        row("ocsp_response", &["--ocsp-response", "o.der"], string("o.der"), |c| tls(c, |t| show(t.ocsp)), r#"Some("o.der")"#),
        row("tls_handshake_timeout", &["--tls-handshake-timeout", "3s"], int(3), |c| tls(c, |t| show(t.handshake_timeout)), "3s"),
        row("suppress_ragged_eofs", &["--suppress-ragged-eofs"], on(), |c| c.get("suppress_ragged_eofs").map_or(String::new(), |e| e.value.python()), "True"),
        row("do_handshake_on_connect", &["--do-handshake-on-connect"], on(), |c| c.get("do_handshake_on_connect").map_or(String::new(), |e| e.value.python()), "True"),
        hook("on_starting", r#"["on_starting"]"#),
        hook("on_reload", r#"["on_reload"]"#),
        hook("when_ready", r#"["when_ready"]"#),
        hook("pre_fork", r#"["pre_fork"]"#),
        hook("post_fork", r#"["post_fork"]"#),
        hook("post_worker_init", r#"["post_worker_init"]"#),
        hook("worker_int", r#"["worker_int"]"#),
        hook("worker_abort", r#"["worker_abort"]"#),
        hook("pre_exec", r#"["pre_exec"]"#),
        hook("pre_request", r#"["pre_request"]"#),
        hook("post_request", r#"["post_request"]"#),
        hook("child_exit", r#"["child_exit"]"#),
        hook("worker_exit", r#"["worker_exit"]"#),
        hook("nworkers_changed", r#"["nworkers_changed"]"#),
        hook("on_exit", r#"["on_exit"]"#),
        row("http_protocols", &["--http-protocols", "h2, h1"], string("h2,h1"), |c| c.http_protocols().collect::<Vec<_>>().join(" "), "h2 h1"),
        row("http2_cleartext", &["--http2-cleartext", "prior-knowledge"], string("prior-knowledge"), |c| show((c.server().http2.prior_knowledge, c.server().http2.upgrade)), "(true, false)"),
        row("http2_max_concurrent_streams", &["--http2-max-concurrent-streams", "7"], int(7), |c| show(c.server().http2.max_concurrent_streams), "7"),
        row("http2_initial_window_size", &["--http2-initial-window-size", "1MiB"], int(1 << 20), |c| show(c.server().http2.initial_window_size), "1048576"),
        row("http2_max_frame_size", &["--http2-max-frame-size", "32KiB"], int(32_768), |c| show(c.server().http2.max_frame_size), "32768"),
        row("http2_max_header_list_size", &["--http2-max-header-list-size", "0"], int(0), |c| show(c.server().http2.max_header_list_size), "16777216"),
        row("reload", &["--reload"], on(), |c| show(c.reload_options().is_some()), "true"),
        row("reload_engine", &["--reload", "--reload-engine", "poll"], None, |c| show(c.reload_options().map(|o| o.engine)), "Some(Poll)"),
        row("reload_extra_files", &["--reload", "--reload-extra-file", "/a", "--reload-extra-file", "/b*"], None, |c| show(c.reload_options().map(|o| o.extra_files)), r#"Some(["/a", "/b*"])"#),
        row("control_socket", &["--control-socket", "a.ctl"], string("a.ctl"), |c| show(c.control_socket().and_then(|o| o.path)), r#"Some("a.ctl")"#),
        row("control_socket_mode", &["--control-socket-mode", "0o660"], int(0o660), |c| show(c.control_socket().map(|o| o.mode)), "Some(432)"),
        row("control_socket_disable", &["--no-control-socket"], on(), |c| c.get("control_socket_disable").map_or(String::new(), |e| e.value.python()), "True"),
    ]
}

/// These have one value only in this version, so their default cannot be told from what is set.
const ONE_VALUE: [&str; 2] = ["http_parser", "suppress_ragged_eofs"];

/// Arguments without which a setting is refused, as it would say nothing.
fn companions(name: &str) -> &'static [&'static str] {
    match name {
        "keyfile"
        | "keyfile_password"
        | "sni_certificates"
        | "tls_min"
        | "ciphers"
        | "ocsp_response"
        | "tls_handshake_timeout" => &["--certfile=a.pem"],
        "ca_certs" => &["--certfile=a.pem", "--cert-reqs=1"],
        "cert_reqs" => &["--certfile=a.pem", "--ca-certs=a.pem"],
        "crl_file" => &["--certfile=a.pem", "--cert-reqs=1", "--ca-certs=a.pem"],
        _ => &[],
    }
}

#[test]
fn every_setting_that_is_served_has_a_row() {
    let served: HashSet<_> = table::all()
        .filter(|setting| matches!(setting.status, Status::Built | Status::Partly(_)))
        .map(|setting| setting.name)
        .collect();
    let tested: HashSet<_> = rows().iter().map(|row| row.name).collect();
    assert_eq!(served, tested);
}

#[test]
fn all_doors_lead_to_the_same_value() {
    for row in rows() {
        let app = ["default:app"];
        let own_app = matches!(row.name, "wsgi_app" | "factory" | "paste");
        let arguments = companions(row.name).iter().chain(row.args);
        let with_app: Vec<&str> = arguments.chain(app.iter().filter(|_| !own_app)).copied().collect();

        if !row.args.is_empty() {
            assert_eq!((row.get)(&Start::args(&with_app).config()), row.expected, "{}: command line", row.name);
            let quoted: Vec<_> = with_app.iter().map(|arg| format!("'{arg}'")).collect();
            for variable in ["GUNICORN_CMD_ARGS", "ASTERI_CMD_ARGS"] {
                let config = Start::args(&[]).env(variable, &quoted.join(" ")).config();
                assert_eq!((row.get)(&config), row.expected, "{}: {variable}", row.name);
            }
        }
        if let Some(value) = &row.file {
            let args: &[&str] = if own_app { &[] } else { &app };
            let names = std::iter::once(&row.name).chain(table::find(row.name).expect("a setting").aliases);
            for name in names {
                let entries = vec![RawEntry::new(*name, value.clone(), 1)];
                let args: Vec<&str> = companions(row.name).iter().chain(args).copied().collect();
                let config = Start::args(&args).entries("gunicorn.conf.py", entries).config();
                assert_eq!((row.get)(&config), row.expected, "{name}: config file");
            }
        }
        if !ONE_VALUE.contains(&row.name) {
            assert_ne!((row.get)(&Start::args(&app).config()), row.expected, "{}: no different by default", row.name);
        }
    }
}

#[test]
fn a_setting_that_is_not_served_is_refused_through_every_door_but_not_at_its_default() {
    for setting in table::all() {
        let default = setting.default_value();
        let Status::Refused { .. } = setting.status else { continue };
        let raw = match &default {
            asteri_arbiter::settings::Value::None => RawValue::None,
            asteri_arbiter::settings::Value::Map(_) => RawValue::Dict(Vec::new()),
            other => crate::literals::entries(&format!("x = {}", other.python()))[0].value.clone(),
        };
        Start::with("a:b").entries("asteri.conf.py", vec![RawEntry::new(setting.name, raw, 1)]).config();

        let other = other_value(setting.name);
        let message =
            Start::with("a:b").entries("asteri.conf.py", vec![RawEntry::new(setting.name, other.clone(), 7)]).message();
        let (name, start) = (setting.name, format!("asteri: {}: got ", setting.name));
        assert!(message.starts_with(&start) && message.contains(", but "), "{name}: {message}");
        assert!(message.contains("\n  from: asteri.conf.py, line 7\n  try:  "), "{name}: {message}");

        if let Some(flag) = setting.long_flag() {
            let value = match other {
                RawValue::Bool(_) => None,
                RawValue::List(items) => items[0].clone().into_text(),
                value => value.into_text(),
            };
            let flag =
                if other_value(name) == RawValue::Bool(false) { setting.off_flag().expect("a switch") } else { flag };
            let args: Vec<&str> = ["a:b", flag].into_iter().chain(value.as_deref()).collect();
            let message = Start::args(&args).message();
            assert!(message.starts_with(&start) && message.contains(", but "), "{flag}: {message}");
        }
    }
}

/// A well-formed value that is not the default.
fn other_value(name: &str) -> RawValue {
    use asteri_arbiter::settings::kind::Kind;
    let setting = table::find(name).expect("a setting");
    match setting.kind {
        Kind::Switch => RawValue::Bool(setting.default_value().text() == "false"),
        Kind::Count { min, .. } => RawValue::Int(if setting.default_value().text() == min.to_string() { 2 } else { 1 }),
        Kind::Duration { .. } | Kind::Size { .. } | Kind::Mode { .. } => RawValue::Int(1),
        Kind::Choice(words) => text(words[1]),
        Kind::Texts => RawValue::List(vec![text("something")]),
        Kind::Pairs => RawValue::List(vec![text("A=b")]),
        Kind::Networks => text("*"),
        Kind::Hook => RawValue::Callable,
        Kind::Python => RawValue::Dict(vec![(text("version"), RawValue::Int(1))]),
        _ => text("something"),
    }
}

trait IntoText {
    fn into_text(self) -> Option<String>;
}

impl IntoText for RawValue {
    fn into_text(self) -> Option<String> {
        match self {
            RawValue::Str(text) => Some(text),
            other => Some(other.to_string()),
        }
    }
}
