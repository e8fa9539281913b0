//! The field lines that an application wants to answer with, until the head of its response is written.
//!
//! They are judged once, when they are given, and kept in the form in which they are sent: most heads take them over in one
//! piece. Fields that need a second look (RFC 9110 §7.6.1, §8.6) are left to [`HeadWriter`](super::response::HeadWriter).

use super::response::is_hop_by_hop;
use crate::fields::{decimal, is_field_value, is_named, is_same, is_token};

/// Field lines in order. Its memory is kept from response to response, and what is in it, too: most responses of an application
/// have the lines of the one before, and those need not be judged again.
#[derive(Clone, Debug, Default)]
pub struct FieldLines {
    /// `name: value` CRLF, line after line: first those of this response, then perhaps more of the one before. Nothing else ever
    /// gets in here.
    text: Vec<u8>,
    lines: Vec<Line>,
    /// How many lines this response has, and bytes of text.
    count: usize,
    end: usize,
    /// What those lines say.
    says: Sayings,
    /// How often a line was not the one of the response before.
    changes: u64,
}

/// Tells whether lines are the same as those at another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    changes: u64,
    count: usize,
}

/// One line.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// Lengths.
    name: usize,
    value: usize,
    /// What is said up to here.
    says: Sayings,
}

/// What field lines say of the response as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sayings {
    pub(super) length: Option<u64>,
    pub(super) has_date: bool,
    pub(super) has_server: bool,
    /// Each line is sent as it is, whatever the response.
    pub(super) is_plain: bool,
}

impl Default for Sayings {
    fn default() -> Self {
        Self { length: None, has_date: false, has_server: false, is_plain: true }
    }
}

impl FieldLines {
    /// Forgets all of them.
    #[inline]
    pub fn clear(&mut self) {
        self.count = 0;
        self.end = 0;
        self.says = Sayings::default();
    }

    /// Adds a field line. `false`: the name is no token (RFC 9110 §5.1) or the value has a control byte (§5.5), and nothing was
    /// added.
    #[inline]
    #[must_use]
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> bool {
        if let Some(line) = self.lines.get(self.count)
            && line.name == name.len()
            && line.value == value.len()
            && let Some((known, rest)) = self.text.get(self.end..).and_then(|text| text.split_at_checked(name.len()))
            && is_same(known, name)
            && rest.get(2..2 + value.len()).is_some_and(|known| is_same(known, value))
        {
            self.says = line.says;
            self.count += 1;
            self.end += name.len() + value.len() + 4;
            return true;
        }
        self.push_other(name, value)
    }

    /// A line that is not the one of the response before.
    fn push_other(&mut self, name: &[u8], value: &[u8]) -> bool {
        if !is_token(name) || !is_field_value(value) {
            return false;
        }
        self.changes += 1;
        self.lines.truncate(self.count);
        self.text.truncate(self.end);
        let says = &mut self.says;
        match name.len() {
            4 if is_named(name, b"Date") => says.has_date = true,
            6 if is_named(name, b"Server") => says.has_server = true,
            14 if is_named(name, b"Content-Length") => {
                let length = decimal(value);
                // Malformed, or given before: what to say about that is decided with the head.
                says.is_plain &= length.is_some() && says.length.is_none();
                says.length = length;
            }
            _ => says.is_plain &= !is_hop_by_hop(name),
        }
        self.text.reserve(name.len() + value.len() + 4);
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(b": ");
        self.text.extend_from_slice(value);
        self.text.extend_from_slice(b"\r\n");
        self.lines.push(Line { name: name.len(), value: value.len(), says: self.says });
        self.count += 1;
        self.end = self.text.len();
        true
    }

