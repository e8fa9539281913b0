//! The header section of a request, once all of its lines are there.
//!
//! httparse splits the lines into names and values and refuses wrong bytes in either (RFC 9112 §5); here is what it
//! does not know: what to do with underscores, and what the fields say about the request as a whole.
//! * Host: RFC 9112 §3.2.
//! * Content-Length and Transfer-Encoding: RFC 9112 §6.1 to §6.3. Whatever two servers could understand differently is
//!   refused, also where §6.3 would let a server choose one meaning.
//! * Connection: RFC 9112 §9.3. Expect: RFC 9110 §10.1.1.

use super::request::{BodyFraming, Field, RequestHead, Span, Version};
use crate::error::{
    BAD_CODING, BAD_FIELD_NAME, BAD_FIELD_VALUE, BAD_HOST, BAD_LENGTH, BARE_CR, BODY_TOO_LARGE, CHUNKED_NOT_FINAL,
    CODING_ON_HTTP10, EMPTY_FIELD_NAME, LENGTH_AND_CODING, MISSING_HOST, NO_COLON, OBS_FOLD, ProtocolError,
    SEVERAL_HOSTS, SEVERAL_LENGTHS, SPACE_BEFORE_COLON, UNDERSCORE_FIELD, UNKNOWN_CODING, UNKNOWN_EXPECTATION,
};
use crate::fields::{decimal, has_underscore, is_field_value, is_host, is_named, is_token, list, trim};
use crate::limits::{Config, HeaderMap};
use httparse::{EMPTY_HEADER, Header, Status};

/// Most fields of a head that is taken at once: what browsers and proxies send, and cheap to set up.
const USUAL_FIELDS: usize = 24;

/// Finds, checks and judges the header section at `buf[section..]` of a request that starts at `start`. `None` unless the
/// section is complete and all of its lines are in order.
pub(crate) fn parse_at_once(
    buf: &[u8],
    start: usize,
    section: usize,
    head: &mut RequestHead,
    cfg: &Config,
) -> Option<Result<(), ProtocolError>> {
    let mut array = [EMPTY_HEADER; USUAL_FIELDS];
    let Ok(Status::Complete((length, headers))) = httparse::parse_headers(&buf[section..], &mut array) else {
        return None;
    };
    let end = section + length;
    let sizes = &cfg.limits;
    if headers.len() > sizes.fields || end - start > sizes.head_size.min(Span::LARGEST) {
        return None;
    }
    // httparse lets a line end with LF alone. A value has neither CR nor LF, so a look at what stands in front of each
    // line is a look at all line ends but the last. The empty line is taken to be two bytes long: if it is LF alone, what
    // stands in front of those two is not CRLF.
    let mut line = section;
    for next in headers.iter().skip(1).map(|header| offset_in(buf, header.name.as_bytes())).chain([end - 2]) {
        if next < line
            || buf.get(next.wrapping_sub(2)..next) != Some(b"\r\n")
            || (next - line).saturating_sub(2) > sizes.field_size
        {
            return None;
        }
        line = next;
    }
    head.len = end;
    Some(judge(headers, buf, head, cfg))
}

/// Judges `buf[section..head.len]`, which has `count` lines and the empty one; all end with CRLF and none has another LF.
pub(crate) fn parse(
    buf: &[u8],
    section: usize,
    count: usize,
    head: &mut RequestHead,
    cfg: &Config,
) -> Result<(), ProtocolError> {
    if count <= 128 {
        parse_into(&mut [EMPTY_HEADER; 128][..count], buf, section, head, cfg)
    } else {
        parse_into(&mut vec![EMPTY_HEADER; count], buf, section, head, cfg)
    }
}

fn parse_into<'b>(
    array: &mut [Header<'b>],
    buf: &'b [u8],
    section: usize,
    head: &mut RequestHead,
    cfg: &Config,
) -> Result<(), ProtocolError> {
    let bytes = &buf[section..head.len];
    match httparse::parse_headers(bytes, array) {
        Ok(Status::Complete((length, headers))) if length == bytes.len() => judge(headers, buf, head, cfg),
        _ => Err(explain(bytes)),
    }
}

