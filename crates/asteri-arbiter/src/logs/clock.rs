//! Local time as text, worked out once per second and thread.
//!
//! The zone is read once per process tree: the first record, written by the arbiter, fixes it, and workers inherit it
//! through the fork. An application that sets `TZ` for itself therefore cannot make the lines of one log file disagree.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The last second of the year 9998: four digits hold the year in every zone.
const LAST_SECOND: i64 = 253_370_764_799;

static ZONE: OnceLock<TimeZone> = OnceLock::new();

thread_local! {
    static CACHE: Cell<Option<Stamp>> = const { Cell::new(None) };
}

/// One second of local time, in the spellings the logs need.
#[derive(Clone, Copy)]
pub(super) struct Stamp {
    second: i64,
    /// `2026-11-23 01:02:03 +0000`
    pub error_log: [u8; 25],
    /// `[23/Nov/2026:01:02:03 +0000]`, the Common Log Format's date
    pub common: [u8; 28],
    /// `2026-11-23T01:02:03`, to be followed by a fraction and `offset`
    pub rfc3339: [u8; 19],
    /// `+00:00`, RFC 3339 §5.6 `time-numoffset`
    pub offset: [u8; 6],
}

/// The stamp of `time` in the local zone. Times before 1970 show as 1970.
pub(super) fn stamp(time: SystemTime) -> Stamp {
    let second = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let second = i64::try_from(second).unwrap_or(LAST_SECOND).min(LAST_SECOND);
    if let Ok(Some(stamp)) = CACHE.try_with(Cell::get)
        && stamp.second == second
    {
        return stamp;
    }
    let stamp = Stamp::new(second, ZONE.get_or_init(TimeZone::system));
    let _ = CACHE.try_with(|cell| cell.set(Some(stamp)));
    stamp
}

/// Microseconds within the second of `time`.
pub(super) fn subsecond_micros(time: SystemTime) -> u32 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_micros())
}

impl Stamp {
    /// `second` counts from 1970 and is at most [`LAST_SECOND`].
    fn new(second: i64, zone: &TimeZone) -> Self {
        const MONTHS: [&[u8; 3]; 12] =
            [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
        let instant = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
        let offset = zone.to_offset(instant);
        let local = offset.to_datetime(instant);

        let mut rfc3339 = *b"0000-00-00T00:00:00";
        put(&mut rfc3339[0..4], u32::from(local.year().unsigned_abs()));
        put(&mut rfc3339[5..7], u32::from(local.month().unsigned_abs()));
        put(&mut rfc3339[8..10], u32::from(local.day().unsigned_abs()));
        put(&mut rfc3339[11..13], u32::from(local.hour().unsigned_abs()));
        put(&mut rfc3339[14..16], u32::from(local.minute().unsigned_abs()));
        put(&mut rfc3339[17..19], u32::from(local.second().unsigned_abs()));

        let minutes = offset.seconds().unsigned_abs() / 60;
        let mut numeric = *b"+00:00";
        if offset.seconds() < 0 {
            numeric[0] = b'-';
        }
        put(&mut numeric[1..3], minutes / 60);
        put(&mut numeric[4..6], minutes % 60);

        let mut error_log = *b"0000-00-00 00:00:00 +0000";
        error_log[0..10].copy_from_slice(&rfc3339[0..10]);
        error_log[11..19].copy_from_slice(&rfc3339[11..19]);
        error_log[20..23].copy_from_slice(&numeric[0..3]);
        error_log[23..25].copy_from_slice(&numeric[4..6]);

        let mut common = *b"[00/Jan/0000:00:00:00 +0000]";
        common[1..3].copy_from_slice(&rfc3339[8..10]);
        common[4..7].copy_from_slice(MONTHS[(local.month().clamp(1, 12) - 1) as usize]);
        common[8..12].copy_from_slice(&rfc3339[0..4]);
        common[13..21].copy_from_slice(&rfc3339[11..19]);
        common[22..27].copy_from_slice(&error_log[20..25]);

        Stamp { second, error_log, common, rfc3339, offset: numeric }
    }
}

/// Writes `value` in decimal over the whole of `digits`, with leading zeros.
pub(super) fn put(digits: &mut [u8], mut value: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::fmt::strtime;
    use jiff::tz::Offset;
    use proptest::prelude::*;
    use std::time::Duration;

    fn zone(seconds: i32) -> TimeZone {
        TimeZone::fixed(Offset::from_seconds(seconds).expect("offset in range"))
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).expect("ASCII")
    }

    #[test]
    fn spells_a_second_in_each_notation() {
        let stamp = Stamp::new(1_795_395_723, &zone(0));
        assert_eq!(text(&stamp.error_log), "2026-11-23 01:02:03 +0000");
        assert_eq!(text(&stamp.common), "[23/Nov/2026:01:02:03 +0000]");
        assert_eq!(text(&stamp.rfc3339), "2026-11-23T01:02:03");
        assert_eq!(text(&stamp.offset), "+00:00");
    }

    #[test]
    fn offsets_with_minutes_and_to_the_west() {
        assert_eq!(text(&Stamp::new(0, &zone(-(3 * 3600 + 1800))).common), "[31/Dec/1969:20:30:00 -0330]");
        assert_eq!(text(&Stamp::new(0, &zone(5 * 3600 + 2700)).error_log), "1970-01-01 05:45:00 +0545");
    }

    #[test]
    fn the_offset_follows_daylight_saving() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a POSIX zone");
        // 2026-03-29 01:00:00 UTC is the change.
        assert_eq!(text(&Stamp::new(1_774_745_999, &zone).error_log), "2026-03-29 01:59:59 +0100");
        assert_eq!(text(&Stamp::new(1_774_746_000, &zone).error_log), "2026-03-29 03:00:00 +0200");
    }

    #[test]
    fn the_cache_moves_on_with_the_second() {
        let base = UNIX_EPOCH + Duration::from_millis(1_795_395_723_900);
        let first = stamp(base);
        let same = stamp(base + Duration::from_millis(99));
        let next = stamp(base + Duration::from_millis(100));
        assert_eq!(first.common, same.common);
        assert_eq!(text(&next.common[18..21]), ":04");
        assert_eq!(text(&stamp(base).common[18..21]), ":03", "and back, when clocks are set");
        assert_eq!(subsecond_micros(base), 900_000);
    }

    #[test]
    fn times_out_of_range_are_shown_at_the_edge() {
        let before = stamp(UNIX_EPOCH - Duration::from_secs(86_400 * 400));
        assert!(text(&before.rfc3339).starts_with("1970-01-01") || text(&before.rfc3339).starts_with("1969-12-31"));
        if let Some(far) = UNIX_EPOCH.checked_add(Duration::from_secs(1 << 40)) {
            assert!(text(&stamp(far).rfc3339).starts_with("999"));
        }
    }

    proptest! {
        #[test]
        fn agrees_with_strftime(second in 0..=LAST_SECOND, minutes in -14 * 60..=14 * 60) {
            let zone = zone(minutes * 60);
            let stamp = Stamp::new(second, &zone);
            let local = Timestamp::from_second(second).unwrap().to_zoned(zone);
            let format = |pattern: &str| strtime::format(pattern, &local).unwrap();
            prop_assert_eq!(text(&stamp.error_log), format("%Y-%m-%d %H:%M:%S %z"));
            prop_assert_eq!(text(&stamp.common), format("[%d/%b/%Y:%H:%M:%S %z]"));
            prop_assert_eq!(text(&stamp.rfc3339), format("%Y-%m-%dT%H:%M:%S"));
            prop_assert_eq!(text(&stamp.offset), format("%:z"));
        }
    }
}
