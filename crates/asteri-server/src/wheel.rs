//! The timer wheel: deadlines of connections, at a granularity of [`TICK_MS`].
//!
//! Most deadlines move on before they are reached: each request on a kept-alive connection sets a new one. So moving
//! one to later costs nothing here: the owner remembers its deadline, the wheel remembers only *some* tick at or
//! before it, and when that tick comes the owner is asked again. Moving a deadline to earlier moves the entry.
//!
//! Entries are linked with each other in rings, a ring for each slot, and stand in one vector: an owner has one at most, which
//! leaves with it, so that a crowd of short connections costs no more memory than those of them that are open at a time.

use crate::slab::Key;
use asteri_proto::time::Moment;

/// Milliseconds per slot. A deadline is noticed at most this much late.
const TICK_MS: u64 = 16;
/// The wheel reaches `SLOTS * TICK_MS` = 16 s ahead; what is further is looked at again when that is over.
const SLOTS: usize = 1024;
const WORDS: usize = SLOTS / 64;

/// The place of the ring whose time has come; before it are those of the slots, behind it the entries.
const DUE: u32 = SLOTS as u32;
/// No place.
const NONE: u32 = u32::MAX;
/// Places that are kept when nobody uses them.
const SPARE: usize = 4096;

/// The entry of an owner, which keeps this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alarm {
    /// When the owner will be asked.
    tick: u64,
    place: u32,
}

impl Alarm {
    pub const NONE: Self = Self { tick: u64::MAX, place: NONE };
}

/// An entry, or the head of a ring. Those that are free are a chain.
struct Entry {
    key: Key,
    next: u32,
    previous: u32,
}

pub(crate) struct Wheel {
    entries: Vec<Entry>,
    /// The first place that is free.
    free: u32,
    /// How many are.
    vacant: usize,
    occupied: [u64; WORDS],
    /// All ticks up to and including this one have been looked at.
    done: u64,
}

impl Wheel {
    pub fn new(now: Moment) -> Self {
        Self {
            entries: (0..=DUE).map(Entry::alone).collect(),
            free: NONE,
            vacant: 0,
            occupied: [0; WORDS],
            done: now.0 / TICK_MS,
        }
    }

    /// Sees to it that the owner of `key` is asked at `deadline` or before. `alarm` is the owner's.
    #[inline]
    pub fn schedule(&mut self, key: Key, alarm: &mut Alarm, deadline: Moment) {
        // Rounded up: asked too early, the owner would have to come again.
        let wanted = deadline.0.div_ceil(TICK_MS);
        let tick = wanted.clamp(self.done + 1, self.done + SLOTS as u64 - 1);
        if alarm.tick > tick {
            self.put(key, alarm, tick);
        }
    }

    fn put(&mut self, key: Key, alarm: &mut Alarm, tick: u64) {
        if alarm.place == NONE {
            alarm.place = self.place_for(key);
        } else {
            self.unlink(alarm.place);
        }
        alarm.tick = tick;
        let slot = slot_of(tick);
        self.link(alarm.place, slot);
        self.occupied[slot as usize / 64] |= 1 << (slot % 64);
    }

    /// The owner is no more.
    pub fn cancel(&mut self, alarm: &mut Alarm) {
        let place = std::mem::replace(alarm, Alarm::NONE).place;
        if place != NONE {
            self.unlink(place);
            self.release(place);
        }
    }

    /// Notes those whose tick has come: [`Wheel::pop`] names them.
    pub fn expire(&mut self, now: Moment) {
        let tick = now.0 / TICK_MS;
        if tick <= self.done {
            return;
        }
        let slots = (tick - self.done).min(SLOTS as u64);
        for offset in 0..slots {
            let slot = slot_of(self.done + 1 + offset);
            let (word, bit) = (slot as usize / 64, 1 << (slot % 64));
            if self.occupied[word] & bit != 0 {
                self.occupied[word] &= !bit;
                self.splice(slot);
            }
        }
        self.done = tick;
    }

    /// The next one whose tick has come. It has no alarm any more: it resets it to [`Alarm::NONE`], and schedules itself again if it has
    /// a later deadline.
    pub fn pop(&mut self) -> Option<Key> {
        let place = self.entries[DUE as usize].next;
        if place == DUE {
            return None;
        }
        self.unlink(place);
        let key = self.entries[place as usize].key;
        self.release(place);
        Some(key)
    }

    /// When [`Wheel::expire`] has something to do, or `None` when nothing is scheduled.
    pub fn next(&self) -> Option<Moment> {
        let first = slot_of(self.done + 1) as usize;
        // Word by word around the wheel; the first word is looked at twice, for what is after `first` and what is before it.
        (0..=WORDS).find_map(|step| {
            let word = (first / 64 + step) % WORDS;
            let mask = match step {
                0 => u64::MAX << (first % 64),
                WORDS => !(u64::MAX << (first % 64)),
                _ => u64::MAX,
            };
            let bits = self.occupied[word] & mask;
            if bits == 0 {
                return None;
            }
            let slot = word * 64 + bits.trailing_zeros() as usize;
            let ahead = (slot + SLOTS - first) % SLOTS;
            Some(Moment((self.done + 1 + ahead as u64) * TICK_MS))
        })
    }

