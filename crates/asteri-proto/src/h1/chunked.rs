//! The chunked transfer coding, taken off (RFC 9112 §7.1).
//!
//! [`Decoder`] consumes bytes as they come and says which of them are content; nothing is copied and nothing needs to be
//! kept by the caller. It is strict: 1 to 16 hexadecimal digits, CRLF line ends and nothing else, CRLF right after
//! the data. Chunk extensions are bounded and skipped (§7.1.1); whitespace before their `;` is accepted as the
//! grammar has it (`BWS`), whitespace without an extension is not. The trailer section (§7.1.2) must consist of field
//! lines, is bounded, and is dropped: no gateway has a place for trailer fields, and merging them into the header section
//! would let them say what only the head may say.

use crate::error::{
    BAD_CHUNK_END, BAD_CHUNK_EXTENSION, BAD_CHUNK_SIZE, BAD_TRAILER, BARE_CR, BARE_LF, BODY_TOO_LARGE,
    CHUNK_EXTENSIONS_TOO_LARGE, CHUNK_SIZE_TOO_LONG, ProtocolError, TRAILER_TOO_LARGE,
};
use crate::fields::{is_token_byte, is_value_byte};
use crate::limits::Limits;
use std::ops::Range;

/// Enough for any 64-bit size; more digits are leading zeros that somebody sends to find out who gives up first.
const MOST_DIGITS: u8 = 16;

/// What [`Decoder::decode`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The input is used up, and nothing of it was content.
    NeedData,
    /// This part of the input is content.
    Data(Range<usize>),
    /// The body is complete. What follows belongs to the next request.
    End,
}

/// Decodes one body.
#[derive(Clone, Debug)]
pub struct Decoder {
    state: State,
    /// Digits of the chunk size so far.
    digits: u8,
    /// The chunk size so far; in `Data`, what is left of the chunk.
    size: u64,
    /// Content promised by the chunk sizes so far.
    content: u64,
    /// Bytes of chunk extensions so far.
    extensions: usize,
    /// Bytes of the trailer section so far.
    trailer: usize,
}

/// Named after what is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    /// Whitespace follows the size, so an extension must, too.
    Semicolon,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerLine,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Nothing,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder { state: State::Size, digits: 0, size: 0, content: 0, extensions: 0, trailer: 0 }
    }
}

impl Decoder {
    /// Looks at `input`, which begins where the last call stopped consuming. Returns how many bytes are consumed and what
    /// was found; with [`Step::Data`] the consumed bytes end where the data ends.
    ///
    /// # Errors
    /// At the first byte that cannot be part of a chunked body, or goes over one of the limits.
    pub fn decode(&mut self, input: &[u8], limits: &Limits) -> Result<(usize, Step), ProtocolError> {
        let mut at = 0;
        while at < input.len() {
            if self.state == State::Data {
                // `size` is not 0 here.
                let run = usize::try_from(self.size).unwrap_or(usize::MAX).min(input.len() - at);
                self.size -= run as u64;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
                return Ok((at + run, Step::Data(at..at + run)));
            }
            self.state = self.advance(input[at], limits)?;
            at += 1;
            if self.state == State::Nothing {
                return Ok((at, Step::End));
            }
        }
        Ok((at, Step::NeedData))
    }

    /// One byte of framing.
    fn advance(&mut self, byte: u8, limits: &Limits) -> Result<State, ProtocolError> {
        Ok(match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte)?,
            (State::Size, _) if self.digits == 0 => return Err(BAD_CHUNK_SIZE),
            (State::Size | State::Extension, b'\r') => State::SizeLf,
            (State::Size | State::Semicolon, b' ' | b'\t') => self.extension(State::Semicolon, limits)?,
            (State::Size | State::Semicolon, b';') => self.extension(State::Extension, limits)?,
            (State::Size | State::Extension, b'\n') => return Err(BARE_LF),
            (State::Size | State::Semicolon, _) => return Err(BAD_CHUNK_SIZE),
            (State::Extension, byte) if is_value_byte(byte) => self.extension(State::Extension, limits)?,
            (State::Extension, _) => return Err(BAD_CHUNK_EXTENSION),
            (State::SizeLf, b'\n') => self.begin_chunk(limits)?,

            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::DataCr | State::DataLf, _) => return Err(BAD_CHUNK_END),

