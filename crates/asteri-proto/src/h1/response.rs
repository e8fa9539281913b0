//! Response heads, and which framing the content gets.
//!
//! An application says what it wants to answer; [`HeadWriter`] writes it down so that no recipient can misread where the
//! message ends, straight into the buffer that goes to the socket. It implements RFC 9112 §4 (status line), §6 (framing)
//! and §9.3 (persistence), RFC 9110 §6.4.1 (which responses have no content), §6.6.1 (Date), §7.6.1 (fields that belong to
//! the connection), §8.6 (Content-Length) and §15. Content is written by [`BodyEncoder`].

pub use super::body::{BodyEncoder, Short, Written};
pub use super::date::http_date;
pub use super::field_lines::{FieldLines, Mark};
use super::request::Version;
pub use super::status::reason;
use crate::fields::{decimal, is_field_value, is_named, is_token, list};
use crate::h2::block;
use std::fmt;

/// What a response depends on besides the application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseContext {
    /// The version of the request.
    pub version: Version,
    /// Whether the method of the request is HEAD.
    pub is_head: bool,
    /// Whether the client lets the connection go on and the server wants it to.
    pub keep_alive: bool,
}

/// How the recipient knows where the content ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFraming {
    /// There is none: HEAD, 1xx, 204, 304.
    NoContent,
    /// It has this many bytes.
    Length(u64),
    /// It says so itself.
    Chunked,
    /// The connection is closed: all that HTTP/1.0 has for content of unknown length.
    UntilClose,
    /// The stream of HTTP/2 ends, which ends the content in any case.
    UntilEnd,
}

/// What was decided when a head was finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The framing; [`BodyEncoder::new`] takes it.
    pub framing: ResponseFraming,
    /// Whether the connection is kept once the content has been sent in full.
    pub keep_alive: bool,
}

/// The application asked for a head that cannot be sent. What has been written so far is worthless: the caller truncates
/// its buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// The status is not one of a final (or, for [`interim`], interim) response that can be sent here.
    BadStatus(u16),
    /// The reason phrase has a control byte.
    BadReason,
    /// This field name is not a token.
    BadFieldName(Vec<u8>),
    /// The field of this name has a value with a control byte.
    BadFieldValue(Vec<u8>),
    /// This value of Content-Length is not a decimal number of 64 bits.
    BadLength(Vec<u8>),
    /// There is more than one Content-Length.
    SeveralLengths,
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResponseError::BadStatus(status) => write!(f, "response status {status}: expected 200 to 999"),
            ResponseError::BadReason => {
                f.write_str("reason phrase: expected no control characters such as CR, LF or NUL")
            }
            ResponseError::BadFieldName(name) => {
                write!(
                    f,
                    "response field name \"{}\": expected letters, digits and -!#$%&'*+.^_`|~",
                    name.escape_ascii()
                )
            }
            ResponseError::BadFieldValue(name) => {
                write!(
                    f,
                    "value of response field {}: expected no control characters such as CR, LF or NUL",
                    name.escape_ascii()
                )
            }
            ResponseError::BadLength(value) => {
                write!(f, "Content-Length \"{}\": expected a decimal number", value.escape_ascii())
            }
            ResponseError::SeveralLengths => f.write_str("Content-Length: expected once, got more"),
        }
    }
}

impl std::error::Error for ResponseError {}

/// Writes one response head, field by field, to the end of a buffer: for HTTP/2 as a [`block`], else as it is sent. Allocates
/// nothing beyond the buffer.
#[derive(Debug)]
pub struct HeadWriter<'a> {
    out: &'a mut Vec<u8>,
    ctx: ResponseContext,
    status: u16,
    length: Option<u64>,
    has_date: bool,
    has_server: bool,
    close: bool,
}

