//! The user name of HTTP Basic authentication (RFC 7617 §2), for `%(u)s`.
//!
//! Decoding stops at the colon: the password is never in memory of ours, let alone in the log. Credentials without a
//! colon are malformed, and what they hold may be a secret, so they show no user.

/// A longer name is cut; it is a log line, not an account.
const MAX_NAME: usize = 128;

/// Calls `f` with the user name in the value of an `Authorization` field, or with `None` if there is none.
pub(super) fn with_basic_user<R>(field: Option<&[u8]>, f: impl FnOnce(Option<&[u8]>) -> R) -> R {
    let mut name = [0; MAX_NAME];
    let length = field.and_then(basic_credentials).and_then(|encoded| decode_name(encoded, &mut name));
    f(length.filter(|&length| length > 0).map(|length| &name[..length]))
}

/// The token68 after the scheme, which is matched without case (RFC 9110 §11.1).
fn basic_credentials(field: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = field.split_at_checked(5)?;
    let separated = rest.first().is_some_and(|b| matches!(b, b' ' | b'\t'));
    (scheme.eq_ignore_ascii_case(b"basic") && separated).then(|| rest.trim_ascii())
}

/// Decodes base64 (RFC 4648 §4) up to the first colon. Returns the length of the name, at most `name.len()`.
fn decode_name(encoded: &[u8], name: &mut [u8; MAX_NAME]) -> Option<usize> {
    let (mut bits, mut held, mut length) = (0u32, 0, 0);
    for &byte in encoded {
        bits = bits << 6 | sextet(byte)?;
        held += 6;
        if held >= 8 {
            held -= 8;
            let decoded = (bits >> held) as u8;
            bits &= (1 << held) - 1;
            if decoded == b':' {
                return Some(length);
            }
            if let Some(place) = name.get_mut(length) {
                *place = decoded;
                length += 1;
            }
        }
    }
    None
}

fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(field: &str) -> Option<String> {
        with_basic_user(Some(field.as_bytes()), |name| name.map(|name| String::from_utf8_lossy(name).into_owned()))
    }

    #[test]
    fn the_name_before_the_colon() {
        assert_eq!(user("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").as_deref(), Some("Aladdin"));
        assert_eq!(user("bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ==  ").as_deref(), Some("Aladdin"));
        assert_eq!(user("Basic YTo=").as_deref(), Some("a"), "an empty password");
        assert_eq!(user("Basic YTpiOmM=").as_deref(), Some("a"), "colons belong to the password");
        assert_eq!(user("Basic dGVzdDoxMjPCow==").as_deref(), Some("test"), "RFC 7617's example with U+00A3");
        assert_eq!(user("Basic w6k6eA==").as_deref(), Some("\u{e9}"));
    }

    #[test]
    fn no_name_no_user() {
        for field in [
            "",
            "Basic",
            "Basic ",
            "BasicQWxhZGRpbjpvcGVu",
            "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            "Basic OnNlY3JldA==", // ":secret"
            "Basic c2VjcmV0",     // "secret", no colon
            "Basic !!!!",
            "Basic Q",
        ] {
            assert_eq!(user(field), None, "{field}");
        }
        assert_eq!(with_basic_user(None, |name| name.map(<[u8]>::to_vec)), None);
    }

    #[test]
    fn a_long_name_is_cut() {
        // 200 times "aaa", then a colon
        let field = format!("Basic {}Og==", "YWFh".repeat(200));
        assert_eq!(user(&field).map(|name| name.len()), Some(MAX_NAME));
    }
}
