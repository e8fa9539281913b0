//! A field section as it comes out of decompression (RFC 9113 §8.2, §8.3).

use super::request::{BAD_PSEUDO_FIELD, MISSING_PATH, MISSING_PSEUDO_FIELD, Pseudo};
use crate::error::{BAD_FIELD_NAME, BAD_FIELD_VALUE, ProtocolError};
use crate::fields::{is_field_value, is_token};
use crate::h1::request::Span;

/// What a field costs beside its bytes when a list is measured (RFC 9113 §10.5.1).
const OVERHEAD: usize = 32;
/// How many times the limit is more than a mistake.
const ABSURD: usize = 16;

/// The fields of one request, or of its trailer section. It is used again and again.
#[derive(Debug, Default)]
pub struct Section {
    bytes: Vec<u8>,
    /// Where the name of each field begins, where its value does, and where that ends.
    fields: Vec<[u32; 3]>,
    method: Option<Span>,
    scheme: Option<Span>,
    authority: Option<Span>,
    path: Option<Span>,
    protocol: Option<Span>,
    host: Option<usize>,
    pseudo: bool,
    misplaced: bool,
    size: usize,
    limit: usize,
}

impl Section {
    /// Begins a new one. What is beyond `limit` bytes, as RFC 9113 §10.5.1 counts them, is not kept.
    pub fn begin(&mut self, limit: usize) {
        self.bytes.clear();
        self.fields.clear();
        *self = Self {
            bytes: std::mem::take(&mut self.bytes),
            fields: std::mem::take(&mut self.fields),
            limit: limit.min(Span::LARGEST),
            ..Self::default()
        };
    }

