//! The request target: its forms, its parts, percent-decoding.
//!
//! Implements RFC 9112 §3.2 (forms) and RFC 9110 §4.2 (http and https URIs). Three decisions where the specifications
//! leave room:
//! * Any visible ASCII byte but `#` may stand in a target. RFC 3986 is narrower (`|`, `{`, `"` and others are not URI
//!   characters), but browsers send those in queries. A `#` begins a fragment, which is never sent; raw bytes above 126
//!   are refused, because peers disagree on what they mean.
//! * Percent-encoding is not checked: `%zz` reaches the application as it is, `%00` as a zero byte.
//! * A scheme other than http and https is refused: this is an origin server for those two.

use crate::error::{BAD_TARGET_AUTHORITY, BAD_TARGET_FORM, ProtocolError};
use crate::fields::is_authority;
use memchr::memchr;
use std::ops::Range;

/// Which of the forms of RFC 9112 §3.2 a target has. The fourth, authority-form, belongs to CONNECT and is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`.
    #[default]
    Origin,
    /// `http://host/path?query`: its authority replaces the Host field.
    Absolute,
    /// `*`: the server as a whole, for OPTIONS.
    Asterisk,
}

/// Parts of a request target, as ranges into it. All are raw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which form it has.
    pub form: TargetForm,
    /// Host and port of the absolute form.
    pub authority: Option<Range<usize>>,
    /// Begins with `/`, or is `*`. An absolute form without a path has the path `/` (RFC 9110 §4.2.3); the range then
    /// is one of the slashes before the authority.
    pub path: Range<usize>,
    /// What follows the first `?`.
    pub query: Option<Range<usize>>,
}

/// Takes a target apart. Its bytes have been checked: all are visible ASCII, none is `#`.
pub(crate) fn split(target: &[u8]) -> Result<Target, ProtocolError> {
    if target.first() == Some(&b'/') {
        let (path, query) = split_query(target, 0);
        return Ok(Target { form: TargetForm::Origin, authority: None, path, query });
    }
    if target == b"*" {
        return Ok(Target { form: TargetForm::Asterisk, authority: None, path: 0..1, query: None });
    }
    split_absolute(target)
}

fn split_absolute(target: &[u8]) -> Result<Target, ProtocolError> {
    let scheme = scheme_length(target).ok_or(BAD_TARGET_FORM)?;
    let end = target[scheme..].iter().position(|b| matches!(b, b'/' | b'?')).map_or(target.len(), |at| scheme + at);
    if !is_authority(&target[scheme..end]) {
        return Err(BAD_TARGET_AUTHORITY);
    }
    let (mut path, query) = split_query(target, end);
    if path.is_empty() {
        path = scheme - 1..scheme;
    }
    Ok(Target { form: TargetForm::Absolute, authority: Some(scheme..end), path, query })
}

/// Length of `http://` or `https://`, whichever the target begins with.
fn scheme_length(target: &[u8]) -> Option<usize> {
    ["http://", "https://"]
        .into_iter()
        .map(str::as_bytes)
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
        .map(<[u8]>::len)
}

/// Path and query of `target[from..]`. A second `?` is part of the query.
#[inline]
pub(crate) fn split_query(target: &[u8], from: usize) -> (Range<usize>, Option<Range<usize>>) {
    if target.len() == from + 1 && target[from] == b'/' {
        return (from..target.len(), None);
    }
    match memchr(b'?', &target[from..]) {
        Some(at) => (from..from + at, Some(from + at + 1..target.len())),
        None => (from..target.len(), None),
    }
}

/// Appends `path` with every `%XX` replaced by the byte it stands for. A `%` that two hexadecimal digits do not follow is
/// kept. `%2F` becomes a slash like any other and `%00` a zero byte, as PEP 3333 gateways have always done; an
/// application that must tell them apart has the raw target.
pub fn percent_decode(path: &[u8], out: &mut Vec<u8>) {
    let mut rest = path;
    while let Some(at) = memchr(b'%', rest) {
        out.extend_from_slice(&rest[..at]);
        match rest[at..] {
            [_, high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(high) << 4 | hex(low));
                rest = &rest[at + 3..];
            }
            _ => {
                out.push(b'%');
                rest = &rest[at + 1..];
            }
        }
    }
    out.extend_from_slice(rest);
}

/// Appends `path` so that [`percent_decode`] gives it back: every byte that cannot stand in a path (RFC 3986 §3.3) becomes `%XX`.
pub(crate) fn percent_encode(path: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

/// Value of a byte that is known to be a hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts<'a> = (TargetForm, Option<&'a str>, &'a str, Option<&'a str>);

    fn parts(target: &str) -> Result<Parts<'_>, &'static str> {
        let t = split(target.as_bytes()).map_err(|error| error.code)?;
        Ok((t.form, t.authority.map(|r| &target[r]), &target[t.path], t.query.map(|r| &target[r])))
    }

    #[test]
    fn origin_form() {
        assert_eq!(parts("/"), Ok((TargetForm::Origin, None, "/", None)));
        assert_eq!(parts("//a/b"), Ok((TargetForm::Origin, None, "//a/b", None)));
        assert_eq!(parts("/a?"), Ok((TargetForm::Origin, None, "/a", Some(""))));
        assert_eq!(parts("/a?b=1?c=2"), Ok((TargetForm::Origin, None, "/a", Some("b=1?c=2"))));
    }

    #[test]
    fn absolute_form() {
        assert_eq!(parts("http://h/p?q"), Ok((TargetForm::Absolute, Some("h"), "/p", Some("q"))));
        assert_eq!(parts("HTTPS://h:8443"), Ok((TargetForm::Absolute, Some("h:8443"), "/", None)));
        assert_eq!(parts("http://[::1]:80?q"), Ok((TargetForm::Absolute, Some("[::1]:80"), "/", Some("q"))));
    }

    #[test]
    fn refused_forms() {
        for target in ["", "a", "example.com:80", "ftp://h/", "http:/h", "http:h", "**", "*?", "?q", "httpss://h"] {
            assert_eq!(parts(target), Err("bad-target-form"), "{target:?}");
        }
        for target in [
            "http://",
            "http:///p",
            "http://?q",
            "http://u@h/",
            "http://u:p@h/",
            "http://h:x/",
            "http://h h/",
            "https://:80/",
        ] {
            assert_eq!(parts(target), Err("bad-target-authority"), "{target:?}");
        }
    }

    #[test]
    fn decoding() {
        for (raw, decoded) in [
            ("/plain", &b"/plain"[..]),
            ("/a%20b", b"/a b"),
            ("/%2f%2F", b"///"),
            ("/%c3%A9", b"/\xc3\xa9"),
            ("/%00", b"/\0"),
            ("/%", b"/%"),
            ("/%4", b"/%4"),
            ("/%zz%41", b"/%zzA"),
            ("/%%41", b"/%A"),
            ("/a+b", b"/a+b"),
            ("", b""),
        ] {
            let mut out = Vec::new();
            percent_decode(raw.as_bytes(), &mut out);
            assert_eq!(out, decoded, "{raw:?}");
            let mut encoded = Vec::new();
            percent_encode(&out, &mut encoded);
            let mut again = Vec::new();
            percent_decode(&encoded, &mut again);
            assert_eq!(again, out, "{raw:?}");
        }
    }
}
