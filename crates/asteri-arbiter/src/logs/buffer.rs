//! The memory in which a record is put together: one buffer per thread, kept from record to record.

use std::cell::Cell;

/// A record larger than this (a huge traceback) does not stay allocated for the life of the thread.
const KEPT_BYTES: usize = 64 * 1024;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Calls `f` with an empty buffer of this thread.
///
/// The buffer is taken out while `f` runs. A record written from inside `f` (a field whose rendering logs something), or
/// while the thread is being torn down, gets a fresh buffer instead of a panic.
pub(super) fn with_buffer<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
    buffer.clear();
    let result = f(&mut buffer);
    if buffer.capacity() <= KEPT_BYTES {
        // Fails only during thread tear-down, when there is no next record.
        let _ = BUFFER.try_with(|cell| cell.set(buffer));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_is_kept_emptied_and_bounded() {
        let first = with_buffer(|b| {
            b.extend_from_slice(b"record");
            b.as_ptr() as usize
        });
        let second = with_buffer(|b| {
            assert!(b.is_empty());
            b.push(b'x');
            b.as_ptr() as usize
        });
        assert_eq!(first, second, "the same memory serves the next record");
        with_buffer(|b| b.resize(KEPT_BYTES + 1, b'x'));
        assert_eq!(with_buffer(|b| b.capacity()), 0, "an oversized buffer is given back");
    }

    #[test]
    fn a_record_inside_a_record_has_its_own_buffer() {
        with_buffer(|outer| {
            outer.extend_from_slice(b"outer");
            with_buffer(|inner| inner.extend_from_slice(b"inner"));
            assert_eq!(outer, b"outer");
        });
    }
}