impl<'a> HeadWriter<'a> {
    /// Writes the status line. The version in it is always 1.1, also for HTTP/1.0 (RFC 9110 §2.5).
    ///
    /// # Errors
    /// A status that is no final one; a reason phrase with control bytes.
    pub fn start(
        out: &'a mut Vec<u8>,
        ctx: ResponseContext,
        status: u16,
        reason: &[u8],
    ) -> Result<HeadWriter<'a>, ResponseError> {
        if !(200..=999).contains(&status) {
            return Err(ResponseError::BadStatus(status));
        }
        if ctx.version == Version::Http2 {
            // It has no reason phrase (RFC 9113 §8.3.2), but the application's is judged all the same.
            if !is_field_value(reason) {
                return Err(ResponseError::BadReason);
            }
            block::start(out, status);
        } else if status == 200 && reason == b"OK" {
            out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        } else {
            status_line(out, status, reason)?;
        }
        Ok(HeadWriter { out, ctx, status, length: None, has_date: false, has_server: false, close: false })
    }

    /// Writes one field, unless it is about the connection: that is the server's business (RFC 9110 §7.6.1), so the
    /// fields of [`is_hop_by_hop`] are dropped, only `Connection: close` is heeded. Content-Length is dropped where it must
    /// not be (RFC 9110 §8.6).
    ///
    /// # Errors
    /// A name that is no token, a value with control bytes, a Content-Length that is malformed or not the first.
    pub fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), ResponseError> {
        if !is_token(name) {
            return Err(ResponseError::BadFieldName(name.to_vec()));
        }
        if !is_field_value(value) {
            return Err(ResponseError::BadFieldValue(name.to_vec()));
        }
        match name.len() {
            4 if is_named(name, b"Date") => self.has_date = true,
            6 if is_named(name, b"Server") => self.has_server = true,
            14 if is_named(name, b"Content-Length") => {
                let length = decimal(value).ok_or_else(|| ResponseError::BadLength(value.to_vec()))?;
                if self.length.replace(length).is_some() {
                    return Err(ResponseError::SeveralLengths);
                }
                if self.fixed_length() {
                    return Ok(());
                }
            }
            _ if is_hop_by_hop(name) => {
                self.close |= name.eq_ignore_ascii_case(b"connection")
                    && list(value).any(|option| option.eq_ignore_ascii_case(b"close"));
                return Ok(());
            }
            _ => {}
        }
        self.line(name, value);
        Ok(())
    }

    #[inline]
    fn line(&mut self, name: &[u8], value: &[u8]) {
        if self.ctx.version == Version::Http2 {
            block::field(self.out, name, value);
        } else {
            field_line(self.out, name, value);
        }
    }

    /// Writes field lines that were judged before, as [`field`](Self::field) would one by one.
    ///
    /// # Errors
    /// A Content-Length that is malformed or not the first.
    pub fn lines(&mut self, lines: &FieldLines) -> Result<(), ResponseError> {
        let says = lines.says();
        if self.ctx.version == Version::Http2 || !says.is_plain || self.fixed_length() || self.length.is_some() {
            return lines.iter().try_for_each(|(name, value)| self.field(name, value));
        }
        self.length = says.length;
        self.has_date |= says.has_date;
        self.has_server |= says.has_server;
        self.out.extend_from_slice(lines.text());
        Ok(())
    }

    /// 204 has no Content-Length (RFC 9110 §8.6); 205 has no content and says so with a length of 0 (§15.3.6).
    fn fixed_length(&self) -> bool {
        matches!(self.status, 204 | 205)
    }

    /// Decides the framing, adds the fields that are the server's, and ends the head. `known_length` is the length of the
    /// content if the caller has all of it; a length the application declared goes before it. `date` and `server` are
    /// used unless the application has set such a field.
    pub fn finish(mut self, known_length: Option<u64>, date: &[u8; 29], server: Option<&[u8]>) -> Head {
        let (framing, written_length) = self.frame(known_length);
        let keep_alive = self.ctx.keep_alive && !self.close && framing != ResponseFraming::UntilClose;
        if let Some(length) = written_length {
            self.line(b"Content-Length", itoa::Buffer::new().format(length).as_bytes());
        }
        if self.ctx.version == Version::Http2 {
            self.end_block(date, server);
            return Head { framing, keep_alive };
        }
        let out = self.out;
        if framing == ResponseFraming::Chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if !keep_alive {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if self.ctx.version == Version::Http10 {
            // RFC 9112 §9.3: without this a 1.0 client expects the connection to end.
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        if let (Some(server), false) = (server, self.has_server) {
            field_line(out, b"Server", server);
        }
        if self.has_date {
            out.extend_from_slice(b"\r\n");
        } else {
            end_with_date(out, date);
        }
        Head { framing, keep_alive }
    }

    fn end_block(self, date: &[u8; 29], server: Option<&[u8]>) {
        if let (Some(server), false) = (server, self.has_server) {
            block::field(self.out, b"server", server);
        }
        if !self.has_date {
            block::field(self.out, b"date", date);
        }
        block::end(self.out);
    }

    /// The framing, and a Content-Length that is still to be written.
    fn frame(&self, known_length: Option<u64>) -> (ResponseFraming, Option<u64>) {
        match (self.status, self.length, known_length) {
            (204 | 304, ..) => (ResponseFraming::NoContent, None),
            (205, ..) if self.ctx.is_head => (ResponseFraming::NoContent, Some(0)),
            (205, ..) => (ResponseFraming::Length(0), Some(0)),
            // An application may return nothing for HEAD without meaning that GET returns nothing (RFC 9110 §8.6).
            (_, None, Some(length)) if self.ctx.is_head && length > 0 => (ResponseFraming::NoContent, Some(length)),
            _ if self.ctx.is_head => (ResponseFraming::NoContent, None),
            (_, Some(length), _) => (ResponseFraming::Length(length), None),
            (_, None, Some(length)) => (ResponseFraming::Length(length), Some(length)),
            // RFC 9112 §6.1: not to be sent unless the request shows that the client knows HTTP/1.1.
            _ if self.ctx.version == Version::Http10 => (ResponseFraming::UntilClose, None),
            _ if self.ctx.version == Version::Http2 => (ResponseFraming::UntilEnd, None),
            _ => (ResponseFraming::Chunked, None),
        }
    }
}

/// Whether a field describes the connection rather than the message (RFC 9110 §7.6.1, and those that RFC 2616 §13.5.1
/// named, which WSGI forbids to applications).
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    let names: &[&[u8]] = match name.len() {
        2 => &[b"te"],
        7 => &[b"upgrade", b"trailer"],
        8 => &[b"trailers"],
        10 => &[b"connection", b"keep-alive"],
        16 => &[b"proxy-connection"],
        17 => &[b"transfer-encoding"],
        18 => &[b"proxy-authenticate"],
        19 => &[b"proxy-authorization"],
        _ => return false,
    };
    names.iter().any(|hop| name.eq_ignore_ascii_case(hop))
}