    /// A place that is in no ring yet.
    fn place_for(&mut self, key: Key) -> u32 {
        if self.free != NONE {
            let place = self.free;
            let entry = &mut self.entries[place as usize];
            self.free = entry.next;
            self.vacant -= 1;
            entry.key = key;
            return place;
        }
        // There are fewer connections than descriptors, which are counted in 31 bits.
        let place = self.entries.len() as u32;
        self.entries.push(Entry { key, ..Entry::alone(place) });
        place
    }

    fn release(&mut self, place: u32) {
        self.entries[place as usize].next = std::mem::replace(&mut self.free, place);
        self.vacant += 1;
        let rings = SLOTS + 1;
        // A burst of connections must not keep its memory for ever.
        if self.vacant > SPARE && self.vacant == self.entries.len() - rings {
            self.entries.truncate(rings);
            self.entries.shrink_to_fit();
            (self.free, self.vacant) = (NONE, 0);
        }
    }

    /// Adds an entry to the end of a ring.
    fn link(&mut self, place: u32, ring: u32) {
        let last = std::mem::replace(&mut self.entries[ring as usize].previous, place);
        self.entries[last as usize].next = place;
        let entry = &mut self.entries[place as usize];
        (entry.previous, entry.next) = (last, ring);
    }

    /// Takes an entry out of its ring.
    fn unlink(&mut self, place: u32) {
        let Entry { next, previous, .. } = self.entries[place as usize];
        self.entries[next as usize].previous = previous;
        self.entries[previous as usize].next = next;
        if next == previous && next < DUE {
            // Only the head is left.
            self.occupied[next as usize / 64] &= !(1 << (next % 64));
        }
    }

    /// Moves all of a slot's ring, which is not empty, to the end of the one whose time has come.
    fn splice(&mut self, slot: u32) {
        let Entry { next: first, previous: last, .. } =
            std::mem::replace(&mut self.entries[slot as usize], Entry::alone(slot));
        let before = std::mem::replace(&mut self.entries[DUE as usize].previous, last);
        self.entries[before as usize].next = first;
        self.entries[first as usize].previous = before;
        self.entries[last as usize].next = DUE;
    }
}