    /// Adds a field line.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        self.size = self.size.saturating_add(name.len() + value.len() + OVERHEAD);
        if self.size > self.limit {
            return;
        }
        if name.first() == Some(&b':') {
            return self.add_pseudo(name, value);
        }
        if name == b"host" && self.host.is_none() {
            self.host = Some(self.fields.len());
        }
        let start = self.bytes.len();
        let middle = start + name.len();
        let end = middle + value.len();
        self.bytes.reserve(end - start);
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        // All that is kept is below the limit.
        self.fields.push([start as u32, middle as u32, end as u32]);
    }

    fn add_pseudo(&mut self, name: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        let place = match name {
            b":method" => &mut self.method,
            b":scheme" => &mut self.scheme,
            b":authority" => &mut self.authority,
            b":path" => &mut self.path,
            b":protocol" => &mut self.protocol,
            _ => {
                self.misplaced = true;
                return;
            }
        };
        // Once each, and in front of all others.
        self.misplaced |= place.is_some() || !self.fields.is_empty();
        self.pseudo = true;
        *place = Some(Span::new(start, start + value.len()));
        self.bytes.extend_from_slice(value);
    }

    /// Whether it has more than the limit.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.size > self.limit
    }

    /// Whether it is so far beyond the limit that nobody means it: few bytes can stand for many (CVE-2016-6581).
    pub(super) fn is_absurd(&self) -> bool {
        self.size / ABSURD > self.limit
    }

    fn of(&self, span: Option<Span>) -> Option<&[u8]> {
        span.map(|span| span.of(&self.bytes))
    }

    /// The pseudo-header fields, as far as they are there.
    #[must_use]
    pub fn pseudo(&self) -> Pseudo<'_> {
        Pseudo {
            method: self.of(self.method).unwrap_or_default(),
            authority: self.of(self.authority),
            host: self.host.map(|at| self.spans(at).1.of(&self.bytes)),
            path: self.of(self.path),
            protocol: self.of(self.protocol),
        }
    }

    pub(super) fn method_span(&self) -> Span {
        self.method.unwrap_or_default()
    }

    pub(super) fn path_span(&self) -> Span {
        self.path.unwrap_or_default()
    }

    pub(super) fn authority_span(&self) -> Span {
        self.authority.unwrap_or_default()
    }

    pub(super) fn protocol_span(&self) -> Option<Span> {
        self.protocol
    }

    /// Fields that are no pseudo-header fields.
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// Name and value of one of them.
    pub(super) fn spans(&self, at: usize) -> (Span, Span) {
        let [start, middle, end] = self.fields.get(at).copied().unwrap_or_default();
        (Span { start, end: middle }, Span { start: middle, end })
    }

    /// What all spans point into.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds bytes that are no field.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Span::new(start, self.bytes.len())
    }

    /// Gives the bytes away, and takes others to be overwritten. The section is over.
    pub fn swap_bytes(&mut self, other: &mut Vec<u8>) {
        std::mem::swap(&mut self.bytes, other);
        self.begin(0);
    }

    /// All others, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        (0..self.fields.len()).map(|at| {
            let (name, value) = self.spans(at);
            (name.of(&self.bytes), value.of(&self.bytes))
        })
    }

    /// The values of all fields of this name.
    pub fn values<'s>(&'s self, name: &'s [u8]) -> impl Iterator<Item = &'s [u8]> {
        self.fields().filter(move |(other, _)| *other == name).map(|(_, value)| value)
    }

    /// What is wrong with the pseudo-header fields of a request. `connect`: whether `:protocol` is one of them (RFC 8441 §4).
    pub(super) fn check_request(&self, connect: bool) -> Result<(), ProtocolError> {
        if self.misplaced || self.protocol.is_some() && !connect {
            return Err(BAD_PSEUDO_FIELD);
        }
        let method = self.of(self.method).ok_or(MISSING_PSEUDO_FIELD)?;
        match (method == b"CONNECT", self.protocol.is_some()) {
            // It has neither a scheme nor a path, and is refused as what it is.
            (true, false) => return Ok(()),
            (false, true) => return Err(BAD_PSEUDO_FIELD),
            _ => {}
        }
        if self.scheme.is_none() {
            return Err(MISSING_PSEUDO_FIELD);
        }
        if self.path.is_none_or(|path| path.is_empty()) { Err(MISSING_PATH) } else { Ok(()) }
    }

    /// What is wrong with a trailer section.
    pub(super) fn check_trailers(&self) -> Result<(), ProtocolError> {
        if self.pseudo || self.misplaced {
            return Err(BAD_PSEUDO_FIELD);
        }
        for (name, value) in self.fields() {
            if !is_token(name) || name.iter().any(u8::is_ascii_uppercase) {
                return Err(BAD_FIELD_NAME);
            }
            if !is_field_value(value) {
                return Err(BAD_FIELD_VALUE);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a")];

    fn section(fields: &[(&str, &str)]) -> Section {
        let mut section = Section::default();
        section.begin(1000);
        fields.iter().for_each(|(name, value)| section.add(name.as_bytes(), value.as_bytes()));
        section
    }

    #[test]
    fn pseudo_header_fields_come_once_and_first() {
        let with = |extra: &[(&'static str, &'static str)]| section(&[&GOOD[..], extra].concat()).check_request(false);
        let without = |name: &str| {
            let left: Vec<_> = GOOD.into_iter().filter(|field| field.0 != name).collect();
            section(&left).check_request(false)
        };
        assert_eq!(with(&[]), Ok(()));
        assert_eq!(with(&[(":authority", "a")]), Err(BAD_PSEUDO_FIELD), "behind another");
        assert_eq!(section(&[(":method", "GET"), (":method", "GET")]).check_request(false), Err(BAD_PSEUDO_FIELD));
        assert_eq!(section(&[(":status", "200"), (":method", "GET")]).check_request(false), Err(BAD_PSEUDO_FIELD));
        assert_eq!((without(":method"), without(":scheme")), (Err(MISSING_PSEUDO_FIELD), Err(MISSING_PSEUDO_FIELD)));
        assert_eq!(without(":path"), Err(MISSING_PATH));
        assert_eq!(section(&[(":method", "CONNECT"), (":authority", "a:1")]).check_request(false), Ok(()));
    }

    #[test]
    fn a_protocol_needs_connect_and_that_it_is_allowed() {
        let connect = [(":method", "CONNECT"), (":scheme", "http"), (":path", "/"), (":protocol", "websocket")];
        assert_eq!(section(&connect).check_request(true), Ok(()));
        assert_eq!(section(&connect).check_request(false), Err(BAD_PSEUDO_FIELD));
        let get = [&GOOD[..3], &[(":protocol", "websocket")]].concat();
        assert_eq!(section(&get).check_request(true), Err(BAD_PSEUDO_FIELD));
    }

    #[test]
    fn trailers_have_fields_alone() {
        assert_eq!(section(&[("x-sum", "1")]).check_trailers(), Ok(()));
        assert_eq!(section(&[(":method", "GET")]).check_trailers(), Err(BAD_PSEUDO_FIELD));
        assert_eq!(section(&[("X-Sum", "1")]).check_trailers(), Err(BAD_FIELD_NAME));
        assert_eq!(section(&[("x-sum", "1\n")]).check_trailers(), Err(BAD_FIELD_VALUE));
    }

    #[test]
    fn it_keeps_what_fits_and_is_used_again() {
        let mut section = section(&[&GOOD[..], &[("x-a", "1"), ("x-a", "2")]].concat());
        assert_eq!(section.pseudo().host, Some(&b"a"[..]));
        assert_eq!(section.values(b"x-a").collect::<Vec<_>>(), [b"1", b"2"]);
        for _ in 0..100 {
            section.add(b"x-long", &[b'a'; 100]);
        }
        assert!(section.is_too_large() && !section.is_absurd());
        assert!(section.bytes.len() <= 1000);
        section.add(b"x-long", &[b'a'; 16_000]);
        assert!(section.is_absurd());
        section.begin(1000);
        assert_eq!((section.fields().count(), section.is_too_large(), section.pseudo().host), (0, false, None));
    }
}
