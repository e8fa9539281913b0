//! Help during development.

use super::super::kind::Kind;
use super::super::setting::{Initial, Section, Setting, Status};

const RELOAD: Status = Status::NotBuilt { missing: "reloading when code changes" };
const BASE: Setting = Setting { section: Section::Debugging, status: RELOAD, ..Setting::BASE };

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "reload",
        flags: &["--reload"],
        kind: Kind::Switch,
        help: "\
Start new workers when code changes",
        ..BASE
    },
    Setting {
        name: "reload_engine",
        flags: &["--reload-engine"],
        kind: Kind::Choice(&["auto", "poll", "inotify"]),
        default: Initial::Text("auto"),
        help: "\
How changes of code are noticed",
        ..BASE
    },
    Setting {
        name: "reload_extra_files",
        flags: &["--reload-extra-file"],
        kind: Kind::Texts,
        help: "\
Further files or patterns to watch; may be given several times",
        ..BASE
    },
    Setting {
        name: "spew",
        flags: &["--spew"],
        kind: Kind::Switch,
        status: Status::Refused {
            why: "but printing every line that Python runs is the work of a debugger",
            instead: "python -m trace --trace",
        },
        help: "\
Print every line that Python runs",
        ..BASE
    },
];
