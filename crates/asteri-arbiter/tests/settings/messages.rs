//! Messages, as users read them.

use crate::support::{Start, text};
use asteri_arbiter::settings::{ConfigError, RawEntry, RawValue};

/// One snapshot of many starts, so that the style can be compared.
fn all(starts: Vec<(&str, Start)>) -> String {
    starts.into_iter().map(|(title, start)| format!("# {title}\n{}\n\n", start.message())).collect()
}

#[test]
fn values() {
    let file = |text: &str| Start::with("a:b").file("asteri.conf.py", text);
    let args = |args: &str| Start::with(&format!("a:b {args}"));
    insta::assert_snapshot!(all(vec![
        ("duration in a file", file("\n\nkeepalive = \"2 minutes\"")),
        ("duration on the command line", Start::args(&["a:b", "--keep-alive", "2 minutes"])),
        ("negative number", args("--workers -1")),
        ("word for a number", args("-w many")),
        ("float for a number", file("workers = 4.5")),
        ("switch that is a number", file("sendfile = 1")),
        ("size", args("--limit-request-body 10M")),
        ("variable", args("").env("WEB_CONCURRENCY", "auto")),
        ("port variable", args("").env("PORT", "http")),
        ("choice", args("--log-level warn")),
        ("choice far off", args("--log-level loud")),
        ("address", args("-b 127.0.0.1:http")),
        ("address with scheme", args("-b http://127.0.0.1:8000/")),
        ("unknown option of an address", args("-b 127.0.0.1:80;tsl")),
        ("wrong option of an address", file("bind = [\"unix:/run/a.sock;mode=888\"]")),
        ("TLS without a certificate", args("-b 127.0.0.1:8443;tls")),
        ("address in a list", file("bind = [\"127.0.0.1:8000\", 8001]")),
        ("empty list of addresses", file("bind = []")),
        ("network with host bits", args("--forwarded-allow-ips 192.168.1.1/24")),
        ("decimal mode", file("uds_mode = 660")),
        ("pair", args("-e NAME")),
        ("map", file("secure_scheme_headers = {\"X-A\": 1}")),
        ("folder", args("--chdir no/such")),
        ("access log format", Start::args(&["a:b", "--access-logformat", "%(h)s %(r"])),
        ("descriptor", args("--fd x")),
        ("host", args("--host a/b")),
        ("control characters", Start::args(&["a:b", "-w", "1\n\u{1b}[31m"])),
        ("line break in a header", file("secure_scheme_headers = {\"X-A\": \"on\\r\\nX-B: on\"}")),
        ("blank in a header", Start::args(&["a:b", "--forwarder-headers", "SCRIPT_NAME,a b"])),
        ("NUL in a path", file("pythonpath = \"a\0b\"")),
        ("NUL in a variable", file("raw_env = [\"A=b\0c\"]")),
        ("root path", args("--root-path api/")),
        ("event loop", args("--asgi-loop trio")),
        ("script name", args("").env("SCRIPT_NAME", "p/")),
        ("script name of raw_env", file("raw_env = [\"A=b\", \"SCRIPT_NAME=p\"]").env("SCRIPT_NAME", "/p")),
    ]));
}

