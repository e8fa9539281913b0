//! How long a client may take.

use super::super::kind::Kind;
use super::super::setting::{Initial, Section, Setting};

const BASE: Setting = Setting { section: Section::Timeouts, ..Setting::BASE };

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "keepalive",
        flags: &["--keep-alive"],
        aliases: &["keep_alive"],
        kind: Kind::Duration { max: 3600 },
        default: Initial::Text("2s"),
        help: "\
Time that an idle connection stays open for the next request; 0 closes at once
Behind a load balancer make it longer than the balancer's own idle timeout, for example 75s.",
        ..BASE
    },
    Setting {
        name: "header_timeout",
        flags: &["--header-timeout"],
        kind: Kind::Duration { max: 3600 },
        default: Initial::Text("10s"),
        help: "\
Time for a request head to arrive; 0 is no limit
It counts from the first byte and does not start again, so a client that dribbles is not spared. Exceeding it is answered \
with 408.",
        ..BASE
    },
    Setting {
        name: "body_timeout",
        flags: &["--body-timeout"],
        kind: Kind::Duration { max: 3600 },
        default: Initial::Text("30s"),
        help: "\
Longest pause inside request content; 0 is no limit
Exceeding it is answered with 408.",
        ..BASE
    },
    Setting {
        name: "body_min_rate",
        flags: &["--body-min-rate"],
        kind: Kind::Size { max: 1 << 30 },
        default: Initial::Text("240"),
        help: "\
Slowest permitted upload in bytes per second; 0 is no limit
A client may fall behind by body_timeout, and make up for that by sending faster.",
        ..BASE
    },
    Setting {
        name: "write_timeout",
        flags: &["--write-timeout"],
        kind: Kind::Duration { max: 3600 },
        default: Initial::Text("30s"),
        help: "\
Longest pause of a client that reads a response; 0 is no limit
Then the connection is closed. The worker is free long before.",
        ..BASE
    },
];
