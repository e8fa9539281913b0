//! The socket through which a running server takes orders.

use super::super::kind::{Bare, Kind};
use super::super::setting::{Initial, Section, Setting, Status};

const BASE: Setting =
    Setting { section: Section::Control, status: Status::NotBuilt { missing: "control socket" }, ..Setting::BASE };

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "control_socket",
        flags: &["--control-socket"],
        kind: Kind::Path,
        help: "\
Path of the control socket",
        ..BASE
    },
    Setting {
        name: "control_socket_mode",
        flags: &["--control-socket-mode"],
        kind: Kind::Mode { bare: Bare::Decimal },
        default: Initial::Text("0o600"),
        help: "\
Permission bits of the control socket",
        ..BASE
    },
    Setting {
        name: "control_socket_disable",
        flags: &["--no-control-socket"],
        kind: Kind::Switch,
        status: Status::Built,
        help: "\
Do without a control socket
This version has none, so nothing is left to turn off.",
        ..BASE
    },
];
