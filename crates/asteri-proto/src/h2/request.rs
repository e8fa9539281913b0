//! From a field section of HTTP/2 to a request head (RFC 9113 §8.3.1), judged as one of HTTP/1.1 would be.
//!
//! What a head must not have here is refused with the errors of [`ERRORS`]; what it must not have anywhere, with those of
//! [`crate::error`]. `:authority` becomes Host, crumbs of Cookie become one field (RFC 9113 §8.2.3), so whoever takes the
//! head need not know the version.

use super::section::Section;
use crate::error::{
    ASTERISK_NOT_OPTIONS, BAD_FIELD_NAME, BAD_FIELD_VALUE, BAD_METHOD, BAD_TARGET_AUTHORITY, BAD_TARGET_BYTE,
    BAD_TARGET_FORM, BODY_TOO_LARGE, CONNECT_NOT_SUPPORTED, FIELD_TOO_LARGE, HEAD_TOO_LARGE, MISSING_HOST,
    ProtocolError, REQUEST_LINE_TOO_LONG, TOO_MANY_FIELDS, UNDERSCORE_FIELD,
};
use crate::fields::{has_underscore, is_authority, is_field_value, is_token, list, target_prefix, token_prefix, trim};
use crate::h1::header_section::Sayings;
use crate::h1::request::{BodyFraming, Field, RequestHead, Span, TargetForm, Version};
use crate::h1::request_line::judge_method;
use crate::limits::{Config, HeaderMap};
use crate::target;

macro_rules! errors {
    ($($name:ident $status:literal $code:literal $section:literal $detail:literal;)*) => {
        $(
            #[doc = concat!("`", $code, "`, ", stringify!($status), " (", $section, "): ", $detail, ".")]
            pub const $name: ProtocolError =
                ProtocolError { status: $status, code: $code, section: $section, detail: $detail };
        )*
        /// Every way in which only a request of HTTP/2 can be refused.
        pub const ERRORS: &[ProtocolError] = &[$($name),*];
    };
}

errors! {
    CONNECTION_FIELD 400 "connection-field" "RFC 9113 §8.2.2" "a field describes the connection, which HTTP/2 has other means for";
    OTHER_HOST 400 "other-host" "RFC 9113 §8.3.1" "Host and :authority differ";
    MISSING_PATH 400 "missing-path" "RFC 9113 §8.3.1" "there is no :path";
    BAD_PSEUDO_FIELD 400 "bad-pseudo-field" "RFC 9113 §8.3" "a pseudo-header field is unknown, repeated, or behind another field";
    MISSING_PSEUDO_FIELD 400 "missing-pseudo-field" "RFC 9113 §8.3.1" "there is no :method or no :scheme";
    PADDED_FIELD_VALUE 400 "padded-field-value" "RFC 9113 §8.2.1" "a field value begins or ends with whitespace";
    CONTENT_AFTER_END 400 "content-after-end" "RFC 9113 §8.1.1" "the stream ends before its Content-Length is reached";
    UNKNOWN_PROTOCOL 501 "unknown-protocol" "RFC 8441 §4" "the :protocol of a CONNECT request is not websocket";
}

/// Whether a request that is refused for this is malformed by the rules of HTTP/2 itself, so that its stream ends with an error
/// (RFC 9113 §8.1.1) and not with an answer.
#[must_use]
pub fn is_malformed(error: &ProtocolError) -> bool {
    [BAD_FIELD_NAME, BAD_FIELD_VALUE, BAD_PSEUDO_FIELD, CONNECTION_FIELD, MISSING_PATH, MISSING_PSEUDO_FIELD]
        .contains(error)
}

/// The pseudo-header fields of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pseudo<'a> {
    /// `:method`
    pub method: &'a [u8],
    /// `:authority`
    pub authority: Option<&'a [u8]>,
    /// The first Host field, which is among the fields too.
    pub host: Option<&'a [u8]>,
    /// `:path`
    pub path: Option<&'a [u8]>,
    /// `:protocol` (RFC 8441)
    pub protocol: Option<&'a [u8]>,
}

