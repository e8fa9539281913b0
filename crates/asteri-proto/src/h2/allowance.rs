//! What a client may make us do for nothing, so that a flood of it ends the connection.
//!
//! Every frame that costs work and moves nothing takes from an allowance, which grows with time and with what the client is
//! really sent: pings that measure a transfer and window updates that keep it going are paid for by it. A client that behaves
//! never sees the end of it. The attacks are those of CVE-2019-9511 to 9518 (pings, settings, resets, priorities, empty frames,
//! tiny windows) and CVE-2023-44487 (requests that are taken back at once).

use super::frames::{self, Frame};
use crate::time::Moment;

/// What can be saved up.
const MOST: i64 = 2_000;
/// What it grows by in a second.
const PER_SECOND: u64 = 100;
/// Bytes of settings that cost one unit: several times what any client has to say.
const SETTINGS_PER_UNIT: u32 = 64;
/// Bytes sent to the client that are worth one unit.
const BYTES_PER_UNIT: u64 = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Allowance {
    /// Below zero after [`Allowance::spend`].
    left: i64,
    grown_at: Moment,
    /// Bytes sent that were not worth a unit yet.
    sent: u64,
}

impl Allowance {
    pub fn new(now: Moment) -> Self {
        Self { left: MOST, grown_at: now, sent: 0 }
    }

    /// Takes from it. Says whether there was enough.
    pub fn take(&mut self, price: u32, now: Moment) -> bool {
        let price = i64::from(price);
        if price > self.left {
            let units = now.0.saturating_sub(self.grown_at.0).saturating_mul(PER_SECOND) / 1000;
            if units > 0 {
                self.grown_at = now;
                self.earn(units);
            }
        }
        self.left -= price;
        self.left >= 0
    }

    fn earn(&mut self, units: u64) {
        self.left = self.left.saturating_add(i64::try_from(units).unwrap_or(MOST)).min(MOST);
    }

    /// The client has made us do something for which there is no frame of its own. Without enough left, its next frame ends all.
    pub fn spend(&mut self, price: u32) {
        self.left = self.left.saturating_sub(i64::from(price));
    }

    /// So many bytes were sent to the client.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        self.earn(self.sent / BYTES_PER_UNIT);
        self.sent %= BYTES_PER_UNIT;
    }
}

/// What a frame takes from the allowance.
pub(super) fn price(frame: Frame) -> u32 {
    let empty = frame.length == 0;
    match frame.kind {
        // Content, unless there is none in it: an end of the stream is worth a frame, nothing at all is not.
        frames::DATA if empty && frame.flags & frames::END_STREAM == 0 => 2,
        frames::DATA | frames::HEADERS => 0,
        // A browser takes back dozens of requests at a time, when somebody clicks; hundreds in a second nobody does.
        frames::RST_STREAM => 5,
        frames::CONTINUATION if empty => 20,
        frames::SETTINGS if frame.flags & frames::ACK != 0 => 1,
        // Each wants an answer.
        frames::SETTINGS => 2 + frame.length / SETTINGS_PER_UNIT,
        frames::PING => 2,
        _ => 1,
    }
}

/// What a flood of such frames is called.
pub(super) fn name(kind: u8) -> &'static str {
    match kind {
        frames::DATA => "empty-data",
        frames::PRIORITY => "priority",
        frames::RST_STREAM => "rst-stream",
        frames::SETTINGS => "settings",
        frames::PING => "ping",
        frames::WINDOW_UPDATE => "window-update",
        frames::CONTINUATION => "continuation",
        frames::PRIORITY_UPDATE => "priority-update",
        _ => "unknown-frame",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(kind: u8, flags: u8, length: u32) -> usize {
        let mut allowance = Allowance::new(Moment(0));
        let price = price(Frame { length, kind, flags, stream: 1 });
        (0..100_000).take_while(|_| allowance.take(price, Moment(0))).count()
    }

    #[test]
    fn floods_end_and_content_does_not() {
        for (kind, flags, length) in [
            (frames::PING, 0, 8),
            (frames::SETTINGS, 0, 0),
            (frames::SETTINGS, frames::ACK, 0),
            (frames::PRIORITY, 0, 5),
            (frames::RST_STREAM, 0, 4),
            (frames::WINDOW_UPDATE, 0, 4),
            (frames::CONTINUATION, 0, 0),
            (frames::DATA, 0, 0),
            (0xff, 0, 0),
        ] {
            let count = taken(kind, flags, length);
            assert!((50..=2000).contains(&count), "type {kind}: {count}");
        }
        assert_eq!(taken(frames::DATA, 0, 1), 100_000);
        assert_eq!(taken(frames::DATA, frames::END_STREAM, 0), 100_000);
        assert_eq!(taken(frames::HEADERS, 0, 10), 100_000);
    }

    #[test]
    fn time_and_transfers_give_it_back() {
        let mut allowance = Allowance::new(Moment(0));
        // A ping every 50 ms, for an hour.
        assert!((0..72_000).all(|number| allowance.take(2, Moment(number * 50))));
        let mut allowance = Allowance::new(Moment(0));
        // A window update for each 16 KiB.
        for _ in 0..100_000 {
            allowance.sent(16 * 1024);
            assert!(allowance.take(1, Moment(0)));
        }
    }
}
