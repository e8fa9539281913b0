//! Writes field blocks (RFC 7541 §6).
//!
//! A field that has been sent before takes one index. What is worth that, and what must not be remembered, is decided here:
//! * Secrets are never indexed, neither here nor by whoever passes them on: somebody whose own fields travel over the same connection could
//!   find them out by trying (RFC 7541 §7.1.3).
//! * Values that differ each time, or are large, would only drive others out of the table.

use super::INITIAL_LIMIT;
use super::dynamic_table::{DynamicTable, digest, mix, size_of};
use super::primitives::{put_integer, put_text};
use super::static_table::{self, STATUS, same};
use std::collections::VecDeque;
use std::fmt;

/// An entry may take one part in so many of the table.
const SHARE: usize = 4;

/// Lines of a field block of which it is remembered what they were: the heads of a connection's responses resemble each other.
const PLACES: usize = 8;

/// The part of a tag that is made of the name alone.
const NAME_OF_TAG: u32 = 0xffff_0000;
/// Tags that are compared together.
const TAGS_AT_A_TIME: usize = 16;

/// Names whose values are secrets, or what others can be made of.
const SECRETS: [&[u8]; 6] =
    [b"authorization", b"cookie", b"proxy-authenticate", b"proxy-authorization", b"set-cookie", b"www-authenticate"];
/// Names whose values hardly come a second time.
const CHANGING: [&[u8]; 9] = [
    b":path",
    b"age",
    b"content-length",
    b"content-location",
    b"content-range",
    b"etag",
    b"if-none-match",
    b"last-modified",
    b"location",
];

/// How a field is written that is in no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Literal {
    /// It becomes an entry (RFC 7541 §6.2.1).
    Indexed,
    /// It does not (RFC 7541 §6.2.2).
    Passing,
    /// It must not become one anywhere (RFC 7541 §6.2.3).
    Secret,
}

/// By the index of a name in the static table, for those that have one.
static LITERALS: [Literal; static_table::LENGTH + 1] = {
    let mut literals = [Literal::Indexed; static_table::LENGTH + 1];
    let mut marked = 0;
    let mut at = 0;
    while at < static_table::LENGTH {
        let name = static_table::TABLE[at].0;
        let literal = if is_among(name, &SECRETS) {
            Literal::Secret
        } else if is_among(name, &CHANGING) {
            Literal::Passing
        } else {
            Literal::Indexed
        };
        if !matches!(literal, Literal::Indexed) {
            literals[at + 1] = literal;
            marked += 1;
        }
        at += 1;
    }
    // All of them are in the table; `:path` is there twice.
    assert!(marked == SECRETS.len() + CHANGING.len() + 1);
    literals
};

const fn is_among(name: &[u8], names: &[&[u8]]) -> bool {
    let mut at = 0;
    while at < names.len() {
        if same(name, names[at]) {
            return true;
        }
        at += 1;
    }
    false
}

/// How a field is written whose name is not in the static table.
fn unknown(name: &[u8]) -> Literal {
    match name {
        b"authentication-info" | b"proxy-authentication-info" | b"x-api-key" | b"x-auth-token" | b"x-csrf-token" => {
            Literal::Secret
        }
        b"server-timing" | b"traceparent" | b"x-correlation-id" | b"x-process-time" | b"x-request-id"
        | b"x-response-time" | b"x-runtime" | b"x-trace-id" => Literal::Passing,
        _ => Literal::Indexed,
    }
}

/// One direction of a connection, on the side that sends.
pub struct Encoder {
    pub(super) table: DynamicTable,
    /// Of each entry, the oldest first: the first half of it from the name alone, the second half from all.
    pub(super) tags: VecDeque<u32>,
    /// How many entries there have ever been; it may overflow.
    added: u32,
    /// By its place in a block, what that was when the entry was new that stood for the last field line there.
    usual: [u32; PLACES],
    /// Of the next field line.
    place: usize,
    /// The smallest and the last limit that were set since the last block began.
    changed: Option<(usize, usize)>,
}

