//! The dynamic table (RFC 7541 §2.3.2, §4), of the decoder as of the encoder.
//!
//! All entries stand in one buffer, the oldest first. Room at its beginning that entries have left is taken back when the buffer is full
//! and at least half of it is such room: so each byte is moved once on average, and the buffer takes at most twice the limit, rounded
//! up to a power of two. There is no allocation before the first entry.

use std::collections::VecDeque;
use std::fmt;

/// What an entry counts beside its bytes (RFC 7541 §4.1).
const OVERHEAD: usize = 32;
/// The largest limit that has an effect, far above any that is in use.
const LARGEST_LIMIT: usize = 1 << 28;
/// Bytes of the first buffer.
const FIRST_BUFFER: usize = 256;

/// The golden ratio, odd: its multiples spread evenly over the first bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What an entry with this name and this value counts, in bytes.
pub(super) const fn size_of(name: &[u8], value: &[u8]) -> usize {
    name.len().saturating_add(value.len()).saturating_add(OVERHEAD)
}

/// A number for a text that is cheap to get: of its length, its first and its last bytes. Its first bits are the best mixed.
pub(super) const fn digest(text: &[u8]) -> u64 {
    let (head, tail) = if let (Some(head), Some(tail)) = (text.first_chunk(), text.last_chunk()) {
        (u64::from_le_bytes(*head), u64::from_le_bytes(*tail))
    } else if let (Some(head), Some(tail)) = (text.first_chunk(), text.last_chunk()) {
        (u32::from_le_bytes(*head) as u64, u32::from_le_bytes(*tail) as u64)
    } else if let (Some(head), Some(tail)) = (text.first_chunk::<1>(), text.last_chunk::<1>()) {
        (head[0] as u64 | (text[text.len() / 2] as u64) << 8, tail[0] as u64)
    } else {
        (0, 0)
    };
    mix(head.wrapping_add((text.len() as u64).wrapping_mul(SPREAD)), tail)
}

/// One number of two.
pub(super) const fn mix(a: u64, b: u64) -> u64 {
    (a.wrapping_mul(SPREAD).rotate_left(32) ^ b).wrapping_mul(SPREAD)
}

/// Where an entry stands in the buffer: its value behind its name.
#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    name: u32,
    value: u32,
}

/// See the module.
pub(super) struct DynamicTable {
    bytes: Vec<u8>,
    /// The oldest first; there is nothing between them.
    entries: VecDeque<Entry>,
    /// What all entries count, in bytes (RFC 7541 §4.1).
    size: usize,
    limit: usize,
}

/// Without the entries: there may be secrets in them.
impl fmt::Debug for DynamicTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = f.debug_struct("DynamicTable");
        told.field("entries", &self.entries.len()).field("size", &self.size).field("limit", &self.limit).finish()
    }
}

impl DynamicTable {
    /// An empty one that may become as large as `limit`, in bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), entries: VecDeque::new(), size: 0, limit: limit.min(LARGEST_LIMIT) }
    }

    /// How large it may become, in bytes.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// The number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry before which `newer` ones were added.
    pub(super) fn get(&self, newer: usize) -> Option<(&[u8], &[u8])> {
        let entry = self.entries.get(self.entries.len().checked_sub(newer)?.checked_sub(1)?)?;
        let text = self.bytes.get(entry.start as usize..)?.get(..(entry.name + entry.value) as usize)?;
        text.split_at_checked(entry.name as usize)
    }

    /// Changes how large it may become (RFC 7541 §4.3).
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(LARGEST_LIMIT);
        self.evict(self.limit);
        if self.bytes.capacity() / 2 > self.limit.next_power_of_two() {
            self.reclaim();
            self.bytes.shrink_to_fit();
        }
        if self.entries.capacity() / 2 > (self.limit / OVERHEAD).next_power_of_two() {
            self.entries.shrink_to_fit();
        }
    }

    /// Adds an entry, for which others have to leave; one that is larger than the table leaves it empty (RFC 7541 §4.4).
    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) {
        let size = size_of(name, value);
        self.evict(self.limit.saturating_sub(size));
        if size > self.limit {
            return;
        }
        self.make_room(name.len() + value.len());
        // All of it is below twice the limit.
        let entry = Entry { start: self.bytes.len() as u32, name: name.len() as u32, value: value.len() as u32 };
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.entries.push_back(entry);
        self.size += size;
    }

    /// Lets the oldest entries go, until they all count `most` bytes at most.
    fn evict(&mut self, most: usize) {
        while self.size > most
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= (entry.name + entry.value) as usize + OVERHEAD;
        }
        if self.entries.is_empty() {
            self.bytes.clear();
        }
    }

    /// Bytes at the beginning of the buffer that belong to no entry any more.
    fn left(&self) -> usize {
        self.entries.front().map_or(self.bytes.len(), |oldest| oldest.start as usize)
    }

    fn make_room(&mut self, bytes: usize) {
        if self.bytes.len() + bytes <= self.bytes.capacity() {
            return;
        }
        if self.left() >= self.bytes.len() / 2 {
            self.reclaim();
        }
        let needed = self.bytes.len() + bytes;
        if needed > self.bytes.capacity() {
            self.bytes.reserve_exact(needed.next_power_of_two().max(FIRST_BUFFER) - self.bytes.len());
        }
    }

    /// Moves the entries to the beginning of the buffer.
    fn reclaim(&mut self) {
        let left = self.left();
        self.bytes.drain(..left);
        for entry in &mut self.entries {
            entry.start -= left as u32;
        }
    }
}

