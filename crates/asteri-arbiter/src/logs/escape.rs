//! Showing bytes from outside: no control byte, quote or broken UTF-8 reaches a log or a terminal as it came.
//!
//! Printable text stays readable, `é` included. A quote becomes `\"`, a backslash `\\`, every other byte `\xNN`, among
//! them the bytes of characters that steer a display (C1 controls, bidirectional overrides, line separators). Because
//! the backslash itself is escaped, the notation can be undone, and a value that ends in `\` cannot swallow the quote
//! that closes it.

use std::fmt;

/// Bytes that come from a peer, a file or an application, made safe to print: `format!("{}", escape(b"a\n"))` is `a\x0a`.
pub fn escape(bytes: &[u8]) -> Escaped<'_> {
    Escaped(bytes)
}

/// What [`escape`] returns; prints without allocating.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in pieces(self.0, Style::Quoted) {
            match piece {
                Piece::Clean(bytes) => f.write_str(std::str::from_utf8(bytes).unwrap_or_default())?,
                Piece::Backslash(byte) => write!(f, "\\{}", byte as char)?,
                Piece::Hex(byte) => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

/// Which bytes may stay as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// A value that stands between quotes or fields: one line, quotes and backslashes escaped.
    Quoted,
    /// Text of several lines, a traceback: newline, tab, quotes and backslashes stay.
    Text,
}

/// Appends `bytes` to `out`, escaped.
pub(super) fn push_escaped(out: &mut Vec<u8>, bytes: &[u8], style: Style) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for piece in pieces(bytes, style) {
        match piece {
            Piece::Clean(bytes) => out.extend_from_slice(bytes),
            Piece::Backslash(byte) => out.extend_from_slice(&[b'\\', byte]),
            Piece::Hex(byte) => {
                out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
}

/// The first character of `bytes` if it is well-formed UTF-8.
pub(super) fn leading_char(bytes: &[u8]) -> Option<char> {
    let length = match bytes.first()? {
        0x00..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    std::str::from_utf8(bytes.get(..length)?).ok()?.chars().next()
}

/// Whether a character beyond ASCII shows as itself. The standard library keeps the table: what it would escape in a
/// `Debug` string is a control, a format character, a mark without a base, or unassigned.
pub(super) fn is_printable(c: char) -> bool {
    c.escape_debug().len() == 1
}

enum Piece<'a> {
    /// Well-formed, printable UTF-8
    Clean(&'a [u8]),
    Backslash(u8),
    Hex(u8),
}

fn pieces(bytes: &[u8], style: Style) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let first = *rest.first()?;
        let clean = clean_prefix(rest, style);
        let (taken, left) = rest.split_at(clean.max(1));
        let piece = match first {
            _ if clean > 0 => Piece::Clean(taken),
            b'"' | b'\\' => Piece::Backslash(first),
            _ => Piece::Hex(first),
        };
        rest = left;
        Some(piece)
    })
}

/// How many bytes at the start of `bytes` may stay.
fn clean_prefix(bytes: &[u8], style: Style) -> usize {
    let mut at = 0;
    loop {
        at += plain_prefix(&bytes[at..]);
        at += match bytes.get(at) {
            Some(b'"' | b'\\' | b'\n' | b'\t') if style == Style::Text => 1,
            Some(0x80..) => match leading_char(&bytes[at..]) {
                Some(c) if is_printable(c) => c.len_utf8(),
                _ => return at,
            },
            _ => return at,
        };
    }
}

/// How many bytes at the start of `bytes` are printable ASCII other than the quote and the backslash, which is nearly
/// all of nearly every value. Eight at a time: the access log runs every value of every request through here.
pub(super) fn plain_prefix(bytes: &[u8]) -> usize {
    let is_plain = |b: &u8| (0x20..0x7f).contains(b) && *b != b'"' && *b != b'\\';
    let (chunks, _) = bytes.as_chunks::<8>();
    let whole = chunks.iter().take_while(|chunk| chunk.iter().fold(true, |all, b| all & is_plain(b))).count() * 8;
    whole + bytes[whole..].iter().take_while(|b| is_plain(b)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(bytes: &[u8]) -> String {
        escape(bytes).to_string()
    }

    #[test]
    fn printable_text_stays() {
        assert_eq!(shown(b""), "");
        assert_eq!(shown(b"GET /a?b=c HTTP/1.1"), "GET /a?b=c HTTP/1.1");
        assert_eq!(shown("/caf\u{e9}/\u{65e5}\u{672c}/\u{1f980}".as_bytes()), "/caf\u{e9}/\u{65e5}\u{672c}/\u{1f980}");
    }

    #[test]
    fn quotes_backslashes_and_controls() {
        assert_eq!(shown(b"a\"b\\c"), r#"a\"b\\c"#);
        assert_eq!(shown(b"a\r\nb\0\x1b[31m\x7f\t"), r"a\x0d\x0ab\x00\x1b[31m\x7f\x09");
    }

    #[test]
    fn broken_and_steering_utf8_is_hexadecimal() {
        assert_eq!(shown(b"a\xff\xc3"), r"a\xff\xc3");
        assert_eq!(shown(b"\xc3\x28"), r"\xc3(");
        assert_eq!(shown(b"\xed\xa0\x80"), r"\xed\xa0\x80", "a surrogate is not UTF-8");
        assert_eq!(shown("\u{9b}".as_bytes()), r"\xc2\x9b", "CSI in its one-character form");
        assert_eq!(shown("\u{2028}".as_bytes()), r"\xe2\x80\xa8");
        assert_eq!(shown("\u{202e}".as_bytes()), r"\xe2\x80\xae");
    }

    #[test]
    fn text_keeps_lines_and_quotes() {
        let mut out = Vec::new();
        push_escaped(&mut out, b"File \"a\\b\", line 1\n\tx\x1b\r", Style::Text);
        assert_eq!(out, b"File \"a\\b\", line 1\n\tx\\x1b\\x0d");
    }

    /// The reverse of the notation, for the round trip below.
    fn unescape(text: &str) -> Vec<u8> {
        let (mut out, mut rest) = (Vec::new(), text.as_bytes());
        while let Some((&byte, tail)) = rest.split_first() {
            rest = match (byte, tail) {
                (b'\\', [b'x', high, low, tail @ ..]) => {
                    let digits = [*high, *low];
                    out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                    tail
                }
                (b'\\', [quoted, tail @ ..]) => {
                    out.push(*quoted);
                    tail
                }
                _ => {
                    out.push(byte);
                    tail
                }
            };
        }
        out
    }

    proptest! {
        #[test]
        fn can_be_undone_and_hides_every_control(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let text = shown(&bytes);
            prop_assert!(text.chars().all(|c| !c.is_control()), "{text:?}");
            prop_assert_eq!(unescape(&text), bytes.clone());
            let mut pushed = Vec::new();
            push_escaped(&mut pushed, &bytes, Style::Quoted);
            prop_assert_eq!(pushed, text.into_bytes());
        }
    }
}
