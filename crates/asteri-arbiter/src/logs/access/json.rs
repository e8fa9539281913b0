//! The access log as JSON: one object per line, the same keys in the same order on every line.
//!
//! Numbers are numbers, unknown values `null`. Strings are what came, with bytes that are not UTF-8 replaced by U+FFFD;
//! `request_line` still has them percent-encoded if they came so. Controls and other characters without a shape of
//! their own are `\u` escapes, so a line is safe to print too.

use super::render::{clamped, query, request_line_parts};
use super::{AccessFields, AccessRecord, user};
use crate::logs::clock;
use crate::logs::escape::{is_printable, leading_char, plain_prefix};

/// The keys of a line, in order. Names are stable; new ones are added at the end.
#[cfg(test)]
pub(super) const KEYS: &[&str] = &[
    "timestamp",
    "remote_addr",
    "user",
    "request_line",
    "method",
    "path",
    "query",
    "protocol",
    "host",
    "status",
    "bytes",
    "duration_us",
    "referer",
    "user_agent",
    "pid",
];

/// Appends the object of one request.
pub(super) fn render(out: &mut Vec<u8>, record: &AccessRecord<'_>, fields: &dyn AccessFields) {
    timestamp(out, record);
    key(out, "remote_addr");
    string(out, record.remote_addr.filter(|address| !address.is_empty()));
    key(out, "user");
    user::with_basic_user(fields.request_field("authorization").as_deref(), |user| string(out, user));
    key(out, "request_line");
    request_line(out, record);
    key(out, "method");
    string(out, record.method);
    key(out, "path");
    string(out, record.path);
    key(out, "query");
    string(out, query(record));
    key(out, "protocol");
    string(out, record.protocol);
    key(out, "host");
    string(out, fields.request_field("host").as_deref());
    key(out, "status");
    number(out, record.status);
    key(out, "bytes");
    number(out, record.bytes);
    key(out, "duration_us");
    number(out, Some(clamped(record.duration.as_micros())));
    key(out, "referer");
    string(out, fields.request_field("referer").as_deref());
    key(out, "user_agent");
    string(out, fields.request_field("user-agent").as_deref());
    key(out, "pid");
    number(out, Some(record.pid));
    out.push(b'}');
}

/// RFC 3339 §5.6 with microseconds: `2026-11-23T01:02:03.000000+00:00`. Opens the object.
fn timestamp(out: &mut Vec<u8>, record: &AccessRecord<'_>) {
    let stamp = clock::stamp(record.time);
    let mut fraction = *b".000000";
    clock::put(&mut fraction[1..], clock::subsecond_micros(record.time));
    out.extend_from_slice(b"{\"timestamp\":\"");
    out.extend_from_slice(&stamp.rfc3339);
    out.extend_from_slice(&fraction);
    out.extend_from_slice(&stamp.offset);
    out.push(b'"');
}

fn request_line(out: &mut Vec<u8>, record: &AccessRecord<'_>) {
    match (record.request_line, request_line_parts(record)) {
        (Some(line), _) => string(out, Some(line)),
        (None, Some([method, target, protocol])) => {
            out.push(b'"');
            characters(out, method);
            out.push(b' ');
            characters(out, target);
            out.push(b' ');
            characters(out, protocol);
            out.push(b'"');
        }
        (None, None) => string(out, None),
    }
}

/// A member after the first; `name` needs no escaping.
fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn number(out: &mut Vec<u8>, value: Option<impl itoa::Integer>) {
    match value {
        Some(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
}

fn string(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => {
            out.push(b'"');
            characters(out, value);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

/// The inside of a string (RFC 8259 §7).
fn characters(out: &mut Vec<u8>, mut rest: &[u8]) {
    while let Some(&byte) = rest.first() {
        let plain = plain_prefix(rest);
        if plain > 0 {
            out.extend_from_slice(&rest[..plain]);
            rest = &rest[plain..];
            continue;
        }
        let length = match leading_char(rest) {
            Some(c @ ('"' | '\\')) => {
                out.extend_from_slice(&[b'\\', c as u8]);
                1
            }
            Some(c) if !c.is_ascii() && is_printable(c) => {
                out.extend_from_slice(&rest[..c.len_utf8()]);
                c.len_utf8()
            }
            Some(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    unicode_escape(out, *unit);
                }
                c.len_utf8()
            }
            None => {
                debug_assert!(byte >= 0x80);
                out.extend_from_slice("\u{fffd}".as_bytes());
                1
            }
        };
        rest = &rest[length..];
    }
}

fn unicode_escape(out: &mut Vec<u8>, unit: u16) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(HEX[usize::from(unit >> shift & 15)]);
    }
}
