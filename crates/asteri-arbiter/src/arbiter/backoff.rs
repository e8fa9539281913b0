//! How long to wait before the next worker when workers keep failing.

use std::time::Duration;

use asteri_proto::time::Moment;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// Exponential back-off: 0.1 s, doubled by each failure up to 30 s, over with the first success.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    /// When the last failure was.
    last: Moment,
    /// Whether the worker failed before it was ready.
    at_boot: bool,
    /// No worker before this.
    until: Moment,
    /// The last failure's reason, and how often in a row it has been this one.
    reason: String,
    repeated: u32,
}

impl Backoff {
    /// A worker forked at `spawned` failed at `now`, before it was ready or after. Workers forked before the last failure was
    /// known count with it: a whole crew that fails for one reason is one failure.
    pub fn failed(&mut self, spawned: Moment, now: Moment, at_boot: bool) {
        if self.failures > 0 && spawned < self.last {
            return;
        }
        self.failures += 1;
        self.last = now;
        self.at_boot = at_boot;
        let doublings = (self.failures - 1).min(16);
        self.until = now + FIRST.saturating_mul(1 << doublings).min(LONGEST);
    }

    /// A worker has become ready: there is an end to failures of booting, but not yet to crashes.
    pub fn booted(&mut self) {
        if self.at_boot {
            *self = Backoff::default();
        }
    }

    /// A worker forked at `spawned` has been ready for a while.
    pub fn proved(&mut self, spawned: Moment) {
        if self.failures > 0 && spawned >= self.last {
            *self = Backoff::default();
        }
    }

    /// Whether workers have been failing; then they are to be tried one at a time.
    pub fn is_active(&self) -> bool {
        self.failures > 0
    }

    /// When the next worker may be forked.
    pub fn until(&self) -> Moment {
        self.until
    }

    /// Whether a failure for `reason` is worth a record, and how many of its kind there were in a row by now: the first, and
    /// then whenever their number has doubled.
    pub fn worth_telling(&mut self, reason: &str) -> Option<u32> {
        if self.reason != reason {
            reason.clone_into(&mut self.reason);
            self.repeated = 0;
        }
        self.repeated += 1;
        self.repeated.is_power_of_two().then_some(self.repeated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_half_a_minute_and_a_success_ends_it() {
        let mut backoff = Backoff::default();
        let mut now = Moment(1_000);
        let mut waits = Vec::new();
        for _ in 0..12 {
            backoff.failed(now, now, true);
            waits.push(backoff.until().saturating_since(now).as_millis());
            now = backoff.until();
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000]);
        backoff.booted();
        assert!(!backoff.is_active());
        backoff.failed(now, now, true);
        assert_eq!(backoff.until().saturating_since(now).as_millis(), 100);
    }

    #[test]
    fn a_crew_that_fails_together_fails_once() {
        let mut backoff = Backoff::default();
        for _ in 0..8 {
            backoff.failed(Moment(1_000), Moment(1_010), true);
        }
        assert_eq!(backoff.until(), Moment(1_110));
    }

    #[test]
    fn a_worker_that_boots_and_crashes_again_proves_nothing() {
        let mut backoff = Backoff::default();
        backoff.failed(Moment(1_000), Moment(1_100), false);
        backoff.booted();
        assert!(backoff.is_active());
        backoff.proved(Moment(900));
        assert!(backoff.is_active(), "it was there before the failure");
        backoff.proved(Moment(1_200));
        assert!(!backoff.is_active());
    }

    #[test]
    fn repetitions_are_told_ever_more_seldom() {
        let mut backoff = Backoff::default();
        let told: Vec<u32> = (0..20).filter_map(|_| backoff.worth_telling("exit code 1")).collect();
        assert_eq!(told, [1, 2, 4, 8, 16]);
        assert_eq!(backoff.worth_telling("SIGSEGV"), Some(1));
    }
}