impl Entry {
    /// The head of an empty ring.
    fn alone(place: u32) -> Self {
        Self { key: Key::from_token(0), next: place, previous: place }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below SLOTS")]
fn slot_of(tick: u64) -> u32 {
    (tick % SLOTS as u64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Slab;
    use proptest::prelude::*;

    fn due(wheel: &mut Wheel, now: u64) -> Vec<Key> {
        wheel.expire(Moment(now));
        std::iter::from_fn(|| wheel.pop()).collect()
    }

    fn keys<const N: usize>() -> [Key; N] {
        let mut slab = Slab::new();
        std::array::from_fn(|_| slab.insert(()).unwrap())
    }

    #[test]
    fn asks_at_the_deadline_and_not_before() {
        let [key] = keys();
        let mut wheel = Wheel::new(Moment(1000));
        wheel.schedule(key, &mut { Alarm::NONE }, Moment(3000));
        assert_eq!(due(&mut wheel, 2990), []);
        let next = wheel.next().unwrap().0;
        assert!((3000..3000 + TICK_MS).contains(&next), "{next}");
        assert_eq!(due(&mut wheel, next), [key]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn later_is_free_and_earlier_moves_the_entry() {
        let [key] = keys();
        let mut wheel = Wheel::new(Moment(0));
        let mut alarm = Alarm::NONE;
        wheel.schedule(key, &mut alarm, Moment(2000));
        let first = alarm;
        wheel.schedule(key, &mut alarm, Moment(5000));
        assert_eq!(alarm, first, "nothing was changed");
        wheel.schedule(key, &mut alarm, Moment(500));
        assert_ne!(alarm, first);
        assert_eq!(due(&mut wheel, 600), [key]);
        assert_eq!(wheel.next(), None, "it is there once");
    }

    #[test]
    fn nobody_is_asked_who_has_left() {
        let owners: [Key; 3] = keys();
        let mut wheel = Wheel::new(Moment(0));
        let mut alarms = [Alarm::NONE; 3];
        for (key, alarm) in owners.iter().zip(&mut alarms) {
            wheel.schedule(*key, alarm, Moment(1000));
        }
        wheel.cancel(&mut alarms[1]);
        wheel.cancel(&mut alarms[1]);
        wheel.expire(Moment(2000));
        assert_eq!(wheel.pop(), Some(owners[0]));
        // While others are worked off.
        wheel.cancel(&mut alarms[2]);
        assert_eq!(wheel.pop(), None);
        let mut alarm = Alarm::NONE;
        wheel.schedule(owners[0], &mut alarm, Moment(3000));
        wheel.cancel(&mut alarm);
        assert_eq!(wheel.next(), None, "no turn is made for nobody");
    }

    #[test]
    fn connections_one_after_the_other_take_the_room_of_one() {
        let [key] = keys();
        let mut wheel = Wheel::new(Moment(0));
        for now in 0..10_000 {
            let mut alarm = Alarm::NONE;
            wheel.schedule(key, &mut alarm, Moment(now + 5000));
            wheel.cancel(&mut alarm);
            assert_eq!(due(&mut wheel, now), []);
        }
        assert_eq!((wheel.entries.len(), wheel.vacant), (SLOTS + 2, 1));
    }

    #[test]
    fn a_burst_does_not_keep_its_memory() {
        let [key] = keys();
        let mut wheel = Wheel::new(Moment(0));
        let mut alarms = vec![Alarm::NONE; SPARE + 1];
        for alarm in &mut alarms {
            wheel.schedule(key, alarm, Moment(5000));
        }
        alarms.iter_mut().for_each(|alarm| wheel.cancel(alarm));
        assert_eq!((wheel.entries.capacity(), wheel.vacant), (SLOTS + 1, 0));
        wheel.schedule(key, &mut { Alarm::NONE }, Moment(5000));
        assert_eq!(due(&mut wheel, 6000), [key]);
    }

    #[test]
    fn reaches_beyond_its_own_size_by_asking_again() {
        let [key] = keys();
        let mut wheel = Wheel::new(Moment(0));
        let deadline = Moment(75_000);
        wheel.schedule(key, &mut { Alarm::NONE }, deadline);
        let mut now = 0;
        for asked in 0.. {
            now = wheel.next().expect("still scheduled").0;
            assert_eq!(due(&mut wheel, now), [key]);
            if now >= deadline.0 {
                assert!(asked < 6);
                break;
            }
            wheel.schedule(key, &mut { Alarm::NONE }, deadline);
        }
        assert!(now < deadline.0 + TICK_MS);
    }

    #[test]
    fn next_is_the_first_wherever_the_wheel_stands() {
        let [key] = keys();
        for start in [0, 62, 63, 64, 500, 1022, 1023, 1024, 5000] {
            for ahead in [1, 2, 63, 64, 65, 700, 1000, 1022, 1023] {
                let mut wheel = Wheel::new(Moment(start * TICK_MS));
                assert_eq!(wheel.next(), None);
                for later in [ahead, (ahead + 10).min(1023)] {
                    wheel.schedule(key, &mut { Alarm::NONE }, Moment((start + later) * TICK_MS));
                }
                assert_eq!(wheel.next(), Some(Moment((start + ahead) * TICK_MS)), "{start} {ahead}");
            }
        }
    }

    #[test]
    fn a_long_sleep_loses_nothing() {
        let mut slab = Slab::new();
        let mut wheel = Wheel::new(Moment(0));
        for step in 0..2000 {
            let key = slab.insert(()).unwrap();
            wheel.schedule(key, &mut { Alarm::NONE }, Moment(step * 10));
        }
        assert_eq!(due(&mut wheel, 10_000_000).len(), 2000);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Schedule(usize, u64),
        Cancel(usize),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..20_usize, 0..20_000_u64).prop_map(|(owner, after)| Step::Schedule(owner, after)),
            2 => (0..20_usize).prop_map(Step::Cancel),
            3 => prop_oneof![4 => 0..3000_u64, 1 => 0..40_000_u64].prop_map(Step::Pass),
        ]
    }

    proptest! {
        /// As owners use it: each is asked in time, none too early twice, and none who has left.
        #[test]
        fn every_owner_is_asked_in_time(steps in prop::collection::vec(step(), 0..200)) {
            let owners: [Key; 20] = keys();
            let mut wheel = Wheel::new(Moment(0));
            let mut kept: [(Alarm, Option<u64>); 20] = [(Alarm::NONE, None); 20];
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Schedule(owner, after) => {
                        let (alarm, deadline) = &mut kept[owner];
                        *deadline = Some(now + after);
                        wheel.schedule(owners[owner], alarm, Moment(now + after));
                    }
                    Step::Cancel(owner) => {
                        kept[owner].1 = None;
                        wheel.cancel(&mut kept[owner].0);
                    }
                    Step::Pass(time) => {
                        now += time;
                        wheel.expire(Moment(now));
                        while let Some(key) = wheel.pop() {
                            let owner = owners.iter().position(|one| *one == key).unwrap();
                            let (alarm, deadline) = &mut kept[owner];
                            *alarm = Alarm::NONE;
                            match *deadline {
                                Some(at) if at <= now => *deadline = None,
                                Some(at) => wheel.schedule(key, alarm, Moment(at)),
                                None => prop_assert!(false, "asked after it has left"),
                            }
                        }
                        for (_, deadline) in &kept {
                            prop_assert!(deadline.is_none_or(|at| at + TICK_MS > now), "{deadline:?} at {now}");
                        }
                    }
                }
                let first = kept.iter().filter_map(|(_, deadline)| *deadline).min();
                prop_assert_eq!(wheel.next().is_some(), first.is_some());
                if let (Some(next), Some(first)) = (wheel.next(), first) {
                    prop_assert!(next.0 < first.max(now) + 2 * TICK_MS, "{:?} for {}", next, first);
                }
            }
        }
    }
}