/// Without what has been sent.
impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("table", &self.table).field("changed", &self.changed).finish_non_exhaustive()
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// With a table of at most 4096 bytes, whatever the peer would keep beyond it.
    #[must_use]
    pub fn new() -> Self {
        Self {
            table: DynamicTable::new(INITIAL_LIMIT),
            tags: VecDeque::new(),
            added: 0,
            usual: [0; PLACES],
            place: 0,
            changed: None,
        }
    }

    /// The peer has announced this `SETTINGS_HEADER_TABLE_SIZE`, in bytes. It takes effect when the next block begins.
    pub fn set_limit(&mut self, bytes: u32) {
        let limit = INITIAL_LIMIT.min(bytes as usize);
        let smallest = self.changed.map_or(limit, |(smallest, _)| smallest.min(limit));
        self.changed = Some((smallest, limit));
    }

    /// Begins a field block: tells the peer first if the table changes its size (RFC 7541 §4.2).
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        self.place = 0;
        if let Some((smallest, last)) = self.changed.take() {
            for limit in [smallest.min(self.table.limit()), last] {
                if limit != self.table.limit() {
                    put_integer(out, 0x20, 5, limit);
                    self.table.set_limit(limit);
                    self.forget();
                }
            }
        }
    }

    /// The field `:status`.
    pub fn status(&mut self, out: &mut Vec<u8>, status: u16) {
        let index = match status {
            200 => STATUS,
            204 => STATUS + 1,
            206 => STATUS + 2,
            304 => STATUS + 3,
            400 => STATUS + 4,
            404 => STATUS + 5,
            500 => STATUS + 6,
            _ => return self.field(out, b":status", itoa::Buffer::new().format(status).as_bytes()),
        };
        out.push(0x80 | index as u8);
    }

    /// A field line. The name is in lower case (RFC 9113 §8.2).
    pub fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        let place = self.place;
        self.place += 1;
        if let Some(last) = self.usual.get(place) {
            // It is looked at whether that is the one, so it does no harm if it has left the table.
            let newer = self.added.wrapping_sub(*last) as usize;
            if self.table.get(newer) == Some((name, value)) {
                return put_integer(out, 0x80, 7, static_table::LENGTH + 1 + newer);
            }
        }
        let name_digest = digest(name);
        let known = static_table::find_name(name, name_digest);
        let literal = match known {
            Some(index) => {
                if let Some(index) = static_table::find_value(index, name, value) {
                    return put_integer(out, 0x80, 7, index);
                }
                LITERALS[index]
            }
            None => unknown(name),
        };
        let worth_it = literal == Literal::Indexed && size_of(name, value) <= self.table.limit() / SHARE;
        let tag = tag(name_digest, value);
        if worth_it && let Some(newer) = self.find(tag, u32::MAX, |entry| entry == (name, value)) {
            self.remember(place, newer);
            return put_integer(out, 0x80, 7, static_table::LENGTH + 1 + newer);
        }
        let index = known.or_else(|| {
            let newer = self.find(tag, NAME_OF_TAG, |entry| entry.0 == name)?;
            Some(static_table::LENGTH + 1 + newer)
        });
        let (pattern, bits) = match literal {
            Literal::Secret => (0x10, 4),
            Literal::Indexed if worth_it => (0x40, 6),
            Literal::Indexed | Literal::Passing => (0, 4),
        };
        put_integer(out, pattern, bits, index.unwrap_or(0));
        if index.is_none() {
            put_text(out, name);
        }
        put_text(out, value);
        if worth_it {
            self.table.add(name, value);
            self.tags.push_back(tag);
            self.added = self.added.wrapping_add(1);
            self.remember(place, 0);
            self.forget();
        }
    }

    /// What the field line at this place was.
    fn remember(&mut self, place: usize, newer: usize) {
        if let Some(usual) = self.usual.get_mut(place) {
            *usual = self.added.wrapping_sub(newer as u32);
        }
    }

    /// How many entries are newer than the newest of those that have this tag, as far as `mask` says, and of which `is` is true.
    fn find(&self, tag: u32, mask: u32, is: impl Fn((&[u8], &[u8])) -> bool) -> Option<usize> {
        let like = |other: &u32| (other ^ tag) & mask == 0;
        let among = |tags: &[u32], before: usize| {
            let alike = tags.iter().rev().enumerate().filter(|(_, other)| like(other));
            alike.map(|(at, _)| before + at).find(|newer| self.table.get(*newer).is_some_and(&is))
        };
        let (older, newer) = self.tags.as_slices();
        let mut before = 0;
        for tags in [newer, older] {
            let (rest, groups) = tags.as_rchunks::<TAGS_AT_A_TIME>();
            for group in groups.iter().rev() {
                // All of them are looked at in any case: compilers make vector instructions of it.
                if group.iter().fold(false, |any, other| any | like(other))
                    && let Some(found) = among(group, before)
                {
                    return Some(found);
                }
                before += group.len();
            }
            if let Some(found) = among(rest, before) {
                return Some(found);
            }
            before += rest.len();
        }
        None
    }

    /// Drops the tags of entries that have left the table.
    fn forget(&mut self) {
        while self.tags.len() > self.table.len() {
            self.tags.pop_front();
        }
    }
}

/// See [`Encoder::tags`].
fn tag(name: u64, value: &[u8]) -> u32 {
    ((name >> 32) as u32 & NAME_OF_TAG) | (mix(name, digest(value)) >> 48) as u32
}
