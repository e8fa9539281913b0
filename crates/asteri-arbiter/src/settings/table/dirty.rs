//! Gunicorn's task pools, which Asteri does not serve.

use super::super::kind::Kind;
use super::super::setting::{Initial, Section, Setting, Status};

const BASE: Setting = Setting {
    section: Section::Dirty,
    status: Status::Refused {
        why: "but Asteri has no dirty task pools",
        instead: "a task queue beside the server, and leave the dirty_* settings out",
    },
    ..Setting::BASE
};
const HOOK: Setting = Setting { kind: Kind::Hook, ..BASE };

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "dirty_apps",
        flags: &["--dirty-app"],
        kind: Kind::Texts,
        help: "\
Applications of the task pool",
        ..BASE
    },
    Setting {
        name: "dirty_workers",
        flags: &["--dirty-workers"],
        kind: Kind::Count { min: 0, max: 1024, unit: "processes" },
        default: Initial::Text("0"),
        help: "\
Processes of the task pool",
        ..BASE
    },
    Setting {
        name: "dirty_timeout",
        flags: &["--dirty-timeout"],
        kind: Kind::Duration { max: 365 * 86_400 },
        default: Initial::Text("300s"),
        help: "\
Time for a task",
        ..BASE
    },
    Setting {
        name: "dirty_threads",
        flags: &["--dirty-threads"],
        kind: Kind::Count { min: 1, max: 4096, unit: "threads" },
        default: Initial::Text("1"),
        help: "\
Threads per process of the task pool",
        ..BASE
    },
    Setting {
        name: "dirty_graceful_timeout",
        flags: &["--dirty-graceful-timeout"],
        kind: Kind::Duration { max: 365 * 86_400 },
        default: Initial::Text("30s"),
        help: "\
Time for tasks to finish when the pool stops",
        ..BASE
    },
    Setting {
        name: "on_dirty_starting",
        help: "\
Before the task pool starts
Called as `on_dirty_starting(arbiter)`.",
        ..HOOK
    },
    Setting {
        name: "dirty_post_fork",
        help: "\
In a worker of the task pool, after it was forked
Called as `dirty_post_fork(arbiter, worker)`.",
        ..HOOK
    },
    Setting {
        name: "dirty_worker_init",
        help: "\
In a worker of the task pool, after it has loaded its applications
Called as `dirty_worker_init(worker)`.",
        ..HOOK
    },
    Setting {
        name: "dirty_worker_exit",
        help: "\
When a worker of the task pool has left
Called as `dirty_worker_exit(arbiter, worker)`.",
        ..HOOK
    },
];
