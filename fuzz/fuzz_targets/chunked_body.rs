//! Arbitrary bytes as a chunked body.
//!
//! Checked: nothing panics, the outcome does not depend on how the bytes were cut into pieces, a body that was accepted
//! stays within its limits, and another, naive decoder reads the same content from it.

#![no_main]

use asteri_proto::error::ProtocolError;
use asteri_proto::h1::chunked::{Decoder, Step};
use asteri_proto::limits::Limits;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let limits = Limits { body_size: 4096, chunk_extension: 64, trailer_size: 128, ..Limits::default() };
    let whole = decode([input], &limits);
    assert_eq!(decode(input.chunks(1), &limits), whole, "byte by byte");
    let at = checksum(input) % (input.len() + 1);
    let (a, b) = input.split_at(at);
    assert_eq!(decode([a, b], &limits), whole, "cut at {at}");
    assert_eq!(decode(input.chunks(1 + at % 7), &limits), whole, "in pieces of {}", 1 + at % 7);

    let Ok(body) = whole else { return };
    assert!(body.content.len() as u64 <= limits.body_size);
    if body.complete {
        assert_eq!(naive(&input[..body.length]).as_deref(), Some(body.content.as_slice()));
        assert!(input[..body.length].ends_with(b"\r\n\r\n"));
    } else {
        assert_eq!(body.length, input.len(), "an incomplete body is consumed as it comes");
    }
});

fn checksum(input: &[u8]) -> usize {
    input.iter().fold(0, |sum: usize, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Body {
    content: Vec<u8>,
    /// Bytes consumed.
    length: usize,
    complete: bool,
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Result<Body, ProtocolError> {
    let (mut decoder, mut body) = (Decoder::default(), Body::default());
    for mut piece in pieces {
        loop {
            let (consumed, step) = decoder.decode(piece, limits)?;
            body.length += consumed;
            match step {
                Step::NeedData => {
                    assert_eq!(consumed, piece.len(), "everything is consumed");
                    break;
                }
                Step::Data(range) => {
                    assert!(!range.is_empty() && range.end == consumed, "consumed as far as the data goes");
                    body.content.extend_from_slice(&piece[range]);
                }
                Step::End => {
                    body.complete = true;
                    return Ok(body);
                }
            }
            piece = &piece[consumed..];
        }
    }
    Ok(body)
}

/// Reads a complete body with no regard for limits and strictness: a second opinion on where the content is.
fn naive(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let line = body.windows(2).position(|pair| pair == b"\r\n")?;
        let digits = body[..line].split(|b| !b.is_ascii_hexdigit()).next()?;
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        body = &body[line + 2..];
        if size == 0 {
            return Some(content);
        }
        content.extend_from_slice(body.get(..size)?);
        body = body.get(size..)?.strip_prefix(b"\r\n")?;
    }
}
