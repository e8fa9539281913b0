//! Instants and durations, without a clock.
//!
//! The caller reads its clock once per turn and hands the reading in; tests hand in whatever they like.

use std::ops::Add;
use std::time::Duration;

/// An instant: milliseconds on a monotonic clock whose zero is the caller's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// How long after `earlier` this instant is; zero when it is not after it (clocks of two threads may differ by a tick).
    pub fn saturating_since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    /// Saturates: a timeout of `Duration::MAX` means never. A fraction of a millisecond counts as a whole one, so
    /// that nothing fires early.
    fn add(self, duration: Duration) -> Moment {
        let whole = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let fraction = u64::from(!duration.subsec_nanos().is_multiple_of(1_000_000));
        Moment(self.0.saturating_add(whole).saturating_add(fraction))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_of_a_millisecond_rounds_up() {
        assert_eq!(Moment(5) + Duration::from_micros(1), Moment(6));
        assert_eq!(Moment(5) + Duration::from_millis(2), Moment(7));
    }

    #[test]
    fn the_longest_duration_means_never() {
        assert_eq!(Moment(5) + Duration::MAX, Moment(u64::MAX));
    }

    #[test]
    fn a_later_instant_is_no_time_ago() {
        assert_eq!(Moment(5).saturating_since(Moment(7)), Duration::ZERO);
        assert_eq!(Moment(7).saturating_since(Moment(5)), Duration::from_millis(2));
    }
}
