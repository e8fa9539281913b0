//! What a client may send, and how much of it stays in memory.

use super::super::kind::Kind;
use super::super::setting::{Initial, Section, Setting};

const BASE: Setting = Setting { section: Section::Limits, ..Setting::BASE };

/// Heads are held in memory, one per connection: more is no head but an attack.
const LARGEST_HEAD: u64 = 16 << 20;

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "limit_request_line",
        flags: &["--limit-request-line"],
        kind: Kind::Size { max: LARGEST_HEAD },
        default: Initial::Text("4094"),
        help: "\
Longest request line; 0 leaves it to limit_request_head
A longer one is answered with 414.",
        ..BASE
    },
    Setting {
        name: "limit_request_fields",
        flags: &["--limit-request-fields"],
        kind: Kind::Count { min: 0, max: 32_768, unit: "field lines" },
        default: Initial::Text("100"),
        help: "\
Most field lines in a request head; 0 is 32768
More are answered with 431.",
        ..BASE
    },
    Setting {
        name: "limit_request_field_size",
        flags: &["--limit-request-field-size", "--limit-request-field_size"],
        kind: Kind::Size { max: LARGEST_HEAD },
        default: Initial::Text("8190"),
        help: "\
Longest field line; 0 leaves it to limit_request_head
A longer one is answered with 431.",
        ..BASE
    },
    Setting {
        name: "limit_request_head",
        flags: &["--limit-request-head"],
        kind: Kind::Size { max: LARGEST_HEAD },
        default: Initial::Text("64KiB"),
        help: "\
Largest request head, all field lines together; 0 is 16MiB
A larger one is answered with 431.",
        ..BASE
    },
    Setting {
        name: "limit_request_body",
        flags: &["--limit-request-body", "--max-body-size"],
        aliases: &["max_body_size"],
        kind: Kind::Size { max: u64::MAX },
        default: Initial::Text("0"),
        help: "\
Largest request content; 0 is no limit
A larger one is answered with 413, without reading it where the client says its length in advance.",
        ..BASE
    },
    Setting {
        name: "body_buffer",
        flags: &["--body-buffer"],
        kind: Kind::Size { max: 1 << 30 },
        default: Initial::Text("64KiB"),
        help: "\
Content per request and response that stays in memory
What is longer goes to an unlinked file in `tmp_upload_dir`.",
        ..BASE
    },
    Setting {
        name: "tmp_upload_dir",
        kind: Kind::Path,
        help: "\
Folder for content that does not stay in memory
The files have no name and vanish with their request. By default the system's folder for temporary files.",
        ..BASE
    },
];
