//! The request line: `method SP request-target SP HTTP-version` (RFC 9112 §3).
//!
//! Exactly one space separates the parts; §3 would let a server be lenient about that, and names the risk of it.

use super::request::{RequestHead, Span, TargetForm, Version};
use crate::error::{
    ASTERISK_NOT_OPTIONS, BAD_METHOD, BAD_REQUEST_LINE, BAD_TARGET_BYTE, BAD_VERSION, BARE_CR, CONNECT_NOT_SUPPORTED,
    ProtocolError, UNCONVENTIONAL_METHOD, VERSION_NOT_SUPPORTED,
};
use crate::fields::{has_lower_case_or_hash, target_prefix, token_prefix};
use crate::limits::{Config, Policy};
use crate::target;

/// The usual case: a line of HTTP/1.1 for a target in origin form, all of it there. Where it ends, LF included; `None` if it is
/// not the usual case, or longer than it may be, and then nothing is decided.
#[inline]
pub(crate) fn parse_usual(buf: &[u8], start: usize, head: &mut RequestHead, cfg: &Config) -> Option<usize> {
    let line = &buf[start..];
    let method_end = match line {
        [b'G', b'E', b'T', b' ', ..] | [b'P', b'U', b'T', b' ', ..] => 3,
        [b'P', b'O', b'S', b'T', b' ', ..] | [b'H', b'E', b'A', b'D', b' ', ..] => 4,
        _ => return None,
    };
    let rest = &line[method_end + 1..];
    if rest.first() != Some(&b'/') {
        return None;
    }
    let length = target_prefix(rest);
    let (target, rest) = rest.split_at(length);
    if !rest.starts_with(b" HTTP/1.1\r\n") {
        return None;
    }
    let target_start = start + method_end + 1;
    let end = target_start + length + b" HTTP/1.1\r\n".len();
    if end - 2 - start > cfg.limits.request_line || end - start > cfg.limits.head_size {
        return None;
    }
    let (path, query) = target::split_query(target, 0);
    head.version = Version::Http11;
    head.method = Span::new(start, start + method_end);
    head.casefold_method = false;
    head.target = Span::new(target_start, target_start + length);
    head.path = Span::new(target_start, target_start + path.end);
    head.query = query.map(|query| Span::new(target_start + query.start, target_start + query.end));
    head.authority = None;
    head.form = TargetForm::Origin;
    head.protocol = None;
    Some(end)
}

/// Judges `buf[start..end]`, which has no LF, and fills in what it says.
pub(crate) fn parse(
    buf: &[u8],
    start: usize,
    end: usize,
    head: &mut RequestHead,
    cfg: &Config,
) -> Result<(), ProtocolError> {
    let line = &buf[start..end];
    let method_end = token_prefix(line);
    let target_start = method_end + 1;
    if line.get(method_end) != Some(&b' ') {
        return Err(blame(line, method_end, BAD_METHOD));
    }
    let target_end = target_start + target_prefix(&line[target_start..]);
    if target_end == target_start && line.get(target_end) == Some(&b' ') {
        return Err(BAD_REQUEST_LINE);
    }
    if line.get(target_end) != Some(&b' ') {
        return Err(blame(line, target_end, BAD_TARGET_BYTE));
    }
    head.version = version(&line[target_end + 1..])?;
    head.method = Span::new(start, start + method_end);
    judge_method(&line[..method_end], head, &cfg.policy)?;

    let target = target::split(&line[target_start..target_end])?;
    if target.form == TargetForm::Asterisk && !head.is_method(buf, b"OPTIONS") {
        return Err(ASTERISK_NOT_OPTIONS);
    }
    let base = start + target_start;
    head.target = Span::new(base, start + target_end);
    head.path = Span::new(base + target.path.start, base + target.path.end);
    head.query = target.query.map(|query| Span::new(base + query.start, base + query.end));
    head.authority = target.authority.map(|authority| Span::new(base + authority.start, base + authority.end));
    head.form = target.form;
    head.protocol = None;
    Ok(())
}

/// The line ended or went wrong at `at`, inside a part that is to be blamed unless there is a better explanation.
#[cold]
fn blame(line: &[u8], at: usize, part: ProtocolError) -> ProtocolError {
    match line.get(at) {
        None => BAD_REQUEST_LINE,
        Some(b'\r') => BARE_CR,
        Some(b'\t') => BAD_REQUEST_LINE,
        Some(_) => part,
    }
}

/// `HTTP/1.1` and its relatives. A minor version above ours is treated as ours (RFC 9110 §2.5); another major version is
/// another protocol, whose client learns from the 505 what we speak.
fn version(text: &[u8]) -> Result<Version, ProtocolError> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Ok(Version::Http11),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(VERSION_NOT_SUPPORTED),
        text if text.contains(&b'\r') => Err(BARE_CR),
        text if text.iter().any(|b| matches!(b, b' ' | b'\t')) => Err(BAD_REQUEST_LINE),
        _ => Err(BAD_VERSION),
    }
}

/// All registered methods have 3 to 20 characters and no lower-case letter; what differs is a broken client or somebody
/// looking for a gap between two servers.
pub(crate) fn judge_method(method: &[u8], head: &mut RequestHead, policy: &Policy) -> Result<(), ProtocolError> {
    let odd = has_lower_case_or_hash(method);
    if (odd || !(3..=20).contains(&method.len())) && !policy.permit_unconventional_method {
        return Err(UNCONVENTIONAL_METHOD);
    }
    head.casefold_method = odd && policy.casefold_method;
    // Whatever its target: authority-form exists for CONNECT alone (RFC 9112 §3.2.3).
    if method == b"CONNECT" || (head.casefold_method && method.eq_ignore_ascii_case(b"CONNECT")) {
        return Err(CONNECT_NOT_SUPPORTED);
    }
    Ok(())
}
