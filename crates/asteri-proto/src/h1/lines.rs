//! The lines of a request head: where they end, and that they are not too long or too many.
//!
//! Implements RFC 9112 §2.2 more strictly than it must be: a line ends with CRLF and nothing else, because peers that
//! see other line ends than we do can be made to see other requests than we do. Up to four empty lines in front of a
//! request line are skipped, as §2.2 asks.
//!
//! Every LF of a head is looked at here, so later stages know that none is left inside a line. Each byte is searched
//! once, however small the pieces in which it arrives: [`Progress`] remembers how far the search came. A head that comes
//! in one piece is taken at once instead, where the lines are checked from what httparse found; that way accepts nothing
//! that the careful way would not, and leaves all doubt to it.

use super::header_section;
use super::request::{RequestHead, Span};
use super::request_line;
use crate::error::{
    BARE_CR, BARE_LF, FIELD_TOO_LARGE, HEAD_TOO_LARGE, NOT_HTTP, ProtocolError, REQUEST_LINE_TOO_LONG,
    TOO_MANY_EMPTY_LINES, TOO_MANY_FIELDS,
};
use crate::fields::is_token_byte;
use crate::limits::{Config, Limits};
use memchr::memchr;

/// Clients that send a line end too many after a body send one; a stream of them is no client.
const MOST_EMPTY_LINES: u8 = 4;

/// How far a head has been looked at. Offsets count from the start of the buffer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Start of the request line.
    start: u32,
    /// Start of the header section; 0 until the request line is complete.
    section: u32,
    /// Start of the line whose end is looked for.
    line: u32,
    /// There is no LF between `line` and this.
    searched: u32,
    /// Complete field lines.
    fields: u32,
    /// Empty lines seen in front of the request line.
    empty_lines: u8,
    /// The first byte of the request line has been seen.
    begun: bool,
}

impl Progress {
    /// Whether a request has begun: something other than empty lines was there.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Forgets the empty lines at the start of the buffer, which the caller now drops, and returns their length. Only
    /// while nothing has begun.
    pub(crate) fn take_empty_lines(&mut self) -> usize {
        let length = self.start as usize;
        *self = Progress { empty_lines: self.empty_lines, ..Progress::default() };
        length
    }

    /// Looks at what is new in `buf`, which must begin with what earlier calls were given. `Ok(None)`: incomplete.
    pub(crate) fn advance(
        &mut self,
        buf: &[u8],
        head: &mut RequestHead,
        cfg: &Config,
    ) -> Result<Option<()>, ProtocolError> {
        if !self.begun {
            self.skip_empty_lines(buf)?;
            if !self.begun {
                return Ok(None);
            }
        }
        if self.searched == self.start
            && let Some(verdict) = self.at_once(buf, head, cfg)
        {
            return verdict.map(Some);
        }
        let start = self.start as usize;
        let head_bound = start + cfg.limits.head_size.min(Span::LARGEST);
        let most_fields = cfg.limits.fields.min(Limits::MOST_FIELDS) as u32;
        // `head` may have served another connection since the last call, so what an earlier call put there is gone.
        let mut has_request_line = false;
        loop {
            let line = self.line as usize;
            let (longest, error) = match self.section {
                0 => (cfg.limits.request_line, REQUEST_LINE_TOO_LONG),
                _ => (cfg.limits.field_size, FIELD_TOO_LARGE),
            };
            let line_bound = line.saturating_add(longest).saturating_add(2);
            let (bound, error) =
                if line_bound <= head_bound { (line_bound, error) } else { (head_bound, HEAD_TOO_LARGE) };

            let searched = self.searched as usize;
            let Some(at) = memchr(b'\n', &buf[searched..bound.min(buf.len())]) else {
                self.searched = buf.len().min(bound) as u32;
                return if buf.len() < bound { Ok(None) } else { Err(error) };
            };
            let lf = searched + at;
            if lf == line || buf[lf - 1] != b'\r' {
                return Err(BARE_LF);
            }
            let next = lf + 1;
            if lf - 1 == line {
                // The empty line. It cannot be the request line, which has a first byte that is no CR.
                head.len = next;
                break;
            }
            if self.section == 0 {
                request_line::parse(buf, start, lf - 1, head, cfg)?;
                has_request_line = true;
                self.section = next as u32;
            } else {
                self.fields += 1;
                if self.fields > most_fields {
                    return Err(TOO_MANY_FIELDS);
                }
            }
            self.line = next as u32;
            self.searched = next as u32;
        }
        let section = self.section as usize;
        if !has_request_line {
            request_line::parse(buf, start, section - 2, head, cfg)?;
        }
        header_section::parse(buf, section, self.fields as usize, head, cfg)?;
        Ok(Some(()))
    }

    /// The common case: the whole head came in one piece, and all of its lines are in order. `None` if not, or if that is
    /// not plain; nothing is decided then.
    fn at_once(&self, buf: &[u8], head: &mut RequestHead, cfg: &Config) -> Option<Result<(), ProtocolError>> {
        let start = self.start as usize;
        if let Some(section) = request_line::parse_usual(buf, start, head, cfg) {
            return header_section::parse_at_once(buf, start, section, head, cfg);
        }
        let lf = start + memchr(b'\n', &buf[start..])?;
        if buf[lf - 1] != b'\r' || lf - 1 - start > cfg.limits.request_line || lf + 1 - start > cfg.limits.head_size {
            return None;
        }
        if let Err(error) = request_line::parse(buf, start, lf - 1, head, cfg) {
            return Some(Err(error));
        }
        header_section::parse_at_once(buf, start, lf + 1, head, cfg)
    }