/// What the fields said so far.
#[derive(Default)]
pub(crate) struct Sayings {
    host: Option<usize>,
    length: Option<u64>,
    coding: Coding,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    expects_else: bool,
}

fn judge(headers: &[Header<'_>], buf: &[u8], head: &mut RequestHead, cfg: &Config) -> Result<(), ProtocolError> {
    let mut says = Sayings::default();
    head.fields.clear();
    head.host = None;
    head.front = None;
    head.dropped = None;
    for &Header { name, value } in headers {
        let name = name.as_bytes();
        if has_underscore(name) && !cfg.policy.is_forwarder_field(name) {
            match cfg.policy.header_map {
                HeaderMap::Drop => {
                    head.dropped = Some(span_in(buf, name));
                    continue;
                }
                HeaderMap::Refuse => return Err(UNDERSCORE_FIELD),
                HeaderMap::Dangerous => {}
            }
        }
        says.listen(name, value, head.fields.len())?;
        head.fields.push(Field { name: span_in(buf, name), value: span_in(buf, value) });
    }
    says.decide_host(buf, head)?;
    says.decide_framing(head)?;
    says.decide_connection(head)?;
    match head.framing {
        BodyFraming::Length(length) if length > cfg.limits.body_size => Err(BODY_TOO_LARGE),
        _ => Ok(()),
    }
}

/// Where `part` lies in `buf`, of which it is a part.
fn span_in(buf: &[u8], part: &[u8]) -> Span {
    let start = offset_in(buf, part);
    Span::new(start, start + part.len())
}

fn offset_in(buf: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr().wrapping_sub(buf.as_ptr().addr())
}

impl Sayings {
    /// The field at `index` of those that are kept. Its length tells most names apart from those of interest.
    #[inline]
    pub(crate) fn listen(&mut self, name: &[u8], value: &[u8], index: usize) -> Result<(), ProtocolError> {
        if matches!(name.len(), 4 | 6 | 10 | 14 | 17) { self.listen_to(name, value, index) } else { Ok(()) }
    }

    fn listen_to(&mut self, name: &[u8], value: &[u8], index: usize) -> Result<(), ProtocolError> {
        match name.len() {
            4 if is_named(name, b"Host") => {
                if self.host.replace(index).is_some() {
                    return Err(SEVERAL_HOSTS);
                }
                if !is_host(value) {
                    return Err(BAD_HOST);
                }
            }
            6 if is_named(name, b"Expect") => {
                for expectation in list(value) {
                    let known = expectation.eq_ignore_ascii_case(b"100-continue");
                    self.expects_continue |= known;
                    self.expects_else |= !known;
                }
            }
            10 if is_named(name, b"Connection") => {
                for option in list(value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if is_named(name, b"Content-Length") => {
                // RFC 9112 §6.3 would let equal values pass as one; no client of ours sends them.
                if self.length.is_some() || value.contains(&b',') {
                    return Err(SEVERAL_LENGTHS);
                }
                self.length = Some(decimal(value).ok_or(BAD_LENGTH)?);
            }
            17 if is_named(name, b"Transfer-Encoding") => self.coding.add(value),
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn decide_host(&self, buf: &[u8], head: &mut RequestHead) -> Result<(), ProtocolError> {
        match self.host {
            None if head.version != Version::Http10 => return Err(MISSING_HOST),
            None => head.host = head.authority,
            Some(index) => {
                // RFC 9112 §3.2.2: the received Host is ignored and replaced by the target's authority. Done here, where
                // every gateway sees the result.
                if let (Some(authority), Some(field)) = (head.authority, head.fields.get_mut(index)) {
                    field.value = authority;
                }
                head.host = head.fields.get(index).map(|field| field.value);
            }
        }
        debug_assert!(head.host.is_none_or(|host| is_host(host.of(buf))));
        Ok(())
    }

    fn decide_framing(&self, head: &mut RequestHead) -> Result<(), ProtocolError> {
        head.framing = match (&self.coding, self.length) {
            (Coding::Absent, None) => BodyFraming::None,
            (Coding::Absent, Some(length)) => BodyFraming::Length(length),
            // RFC 9112 §6.1: a coding in HTTP/1.0 means that somebody on the way did not understand it.
            _ if head.version == Version::Http10 => return Err(CODING_ON_HTTP10),
            // RFC 9112 §6.3 (3): ought to be handled as an error, and is the classic way to smuggle a request.
            (_, Some(_)) => return Err(LENGTH_AND_CODING),
            (Coding::Chunked, None) => BodyFraming::Chunked,
            (Coding::Refused(error), None) => return Err(**error),
            (Coding::List { last_is_chunked: true }, None) => return Err(UNKNOWN_CODING),
            (Coding::List { last_is_chunked: false }, None) => return Err(CHUNKED_NOT_FINAL),
        };
        Ok(())
    }

    /// The Content-Length.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    pub(crate) fn decide_connection(&self, head: &mut RequestHead) -> Result<(), ProtocolError> {
        let is_http11 = head.version != Version::Http10;
        head.keep_alive = !self.close && (is_http11 || self.keep_alive);
        head.expect_continue = is_http11 && self.expects_continue;
        if is_http11 && self.expects_else { Err(UNKNOWN_EXPECTATION) } else { Ok(()) }
    }
}

/// What the Transfer-Encoding lines say together.
///
/// | codings | answer | because |
/// |---|---|---|
/// | `chunked` | – | |
/// | not a list of codings; `chunked` with parameters | 400 | RFC 9112 §7.1 |
/// | `chunked` twice, or not last: also `xchunked`, `identity`, `gzip` | 400 | RFC 9112 §6.3 (4) |
/// | others, then `chunked` | 501 | RFC 9112 §6.1 |
#[derive(Default)]
enum Coding {
    #[default]
    Absent,
    Chunked,
    /// Several codings, or one that is not chunked; chunked is not among those before the last.
    List {
        last_is_chunked: bool,
    },
    Refused(&'static ProtocolError),
}

impl Coding {
    /// One more line of the field.
    fn add(&mut self, value: &[u8]) {
        for coding in value.split(|&b| b == b',').map(trim) {
            let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
            *self = match self {
                Coding::Refused(error) => Coding::Refused(error),
                _ if !is_coding(coding) => Coding::Refused(&BAD_CODING),
                Coding::Absent if is_chunked => Coding::Chunked,
                Coding::Chunked | Coding::List { last_is_chunked: true } => Coding::Refused(&CHUNKED_NOT_FINAL),
                Coding::Absent | Coding::List { .. } => Coding::List { last_is_chunked: is_chunked },
            };
        }
    }
}

/// `transfer-coding` (RFC 9112 §7) with parameters whose values are tokens. Quoted ones are refused with the rest: they
/// could hide a comma. Chunked has no parameters (§7.1).
fn is_coding(coding: &[u8]) -> bool {
    let mut parts = coding.split(|&b| b == b';').map(trim);
    let name = parts.next().unwrap_or(&[]);
    let mut plain = true;
    let well_formed = parts.all(|parameter| {
        plain = false;
        let Some(equals) = parameter.iter().position(|&b| b == b'=') else { return false };
        is_token(trim(&parameter[..equals])) && is_token(trim(&parameter[equals + 1..]))
    });
    is_token(name) && well_formed && (plain || !name.eq_ignore_ascii_case(b"chunked"))
}

/// httparse refused these lines: which is the first that is wrong, and why. Only names the reason; it accepts nothing.
#[cold]
fn explain(section: &[u8]) -> ProtocolError {
    section
        .split(|&b| b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .take_while(|line| !line.is_empty())
        .find_map(fault)
        .unwrap_or(BAD_FIELD_VALUE)
}

fn fault(line: &[u8]) -> Option<ProtocolError> {
    if line.contains(&b'\r') {
        return Some(BARE_CR);
    }
    if matches!(line, [b' ' | b'\t', ..]) {
        return Some(OBS_FOLD);
    }
    let Some(colon) = line.iter().position(|&b| b == b':') else { return Some(NO_COLON) };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() {
        Some(EMPTY_FIELD_NAME)
    } else if is_token(name) {
        (!is_field_value(value)).then_some(BAD_FIELD_VALUE)
    } else if is_token(trim(name)) {
        Some(SPACE_BEFORE_COLON)
    } else {
        Some(BAD_FIELD_NAME)
    }
}
