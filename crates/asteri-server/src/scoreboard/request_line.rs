//! The request line that a worker is busy with, kept where others can read it at any time.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};

/// How much of a request line the board keeps.
pub const REQUEST_LINE_BYTES: usize = WORDS * 8;
const WORDS: usize = 30;
/// Request lines up to this length, as most are, are put together in a place of their own, which is sooner cleared.
const SHORT: usize = 64;

/// A short text that one side rewrites often and others read seldom: a sequence lock over atomic words, so that a torn read is
/// noticed and no access is a data race.
#[derive(Default)]
pub(super) struct RequestLine {
    /// Odd while the text is being written.
    sequence: AtomicU32,
    length: AtomicU32,
    words: [AtomicU64; WORDS],
}

impl RequestLine {
    #[inline]
    pub fn write(&self, method: &[u8], target: &[u8]) {
        let length = method.len() + 1 + target.len();
        if length > SHORT {
            return self.write_long(method, target);
        }
        let mut text = [0u8; SHORT];
        text[..method.len()].copy_from_slice(method);
        text[method.len()] = b' ';
        text[method.len() + 1..length].copy_from_slice(target);
        self.put(&text, length);
    }

    fn write_long(&self, method: &[u8], target: &[u8]) {
        let mut text = [0u8; REQUEST_LINE_BYTES];
        let mut length = 0;
        for part in [method, b" ", target] {
            let kept = part.len().min(REQUEST_LINE_BYTES - length);
            text[length..length + kept].copy_from_slice(&part[..kept]);
            length += kept;
        }
        self.put(&text, length);
    }

    /// The text is followed by zeros.
    #[inline]
    fn put(&self, text: &[u8], length: usize) {
        let sequence = self.sequence.load(Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Relaxed);
        // No store of the text may be seen before the sequence is odd.
        fence(Release);
        self.length.store(length as u32, Relaxed);
        for (word, bytes) in self.words.iter().zip(text[..length.next_multiple_of(8)].chunks_exact(8)) {
            word.store(u64::from_ne_bytes(bytes.try_into().unwrap_or_default()), Relaxed);
        }
        self.sequence.store(sequence.wrapping_add(2), Release);
    }

    pub fn read(&self) -> Option<Vec<u8>> {
        // A writer needs nanoseconds; one that was stopped or killed half-way must not hold the reader for ever.
        for _ in 0..1000 {
            let before = self.sequence.load(Acquire);
            if before.is_multiple_of(2) {
                let length = (self.length.load(Relaxed) as usize).min(REQUEST_LINE_BYTES);
                let words = self.words[..length.div_ceil(8)].iter();
                let mut text: Vec<u8> = words.flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect();
                text.truncate(length);
                // No load of the text may happen after the sequence is checked.
                fence(Acquire);
                if self.sequence.load(Relaxed) == before {
                    return Some(text);
                }
            }
            std::hint::spin_loop();
        }
        None
    }

    pub fn clear(&self) {
        self.length.store(0, Relaxed);
        self.sequence.store(0, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_died_half_way_does_not_hold_the_reader() {
        let line = RequestLine::default();
        line.write(b"GET", b"/");
        line.sequence.fetch_add(1, Relaxed);
        assert_eq!(line.read(), None);
    }
}
