//! Status and field lines as the application gave them, kept until the first byte of the body decides the framing.
//!
//! PEP 3333 lets an application replace them until then, so they are not written into the output at once.

use asteri_proto::h1::request::Version;
use asteri_proto::h1::response::{FieldLines, Head, HeadWriter, Mark, ResponseContext, ResponseError, end_with_date};

/// A response head in waiting. Its memory is kept from request to request; and a head that is the same as the two before it is not
/// written a third time, but for its date.
#[derive(Default)]
pub struct Staged {
    status: u16,
    reason: Vec<u8>,
    lines: FieldLines,
    /// How often status or reason were not those of the response before.
    changes: u64,
    /// For which of them a head was written last.
    last: Option<(u64, Mark)>,
    written: Option<Box<Written>>,
}

/// A head, and what it was written for.
struct Written {
    /// Up to the date.
    text: Vec<u8>,
    head: Head,
    mark: (u64, Mark),
    context: ResponseContext,
    known: Option<u64>,
    server: Option<Box<[u8]>>,
}

impl Staged {
    /// Begins anew.
    #[inline]
    pub fn start(&mut self, status: u16, reason: &[u8]) {
        self.lines.clear();
        if self.status != status || self.reason != reason {
            self.changes += 1;
            self.status = status;
            self.reason.clear();
            self.reason.extend_from_slice(reason);
        }
    }

    /// Adds a field line. `false`: it is no good one, and was not added.
    #[inline]
    #[must_use]
    pub fn field(&mut self, name: &[u8], value: &[u8]) -> bool {
        self.lines.push(name, value)
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason phrase; empty if there is none.
    pub fn reason(&self) -> &[u8] {
        &self.reason
    }

    /// The field lines in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter()
    }

    /// Writes the head into `out`; `known`: the length of the whole body, if it is known. On an error `out` is as before.
    ///
    /// # Errors
    /// The application asked for something that cannot be sent, such as two lengths.
    #[inline]
    pub fn write(
        &mut self,
        out: &mut Vec<u8>,
        context: ResponseContext,
        known: Option<u64>,
        date: &[u8; 29],
        server: Option<&[u8]>,
    ) -> Result<Head, ResponseError> {
        let mark = (self.changes, self.lines.mark());
        if let Some(written) = &self.written
            && written.mark == mark
            && written.context == context
            && written.known == known
            && written.server.as_deref() == server
        {
            out.extend_from_slice(&written.text);
            end_with_date(out, date);
            return Ok(written.head);
        }
        let before = out.len();
        let head = self.write_anew(out, context, known, date, server).inspect_err(|_| out.truncate(before))?;
        // What has come twice may come again.
        let again = self.last.replace(mark) == Some(mark);
        let ends_with_date = context.version != Version::Http2 && !self.lines.have_date();
        if again
            && ends_with_date
            && let Some(upto) = out.len().checked_sub(END)
            && let Some(text) = out.get(before..upto)
        {
            let (text, server) = (text.to_vec(), server.map(Box::from));
            self.written = Some(Box::new(Written { text, head, mark, context, known, server }));
        }
        Ok(head)
    }

    fn write_anew(
        &self,
        out: &mut Vec<u8>,
        context: ResponseContext,
        known: Option<u64>,
        date: &[u8; 29],
        server: Option<&[u8]>,
    ) -> Result<Head, ResponseError> {
        let mut head = HeadWriter::start(out, context, self.status, &self.reason)?;
        head.lines(&self.lines)?;
        Ok(head.finish(known, date, server))
    }
}

/// Bytes that [`end_with_date`] writes.
const END: usize = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n".len();

#[cfg(test)]
mod tests {
    use super::*;

    const DATES: [&[u8; 29]; 2] = [b"Mon, 23 Nov 2026 01:02:03 GMT", b"Mon, 23 Nov 2026 01:02:04 GMT"];

    type Answer = (u16, &'static str, &'static [(&'static str, &'static str)], Option<u64>, ResponseContext);

    fn write(staged: &mut Staged, answer: Answer, date: &[u8; 29], server: Option<&[u8]>) -> Option<(Vec<u8>, Head)> {
        let (status, reason, fields, known, context) = answer;
        staged.start(status, reason.as_bytes());
        for (name, value) in fields {
            assert!(staged.field(name.as_bytes(), value.as_bytes()));
        }
        let mut out = b"before".to_vec();
        let head = staged.write(&mut out, context, known, date, server);
        assert!(out.starts_with(b"before") && (head.is_ok() || out.len() == 6));
        head.ok().map(|head| (out, head))
    }

    #[test]
    fn a_head_does_not_depend_on_those_before_it() {
        let usual = ResponseContext { version: Version::Http11, is_head: false, keep_alive: true };
        let answers: [Answer; 13] = [
            (200, "OK", &[("Content-Type", "text/plain"), ("Content-Length", "14")], Some(14), usual),
            (200, "OK", &[("Content-Type", "text/plain"), ("Content-Length", "15")], Some(15), usual),
            (200, "OK", &[("Content-Type", "text/plain")], Some(14), usual),
            (200, "OK", &[("Content-Type", "text/plain")], Some(15), usual),
            (200, "OK", &[("Content-Type", "text/plain")], None, usual),
            (200, "Fine", &[("Content-Type", "text/plain")], None, usual),
            (201, "OK", &[("Content-Type", "text/plain")], None, usual),
            (200, "OK", &[("Date", "today")], Some(0), usual),
            (200, "OK", &[("Content-Length", "x")], Some(0), usual),
            (200, "OK", &[], Some(14), ResponseContext { keep_alive: false, ..usual }),
            (200, "OK", &[], Some(14), ResponseContext { is_head: true, ..usual }),
            (200, "OK", &[], Some(14), ResponseContext { version: Version::Http10, ..usual }),
            (200, "OK", &[], Some(14), ResponseContext { version: Version::Http2, ..usual }),
        ];
        for before in answers {
            for now in answers {
                for server in [None, Some(&b"asteri"[..])] {
                    let mut staged = Staged::default();
                    let fresh = write(&mut Staged::default(), now, DATES[1], server);
                    for _ in 0..3 {
                        let _ = write(&mut staged, before, DATES[0], Some(b"asteri"));
                    }
                    // Given, and never written.
                    staged.start(now.0, now.1.as_bytes());
                    assert!(now.2.iter().all(|(name, value)| staged.field(name.as_bytes(), value.as_bytes())));
                    for round in 0..4 {
                        assert_eq!(write(&mut staged, now, DATES[1], server), fresh, "{before:?} {now:?} {round}");
                    }
                }
            }
        }
    }
}
