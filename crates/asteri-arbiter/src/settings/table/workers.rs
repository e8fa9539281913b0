//! How many processes serve, of which type, and for how long.

use super::super::kind::Kind;
use super::super::setting::{Effect, Initial, Refusal, Section, Setting, Status, Variable};
use super::super::value::Value;

const BASE: Setting = Setting { section: Section::Workers, ..Setting::BASE };

/// A year: longer timeouts are mistakes.
const LONGEST: u64 = 365 * 86_400;

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "workers",
        flags: &["-w", "--workers"],
        env: Some(Variable { name: "WEB_CONCURRENCY", read: super::if_not_empty, example: "2" }),
        // Each worker has a slot in the scoreboard, which is mapped once and cannot grow.
        kind: Kind::Count { min: 1, max: 1024, unit: "processes" },
        default: Initial::Text("1"),
        help: "\
Worker processes
The usual advice is two to four per CPU core for `sync` workers.",
        ..BASE
    },
    Setting {
        name: "worker_class",
        flags: &["-k", "--worker-class"],
        kind: Kind::Text,
        default: Initial::Text("sync"),
        effect: Effect::Restart,
        status: Status::Partly(worker_type),
        help: "\
Worker type: sync
`sync` runs one request at a time per process; slow clients are kept away from it. Gunicorn's import path \
`gunicorn.workers.sync.SyncWorker` means the same.",
        ..BASE
    },
    Setting {
        name: "threads",
        flags: &["--threads"],
        kind: Kind::Count { min: 1, max: 4096, unit: "threads" },
        default: Initial::Text("1"),
        effect: Effect::Restart,
        status: Status::Partly(one_thread),
        help: "\
Threads per worker that run the application",
        ..BASE
    },
    Setting {
        name: "worker_connections",
        flags: &["--worker-connections"],
        kind: Kind::Count { min: 0, max: 1_000_000, unit: "connections" },
        default: Initial::Text("0"),
        help: "\
Connections that a worker holds open at once
Idle ones count. Further clients wait in the backlog. 0 is as many as the limit of open files allows, less a quarter for other \
uses: idle and slow clients cost a worker next to nothing, so there is no reason to keep them waiting.",
        ..BASE
    },
    Setting {
        name: "max_requests",
        flags: &["--max-requests"],
        kind: Kind::Count { min: 0, max: u64::MAX, unit: "requests" },
        default: Initial::Text("0"),
        help: "\
Requests after which a worker is replaced; 0 is never
The new worker is ready before the old one leaves.",
        ..BASE
    },
    Setting {
        name: "max_requests_jitter",
        flags: &["--max-requests-jitter"],
        kind: Kind::Count { min: 0, max: u64::MAX, unit: "requests" },
        default: Initial::Text("0"),
        help: "\
Random addition to max_requests, so that workers leave one by one
Each worker draws a number from 0 to this.",
        ..BASE
    },
    Setting {
        name: "timeout",
        flags: &["-t", "--timeout"],
        kind: Kind::Duration { max: LONGEST },
        default: Initial::Text("30s"),
        help: "\
Silence after which a worker is killed and replaced; 0 is never
The log shows which request it was in, and its Python stack.",
        ..BASE
    },
    Setting {
        name: "graceful_timeout",
        flags: &["--graceful-timeout"],
        kind: Kind::Duration { max: LONGEST },
        default: Initial::Text("30s"),
        help: "\
Time for open requests to finish when a worker has to leave",
        ..BASE
    },
];

/// `sync` by each of the names it goes by.
fn worker_type(value: &Value) -> Result<(), Refusal> {
    let Value::Text(name) = value else {
        return Err(Refusal::new("expected the name of a worker type: sync", "worker_class = \"sync\""));
    };
    let instead = "worker_class = \"sync\"      (or the flag -k sync)";
    // Gunicorn and its extensions name classes by import paths; their last parts say what they are.
    let wanted = name.rsplit(['.', '#']).next().unwrap_or(name).to_ascii_lowercase();
    let type_name = match wanted.strip_suffix("worker").unwrap_or(&wanted) {
        "sync" => return Ok(()),
        "gthread" | "thread" => "gthread workers",
        "gevent" | "geventwsgi" | "geventpywsgi" | "gevent_wsgi" | "gevent_pywsgi" => "gevent workers",
        "eventlet" => return Err(Refusal::new("but eventlet is no longer maintained and not served", instead)),
        "tornado" | "gtornado" => "tornado workers",
        "asgi" | "uvicorn" | "uvicornh11" | "asyncio" => "asgi workers",
        _ => return Err(Refusal::new("expected the name of a worker type: sync", instead)),
    };
    Err(Refusal::missing(type_name, instead))
}

fn one_thread(value: &Value) -> Result<(), Refusal> {
    match value {
        Value::Count(1) => Ok(()),
        _ => Err(Refusal::missing("gthread workers", "more processes instead: workers = 4")),
    }
}
