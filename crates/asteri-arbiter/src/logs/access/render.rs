//! Rendering atoms into a line.
//!
//! Values come out escaped ([`push_escaped`]), absent ones as `-`. A value that is present but empty stays empty, as in
//! Gunicorn: the query of a request without one, a `Referer` field with nothing in it.

use std::time::Duration;

use super::format::Atom;
use super::{AccessFields, AccessRecord, user};
use crate::logs::clock;
use crate::logs::escape::{Style, leading_char, push_escaped};

/// How a value is fitted: `%(name)-8.20s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spec {
    pub left: bool,
    pub zeros: bool,
    pub width: usize,
    /// At most so many characters; an escape counts as one and is never cut.
    pub precision: Option<usize>,
}

impl Spec {
    /// Runs `render`, then cuts and pads what it appended.
    pub fn apply(&self, out: &mut Vec<u8>, render: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        render(out);
        if let Some(limit) = self.precision {
            let end = start + cut_position(&out[start..], limit);
            out.truncate(end);
        }
        if self.width > 0 {
            self.pad(out, start);
        }
    }

    fn pad(&self, out: &mut Vec<u8>, start: usize) {
        // Escaped text is UTF-8: its characters are the bytes that do not continue one.
        let characters = out[start..].iter().filter(|&&b| b & 0xc0 != 0x80).count();
        let missing = self.width.saturating_sub(characters);
        let end = out.len();
        if self.left {
            out.resize(end + missing, b' ');
            return;
        }
        let fill = if self.zeros && out[start..].iter().all(u8::is_ascii_digit) { b'0' } else { b' ' };
        out.resize(end + missing, fill);
        out.copy_within(start..end, start + missing);
        out[start..start + missing].fill(fill);
    }
}

/// The length of the first `limit` characters of `escaped`.
fn cut_position(escaped: &[u8], limit: usize) -> usize {
    let mut at = 0;
    for _ in 0..limit {
        let Some(&byte) = escaped.get(at) else { break };
        at += match (byte, escaped.get(at + 1)) {
            (b'\\', Some(b'x')) => 4,
            (b'\\', _) => 2,
            (0x80.., _) => leading_char(&escaped[at..]).map_or(1, char::len_utf8),
            _ => 1,
        };
    }
    at.min(escaped.len())
}

impl Atom {
    /// Appends the value, escaped.
    pub(super) fn render(&self, out: &mut Vec<u8>, record: &AccessRecord<'_>, fields: &dyn AccessFields) {
        match self {
            Atom::Dash => out.push(b'-'),
            Atom::RemoteAddr => text(out, record.remote_addr.filter(|address| !address.is_empty())),
            Atom::User => {
                let credentials = fields.request_field("authorization");
                user::with_basic_user(credentials.as_deref(), |user| text(out, user));
            }
            Atom::Date => out.extend_from_slice(&clock::stamp(record.time).common),
            Atom::RequestLine => request_line(out, record),
            Atom::Method => text(out, record.method),
            Atom::Path => text(out, record.path),
            Atom::Query => text(out, query(record)),
            Atom::Protocol => text(out, record.protocol),
            Atom::Status => number(out, record.status),
            Atom::Bytes => number(out, record.bytes),
            Atom::Referer => text(out, fields.request_field("referer").as_deref()),
            Atom::UserAgent => text(out, fields.request_field("user-agent").as_deref()),
            Atom::Seconds => number(out, Some(record.duration.as_secs())),
            Atom::Millis => number(out, Some(clamped(record.duration.as_millis()))),
            Atom::Micros => number(out, Some(clamped(record.duration.as_micros()))),
            Atom::DecimalSeconds => decimal_seconds(out, record.duration),
            Atom::Pid => {
                out.push(b'<');
                number(out, Some(record.pid));
                out.push(b'>');
            }
            Atom::RequestField(name) => text(out, fields.request_field(name).as_deref()),
            Atom::ResponseField(name) => text(out, fields.response_field(name).as_deref()),
            Atom::Environ(name) => text(out, fields.environ(name).as_deref()),
        }
    }
}

/// The query; of a known target without one, the empty query, as in `QUERY_STRING`.
pub(super) fn query<'a>(record: &AccessRecord<'a>) -> Option<&'a [u8]> {
    record.query.or(record.target.map(|_| b"".as_slice()))
}

/// The three parts of the request line, if it could be parsed or at least begun.
pub(super) fn request_line_parts<'a>(record: &AccessRecord<'a>) -> Option<[&'a [u8]; 3]> {
    if record.method.is_none() && record.target.is_none() {
        return None;
    }
    Some([record.method, record.target, record.protocol].map(|part| part.unwrap_or(b"-")))
}

pub(super) fn clamped(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn request_line(out: &mut Vec<u8>, record: &AccessRecord<'_>) {
    match (record.request_line, request_line_parts(record)) {
        (Some(line), _) => text(out, Some(line)),
        (None, Some([method, target, protocol])) => {
            text(out, Some(method));
            out.push(b' ');
            text(out, Some(target));
            out.push(b' ');
            text(out, Some(protocol));
        }
        (None, None) => text(out, None),
    }
}

fn decimal_seconds(out: &mut Vec<u8>, duration: Duration) {
    number(out, Some(duration.as_secs()));
    let mut fraction = *b".000000";
    clock::put(&mut fraction[1..], duration.subsec_micros());
    out.extend_from_slice(&fraction);
}

fn text(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => push_escaped(out, value, Style::Quoted),
        None => out.push(b'-'),
    }
}

fn number(out: &mut Vec<u8>, value: Option<impl itoa::Integer>) {
    match value {
        Some(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        None => out.push(b'-'),
    }
}