    /// The same mark again means the same lines again.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark { changes: self.changes, count: self.count }
    }

    /// Whether one of them is `Date`.
    pub fn have_date(&self) -> bool {
        self.says.has_date
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.text();
        self.lines[..self.count].iter().map(move |&Line { name, value, .. }| {
            let (line, after) = rest.split_at(name + value + 4);
            rest = after;
            (&line[..name], &line[name + 2..name + 2 + value])
        })
    }

    /// All lines, as they are sent.
    pub(super) fn text(&self) -> &[u8] {
        &self.text[..self.end]
    }

    /// What they say.
    pub(super) fn says(&self) -> &Sayings {
        &self.says
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::request::Version;
    use crate::h1::response::{Head, HeadWriter, ResponseContext, ResponseError};

    const DATE: &[u8; 29] = b"Mon, 23 Nov 2026 01:02:03 GMT";

    #[test]
    fn fields_come_back_in_order() {
        let mut lines = FieldLines::default();
        for (name, value) in [("A", "1"), ("Content-Length", " 12"), ("A", "")] {
            assert!(lines.push(name.as_bytes(), value.as_bytes()));
        }
        let fields: Vec<_> = lines.iter().collect();
        assert_eq!(fields, [(&b"A"[..], &b"1"[..]), (b"Content-Length", b" 12"), (b"A", b"")]);
        lines.clear();
        assert_eq!(lines.iter().count(), 0);
    }

    #[test]
    fn lines_of_the_response_before_are_known_and_no_others() {
        let some: [&[(&str, &str)]; 10] = [
            &[("Content-Type", "text/plain"), ("Content-Length", "12")],
            &[("Content-Type", "text/plain"), ("Content-Length", "13")],
            &[("Content-Type", "text/plain")],
            &[("Content-Type", "text/html"), ("Content-Length", "13"), ("X-Long-Name", "a longer value")],
            &[("Content-Typ", "etext/plain"), ("Connection", "close")],
            &[("Content-Length", "12"), ("Content-Type", "text/plain")],
            &[("Date", "now"), ("Server", "that"), ("A", "")],
            &[("A", ""), ("Date", "now")],
            &[("Content-Length", "5"), ("Content-Length", "5")],
            &[],
        ];
        let fill = |lines: &mut FieldLines, fields: &[(&str, &str)]| {
            lines.clear();
            for (name, value) in fields {
                assert!(lines.push(name.as_bytes(), value.as_bytes()));
            }
        };
        for before in some {
            for now in some {
                let (mut used, mut fresh) = (FieldLines::default(), FieldLines::default());
                fill(&mut used, before);
                let mark = used.mark();
                fill(&mut used, now);
                fill(&mut fresh, now);
                assert_eq!(used.mark() == mark, before == now, "{before:?} {now:?}");
                assert_eq!(used.text(), fresh.text(), "{before:?} {now:?}");
                assert!(used.iter().eq(fresh.iter()), "{before:?} {now:?}");
                assert_eq!(format!("{:?}", used.says()), format!("{:?}", fresh.says()), "{before:?} {now:?}");
            }
        }
    }

    #[test]
    fn nothing_can_be_injected() {
        let mut lines = FieldLines::default();
        assert!(lines.push(b"X", b"a") && lines.push(b"Y", b"b"));
        lines.clear();
        for (name, value) in [("X", "a\r\nY: b"), ("X", "a\n"), ("X", "\0"), ("X: a\r\nY", "b"), ("", "b"), ("a b", "")]
        {
            assert!(!lines.push(name.as_bytes(), value.as_bytes()));
        }
        assert_eq!(lines.text(), b"");
    }

    /// A head that is written field by field, and one that takes the lines over.
    fn both_ways(
        status: u16,
        ctx: ResponseContext,
        fields: &[(&str, &str)],
    ) -> [Result<(Vec<u8>, Head), ResponseError>; 2] {
        let mut lines = FieldLines::default();
        for (name, value) in fields {
            assert!(lines.push(name.as_bytes(), value.as_bytes()));
        }
        [false, true].map(|at_once| {
            let mut out = Vec::new();
            let mut writer = HeadWriter::start(&mut out, ctx, status, b"")?;
            if at_once {
                writer.lines(&lines)?;
            } else {
                fields.iter().try_for_each(|(name, value)| writer.field(name.as_bytes(), value.as_bytes()))?;
            }
            let head = writer.finish(Some(7), DATE, Some(b"asteri"));
            Ok((out, head))
        })
    }

    #[test]
    fn heads_do_not_depend_on_how_the_fields_get_there() {
        let some: [&[(&str, &str)]; 12] = [
            &[],
            &[("X", "1"), ("Content-Type", "text/plain")],
            &[("content-LENGTH", "5")],
            &[("Content-Length", "5"), ("Content-Length", "5")],
            &[("Content-Length", "x"), ("Content-Length", "5")],
            &[("Content-Length", "x")],
            &[("Date", "d"), ("SERVER", "s")],
            &[("Connection", "close"), ("X", "1")],
            &[("connection", "keep-alive"), ("Transfer-Encoding", "chunked")],
            &[("Trailer", "x"), ("X", "1")],
            &[("Te", "x")],
            &[("Keep-Alive", "1"), ("Content-Length", "3")],
        ];
        for fields in some {
            for status in [200, 204, 205, 304, 404] {
                for (version, is_head) in [(Version::Http11, false), (Version::Http11, true), (Version::Http10, false)]
                {
                    let [slowly, at_once] =
                        both_ways(status, ResponseContext { version, is_head, keep_alive: true }, fields);
                    assert_eq!(slowly, at_once, "{status} {version:?} {is_head} {fields:?}");
                }
            }
        }
    }
}
