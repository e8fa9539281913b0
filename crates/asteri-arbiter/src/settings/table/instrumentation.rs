//! Numbers for monitoring.

use super::super::kind::Kind;
use super::super::setting::{Initial, Section, Setting, Status};

const BASE: Setting = Setting {
    section: Section::Instrumentation,
    status: Status::NotBuilt { missing: "statsd client" },
    ..Setting::BASE
};

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "statsd_host",
        flags: &["--statsd-host"],
        help: "\
Address of the statsd server, host:port or unix://PATH",
        ..BASE
    },
    Setting {
        name: "statsd_prefix",
        flags: &["--statsd-prefix"],
        default: Initial::Text(""),
        help: "\
Prefix of the names of metrics",
        ..BASE
    },
    Setting {
        name: "dogstatsd_tags",
        flags: &["--dogstatsd-tags"],
        default: Initial::Text(""),
        help: "\
Tags of metrics, separated by commas",
        ..BASE
    },
    Setting {
        name: "enable_backlog_metric",
        flags: &["--enable-backlog-metric"],
        kind: Kind::Switch,
        help: "\
Report the connections that wait to be accepted",
        ..BASE
    },
];
