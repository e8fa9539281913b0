//! What one side may send before the other has taken it (RFC 9113 §5.2, §6.9).

/// The largest window (RFC 9113 §6.9.1).
pub const LARGEST_WINDOW: i64 = (1 << 31) - 1;
/// The window of a stream and of a connection until something else is said (RFC 9113 §6.9.2), in bytes.
pub const FIRST_WINDOW: u32 = 65_535;

/// A window in which the peer sends to us.
///
/// It is opened again when half of it was used and taken, so that a transfer costs two updates per window and not one per frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receiving {
    /// What it is opened to, in bytes.
    size: i64,
    /// What the peer may still send. Below zero after the size was reduced.
    left: i64,
    /// What was taken and is not told to the peer yet.
    taken: i64,
}

impl Receiving {
    pub fn new(size: u32) -> Self {
        Self { size: i64::from(size), left: i64::from(size), taken: 0 }
    }

    /// So much has come. Says whether the peer was allowed to send it.
    pub fn received(&mut self, bytes: u32) -> bool {
        self.left -= i64::from(bytes);
        self.left >= 0
    }

    /// So much of it was taken. Says by how much the peer is to be told that the window opens, if it is.
    pub fn take(&mut self, bytes: usize) -> Option<u32> {
        self.taken += i64::try_from(bytes).unwrap_or(0);
        if self.taken * 2 < self.size {
            return None;
        }
        let opened = u32::try_from(std::mem::take(&mut self.taken)).ok().filter(|opened| *opened > 0)?;
        self.left += i64::from(opened);
        Some(opened)
    }

    /// The size is another one from now on, as the peer knows (RFC 9113 §6.9.2).
    pub fn resize(&mut self, size: u32) {
        self.left += i64::from(size) - self.size;
        self.size = i64::from(size);
    }
}

/// Opens a window in which we send. Says whether it can be so large.
pub(crate) fn open(window: &mut i64, by: i64) -> bool {
    *window += by;
    *window <= LARGEST_WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_opened_by_what_was_taken_when_that_is_half_of_it() {
        let mut window = Receiving::new(100);
        assert!(window.received(60) && window.received(40));
        assert!(!window.received(1), "it is used up");
        let mut window = Receiving::new(100);
        assert!(window.received(100));
        assert_eq!((window.take(30), window.take(19), window.take(1)), (None, None, Some(50)));
        assert!(window.received(50) && !window.received(1));
    }

    #[test]
    fn a_window_that_is_made_smaller_may_be_overdrawn() {
        let mut window = Receiving::new(100);
        assert!(window.received(80));
        window.resize(50);
        assert!(!window.received(1));
        assert_eq!(window.take(80), Some(80));
        assert_eq!(window.left, 49);
    }

    #[test]
    fn a_window_of_nothing_stays_shut() {
        let mut window = Receiving::new(0);
        assert_eq!(window.take(0), None);
        assert!(!window.received(1));
    }
}