/// What the fields of `section` mean comes into `head`, whose spans point into the bytes of the section: they are to be
/// [taken](Section::swap_bytes) with it. `ends`: there is neither content nor a trailer section.
///
/// # Errors
/// The request is to be refused; `head` has no meaning then.
pub fn judge(section: &mut Section, ends: bool, head: &mut RequestHead, cfg: &Config) -> Result<(), ProtocolError> {
    head.version = Version::Http2;
    head.authority = None;
    head.host = None;
    head.protocol = None;
    head.dropped = None;
    head.front = None;
    head.fields.clear();
    request_line(section, head, cfg)?;
    let mut says = Sayings::default();
    let pseudo = section.pseudo();
    match (pseudo.authority, pseudo.host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            return Err(if is_authority(authority) { OTHER_HOST } else { BAD_TARGET_AUTHORITY });
        }
        // Host is among the fields, and looked at there.
        (_, Some(_)) => {}
        (Some([]), None) => return Err(BAD_TARGET_AUTHORITY),
        (Some(_), None) => {
            let value = section.authority_span();
            let name = section.append(b"host");
            keep(section, name, value, &mut says, head).map_err(|_| BAD_TARGET_AUTHORITY)?;
        }
        (None, None) => return Err(MISSING_HOST),
    }
    let replaced = field_lines(section, &mut says, head, cfg)?;
    says.decide_host(section.bytes(), head)?;
    says.decide_connection(head)?;
    head.keep_alive = true;
    head.framing = framing(&says, ends, head, cfg)?;
    head.len = section.bytes().len();
    if head.len - replaced > cfg.limits.head_size.min(Span::LARGEST) { Err(HEAD_TOO_LARGE) } else { Ok(()) }
}

/// Method and target, with the same bounds as a request line that has them.
fn request_line(section: &Section, head: &mut RequestHead, cfg: &Config) -> Result<(), ProtocolError> {
    let Pseudo { method, path, protocol, .. } = section.pseudo();
    if method.is_empty() || token_prefix(method) < method.len() {
        return Err(BAD_METHOD);
    }
    match protocol {
        None => judge_method(method, head, &cfg.policy)?,
        Some(b"websocket") if method == b"CONNECT" => {}
        Some(_) if method == b"CONNECT" => return Err(UNKNOWN_PROTOCOL),
        Some(_) => return Err(CONNECT_NOT_SUPPORTED),
    }
    let path = path.filter(|path| !path.is_empty()).ok_or(MISSING_PATH)?;
    if method.len() + path.len() + " HTTP/2.0 ".len() > cfg.limits.request_line {
        return Err(REQUEST_LINE_TOO_LONG);
    }
    if target_prefix(path) < path.len() {
        return Err(BAD_TARGET_BYTE);
    }
    let target = target::split(path)?;
    match target.form {
        TargetForm::Origin => {}
        TargetForm::Asterisk if method == b"OPTIONS" => {}
        TargetForm::Asterisk => return Err(ASTERISK_NOT_OPTIONS),
        // :path has the absolute path alone (RFC 9113 §8.3.1).
        TargetForm::Absolute => return Err(BAD_TARGET_FORM),
    }
    head.form = target.form;
    head.method = section.method_span();
    head.target = section.path_span();
    let base = head.target.start as usize;
    head.path = Span::new(base + target.path.start, base + target.path.end);
    head.query = target.query.map(|query| Span::new(base + query.start, base + query.end));
    head.protocol = section.protocol_span();
    Ok(())
}

fn keep(
    section: &Section,
    name: Span,
    value: Span,
    says: &mut Sayings,
    head: &mut RequestHead,
) -> Result<(), ProtocolError> {
    says.listen(name.of(section.bytes()), value.of(section.bytes()), head.fields.len())?;
    head.fields.push(Field { name, value });
    Ok(())
}

