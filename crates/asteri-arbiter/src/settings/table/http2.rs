//! HTTP/2.

use super::super::kind::Kind;
use super::super::setting::{Initial, Section, Setting, Status};

const BASE: Setting =
    Setting { section: Section::Http2, status: Status::NotBuilt { missing: "HTTP/2" }, ..Setting::BASE };

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "http_protocols",
        flags: &["--http-protocols"],
        default: Initial::Text("h1"),
        help: "\
Versions of HTTP, the preferred one first: h1",
        ..BASE
    },
    Setting {
        name: "http2_cleartext",
        flags: &["--http2-cleartext"],
        kind: Kind::Choice(&["off", "prior-knowledge", "upgrade", "both"]),
        default: Initial::Text("off"),
        help: "\
HTTP/2 without TLS",
        ..BASE
    },
    Setting {
        name: "http2_max_concurrent_streams",
        flags: &["--http2-max-concurrent-streams"],
        kind: Kind::Count { min: 1, max: u32::MAX as u64, unit: "streams" },
        default: Initial::Text("100"),
        help: "\
Streams that a connection may have open at once",
        ..BASE
    },
    Setting {
        name: "http2_initial_window_size",
        flags: &["--http2-initial-window-size"],
        // RFC 9113 §6.9.1: a window is at most 2^31 - 1 bytes.
        kind: Kind::Size { max: (1 << 31) - 1 },
        default: Initial::Text("65535"),
        help: "\
Flow-control window of a stream",
        ..BASE
    },
    Setting {
        name: "http2_max_frame_size",
        flags: &["--http2-max-frame-size"],
        // RFC 9113 §6.5.2.
        kind: Kind::Size { max: (1 << 24) - 1 },
        default: Initial::Text("16384"),
        help: "\
Largest frame that a client may send",
        ..BASE
    },
    Setting {
        name: "http2_max_header_list_size",
        flags: &["--http2-max-header-list-size"],
        kind: Kind::Size { max: u32::MAX as u64 },
        default: Initial::Text("65536"),
        help: "\
Largest header section, uncompressed",
        ..BASE
    },
];