#[test]
fn settings_that_are_not_served() {
    let file = |text: &str| Start::with("a:b").file("asteri.conf.py", text);
    let args = |args: &str| Start::with(&format!("a:b {args}"));
    let hook = vec![RawEntry::new("ssl_context", RawValue::Callable, 12)];
    insta::assert_snapshot!(all(vec![
        ("pattern", args("--reload-extra-file a[")),
        ("hook", Start::with("a:b").entries("asteri.conf.py", hook)),
        ("eventlet", args("-k eventlet")),
        ("tornado", file("worker_class = \"gunicorn.workers.gtornado.TornadoWorker\"")),
        ("misspelt type", args("-k gthred")),
        ("own class", args("-k shop.workers.Special")),
        ("parser", args("--http-parser fast")),
        ("dirty", args("--dirty-workers 2")),
        ("folding", args("--permit-obsolete-folding")),
        ("version of TLS by number", args("--certfile a.pem --ssl-version 5")),
        ("suites by OpenSSL's keywords", args("--certfile a.pem --ciphers HIGH:!aNULL")),
        ("ragged ends", args("--certfile a.pem --no-suppress-ragged-eofs")),
        ("TLS settings without a certificate", args("--keyfile a.key --cert-reqs 2")),
        ("client certificates of nobody", args("--certfile a.pem --cert-reqs 2")),
        ("authorities that nobody asks", args("--certfile a.pem --ca-certs ca.pem")),
        ("variable with arguments", args("").env("GUNICORN_CMD_ARGS", "--spew")),
    ]));
}

#[test]
fn names_and_flags() {
    let file = |text: &str| Start::with("a:b").file("asteri.conf.py", text);
    let args = |args: &str| Start::with(&format!("a:b {args}"));
    let hook = vec![RawEntry::new("when_redy", RawValue::Callable, 2)];
    insta::assert_snapshot!(all(vec![
        ("unknown key", file("wokers = 3")),
        ("unknown key by its flag", file("log_file = \"-\"")),
        ("unknown key, its beginning", file("graceful = 9")),
        ("hook", Start::with("a:b").entries("asteri.conf.py", hook)),
        ("key that is a flag only", file("port = 9000")),
        ("unknown flag", args("--wokers 3")),
        ("unknown flag that switches off", args("--no-defer-acept")),
        ("unknown flag, nothing near", args("--zebra")),
        ("unknown short flag", args("-x")),
        ("flag without its value", args("--bind")),
        ("switch with a value", args("--reload=yes")),
        ("open quote", args("").env("GUNICORN_CMD_ARGS", "--bind 'x")),
        ("unknown flag in a variable", args("").env("ASTERI_CMD_ARGS", "--wokers 3")),
    ]));
}

#[test]
fn applications() {
    let args = |args: &[&str]| Start::args(args);
    insta::assert_snapshot!(all(vec![
        ("none", args(&[])),
        ("two", args(&["a:b", "c:d"])),
        ("path", args(&["src/shop.py:app"])),
        ("no attribute", args(&["shop:"])),
        ("no literal", args(&["shop:create(os.environ)"])),
        ("factory without a name", args(&["shop", "--factory"])),
        ("in a file", args(&[]).file("asteri.conf.py", "wsgi_app = \"shop.py\"")),
        (
            "no text in a file",
            args(&[]).entries("asteri.conf.py", vec![RawEntry::new("wsgi_app", RawValue::Callable, 1)])
        ),
    ]));
}

#[test]
fn config_files() {
    let error = ConfigError {
        summary: "ZeroDivisionError: division by zero".to_owned(),
        line: Some(3),
        tries: String::new(),
        traceback: "Traceback (most recent call last):\n  File \"asteri.conf.py\", line 3, in <module>".to_owned(),
    };
    insta::assert_snapshot!(all(vec![
        ("missing", Start::with("a:b -c no.py")),
        ("missing, named by the variable", Start::with("a:b").env("GUNICORN_CMD_ARGS", "-c conf/no.py")),
        ("suffix left out", Start::with("a:b -c prod").file("prod.py", "")),
        ("folder", Start::with("a:b -c .")),
        ("raises", Start::with("a:b").broken("asteri.conf.py", error)),
    ]));
}

#[test]
fn all_problems_are_reported_together() {
    let entries = vec![RawEntry::new("wokers", text("x"), 1), RawEntry::new("timeout", text("long"), 2)];
    let start = Start::with("a:b --backlog x --reload").entries("asteri.conf.py", entries).env("WEB_CONCURRENCY", "0");
    insta::assert_snapshot!(start.message());
}