/// Says how many bytes of the section stand for nothing any more, as others have replaced them.
fn field_lines(
    section: &mut Section,
    says: &mut Sayings,
    head: &mut RequestHead,
    cfg: &Config,
) -> Result<usize, ProtocolError> {
    if section.len() > cfg.limits.fields {
        return Err(TOO_MANY_FIELDS);
    }
    // The crumbs of a cookie (RFC 9113 §8.2.3): the first one, and all of them if there are more.
    let (mut crumb, mut cookie, mut crumbs) = (None, Vec::new(), 0);
    for at in 0..section.len() {
        let (name_span, value_span) = section.spans(at);
        let (name, value) = (name_span.of(section.bytes()), value_span.of(section.bytes()));
        if name.len() + value.len() + 2 > cfg.limits.field_size {
            return Err(FIELD_TOO_LARGE);
        }
        if !is_token(name) || name.iter().any(u8::is_ascii_uppercase) {
            return Err(BAD_FIELD_NAME);
        }
        if !is_field_value(value) {
            return Err(BAD_FIELD_VALUE);
        }
        if trim(value).len() < value.len() {
            return Err(PADDED_FIELD_VALUE);
        }
        if is_of_the_connection(name, value) {
            return Err(CONNECTION_FIELD);
        }
        if has_underscore(name) && !cfg.policy.is_forwarder_field(name) {
            match cfg.policy.header_map {
                HeaderMap::Drop => {
                    // One is enough to explain it.
                    head.dropped.get_or_insert(name_span);
                    continue;
                }
                HeaderMap::Refuse => return Err(UNDERSCORE_FIELD),
                HeaderMap::Dangerous => {}
            }
        }
        if name == b"cookie" {
            crumbs += name.len() + value.len();
            match crumb {
                None => crumb = Some((name_span, value_span)),
                Some((_, first)) => {
                    if cookie.is_empty() {
                        cookie.extend_from_slice(first.of(section.bytes()));
                    }
                    cookie.extend_from_slice(b"; ");
                    cookie.extend_from_slice(value);
                }
            }
            continue;
        }
        keep(section, name_span, value_span, says, head)?;
    }
    match crumb {
        Some((name, value)) if cookie.is_empty() => keep(section, name, value, says, head).map(|()| 0),
        Some((name, _)) => {
            let value = section.append(&cookie);
            keep(section, name, value, says, head).map(|()| crumbs)
        }
        None => Ok(0),
    }
}

/// RFC 9113 §8.2.2. TE may say one thing.
fn is_of_the_connection(name: &[u8], value: &[u8]) -> bool {
    match name {
        b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => true,
        b"te" => list(value).any(|coding| !coding.eq_ignore_ascii_case(b"trailers")),
        _ => false,
    }
}

/// Content that is to come and whose length nobody has told counts as [`BodyFraming::Chunked`]: it says so itself.
fn framing(says: &Sayings, ends: bool, head: &RequestHead, cfg: &Config) -> Result<BodyFraming, ProtocolError> {
    match says.length() {
        // Frames follow, which are no content of the request (RFC 8441 §5).
        _ if head.protocol.is_some() => Ok(BodyFraming::None),
        Some(length) if length > cfg.limits.body_size => Err(BODY_TOO_LARGE),
        Some(length) if ends && length > 0 => Err(CONTENT_AFTER_END),
        Some(length) => Ok(BodyFraming::Length(length)),
        None if ends => Ok(BodyFraming::None),
        None => Ok(BodyFraming::Chunked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(cookies: &[&[u8]], head_size: usize) -> Result<Vec<u8>, ProtocolError> {
        let mut section = Section::default();
        section.begin(100_000);
        for (name, value) in [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")] {
            section.add(name.as_bytes(), value.as_bytes());
        }
        cookies.iter().for_each(|cookie| section.add(b"cookie", cookie));
        let (mut cfg, mut head) = (Config::default(), RequestHead::default());
        cfg.limits.head_size = head_size;
        judge(&mut section, true, &mut head, &cfg)?;
        Ok(head.find(section.bytes(), "cookie").unwrap_or_default().to_vec())
    }

    #[test]
    fn crumbs_of_a_cookie_are_one_field_and_counted_once() {
        assert_eq!(judged(&[b"a=1"], 100), Ok(b"a=1".to_vec()));
        assert_eq!(judged(&[b"a=1", b"b=2", b"c=3"], 100), Ok(b"a=1; b=2; c=3".to_vec()));
        let crumb: &[u8] = &[b'x'; 400];
        assert_eq!(judged(&[crumb; 2], 900).map(|cookie| cookie.len()), Ok(802));
        assert_eq!(judged(&[crumb; 2], 800), Err(HEAD_TOO_LARGE));
    }
}
