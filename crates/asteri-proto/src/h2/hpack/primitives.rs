//! Integers and strings (RFC 7541 §5).

use super::{Malformed, huffman};
use std::ops::Range;

/// The bit before the length of a string that says that it is Huffman-coded (RFC 7541 §5.2).
const HUFFMAN: u8 = 0x80;
/// Bits of the length of a string that stand beside it.
const LENGTH_BITS: u32 = 7;
/// Bytes behind the first that an integer may take: enough for 32 bits. Nothing that an integer counts here comes near.
const MOST_CONTINUATIONS: u32 = 5;

/// A string that has been read.
#[derive(Clone, Debug)]
pub(super) enum Text<'a> {
    /// It stands somewhere as it is.
    Plain(&'a [u8]),
    /// It has been decoded: here in the scratch buffer.
    Decoded(Range<usize>),
}

impl<'a> Text<'a> {
    /// Its bytes, where `scratch` is the buffer that it was read with.
    pub(super) fn of(&self, scratch: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Plain(text) => text,
            Self::Decoded(range) => scratch.get(range.clone()).unwrap_or_default(),
        }
    }
}

/// Takes the first byte.
pub(super) fn byte(rest: &mut &[u8]) -> Result<u8, Malformed> {
    let (first, others) = rest.split_first().ok_or(Malformed::Truncated)?;
    *rest = others;
    Ok(*first)
}

/// The integer whose prefix is the last `bits` bits of `first`, and which goes on at the beginning of `rest` if it is large.
pub(super) fn integer(first: u8, bits: u32, rest: &mut &[u8]) -> Result<usize, Malformed> {
    let most = 0xff >> (8 - bits);
    let prefix = first & most;
    if prefix < most { Ok(usize::from(prefix)) } else { continued(most, rest) }
}

#[cold]
fn continued(prefix: u8, rest: &mut &[u8]) -> Result<usize, Malformed> {
    let mut value = u64::from(prefix);
    for place in 0..MOST_CONTINUATIONS {
        let next = byte(rest)?;
        value += u64::from(next & 0x7f) << (7 * place);
        if next < 0x80 {
            return u32::try_from(value).map(|value| value as usize).map_err(|_| Malformed::Integer);
        }
    }
    Err(Malformed::Integer)
}

/// The string at the beginning of `rest`. One that is Huffman-coded is appended to `scratch`.
pub(super) fn text<'a>(rest: &mut &'a [u8], scratch: &mut Vec<u8>) -> Result<Text<'a>, Malformed> {
    let first = byte(rest)?;
    let length = integer(first, LENGTH_BITS, rest)?;
    let (coded, others) = rest.split_at_checked(length).ok_or(Malformed::Truncated)?;
    *rest = others;
    if first & HUFFMAN == 0 {
        return Ok(Text::Plain(coded));
    }
    let start = scratch.len();
    huffman::decode(coded, scratch)?;
    Ok(Text::Decoded(start..scratch.len()))
}

/// Writes an integer with a prefix of `bits` bits, beside those that are set in `pattern`.
#[inline]
pub(super) fn put_integer(out: &mut Vec<u8>, pattern: u8, bits: u32, value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        out.push(pattern | value as u8);
    } else {
        out.push(pattern | most as u8);
        put_continuation(out, value - most);
    }
}

fn put_continuation(out: &mut Vec<u8>, mut left: usize) {
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// Writes a string, Huffman-coded if that makes it shorter.
pub(super) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    let coded = huffman::length(text);
    if coded < text.len() {
        put_integer(out, HUFFMAN, LENGTH_BITS, coded);
        huffman::encode(text, coded, out);
    } else {
        put_integer(out, 0, LENGTH_BITS, text.len());
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], bits: u32) -> Result<(usize, usize), Malformed> {
        let mut rest = bytes;
        let first = byte(&mut rest)?;
        integer(first, bits, &mut rest).map(|value| (value, bytes.len() - rest.len()))
    }

    #[test]
    fn the_examples_of_appendix_c_1() {
        for (value, bits, bytes) in [(10, 5, &[0x0a][..]), (1337, 5, &[0x1f, 0x9a, 0x0a]), (42, 8, &[0x2a])] {
            let mut out = Vec::new();
            put_integer(&mut out, 0, bits, value);
            assert_eq!(out, bytes);
            assert_eq!(read(bytes, bits), Ok((value, bytes.len())));
        }
    }

    #[test]
    fn integers_around_each_boundary_survive_at_each_prefix() {
        for bits in 4..=8 {
            let pattern = if bits == 8 { 0 } else { 0x80 };
            for power in 0..32 {
                for value in [(1_usize << power) - 1, 1 << power, (1 << power) + (1 << bits) - 1] {
                    let mut out = Vec::new();
                    put_integer(&mut out, pattern, bits, value);
                    assert_eq!(out[0] & pattern, pattern);
                    assert_eq!(read(&out, bits), Ok((value, out.len())));
                    for cut in 0..out.len() {
                        assert_eq!(read(&out[..cut], bits), Err(Malformed::Truncated));
                    }
                }
            }
        }
    }

    #[test]
    fn integers_have_an_end() {
        assert_eq!(read(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x00], 7), Ok((127, 6)));
        assert_eq!(read(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], 7), Err(Malformed::Integer));
        assert_eq!(read(&[0x7f, 0x80, 0xff, 0xff, 0xff, 0x0f], 7), Ok((u32::MAX as usize, 6)));
        assert_eq!(read(&[0x7f, 0x81, 0xff, 0xff, 0xff, 0x0f], 7), Err(Malformed::Integer));
        assert_eq!(read(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0x7f], 7), Err(Malformed::Integer));
    }

    #[test]
    fn a_string_takes_the_shorter_form() {
        for (plain, form) in
            [(&b""[..], 0x00), (b"a", 0x01), (b"aaa", 0x82), (b"aa", 0x02), (b"\x00\x01", 0x02), (&[b'0'; 300], 0xff)]
        {
            let mut out = Vec::new();
            put_text(&mut out, plain);
            assert_eq!(out[0], form);
            assert!(out.len() <= plain.len() + 3);
            let (mut rest, mut scratch) = (&out[..], b"before".to_vec());
            let text = text(&mut rest, &mut scratch).expect("good");
            assert_eq!(text.of(&scratch), plain);
            assert_eq!((rest, &scratch[..6]), (&b""[..], &b"before"[..]));
        }
    }

    #[test]
    fn a_string_stays_within_its_block() {
        for bytes in [&b""[..], b"\x01", b"\x81", b"\x03ab", b"\x7f\x00", b"\xff\x80\xff\xff\xff\x0f"] {
            assert_eq!(text(&mut &bytes[..], &mut Vec::new()).err(), Some(Malformed::Truncated));
        }
    }
}
