//! Names in the process list.

use super::super::setting::{Initial, Section, Setting, Status};

const BASE: Setting =
    Setting { section: Section::Naming, status: Status::NotBuilt { missing: "naming of processes" }, ..Setting::BASE };

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "proc_name",
        flags: &["-n", "--name"],
        aliases: &["name"],
        help: "\
Name of the processes in the process list",
        ..BASE
    },
    Setting {
        name: "default_proc_name",
        default: Initial::Text("gunicorn"),
        help: "\
Name of the processes where proc_name is not set",
        ..BASE
    },
];
