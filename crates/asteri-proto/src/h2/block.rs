//! Response heads and trailer sections as parts: what a gateway gives to a stream of HTTP/2.
//!
//! A gateway writes one sequence of bytes per response, whatever the version. With HTTP/1.1 these are the bytes of the
//! message. With HTTP/2 they are head blocks in the form below, interim ones first, and then bare content: field lines are
//! compressed against what the connection has sent before, so only its owner can write them down.
//!
//! A head block is a kind (one byte), a status (two), field lines and an end. A field line is the lengths of name and value (four
//! bytes each, big-endian), the name in lower case (RFC 9113 §8.2.1), the value. The end is a name of no length. A trailer
//! section is field lines and an end.

use crate::fields::{lowercase, trim};

const FINAL: u8 = b'F';
const INTERIM: u8 = b'I';
const END: [u8; 4] = [0; 4];

/// Begins a head block. Interim ones have a status below 200.
pub fn start(out: &mut Vec<u8>, status: u16) {
    out.reserve(128);
    out.push(if status < 200 { INTERIM } else { FINAL });
    out.extend_from_slice(&status.to_be_bytes());
}

/// Adds a field line; the name is a token, so it is not empty, and the value a field value. Whitespace around the value is no part of
/// it (RFC 9113 §8.2.1).
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let value = trim(value);
    // A single field line of four gigabytes is nothing that fits into a frame, or into memory twice.
    let (Ok(name_len), Ok(value_len)) = (u32::try_from(name.len()), u32::try_from(value.len())) else { return };
    let lengths = u64::from(name_len) << 32 | u64::from(value_len);
    out.reserve(8 + name.len() + value.len());
    out.extend_from_slice(&lengths.to_be_bytes());
    let at = out.len();
    out.extend_from_slice(name);
    if let Some(name) = out.get_mut(at..) {
        lowercase(name);
    }
    out.extend_from_slice(value);
}

/// Ends a block.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(&END);
}

/// Adds a field line to the block at the end of `out`, which was ended.
pub fn add(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.truncate(out.len().saturating_sub(END.len()));
    field(out, name, value);
    end(out);
}

/// A head block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Below 200 for an interim response.
    pub status: u16,
    lines: &'a [u8],
}

impl<'a> Block<'a> {
    /// Whether another block follows.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// The field lines, in order.
    #[must_use]
    pub fn fields(&self) -> Lines<'a> {
        lines(self.lines)
    }
}

/// Takes the head block at the start of `bytes`, and says how long it is. `None`: there is none.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<(Block<'_>, usize)> {
    let (&[FINAL | INTERIM, high, low], rest) = bytes.split_first_chunk::<3>()? else { return None };
    let mut all = lines(rest);
    all.by_ref().for_each(drop);
    let length = rest.len() - all.rest.len();
    Some((Block { status: u16::from_be_bytes([high, low]), lines: &rest[..length] }, 3 + length))
}

/// The field lines at the start of `bytes`, up to the end.
#[must_use]
pub fn lines(bytes: &[u8]) -> Lines<'_> {
    Lines { rest: bytes, over: false }
}

/// Field lines: name and value of each.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    rest: &'a [u8],
    over: bool,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let (name, rest) = self.rest.split_first_chunk::<4>()?;
        if *name == END {
            (self.rest, self.over) = (rest, true);
            return None;
        }
        let (value, rest) = rest.split_first_chunk::<4>()?;
        let (name, value) = (u32::from_be_bytes(*name) as usize, u32::from_be_bytes(*value) as usize);
        let (name, rest) = rest.split_at_checked(name)?;
        let (value, rest) = rest.split_at_checked(value)?;
        self.rest = rest;
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_the_content_behind_it_is_left() {
        let mut out = Vec::new();
        start(&mut out, 103);
        field(&mut out, b"Link", b" </a>;rel=preload\t");
        end(&mut out);
        start(&mut out, 200);
        field(&mut out, b"X-Empty", b"");
        end(&mut out);
        add(&mut out, b"Trailer", b"a");
        out.extend_from_slice(b"F content");
        let (hint, length) = read(&out).unwrap();
        assert!(hint.is_interim());
        assert_eq!(hint.fields().collect::<Vec<_>>(), [(&b"link"[..], &b"</a>;rel=preload"[..])]);
        let (head, more) = read(&out[length..]).unwrap();
        assert_eq!((head.status, head.is_interim()), (200, false));
        assert_eq!(head.fields().collect::<Vec<_>>(), [(&b"x-empty"[..], &b""[..]), (b"trailer", b"a")]);
        assert_eq!(&out[length + more..], b"F content");
    }

    #[test]
    fn what_is_no_block_is_none() {
        for bytes in [&b""[..], b"F", b"HTTP/1.1 200 OK"] {
            assert!(read(bytes).is_none(), "{bytes:?}");
        }
    }
}
