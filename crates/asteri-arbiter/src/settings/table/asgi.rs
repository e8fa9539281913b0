//! ASGI applications.

use super::super::kind::Kind;
use super::super::setting::{Initial, Section, Setting, Status};

const BASE: Setting =
    Setting { section: Section::Asgi, status: Status::NotBuilt { missing: "asgi workers" }, ..Setting::BASE };

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "asgi_loop",
        flags: &["--asgi-loop"],
        kind: Kind::Choice(&["auto", "asyncio", "uvloop"]),
        default: Initial::Text("auto"),
        help: "\
Event loop of asgi workers",
        ..BASE
    },
    Setting {
        name: "asgi_lifespan",
        flags: &["--asgi-lifespan"],
        kind: Kind::Choice(&["auto", "on", "off"]),
        default: Initial::Text("auto"),
        help: "\
Whether the application hears of start and stop",
        ..BASE
    },
    Setting {
        name: "asgi_disconnect_grace_period",
        flags: &["--asgi-disconnect-grace-period"],
        kind: Kind::Duration { max: 3600 },
        default: Initial::Text("3s"),
        help: "\
Time for the application to notice that the client has left",
        ..BASE
    },
    Setting {
        name: "websocket_max_message_size",
        flags: &["--websocket-max-message-size"],
        kind: Kind::Size { max: u64::MAX },
        default: Initial::Text("16MiB"),
        help: "\
Largest WebSocket message; 0 is no limit",
        ..BASE
    },
    Setting {
        name: "root_path",
        flags: &["--root-path"],
        default: Initial::Text(""),
        help: "\
Path below which the application is mounted",
        ..BASE
    },
];