#[cfg(test)]
impl DynamicTable {
    /// What it counts, which has been checked to be within its bounds.
    pub(super) fn checked_size(&self) -> usize {
        let counted: usize = (0..self.len()).filter_map(|newer| self.get(newer)).map(|(n, v)| size_of(n, v)).sum();
        assert_eq!((self.size, self.get(self.len())), (counted, None));
        assert!(self.size <= self.limit);
        assert!(self.bytes.capacity() <= (2 * self.limit).next_power_of_two().max(FIRST_BUFFER));
        assert!(self.entries.capacity() <= 2 * (self.limit / OVERHEAD).next_power_of_two().max(4));
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(table: &DynamicTable) -> String {
        (0..table.len()).map(|newer| table.get(newer).map_or('-', |(name, _)| char::from(name[0]))).collect()
    }

    #[test]
    fn an_unused_table_owns_nothing() {
        let mut table = DynamicTable::new(4096);
        assert_eq!((table.bytes.capacity(), table.entries.capacity()), (0, 0));
        table.set_limit(0);
        table.add(b"name", b"value");
        assert_eq!((table.bytes.capacity(), table.entries.capacity(), table.get(0)), (0, 0, None));
    }

    #[test]
    fn the_oldest_leave_for_the_new() {
        let mut table = DynamicTable::new(3 * 40);
        for name in [b"aaaa", b"bbbb", b"cccc"] {
            table.add(name, b"1234");
        }
        assert_eq!((names(&table).as_str(), table.checked_size()), ("cba", 120));
        table.add(b"dddd", b"123");
        assert_eq!(
            (names(&table).as_str(), table.checked_size()),
            ("dcb", 119),
            "one byte less does not bring it back"
        );
        table.add(b"eeee", b"12345");
        assert_eq!((names(&table).as_str(), table.checked_size()), ("edc", 120));
        table.add(b"ffff", b"123456");
        assert_eq!((names(&table).as_str(), table.checked_size()), ("fe", 83), "two have to leave");
        assert_eq!(table.get(1), Some((&b"eeee"[..], &b"12345"[..])));
        assert_eq!((table.get(2), table.get(usize::MAX)), (None, None));
    }

    #[test]
    fn what_is_larger_than_the_table_empties_it() {
        let mut table = DynamicTable::new(100);
        table.add(b"a", b"b");
        table.add(b"", &[0; 68]);
        assert_eq!((table.len(), table.checked_size()), (1, 100), "exactly as large");
        table.add(b"a", b"b");
        table.add(b"", &[0; 69]);
        assert_eq!((table.len(), table.checked_size()), (0, 0));
        table.add(b"a", b"b");
        assert_eq!(names(&table), "a");
    }

    #[test]
    fn a_smaller_limit_lets_entries_and_memory_go() {
        let mut table = DynamicTable::new(4096);
        for _ in 0..200 {
            table.add(b"name", &[0; 64]);
        }
        assert_eq!((table.len(), table.checked_size()), (40, 4000));
        table.set_limit(1000);
        assert_eq!((table.len(), table.checked_size()), (10, 1000));
        table.set_limit(999);
        assert_eq!((table.len(), table.checked_size()), (9, 900));
        table.set_limit(0);
        assert_eq!((table.len(), table.checked_size(), table.bytes.capacity()), (0, 0, 0));
        table.set_limit(usize::MAX);
        assert_eq!(table.limit(), LARGEST_LIMIT);
    }

    #[test]
    fn entries_stay_whole_while_the_buffer_is_used_again() {
        let mut table = DynamicTable::new(1000);
        let text = |number: usize| vec![number as u8; number * 7 % 120];
        for number in 0..5000 {
            table.add(&text(number), &text(number + 1));
            for newer in 0..table.len() {
                let number = number - newer;
                assert_eq!(table.get(newer), Some((&text(number)[..], &text(number + 1)[..])));
            }
            table.checked_size();
        }
    }

    #[test]
    fn digests_tell_apart_what_differs_at_either_end_or_in_length() {
        let digests: std::collections::BTreeSet<u64> = (0..40)
            .flat_map(|length| {
                let plain = vec![b'a'; length];
                let (mut first, mut last) = (plain.clone(), plain.clone());
                first.iter_mut().take(1).for_each(|byte| *byte = b'b');
                last.iter_mut().rev().take(1).for_each(|byte| *byte = b'c');
                [plain, first, last]
            })
            .map(|text| digest(&text) >> 48)
            .collect();
        assert_eq!(digests.len(), 3 * 40 - 2, "three of each length but none");
    }
}