/// Writes an interim response (RFC 9110 §15.2): 100, 102 or 103 with their fields. Not for HTTP/1.0 clients. On an error
/// nothing has been written.
///
/// # Errors
/// Another status; a name that is no token, a value with control bytes.
pub fn interim<'f>(
    out: &mut Vec<u8>,
    version: Version,
    status: u16,
    fields: impl IntoIterator<Item = (&'f [u8], &'f [u8])>,
) -> Result<(), ResponseError> {
    // 101 changes the protocol, which is no matter of writing a head.
    if !(100..=199).contains(&status) || status == 101 {
        return Err(ResponseError::BadStatus(status));
    }
    let start = out.len();
    let result = interim_lines(out, version, status, fields);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn interim_lines<'f>(
    out: &mut Vec<u8>,
    version: Version,
    status: u16,
    fields: impl IntoIterator<Item = (&'f [u8], &'f [u8])>,
) -> Result<(), ResponseError> {
    let is_block = version == Version::Http2;
    if is_block {
        block::start(out, status);
    } else {
        status_line(out, status, reason(status).as_bytes())?;
    }
    for (name, value) in fields {
        if !is_token(name) {
            return Err(ResponseError::BadFieldName(name.to_vec()));
        }
        if !is_field_value(value) {
            return Err(ResponseError::BadFieldValue(name.to_vec()));
        }
        // RFC 9110 §8.6: no Content-Length in a 1xx response.
        if is_hop_by_hop(name) || name.eq_ignore_ascii_case(b"content-length") {
            continue;
        }
        if is_block {
            block::field(out, name, value);
        } else {
            field_line(out, name, value);
        }
    }
    if is_block {
        block::end(out);
    } else {
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

/// Writes a whole answer that the server gives itself, with a short text, and says that the connection ends (which HTTP/2 has
/// no field for). `code` is
/// that of a [`crate::error::ProtocolError`] or another constant; nothing that came from outside belongs into it.
pub fn error_response(
    out: &mut Vec<u8>,
    version: Version,
    status: u16,
    code: &str,
    date: &[u8; 29],
    server: Option<&[u8]>,
    is_head: bool,
) {
    let mut number = itoa::Buffer::new();
    let number = number.format(status);
    let phrase = reason(status);
    let text = [number, " ", phrase, "\n", code, "\n"];
    let length: usize = text.iter().map(|part| part.len()).sum();

    let mut digits = itoa::Buffer::new();
    let length = digits.format(length).as_bytes();
    if version == Version::Http2 {
        block::start(out, status);
        block::field(out, b"content-type", b"text/plain; charset=utf-8");
        block::field(out, b"content-length", length);
        if let Some(server) = server {
            block::field(out, b"server", server);
        }
        block::field(out, b"date", date);
        block::end(out);
    } else {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(number.as_bytes());
        out.push(b' ');
        out.extend_from_slice(phrase.as_bytes());
        out.extend_from_slice(b"\r\nContent-Type: text/plain; charset=utf-8\r\n");
        field_line(out, b"Content-Length", length);
        out.extend_from_slice(b"Connection: close\r\n");
        if let Some(server) = server {
            field_line(out, b"Server", server);
        }
        end_with_date(out, date);
    }
    if !is_head {
        text.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    }
}

fn status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) -> Result<(), ResponseError> {
    if !is_field_value(reason) {
        return Err(ResponseError::BadReason);
    }
    out.reserve(128 + reason.len());
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    // The space stays when there is no phrase (RFC 9112 §4).
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn field_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Date and the empty line in one piece: nearly every head ends with them.
pub fn end_with_date(out: &mut Vec<u8>, date: &[u8; 29]) {
    let mut end = *b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";
    end[6..35].copy_from_slice(date);
    out.extend_from_slice(&end);
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &[u8; 29] = b"Mon, 23 Nov 2026 01:02:03 GMT";

    struct Case {
        version: Version,
        is_head: bool,
        keep_alive: bool,
        status: u16,
    }

    const GET: Case = Case { version: Version::Http11, is_head: false, keep_alive: true, status: 200 };

    impl Case {
        fn write(&self, fields: &[(&str, &str)], known: Option<u64>) -> Result<(String, Head), ResponseError> {
            let mut out = Vec::new();
            let ctx = ResponseContext { version: self.version, is_head: self.is_head, keep_alive: self.keep_alive };
            let mut writer = HeadWriter::start(&mut out, ctx, self.status, reason(self.status).as_bytes())?;
            for (name, value) in fields {
                writer.field(name.as_bytes(), value.as_bytes())?;
            }
            let head = writer.finish(known, DATE, Some(b"asteri"));
            Ok((String::from_utf8_lossy(&out).into_owned(), head))
        }

        fn good(&self, fields: &[(&str, &str)], known: Option<u64>) -> (String, Head) {
            self.write(fields, known).expect("a good head")
        }
    }

    fn framing(framing: ResponseFraming, keep_alive: bool) -> Head {
        Head { framing, keep_alive }
    }

    #[test]
    fn a_head_in_full() {
        let (text, head) =
            GET.good(&[("Content-Type", "text/plain"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], Some(3));
        let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                        Content-Length: 3\r\nServer: asteri\r\nDate: Mon, 23 Nov 2026 01:02:03 GMT\r\n\r\n";
        assert_eq!(text, expected);
        assert_eq!(head, framing(ResponseFraming::Length(3), true));
    }

    #[test]
    fn the_application_goes_first_with_date_server_and_length() {
        let (text, head) = GET.good(&[("date", "x"), ("SERVER", "y"), ("content-length", "5")], Some(3));
        assert_eq!(text, "HTTP/1.1 200 OK\r\ndate: x\r\nSERVER: y\r\ncontent-length: 5\r\n\r\n");
        assert_eq!(head, framing(ResponseFraming::Length(5), true));
    }

    #[test]
    fn unknown_length() {
        let (text, head) = GET.good(&[], None);
        assert!(text.contains("\r\nTransfer-Encoding: chunked\r\n"));
        assert_eq!(head, framing(ResponseFraming::Chunked, true));
        let (text, head) = Case { version: Version::Http10, ..GET }.good(&[], None);
        assert!(!text.contains("Transfer-Encoding") && text.contains("\r\nConnection: close\r\n"));
        assert_eq!(head, framing(ResponseFraming::UntilClose, false));
    }

    #[test]
    fn persistence_is_said_when_it_is_not_the_default() {
        let (text, head) = GET.good(&[], Some(1));
        assert!(!text.contains("Connection") && head.keep_alive);
        let (text, head) = Case { version: Version::Http10, ..GET }.good(&[], Some(1));
        assert!(text.contains("\r\nConnection: keep-alive\r\n") && head.keep_alive);
        let (text, head) = Case { keep_alive: false, ..GET }.good(&[], Some(1));
        assert!(text.contains("\r\nConnection: close\r\n") && !head.keep_alive);
    }

    #[test]
    fn responses_without_content() {
        let (text, head) = Case { status: 204, ..GET }.good(&[("Content-Length", "5")], Some(5));
        assert!(!text.contains("Content-Length") && !text.contains("Transfer-Encoding"));
        assert_eq!(head, framing(ResponseFraming::NoContent, true));
        let (text, head) = Case { status: 304, ..GET }.good(&[("Content-Length", "5")], Some(0));
        assert!(text.contains("Content-Length: 5\r\n"));
        assert_eq!(head, framing(ResponseFraming::NoContent, true));
        let (text, head) = Case { status: 304, ..GET }.good(&[], None);
        assert!(!text.contains("Content-Length") && !text.contains("Transfer-Encoding"));
        assert_eq!(head, framing(ResponseFraming::NoContent, true));
        let (text, head) = Case { status: 205, ..GET }.good(&[("Content-Length", "5")], None);
        assert!(text.contains("Content-Length: 0\r\n") && !text.contains("Content-Length: 5"));
        assert_eq!(head, framing(ResponseFraming::Length(0), true));
    }

    #[test]
    fn head_says_what_get_would_say_if_that_is_known() {
        let head_request = Case { is_head: true, ..GET };
        for (fields, known, length) in [
            (&[("Content-Length", "5")][..], Some(0), Some("5")),
            (&[][..], Some(7), Some("7")),
            (&[][..], Some(0), None),
            (&[][..], None, None),
        ] {
            let (text, head) = head_request.good(fields, known);
            let written = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            assert_eq!(written, length);
            assert!(!text.contains("Transfer-Encoding"));
            assert_eq!(head, framing(ResponseFraming::NoContent, true));
        }
    }

    #[test]
    fn the_connection_is_the_servers() {
        for name in
            ["Keep-Alive", "Transfer-Encoding", "TE", "Trailer", "Upgrade", "Proxy-Connection", "Proxy-Authenticate"]
        {
            let (text, _) = GET.good(&[(name, "chunked")], Some(0));
            assert!(!text.contains(name), "{text}");
        }
        let (text, head) = GET.good(&[("Connection", "foo, Close"), ("X", "y")], Some(0));
        assert!(text.contains("\r\nX: y\r\n") && text.contains("Connection: close") && !text.contains("foo"));
        assert!(!head.keep_alive);
        let (text, head) = Case { keep_alive: false, ..GET }.good(&[("Connection", "keep-alive")], Some(0));
        assert!(text.contains("Connection: close") && !head.keep_alive);
    }

    #[test]
    fn nothing_can_be_injected() {
        for value in ["a\r\nX: y", "a\nb", "a\rb", "a\0", "\x7f", "\x1b[0m"] {
            assert_eq!(GET.write(&[("X", value)], None), Err(ResponseError::BadFieldValue(b"X".to_vec())));
        }
        for name in ["", "X Y", "X:", "X\r\nY", "\u{e9}"] {
            assert_eq!(GET.write(&[(name, "v")], None), Err(ResponseError::BadFieldName(name.as_bytes().to_vec())));
        }
        let mut out = Vec::new();
        let ctx = ResponseContext { version: Version::Http11, is_head: false, keep_alive: true };
        assert_eq!(HeadWriter::start(&mut out, ctx, 200, b"OK\r\nX: y").err(), Some(ResponseError::BadReason));
        assert!(GET.write(&[("X", "caf\u{e9}\t!")], None).is_ok());
    }

    #[test]
    fn lengths_are_checked() {
        for value in ["", "+3", "0x3", "3,3", "a", "18446744073709551616", " 3"] {
            assert_eq!(
                GET.write(&[("Content-Length", value)], None),
                Err(ResponseError::BadLength(value.as_bytes().to_vec()))
            );
        }
        let twice = GET.write(&[("Content-Length", "3"), ("content-length", "3")], None);
        assert_eq!(twice, Err(ResponseError::SeveralLengths));
        assert_eq!(
            Case { status: 204, ..GET }.write(&[("Content-Length", "x")], None).err(),
            Some(ResponseError::BadLength(b"x".to_vec()))
        );
    }

    #[test]
    fn statuses_that_end_a_request() {
        for status in [0, 99, 100, 101, 199, 1000] {
            assert_eq!(Case { status, ..GET }.write(&[], None).err(), Some(ResponseError::BadStatus(status)));
        }
        assert!(Case { status: 999, ..GET }.good(&[], Some(0)).0.starts_with("HTTP/1.1 999 \r\n"));
    }

    #[test]
    fn interim_responses() {
        let mut out = b"before".to_vec();
        interim(&mut out, Version::Http11, 100, []).expect("100");
        let link: (&[u8], &[u8]) = (b"Link", b"</a.css>; rel=preload");
        interim(&mut out, Version::Http11, 103, [link, (b"Content-Length", b"3"), (b"Connection", b"close")])
            .expect("103");
        let expected =
            "beforeHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        let length = out.len();
        let bad: (&[u8], &[u8]) = (b"Link", b"a\r\nb");
        assert_eq!(
            interim(&mut out, Version::Http11, 103, [link, bad]),
            Err(ResponseError::BadFieldValue(b"Link".to_vec()))
        );
        assert_eq!(interim(&mut out, Version::Http11, 101, []), Err(ResponseError::BadStatus(101)));
        assert_eq!(out.len(), length);
    }

    #[test]
    fn our_own_errors_have_a_text_but_not_for_head() {
        let mut out = Vec::new();
        error_response(&mut out, Version::Http11, 400, "bare-lf", DATE, None, false);
        let expected = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 24\r\n\
                        Connection: close\r\nDate: Mon, 23 Nov 2026 01:02:03 GMT\r\n\r\n400 Bad Request\nbare-lf\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        out.clear();
        error_response(&mut out, Version::Http11, 400, "bare-lf", DATE, None, true);
        assert_eq!(String::from_utf8_lossy(&out), expected[..expected.len() - 24]);
    }
}
