//! The grammar of field lines that all versions of HTTP share: tokens, values, lists, hosts.
//!
//! Implements RFC 9110 §5.1 (names), §5.5 (values), §5.6.1 (lists), §5.6.2 (tokens), §7.2 (Host) and what RFC 3986
//! §3.2.2 says about hosts. How a field line is written on an HTTP/1 wire is the business of [`crate::h1`].

use std::net::Ipv6Addr;
use std::str;

const TOKEN: u8 = 1;
const VALUE: u8 = 2;
const TARGET: u8 = 4;
const REG_NAME: u8 = 8;
const LOWER_OR_HASH: u8 = 16;

/// One lookup answers for one byte; the bits above name the sets it may belong to.
static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut b = 0;
    while b < 256 {
        let byte = b as u8;
        let alnum = byte.is_ascii_alphanumeric();
        let sub_delim = matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=');
        if alnum
            || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+')
            || matches!(byte, b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
        {
            table[b] |= TOKEN;
        }
        if byte == b'\t' || (byte >= b' ' && byte != 0x7f) {
            table[b] |= VALUE;
        }
        if byte > b' ' && byte < 0x7f && byte != b'#' {
            table[b] |= TARGET;
        }
        if alnum || sub_delim || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            table[b] |= REG_NAME;
        }
        if byte.is_ascii_lowercase() || byte == b'#' {
            table[b] |= LOWER_OR_HASH;
        }
        b += 1;
    }
    table
}

/// Whether all bytes belong to a set. Looks at all of them whatever it finds: most are good, and this is the fastest loop.
fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().fold(class, |sets, &b| sets & CLASS[b as usize]) != 0
}

/// How many bytes at the start of `bytes` belong to a set.
fn prefix(bytes: &[u8], class: u8) -> usize {
    bytes.iter().position(|&b| CLASS[b as usize] & class == 0).unwrap_or(bytes.len())
}

/// How many bytes at the start of `bytes` belong to a token.
pub(crate) fn token_prefix(bytes: &[u8]) -> usize {
    prefix(bytes, TOKEN)
}

/// How many bytes at the start of `bytes` may stand in a request target (see [`crate::target`] for which).
pub(crate) fn target_prefix(bytes: &[u8]) -> usize {
    prefix(bytes, TARGET)
}

/// Whether a byte may stand in a token.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    CLASS[byte as usize] & TOKEN != 0
}

/// Whether a byte may stand in a field value or a reason phrase.
pub(crate) fn is_value_byte(byte: u8) -> bool {
    CLASS[byte as usize] & VALUE != 0
}

/// Whether a method has a byte that no registered method has although tokens may have it.
pub(crate) fn has_lower_case_or_hash(method: &[u8]) -> bool {
    method.iter().any(|&b| CLASS[b as usize] & LOWER_OR_HASH != 0)
}

/// Whether this is a `token` (RFC 9110 §5.6.2): a method, a field name, a transfer coding.
#[inline]
pub fn is_token(name: &[u8]) -> bool {
    // Nearly all names of fields consist of letters and hyphens. The others, and short ones, take the slow way.
    are_letters_and_hyphens(name) || (!name.is_empty() && all(name, TOKEN))
}

/// Whether eight or more bytes are nothing else. `false` also for fewer bytes.
#[inline]
fn are_letters_and_hyphens(bytes: &[u8]) -> bool {
    bytes.len() >= 8 && !any_word(bytes, other_than_letters_and_hyphens)
}

/// Whether a token is this name of a field, in any case (RFC 9110 §5.1). `usual` consists of letters and hyphens.
#[inline]
pub(crate) fn is_named<const N: usize>(name: &[u8], usual: &[u8; N]) -> bool {
    // The bit makes a capital a small letter, and changes neither the others nor a hyphen. What else it would make one of those
    // is no token.
    let differs = |name: &[u8; N]| name.iter().zip(usual).fold(0, |all, (one, other)| all | ((one ^ other) & !0x20));
    name.first_chunk().is_some_and(|start| name.len() == N && differs(start) == 0)
}

/// Whether this can be a field value (RFC 9110 §5.5): no control byte but the tab. Bytes above 127 are `obs-text` and
/// permitted; surrounding whitespace is not looked at.
#[inline]
pub fn is_field_value(value: &[u8]) -> bool {
    if value.len() < 8 {
        return all(value, VALUE);
    }
    // The tab is the only byte that looks suspicious and is not, so it may take the slow way.
    !any_word(value, control_bytes) || all(value, VALUE)
}

