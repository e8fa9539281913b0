//! From HTTP/1.1 to HTTP/2 on the same connection (RFC 7540 §3.2, which RFC 9113 has given up and clients still know).
//!
//! The request that asks for it becomes the first stream. Clients send their preface behind it; to the connection it is told as if they
//! had sent the request in a frame behind that, and the settings of the field HTTP2-Settings in front of their own.

use super::frames::{self, Frame, HEADER, PREFACE};
use crate::fields::list;
use crate::h1::request::{BodyFraming, RequestHead, Version};
use crate::h1::response::is_hop_by_hop;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The response that begins it.
pub const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";

/// A request that is to become a stream has a field section of at most so many bytes: one frame of the size that everybody takes.
const LARGEST: usize = 16_384;

/// What a client asks to go on with.
#[derive(Debug)]
pub struct Upgrade {
    /// Payload of SETTINGS.
    settings: Vec<u8>,
    /// The request as a field section that uses no table.
    section: Vec<u8>,
    /// What came behind the request, until it is enough.
    received: Vec<u8>,
}

/// Whether a request asks for HTTP/2, and can have it: one with content cannot, and is served as what it is (a server may do so).
#[must_use]
pub fn offer(head: &RequestHead, buf: &[u8]) -> Option<Upgrade> {
    let names = |field: &'static str, token: &[u8]| {
        head.find_all(buf, field).flat_map(list).any(|element| element.eq_ignore_ascii_case(token))
    };
    let asks = head.version == Version::Http11
        && head.framing == BodyFraming::None
        && names("upgrade", b"h2c")
        && names("connection", b"upgrade")
        && names("connection", b"http2-settings");
    if !asks {
        return None;
    }
    let mut values = head.find_all(buf, "http2-settings");
    let settings = decoded(values.next().filter(|_| values.next().is_none())?)?;
    let host = head.host?.of(buf);
    if settings.len() % 6 != 0 || settings.len() > LARGEST / 2 || host.is_empty() {
        return None;
    }
    let mut section = Vec::with_capacity(head.len + 64);
    literal(&mut section, b":method", head.method.of(buf));
    literal(&mut section, b":scheme", b"http");
    literal(&mut section, b":authority", host);
    let path = match head.query {
        Some(query) => [head.path.of(buf), b"?", query.of(buf)].concat(),
        None => head.path.of(buf).to_vec(),
    };
    literal(&mut section, b":path", &path);
    for field in &head.fields {
        let name = field.name.of(buf).to_ascii_lowercase();
        if !is_hop_by_hop(&name) && name != b"http2-settings" && name != b"host" {
            literal(&mut section, &name, field.value.of(buf));
        }
    }
    (section.len() <= LARGEST).then_some(Upgrade { settings, section, received: Vec::new() })
}

/// `base64url` without padding (RFC 4648 §5).
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = vec![0; text.len().min(LARGEST)];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// RFC 7541 §6.2.2, without Huffman coding.
fn literal(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0);
    for text in [name, value] {
        // RFC 7541 §5.1, with a prefix of seven bits.
        match u8::try_from(text.len()) {
            Ok(short @ 0..127) => out.push(short),
            _ => {
                let mut left = text.len() - 127;
                out.push(127);
                while left >= 128 {
                    out.push((left % 128) as u8 | 128);
                    left /= 128;
                }
                out.push(left as u8);
            }
        }
        out.extend_from_slice(text);
    }
}

impl Upgrade {
    /// Takes what came behind the request. `Some` as soon as it is known what the connection is to be told.
    pub fn receive(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.received.extend_from_slice(bytes);
        let known = self.received.len().min(PREFACE.len());
        if self.received[..known] != PREFACE[..known] {
            // Not for us to explain.
            return Some(std::mem::take(&mut self.received));
        }
        let frame = Frame::of(self.received.get(PREFACE.len()..)?.first_chunk::<HEADER>()?);
        let length = frame.length as usize;
        if frame.kind != frames::SETTINGS || frame.flags & frames::ACK != 0 || length > LARGEST / 2 {
            return Some(std::mem::take(&mut self.received));
        }
        let start = PREFACE.len() + HEADER;
        let own = self.received.get(start..start + length)?;
        let mut told = PREFACE.to_vec();
        let frame_of =
            |kind, flags, stream, payload: &[u8]| Frame { length: payload.len() as u32, kind, flags, stream }.header();
        // What comes later goes before.
        let settings = [&self.settings[..], own].concat();
        told.extend_from_slice(&frame_of(frames::SETTINGS, frame.flags, frame.stream, &settings));
        told.extend_from_slice(&settings);
        let flags = frames::END_STREAM | frames::END_HEADERS;
        told.extend_from_slice(&frame_of(frames::HEADERS, flags, 1, &self.section));
        told.extend_from_slice(&self.section);
        told.extend_from_slice(&self.received[start + length..]);
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::request::parse;
    use crate::limits::Config;

    fn asked(extra: &str) -> Option<Upgrade> {
        let request = format!("GET /a?b HTTP/1.1\r\nHost: h\r\nX-A: {}\r\n{extra}\r\n", "v".repeat(300));
        let mut head = RequestHead::default();
        parse(request.as_bytes(), &mut head, &Config::default()).unwrap().unwrap();
        offer(&head, request.as_bytes())
    }

    const GOOD: &str = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n";

    #[test]
    fn what_asks_for_it_and_what_does_not() {
        assert!(asked(GOOD).is_some());
        assert!(asked("").is_none());
        for (from, to) in [
            (", HTTP2-Settings", ""),
            ("Upgrade: h2c", "Upgrade: websocket"),
            ("Upgrade: h2c", "Content-Length: 1\r\nUpgrade: h2c"),
            ("AAMAAABkAAQAoAAA", "AAMA"),
            ("AAMAAABkAAQAoAAA", "!"),
            ("HTTP2-Settings: A", "HTTP2-Settings: A\r\nHTTP2-Settings: A"),
        ] {
            assert!(asked(&GOOD.replace(from, to)).is_none(), "{to}");
        }
    }

    #[test]
    fn the_request_stands_behind_the_settings_of_both_however_they_come() {
        let mut sent = PREFACE.to_vec();
        sent.extend_from_slice(&Frame { length: 6, kind: frames::SETTINGS, flags: 0, stream: 0 }.header());
        sent.extend_from_slice(&[0, 4, 0, 0, 0, 9]);
        sent.extend_from_slice(b"rest");
        let whole = asked(GOOD).unwrap().receive(&sent).unwrap();
        assert!(whole.starts_with(PREFACE) && whole.ends_with(b"rest"));
        let frame = Frame::of(whole[PREFACE.len()..].first_chunk().unwrap());
        assert_eq!((frame.kind, frame.length), (frames::SETTINGS, 18));
        let last = &whole[PREFACE.len() + HEADER + 12..][..6];
        assert_eq!(last, [0, 4, 0, 0, 0, 9], "the later value counts");
        let mut upgrade = asked(GOOD).unwrap();
        let mut told = Vec::new();
        for byte in &sent {
            told.extend(upgrade.receive(&[*byte]).unwrap_or_default());
            if !told.is_empty() {
                break;
            }
        }
        assert_eq!(told, whole[..whole.len() - 4]);
        assert_eq!(asked(GOOD).unwrap().receive(b"GET / HTTP/1.1\r\n"), Some(b"GET / HTTP/1.1\r\n".to_vec()));
    }
}