            (State::TrailerLine, b'\r') => State::EndLf,
            (State::TrailerLine | State::TrailerValue, b'\n') => return Err(BARE_LF),
            (State::TrailerLine | State::TrailerName, byte) if is_token_byte(byte) => {
                self.trailer(State::TrailerName, limits)?
            }
            (State::TrailerName, b':') => self.trailer(State::TrailerValue, limits)?,
            (State::TrailerValue, b'\r') => self.trailer(State::TrailerLf, limits)?,
            (State::TrailerValue, byte) if is_value_byte(byte) => self.trailer(State::TrailerValue, limits)?,
            (State::TrailerLine | State::TrailerName | State::TrailerValue, _) => return Err(BAD_TRAILER),
            (State::TrailerLf, b'\n') => self.trailer(State::TrailerLine, limits)?,
            (State::EndLf, b'\n') => State::Nothing,
            (State::SizeLf | State::TrailerLf | State::EndLf, _) => return Err(BARE_CR),

            // `decode` takes data out before it gets here, and nobody calls it after the end.
            (state @ (State::Data | State::Nothing), _) => state,
        })
    }

    fn digit(&mut self, byte: u8) -> Result<State, ProtocolError> {
        if self.digits == MOST_DIGITS {
            return Err(CHUNK_SIZE_TOO_LONG);
        }
        self.digits += 1;
        let digit = if byte.is_ascii_digit() { byte - b'0' } else { (byte | 0x20) - b'a' + 10 };
        self.size = self.size << 4 | u64::from(digit);
        Ok(State::Size)
    }

    /// One more byte of an extension. The bound is for all of them together: an endless row of tiny chunks with large
    /// extensions would otherwise keep us busy without ever reaching a limit.
    fn extension(&mut self, next: State, limits: &Limits) -> Result<State, ProtocolError> {
        self.extensions += 1;
        if self.extensions > limits.chunk_extension { Err(CHUNK_EXTENSIONS_TOO_LARGE) } else { Ok(next) }
    }

    /// One more byte of the trailer section.
    fn trailer(&mut self, next: State, limits: &Limits) -> Result<State, ProtocolError> {
        self.trailer += 1;
        if self.trailer > limits.trailer_size { Err(TRAILER_TOO_LARGE) } else { Ok(next) }
    }

    /// The line with the size is complete.
    fn begin_chunk(&mut self, limits: &Limits) -> Result<State, ProtocolError> {
        self.digits = 0;
        if self.size == 0 {
            return Ok(State::TrailerLine);
        }
        match self.content.checked_add(self.size) {
            Some(content) if content <= limits.body_size => self.content = content,
            _ => return Err(BODY_TOO_LARGE),
        }
        Ok(State::Data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Content, bytes consumed and whether the end was reached, when fed in pieces of `piece` bytes.
    fn decode_in(body: &[u8], piece: usize, limits: &Limits) -> Result<(Vec<u8>, usize, bool), &'static str> {
        let (mut decoder, mut content, mut consumed) = (Decoder::default(), Vec::new(), 0);
        for piece in body.chunks(piece) {
            let mut rest = piece;
            loop {
                let (used, step) = decoder.decode(rest, limits).map_err(|error| error.code)?;
                consumed += used;
                match step {
                    Step::NeedData => break assert_eq!(used, rest.len()),
                    Step::Data(range) => content.extend_from_slice(&rest[range]),
                    Step::End => return Ok((content, consumed, true)),
                }
                rest = &rest[used..];
            }
        }
        Ok((content, consumed, false))
    }

    fn decode(body: &[u8], limits: &Limits) -> Result<(String, usize, bool), &'static str> {
        let whole = decode_in(body, usize::MAX, limits);
        for piece in 1..=body.len() {
            assert_eq!(decode_in(body, piece, limits), whole, "in pieces of {piece}");
        }
        whole.map(|(content, consumed, end)| (String::from_utf8_lossy(&content).into_owned(), consumed, end))
    }

    fn error(body: &[u8]) -> Result<(), &'static str> {
        decode(body, &Limits::default()).map(drop)
    }

    #[test]
    fn content_is_what_stands_between_the_lines() {
        let limits = Limits::default();
        assert_eq!(decode(b"5\r\nhello\r\n0\r\n\r\n", &limits), Ok(("hello".into(), 15, true)));
        assert_eq!(
            decode(b"5;a=b ; c\r\nhello\r\nA\t;x\r\n0123456789\r\n00\r\n\r\nGET", &limits).map(|d| d.0),
            Ok("hello0123456789".into())
        );
        assert_eq!(decode(b"0\r\nExpires: \xff\r\nX:\r\n\r\n", &limits), Ok((String::new(), 21, true)));
        assert_eq!(decode(b"5\r\nhel", &limits), Ok(("hel".into(), 6, false)));
    }

    #[test]
    fn wrong_sizes() {
        for body in [
            &b"\r\n"[..],
            b";a\r\n",
            b"x\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b"5 \r\n",
            b" 5\r\n",
            b"5_0\r\n",
            b"5 5\r\n",
            b"\n",
        ] {
            assert_eq!(error(body), Err("bad-chunk-size"), "{body:?}");
        }
        assert_eq!(error(b"00000000000000005\r\n"), Err("chunk-size-too-long"));
        assert_eq!(error(b"0000000000000001\r\n"), Ok(()));
    }

    #[test]
    fn wrong_line_ends() {
        assert_eq!(error(b"5\nhello"), Err("bare-lf"));
        assert_eq!(error(b"5;a\nhello"), Err("bare-lf"));
        assert_eq!(error(b"5\rhello"), Err("bare-cr"));
        assert_eq!(error(b"5\r\nhello\n0"), Err("bad-chunk-end"));
        assert_eq!(error(b"5\r\nhello\rX"), Err("bad-chunk-end"));
        assert_eq!(error(b"5\r\nhelloo"), Err("bad-chunk-end"));
        assert_eq!(error(b"0\r\n\n"), Err("bare-lf"));
        assert_eq!(error(b"0\r\nA: b\n\r\n"), Err("bare-lf"));
        assert_eq!(error(b"0\r\nA: b\rX"), Err("bare-cr"));
        assert_eq!(error(b"0\r\n\rX"), Err("bare-cr"));
    }

    #[test]
    fn wrong_extensions_and_trailers() {
        assert_eq!(error(b"5;\0\r\n"), Err("bad-chunk-extension"));
        for trailer in [&b"A b\r\n"[..], b" A: b\r\n", b": b\r\n", b"A : b\r\n", b"A: \0\r\n", b"A\r\n"] {
            assert_eq!(error(&[b"0\r\n", trailer].concat()), Err("bad-trailer"), "{trailer:?}");
        }
    }

    #[test]
    fn bounds_are_reached_and_not_passed() {
        let limits = Limits { body_size: 8, chunk_extension: 6, trailer_size: 6, ..Limits::default() };
        assert!(decode(b"4\r\n1234\r\n4\r\n1234\r\n0\r\n\r\n", &limits).is_ok());
        assert_eq!(decode(b"4\r\n1234\r\n5\r\n", &limits), Err("body-too-large"));
        assert_eq!(decode(b"4\r\n1234\r\nffffffffffffffff\r\n", &Limits::default()), Err("body-too-large"));
        assert!(decode(b"1;ab\r\n1\r\n1;ab\r\n", &limits).is_ok());
        assert_eq!(decode(b"1;ab\r\n1\r\n1;abc\r\n", &limits), Err("chunk-extensions-too-large"));
        assert!(decode(b"0\r\nA: b\r\n\r\n", &limits).is_ok());
        assert_eq!(decode(b"0\r\nA: bc\r\n\r\n", &limits), Err("trailer-too-large"));
    }
}