/// Whether a field name has an underscore.
#[inline]
pub(crate) fn has_underscore(name: &[u8]) -> bool {
    if name.len() < 8 {
        return name.contains(&b'_');
    }
    any_word(name, |word| zero_bytes(word ^ (ONES * u64::from(b'_'))))
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

/// Whether two texts are the same: for short ones, where a call would cost more than the comparison.
#[inline]
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let (Some(last), Some(other_last)) = (one.last_chunk(), other.last_chunk()) else {
        return one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one == other);
    };
    let differs = |one: &[u8; 8], other: &[u8; 8]| u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other);
    let mut found = differs(last, other_last);
    let (mut rest, mut other_rest) = (one, other);
    while let (Some((word, tail)), Some((other_word, other_tail))) =
        (rest.split_first_chunk(), other_rest.split_first_chunk())
    {
        found |= differs(word, other_word);
        (rest, other_rest) = (tail, other_tail);
    }
    one.len() == other.len() && found == 0
}

/// Whether `test` is not zero for any group of eight bytes, of which there is at least one. The last group overlaps the one before.
fn any_word(bytes: &[u8], test: impl Fn(u64) -> u64) -> bool {
    let Some(last) = bytes.last_chunk() else { return false };
    let mut found = test(u64::from_ne_bytes(*last));
    let mut rest = bytes;
    while let Some((word, tail)) = rest.split_first_chunk() {
        found |= test(u64::from_ne_bytes(*word));
        rest = tail;
    }
    found != 0
}

/// Not zero if one of the eight bytes is zero.
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// Not zero if one of the eight bytes is below 0x20 or is 0x7f.
fn control_bytes(word: u64) -> u64 {
    let below_space = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
    below_space | zero_bytes(word ^ (ONES * 0x7f))
}

/// Not zero if one of the eight bytes is neither a letter nor a hyphen.
fn other_than_letters_and_hyphens(word: u64) -> u64 {
    // With the highest bit of each byte out of the way, no sum carries over into the next byte.
    let low = word & !HIGHS;
    let lower = low | (ONES * 0x20);
    let from_a = lower + ONES * u64::from(0x80 - b'a');
    let beyond_z = lower + ONES * u64::from(0x80 - (b'z' + 1));
    let letters = from_a & !beyond_z;
    let no_hyphens = (low ^ (ONES * u64::from(b'-'))) + ONES * 0x7f;
    ((no_hyphens & !letters) | word) & HIGHS
}

/// Bytes that are capital letters become small ones, eight at a time.
pub fn lowercase(text: &mut [u8]) {
    if let Some(end) = text.last_chunk_mut::<8>() {
        *end = lowercase_word(*end);
        // The last word may have been a part of the one before it: small letters stay what they are.
        for word in text.as_chunks_mut::<8>().0 {
            *word = lowercase_word(*word);
        }
    } else {
        text.make_ascii_lowercase();
    }
}

fn lowercase_word(bytes: [u8; 8]) -> [u8; 8] {
    let word = u64::from_ne_bytes(bytes);
    let low = word & !HIGHS;
    let from_a = low + ONES * u64::from(0x80 - b'A');
    let beyond_z = low + ONES * u64::from(0x80 - (b'Z' + 1));
    let capitals = from_a & !beyond_z & !word & HIGHS;
    (word | (capitals >> 2)).to_ne_bytes()
}

/// Elements of a comma-separated list (RFC 9110 §5.6.1) without surrounding whitespace; empty ones are left out, as
/// §5.6.1.2 asks of recipients. Quoted strings are not understood: no list we look into may have one.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim).filter(|element| !element.is_empty())
}