    fn skip_empty_lines(&mut self, buf: &[u8]) -> Result<(), ProtocolError> {
        loop {
            match buf.get(self.start as usize..).unwrap_or(&[]) {
                [] | [b'\r'] => return Ok(()),
                [b'\r', b'\n', ..] if self.empty_lines == MOST_EMPTY_LINES => return Err(TOO_MANY_EMPTY_LINES),
                [b'\r', b'\n', ..] => {
                    self.start += 2;
                    self.empty_lines += 1;
                }
                [b'\r', ..] => return Err(BARE_CR),
                [b'\n', ..] => return Err(BARE_LF),
                [byte, ..] if is_token_byte(*byte) => {
                    self.begun = true;
                    self.line = self.start;
                    self.searched = self.start;
                    return Ok(());
                }
                _ => return Err(NOT_HTTP),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::request::TargetForm;

    /// What the careful way says about a head that comes in two pieces, the first being one byte.
    fn carefully(buf: &[u8], cfg: &Config) -> Result<Option<()>, ProtocolError> {
        let (mut progress, mut head) = (Progress::default(), RequestHead::default());
        progress.advance(&buf[..1], &mut head, cfg)?;
        assert!(progress.searched > progress.start);
        progress.advance(buf, &mut head, cfg)
    }

    #[test]
    fn no_byte_is_searched_twice() {
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 0123456789\r\n".repeat(90));
        let (mut progress, mut head) = (Progress::default(), RequestHead::default());
        for end in 1..long.len() {
            assert_eq!(progress.advance(&long.as_bytes()[..end], &mut head, &Config::default()), Ok(None));
            assert_eq!(progress.searched as usize, end);
        }
        assert_eq!(progress.advance(long.as_bytes(), &mut head, &Config::default()), Ok(Some(())));
    }

    #[test]
    fn both_ways_have_the_same_limits() {
        let request = b"GET /123 HTTP/1.1\r\nHost: a\r\nX-Long-Name: 123\r\nY: 1\r\n\r\n";
        for limit in 0..request.len() + 2 {
            for which in 0..4 {
                let mut cfg = Config::default();
                match which {
                    0 => cfg.limits.request_line = limit,
                    1 => cfg.limits.field_size = limit,
                    2 => cfg.limits.head_size = limit,
                    _ => cfg.limits.fields = limit,
                }
                let at_once = Progress::default().advance(request, &mut RequestHead::default(), &cfg);
                assert_eq!(at_once, carefully(request, &cfg), "limit {which} at {limit}");
            }
        }
    }

    #[test]
    fn both_ways_read_the_same_from_a_request_line() {
        let lines = [
            "GET / HTTP/1.1",
            "GET /?a=1?b HTTP/1.1",
            "POST /a/b?c HTTP/1.1",
            "PUT // HTTP/1.1",
            "HEAD /%41 HTTP/1.1",
            "GET / HTTP/1.0",
            "GET / HTTP/1.7",
            "GET / HTTP/2.0",
            "GET  / HTTP/1.1",
            "GET /  HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET /\u{e9} HTTP/1.1",
            "GET /# HTTP/1.1",
            "GET /a\tb HTTP/1.1",
            "GET /\rHTTP/1.1",
            "GET http://b/c?d HTTP/1.1",
            "GET * HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            "GETS / HTTP/1.1",
            "get / HTTP/1.1",
            "GET",
            "GET ",
            "GET /",
            "GET / HTTP/1.1\r",
        ];
        for line in lines {
            let request = format!("{line}\r\nHost: a\r\n\r\n");
            let cfg = Config::default();
            // What an earlier request has left behind.
            let blank = || {
                let mut head =
                    RequestHead { casefold_method: true, form: TargetForm::Absolute, ..RequestHead::default() };
                head.query = Some(Span::new(1, 2));
                (head.authority, head.protocol) = (head.query, head.query);
                head
            };
            let (mut at_once, mut slowly) = (blank(), blank());
            let verdict = Progress::default().advance(request.as_bytes(), &mut at_once, &cfg);
            let mut progress = Progress::default();
            let _ = progress.advance(&request.as_bytes()[..1], &mut slowly, &cfg);
            assert_eq!(verdict, progress.advance(request.as_bytes(), &mut slowly, &cfg), "{line:?}");
            if verdict == Ok(Some(())) {
                assert_eq!(format!("{at_once:?}"), format!("{slowly:?}"), "{line:?}");
            }
        }
    }

    #[test]
    fn both_ways_want_the_same_line_ends() {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 2\r\n\r\n";
        for at in (0..request.len()).filter(|&at| request[at] == b'\r' || request[at] == b'\n') {
            let without = [&request[..at], &request[at + 1..]].concat();
            let at_once = Progress::default().advance(&without, &mut RequestHead::default(), &Config::default());
            assert_eq!(at_once, carefully(&without, &Config::default()), "without byte {at}");
            assert_ne!(at_once, Ok(Some(())), "without byte {at}");
        }
    }
}
