//! Response content, in the framing its head has announced (RFC 9112 §6, §7.1).

use super::response::ResponseFraming;
use std::io::Write;

/// Frames content. It holds the application to the length that was announced, since the client will take whatever follows
/// for the next response.
#[derive(Debug)]
pub struct BodyEncoder {
    framing: ResponseFraming,
}

/// What became of some content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes that were taken. Content of a response that has none is dropped and counts as neither.
    pub accepted: usize,
    /// Bytes beyond the announced length: dropped. The application's mistake, worth a line in the log.
    pub cut: usize,
}

/// Less content came than was announced: the connection must be closed, which is how the client notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// Bytes that are missing.
    pub missing: u64,
}

impl BodyEncoder {
    /// For a head that was finished with this framing.
    pub fn new(framing: ResponseFraming) -> BodyEncoder {
        BodyEncoder { framing }
    }

    /// Appends `data` to `out`, framed. Empty data writes nothing (an empty chunk would end the content).
    #[inline]
    pub fn encode(&mut self, data: &[u8], out: &mut Vec<u8>) -> Written {
        // A length in memory fits in both types.
        let accepted = self.begin_run(data.len() as u64, out) as usize;
        out.extend_from_slice(&data[..accepted]);
        if accepted > 0 {
            self.end_run(out);
        }
        let cut = if self.framing == ResponseFraming::NoContent { 0 } else { data.len() - accepted };
        Written { accepted, cut }
    }

    /// Announces `len` bytes of content that do not go through `out` but follow what is in it, such as a file. Returns how
    /// many of them may be sent; if that is not 0, [`BodyEncoder::end_run`] must be called for what comes after them.
    #[inline]
    pub fn begin_run(&mut self, len: u64, out: &mut Vec<u8>) -> u64 {
        match &mut self.framing {
            ResponseFraming::NoContent => 0,
            ResponseFraming::UntilClose | ResponseFraming::UntilEnd => len,
            ResponseFraming::Length(left) => {
                let accepted = len.min(*left);
                *left -= accepted;
                accepted
            }
            ResponseFraming::Chunked => {
                if len > 0 {
                    // Writing to a Vec does not fail.
                    let _ = write!(out, "{len:x}\r\n");
                }
                len
            }
        }
    }

    /// Appends what has to follow such bytes.
    #[inline]
    pub fn end_run(&mut self, out: &mut Vec<u8>) {
        if self.framing == ResponseFraming::Chunked {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Whether all content of the announced length has been given.
    #[inline]
    pub fn is_complete(&self) -> bool {
        self.framing == ResponseFraming::Length(0)
    }

    /// How much content is still owed under the announced length.
    pub fn missing(&self) -> u64 {
        match self.framing {
            ResponseFraming::Length(left) => left,
            _ => 0,
        }
    }

    /// The application has no more content: appends what ends it.
    ///
    /// # Errors
    /// Content is missing. Nothing is appended.
    #[inline]
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), Short> {
        match self.framing {
            ResponseFraming::Length(missing) if missing > 0 => return Err(Short { missing }),
            ResponseFraming::Chunked => out.extend_from_slice(b"0\r\n\r\n"),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(framing: ResponseFraming, parts: &[&str]) -> (String, usize, Result<(), Short>) {
        let (mut out, mut encoder, mut cut) = (Vec::new(), BodyEncoder::new(framing), 0);
        for part in parts {
            cut += encoder.encode(part.as_bytes(), &mut out).cut;
        }
        let end = encoder.finish(&mut out);
        (String::from_utf8_lossy(&out).into_owned(), cut, end)
    }

    #[test]
    fn an_announced_length_is_kept() {
        assert_eq!(encode(ResponseFraming::Length(5), &["he", "", "llo"]), ("hello".into(), 0, Ok(())));
        assert_eq!(encode(ResponseFraming::Length(4), &["he", "llo", "!"]), ("hell".into(), 2, Ok(())));
        assert_eq!(encode(ResponseFraming::Length(7), &["hello"]), ("hello".into(), 0, Err(Short { missing: 2 })));
    }

    #[test]
    fn chunks() {
        let long = "x".repeat(26);
        let expected = format!("2\r\nhe\r\n1a\r\n{long}\r\n0\r\n\r\n");
        assert_eq!(encode(ResponseFraming::Chunked, &["he", "", &long]), (expected, 0, Ok(())));
        assert_eq!(encode(ResponseFraming::Chunked, &[]), ("0\r\n\r\n".into(), 0, Ok(())));
    }

    #[test]
    fn content_that_is_not_sent_is_nobodys_mistake() {
        assert_eq!(encode(ResponseFraming::NoContent, &["hello"]), (String::new(), 0, Ok(())));
        assert_eq!(encode(ResponseFraming::UntilClose, &["he", "llo"]), ("hello".into(), 0, Ok(())));
    }

    #[test]
    fn runs_that_are_sent_by_other_means() {
        let mut out = Vec::new();
        let mut chunked = BodyEncoder::new(ResponseFraming::Chunked);
        assert_eq!(chunked.begin_run(300, &mut out), 300);
        out.extend_from_slice(b"<file>");
        chunked.end_run(&mut out);
        assert_eq!(chunked.begin_run(0, &mut out), 0);
        assert_eq!(chunked.finish(&mut out), Ok(()));
        assert_eq!(out, b"12c\r\n<file>\r\n0\r\n\r\n");

        out.clear();
        let mut counted = BodyEncoder::new(ResponseFraming::Length(200));
        assert_eq!((counted.begin_run(300, &mut out), counted.missing(), out.len()), (200, 0, 0));
    }
}