/// Removes optional whitespace (`OWS`: spaces and tabs, RFC 9110 §5.6.3) from both ends.
pub fn trim(value: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(*b, b' ' | b'\t');
    let start = value.iter().position(|b| !blank(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !blank(b)).map_or(start, |last| last + 1);
    &value[start..end]
}

/// A decimal number as in `Content-Length` (RFC 9110 §8.6): digits only, and it fits.
pub fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    let mut number: u64 = 0;
    for &byte in value {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

/// Whether this is a value for `Host` (RFC 9112 §3.2): empty, or a host with an optional port. The empty value is what
/// a client sends whose target has no authority; a port without a host is refused, since no http URI has an empty host
/// (RFC 9110 §4.2.1).
pub fn is_host(value: &[u8]) -> bool {
    value.is_empty() || is_authority(value)
}

/// Whether this is a host, not empty, with an optional port, and no user information (RFC 9110 §4.2.4).
#[inline]
pub fn is_authority(value: &[u8]) -> bool {
    is_usual_authority(value) || is_any_authority(value)
}

/// A name without percent-encoding, or an IPv4 address, and perhaps a port. `false` decides nothing.
#[inline]
fn is_usual_authority(value: &[u8]) -> bool {
    // Where the colon can be, with five digits behind it.
    let last = value.len().saturating_sub(6);
    let colon = value[last..].iter().rposition(|&b| b == b':').map_or(value.len(), |at| last + at);
    let (host, port) = value.split_at(colon);
    !host.is_empty() && all(host, REG_NAME) && is_port(port)
}

fn is_any_authority(value: &[u8]) -> bool {
    let end = prefix(value, REG_NAME);
    match &value[end..] {
        [] => end > 0,
        port @ [b':', ..] => end > 0 && is_port(port),
        [b'[', inner @ ..] if end == 0 => inner
            .iter()
            .position(|&b| b == b']')
            .is_some_and(|end| is_ip_literal(&inner[..end]) && is_port(&inner[end + 1..])),
        [b'%', a, b, rest @ ..] => a.is_ascii_hexdigit() && b.is_ascii_hexdigit() && is_rest_of_authority(rest),
        _ => false,
    }
}

/// What may follow a percent-encoded byte of a `reg-name`.
fn is_rest_of_authority(mut rest: &[u8]) -> bool {
    loop {
        rest = match &rest[prefix(rest, REG_NAME)..] {
            [b'%', a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
            port => return is_port(port),
        };
    }
}

/// `IPv6address` or `IPvFuture`, without the brackets. Zone identifiers mean nothing to a server and are refused.
fn is_ip_literal(inner: &[u8]) -> bool {
    if let [b'v' | b'V', rest @ ..] = inner {
        let Some(dot) = rest.iter().position(|&b| b == b'.') else { return false };
        let (version, address) = (&rest[..dot], &rest[dot + 1..]);
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && !address.is_empty()
            && address.iter().all(|&b| b == b':' || CLASS[b as usize] & REG_NAME != 0);
    }
    str::from_utf8(inner).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// Nothing, or a colon and at most five digits up to 65535; the digits may be missing (RFC 3986 §3.2.3).
fn is_port(port: &[u8]) -> bool {
    match port {
        [] | [b':'] => true,
        [b':', digits @ ..] if digits.len() < 5 => digits.iter().all(u8::is_ascii_digit),
        [b':', digits @ ..] => digits.len() == 5 && decimal(digits).is_some_and(|n| n <= 65_535),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capitals_become_small_wherever_they_stand() {
        for length in 0..20 {
            for byte in 0..=255_u8 {
                for at in 0..length {
                    let mut text = vec![b'-'; length];
                    text[at] = byte;
                    let lower = text.to_ascii_lowercase();
                    lowercase(&mut text);
                    assert_eq!(text, lower);
                }
            }
        }
    }

    #[test]
    fn a_token_has_no_separators() {
        assert!(is_token(b"X-Forwarded-For") && is_token(b"!#$%&'*+-.^_`|~09az"));
        for bad in ["", "a b", "a:", "a\t", "\u{e9}", "a/b", "(a)", "\"a\"", "a\0"] {
            assert!(!is_token(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn every_byte_of_a_token_is_judged_alike_at_every_place() {
        for byte in 0..=255_u8 {
            let good = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            for length in 1..=17 {
                for at in 0..length {
                    for around in [b'-', b'Z', b'a', b'9'] {
                        let mut name = vec![around; length];
                        name[at] = byte;
                        assert_eq!(is_token(&name), good, "byte {byte:#x} at {at} of {length}");
                    }
                }
            }
        }
        assert!(!is_token(b""));
    }

    #[test]
    fn names_are_compared_in_any_case() {
        for good in ["Content-Length", "content-length", "CONTENT-LENGTH", "cOntent-LengtH"] {
            assert!(is_named(good.as_bytes(), b"Content-Length"));
        }
        for bad in ["Content-Lengt", "Content-Length2", "Content_Length", "Content-Mength", "", "ontent-Length-"] {
            assert!(!is_named(bad.as_bytes(), b"Content-Length"), "{bad}");
        }
        for byte in (0..=255_u8).filter(|&byte| is_token_byte(byte)) {
            for letter in (b'a'..=b'z').chain(b'A'..=b'Z').chain([b'-']) {
                let same = byte.eq_ignore_ascii_case(&letter);
                assert_eq!(is_named(&[byte], &[letter]), same, "{byte:#x} and {letter:#x}");
            }
        }
    }

    #[test]
    fn every_byte_of_a_value_is_judged_alike_at_every_place() {
        for byte in 0..=255_u8 {
            let good = byte == b'\t' || (byte >= 0x20 && byte != 0x7f);
            for length in 1..=17 {
                for at in 0..length {
                    let mut value = vec![b'v'; length];
                    value[at] = byte;
                    assert_eq!(is_field_value(&value), good, "byte {byte:#x} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn a_tab_does_not_hide_a_control_byte() {
        assert!(is_field_value(b"a\tb\tc\td\te"));
        assert!(!is_field_value(b"a\tb\tc\td\t\x01"));
        assert!(!is_field_value(b"a\tb\tc\t\x7fd\t"));
    }

    #[test]
    fn underscores_are_found_at_every_place() {
        for length in 0..=26 {
            assert!(
                !has_underscore(&vec![b'a'; length])
                    && !has_underscore(&vec![b'^'; length])
                    && !has_underscore(&vec![b'`'; length])
            );
            for at in 0..length {
                let mut name = vec![b'-'; length];
                name[at] = b'_';
                assert!(has_underscore(&name), "at {at} of {length}");
            }
        }
    }

    #[test]
    fn the_usual_authorities_are_no_others() {
        let bytes = b"a9.:-[%@ \xe9";
        for length in 0..=6_u32 {
            for number in 0..bytes.len().pow(length) {
                let digit = |place| bytes[number / bytes.len().pow(place) % bytes.len()];
                let value: Vec<u8> = (0..length).map(digit).collect();
                assert_eq!(is_authority(&value), is_any_authority(&value), "{}", value.escape_ascii());
            }
        }
    }

    #[test]
    fn texts_are_compared_whole() {
        for length in 0..=26 {
            let text = vec![b'a'; length];
            assert!(is_same(&text, &text.clone()));
            assert!(!is_same(&text, &vec![b'a'; length + 1]) && !is_same(&vec![b'a'; length + 1], &text));
            for at in 0..length {
                let mut other = text.clone();
                other[at] = b'b';
                assert!(!is_same(&text, &other), "at {at} of {length}");
            }
        }
    }

    #[test]
    fn lists_are_split_and_trimmed() {
        assert_eq!(list(b" a ,\tb,, ,c").collect::<Vec<_>>(), [b"a", b"b", b"c"]);
        assert_eq!(list(b"").count(), 0);
        assert_eq!(trim(b" \t "), b"");
    }

    #[test]
    fn decimals_are_digits_that_fit() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"0007"), Some(7));
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "+3", "-1", "0x3", "0_3", "3 ", "3,3", "18446744073709551616", "99999999999999999999999"] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn hosts() {
        let good = [
            "",
            "a",
            "example.com",
            "example.com:",
            "example.com:80",
            "127.0.0.1:8000",
            "[::1]",
            "[::1]:8000",
            "a_b.example",
            "[::ffff:1.2.3.4]",
            "[v1.a:b]",
            "%41.example",
            "xn--bcher-kva.example:65535",
            "a,b",
            "EXAMPLE.com",
            "example.com:00080",
        ];
        for host in good {
            assert!(is_host(host.as_bytes()), "{host:?}");
            assert!(host.is_empty() || is_any_authority(host.as_bytes()), "{host:?}");
        }
        let bad = [
            "a%41%4",
            "%41@a",
            "a[::1]",
            "%41:x",
            ":80",
            "a b",
            "a:b",
            "a:65536",
            "a:100000",
            "a:8 0",
            "user@a",
            "a/b",
            "a?b",
            "[::1",
            "::1",
            "[::1]80",
            "[]",
            "[fe80::1%25eth0]",
            "%4",
            "%zz",
            "a#",
            "[v.a]",
            "[v1.]",
            "[g::1]",
            "\u{e9}.example",
            "a\\b",
            "<a>",
            "a:+1",
            "a:-1",
        ];
        for host in bad {
            assert!(!is_host(host.as_bytes()), "{host:?}");
        }
    }
}
