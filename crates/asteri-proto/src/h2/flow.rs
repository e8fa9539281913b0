//! What one side may send before the other has taken it (RFC 9113 §5.2, §6.9).

/// The largest window (RFC 9113 §6.9.1).
pub const LARGEST_WINDOW: i64 = (1 << 31) - 1;
/// The window of a stream and of a connection until something else is said (RFC 9113 §6.9.2), in bytes.
pub const FIRST_WINDOW: u32 = 65_535;

/// A window in which the peer sends to us.
///
/// It is opened again when what was taken is as much as what the peer may still send. So a transfer costs two updates per window and
/// not one per frame; and where much waits to be taken for long, the rest of the window goes round all the same.
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

    /// Whether the peer may send less than so much.
    pub fn is_short_of(&self, bytes: u32) -> bool {
        self.left < i64::from(bytes)
    }

    /// So much of it was taken. Says by how much the peer is to be told that the window opens, if it is.
    pub fn take(&mut self, bytes: usize) -> Option<u32> {
        self.taken += i64::try_from(bytes).unwrap_or(0);
        if self.taken < self.left {
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
        let opened: Vec<_> = (0..5).map(|_| window.received(10).then(|| window.take(10)).flatten()).collect();
        assert_eq!(opened, [None, None, None, None, Some(50)]);
        assert!(window.received(100) && !window.received(1));
    }

    #[test]
    fn what_waits_for_long_does_not_keep_the_rest_from_being_used() {
        let mut window = Receiving::new(100);
        assert!(window.received(80), "nobody takes these");
        let mut through = 0;
        while through < 1000 && window.received(10) {
            through += 10;
            window.take(10);
        }
        assert_eq!(through, 1000);
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
