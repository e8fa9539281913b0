//! The lines of a request head: where they end, and that they are not too long or too many.
//!
//! Implements RFC 9112 §2.2 more strictly than it must be: a line ends with CRLF and nothing else, because peers that
//! see other line ends than we do can be made to see other requests than we do. Up to four empty lines in front of a
//! request line are skipped, as §2.2 asks.
//!
//! Every LF of a head is looked at here, so later stages know that none is left inside a line. Each byte is searched
//! once, however small the pieces in which it arrives: [`Progress`] remembers how far the search came.

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
