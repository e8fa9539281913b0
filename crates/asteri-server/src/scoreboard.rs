//! What every worker does now and has done, in memory that the arbiter and all workers share.
//!
//! One anonymous mapping, made by the arbiter before the first fork: a header ([`Shared`]) and one [`Slot`] per worker.
//! Everything is an atomic. A slot has one writer at a time for each of its parts: the arbiter hands it out and takes it
//! back, the worker that sits in it writes the rest. Nothing here blocks, allocates or makes a system call, so any part may
//! be called on the way of every request and from the worker's standby thread.
//!
//! Counters of a worker that has died are folded into the totals of the header, so sums over the board never go back.

use std::io;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, fence};

use asteri_proto::time::Moment;

use crate::sys::process::{Pid, SharedTable};

/// The whole board. Lives as long as its mapping; share it in an `Arc`.
pub struct Scoreboard {
    table: SharedTable<Shared, Slot>,
}

impl Scoreboard {
    /// Makes a board of `slots` empty slots (at least 1).
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(slots: usize) -> io::Result<Scoreboard> {
        Ok(Scoreboard { table: SharedTable::new(slots.max(1), Shared::default(), Slot::default)? })
    }

    /// How many slots there are, empty ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.items().len()
    }

    /// Never: there is at least one slot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The slot number `index`.
    ///
    /// # Panics
    /// When there is no such slot: indices come from the arbiter, never from the network.
    #[must_use]
    pub fn slot(&self, index: usize) -> &Slot {
        &self.table.items()[index]
    }

    /// What belongs to no single worker.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        self.table.header()
    }

    /// The slots that were ever used, with their indices.
    pub fn used_slots(&self) -> impl Iterator<Item = (usize, &Slot)> {
        let used = self.shared().used.load(Acquire) as usize;
        self.table.items().iter().enumerate().take(used)
    }

    /// How many workers other than the one in slot `me` are ready and have no application call running.
    ///
    /// It looks at every used slot (tens of nanoseconds for a few workers) instead of keeping a count, so that taking
    /// and finishing a request touches no memory that other workers write, and a crash cannot leave the count wrong.
    #[must_use]
    pub fn idle_siblings(&self, me: usize) -> usize {
        self.used_slots().filter(|&(index, slot)| index != me && slot.is_idle()).count()
    }

    /// How many workers other than the one in slot `me` serve, busy or not.
    #[must_use]
    pub fn ready_siblings(&self, me: usize) -> usize {
        let serves = |slot: &Slot| matches!(slot.state(), WorkerState::Ready | WorkerState::Retiring);
        self.used_slots().filter(|&(index, slot)| index != me && serves(slot)).count()
    }

    /// The counters of all workers, those that have died included. Never smaller than before, as long as the arbiter asks
    /// (others may catch it between adding a dead worker to the totals and clearing its slot).
    #[must_use]
    pub fn totals(&self) -> Counts {
        let mut totals = self.shared().departed.read();
        for (_, slot) in self.used_slots() {
            totals.add(&slot.counters.read());
        }
        totals
    }

    /// Arbiter: gives an empty slot to a worker that is about to be forked. `None`: the board is full.
    #[must_use]
    pub fn assign(&self, generation: u32, age: u64, now: Moment) -> Option<usize> {
        let (index, slot) =
            self.table.items().iter().enumerate().find(|(_, slot)| slot.state() == WorkerState::Empty)?;
        slot.generation.store(generation, Relaxed);
        slot.age.store(age, Relaxed);
        slot.spawned_ms.store(now.0, Relaxed);
        slot.set_state(WorkerState::Booting);
        self.shared().used.fetch_max(index as u32 + 1, Release);
        Some(index)
    }

    /// Arbiter: takes back the slot of a worker that is dead and reaped (or was never forked), and keeps its counts.
    pub fn release(&self, index: usize) {
        let slot = self.slot(index);
        self.shared().departed.fold(&slot.counters);
        slot.clear();
    }
}

/// The header of the board: what belongs to no single worker.
#[derive(Default)]
#[repr(align(128))]
pub struct Shared {
    /// One more than the highest slot ever used.
    used: AtomicU32,
    boot_error_shown: AtomicBool,
    stopping: AtomicBool,
    departed: Counters,
}

impl Shared {
    /// Arbiter: the whole server is going to stop, so nobody will serve what the workers leave in the accept queues. Set it
    /// before the workers are told to drain.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Release);
    }

    /// Worker: whether the accept queue has to be emptied before leaving.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Acquire)
    }

    /// Worker that cannot boot: whether it is the first to say so, and should print the traceback. The siblings that fail for
    /// the same reason keep quiet.
    #[must_use]
    pub fn claim_boot_error(&self) -> bool {
        !self.boot_error_shown.swap(true, Relaxed)
    }

    /// Arbiter: lets the next worker that cannot boot show why (after a success, and at a reload).
    pub fn forget_boot_error(&self) {
        self.boot_error_shown.store(false, Relaxed);
    }
}

/// Where in its life a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum WorkerState {
    /// Nobody sits in the slot.
    Empty = 0,
    /// Forked; importing the application. Written by the arbiter.
    Booting = 1,
    /// Serving. Written by the worker.
    Ready = 2,
    /// Serving, but has reached its number of requests and wants to be replaced. Written by the worker.
    Retiring = 3,
    /// Finishing what it has; accepts no more once its accept queue is empty. Written by the worker.
    Draining = 4,
    /// Done; the process is about to exit. Written by the worker.
    Exited = 5,
}

impl WorkerState {
    fn from_number(number: u32) -> WorkerState {
        match number {
            0 => WorkerState::Empty,
            1 => WorkerState::Booting,
            2 => WorkerState::Ready,
            3 => WorkerState::Retiring,
            4 => WorkerState::Draining,
            _ => WorkerState::Exited,
        }
    }
}

/// One worker. Times are [`Moment`]s in milliseconds, 0 for never.
#[derive(Default)]
#[repr(align(128))]
pub struct Slot {
    // Written rarely, read by all.
    pid: AtomicI32,
    state: AtomicU32,
    generation: AtomicU32,
    dumps_stack: AtomicBool,
    age: AtomicU64,
    spawned_ms: AtomicU64,
    /// The `busy_since_ms` of the call whose client should be told 504; 0: none.
    answer_wanted: AtomicU64,
    /// The one that was.
    answered: AtomicU64,
    // Written on every request, by this worker only.
    heartbeat_ms: AtomicU64,
    busy_since_ms: AtomicU64,
    counters: Counters,
    request: RequestLine,
}

impl Slot {
    /// The worker's process id; 0 before it is known.
    pub fn pid(&self) -> Pid {
        self.pid.load(Relaxed)
    }

    /// Arbiter and worker, after the fork (both write the same).
    pub fn set_pid(&self, pid: Pid) {
        self.pid.store(pid, Relaxed);
    }

    /// Which load of the configuration the worker was forked for; counts from 1.
    pub fn generation(&self) -> u32 {
        self.generation.load(Relaxed)
    }

    /// The worker's place in the order of all forks; counts from 1.
    pub fn age(&self) -> u64 {
        self.age.load(Relaxed)
    }

    /// When the arbiter forked the worker.
    pub fn spawned(&self) -> Moment {
        Moment(self.spawned_ms.load(Relaxed))
    }

    /// Where in its life the worker is.
    pub fn state(&self) -> WorkerState {
        WorkerState::from_number(self.state.load(Acquire))
    }

    /// Worker: moves on to `state`. Wake the arbiter afterwards, it sleeps.
    pub fn set_state(&self, state: WorkerState) {
        self.state.store(state as u32, Release);
    }

    /// Whether the worker could take a request at once.
    pub fn is_idle(&self) -> bool {
        matches!(self.state(), WorkerState::Ready | WorkerState::Retiring) && self.busy_since_ms.load(Relaxed) == 0
    }

    /// Worker: its loop turns. The arbiter takes a worker that has once beaten for hung when it is neither busy nor has
    /// beaten for `timeout`; so beat at least once a second, or never.
    pub fn beat(&self, now: Moment) {
        self.heartbeat_ms.store(now.0, Relaxed);
    }

    /// The last beat, if there was one.
    pub fn heartbeat(&self) -> Option<Moment> {
        some_moment(self.heartbeat_ms.load(Relaxed))
    }

    /// Worker: a call of the application begins. At most [`REQUEST_LINE_BYTES`] of `method SP target` are kept.
    pub fn begin_call(&self, now: Moment, method: &[u8], target: &[u8]) {
        self.request.write(method, target);
        self.busy_since_ms.store(now.0.max(1), Release);
    }

    /// Worker: the call is over (its iterator closed too); counts the request.
    pub fn end_call(&self, now: Moment) {
        self.busy_since_ms.store(0, Release);
        self.heartbeat_ms.store(now.0, Relaxed);
        self.counters.requests.increment();
    }

    /// Since when the application call that runs now has been running.
    pub fn busy_since(&self) -> Option<Moment> {
        some_moment(self.busy_since_ms.load(Acquire))
    }

    /// The request line (`GET /path?query`, raw bytes of the client) of the last call that began, cut at
    /// [`REQUEST_LINE_BYTES`]; empty before the first. `None` if the worker died, or is changing it, in the middle of writing it.
    pub fn request_line(&self) -> Option<Vec<u8>> {
        self.request.read()
    }

    /// The worker's counters; wherever something is counted, add there.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Worker: from now on [`Signal::dump_stack`](crate::sys::signals::Signal::dump_stack) writes the stack and does not kill.
    pub fn set_dumps_stack(&self) {
        self.dumps_stack.store(true, Release);
    }

    /// Whether the worker can be asked for its stack.
    pub fn dumps_stack(&self) -> bool {
        self.dumps_stack.load(Acquire)
    }

    /// Arbiter: asks the standby thread to answer 504 to the client of the call that began at `since`.
    pub fn want_answer(&self, since: Moment) {
        self.answer_wanted.store(since.0, Release);
    }

    /// Standby thread, at least every 100 ms while a call runs: whether the call that runs now has exceeded its time and its
    /// client is still to be told so. A call that began later is not meant.
    pub fn answer_due(&self) -> bool {
        let wanted = self.answer_wanted.load(Acquire);
        wanted != 0 && wanted == self.busy_since_ms.load(Acquire) && wanted != self.answered.load(Relaxed)
    }

    /// Standby thread: the client has its 504, or cannot get one any more (its response has begun, it has left). Wake the
    /// arbiter afterwards.
    pub fn set_answered(&self) {
        self.answered.store(self.answer_wanted.load(Relaxed), Release);
    }

    /// Arbiter: whether what [`want_answer`](Self::want_answer) asked for is done.
    pub fn is_answered(&self) -> bool {
        self.answered.load(Acquire) == self.answer_wanted.load(Relaxed)
    }

    fn clear(&self) {
        for number in
            [&self.age, &self.spawned_ms, &self.answer_wanted, &self.answered, &self.heartbeat_ms, &self.busy_since_ms]
        {
            number.store(0, Relaxed);
        }
        self.pid.store(0, Relaxed);
        self.generation.store(0, Relaxed);
        self.dumps_stack.store(false, Relaxed);
        self.counters.reset();
        self.request.clear();
        self.set_state(WorkerState::Empty);
    }
}

fn some_moment(ms: u64) -> Option<Moment> {
    (ms != 0).then_some(Moment(ms))
}

/// A number that only grows, or (where it says so) a gauge. Uncontended: one writer process per counter.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; a few nanoseconds. Any thread of the worker may.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Takes one away from a gauge.
    pub fn decrement(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// For gauges: only the slot's worker writes, so nothing is lost between.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Declares the counters once: the atomics, their plain copy, and what is done with each of them.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Everything that is counted per worker.
        #[derive(Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)*
            /// A gauge: connections open now. Not part of the totals of the departed.
            pub connections_open: Counter,
        }

        /// [`Counters`] as read at one time.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
            /// A gauge: connections open now.
            pub connections_open: u64,
        }

        impl Counters {
            /// Each one's value now (not all of the same instant).
            pub fn read(&self) -> Counts {
                Counts { $($name: self.$name.get(),)* connections_open: self.connections_open.get() }
            }

            /// Adds those of a worker that has died; its connections died with it.
            fn fold(&self, dead: &Counters) {
                $(self.$name.add(dead.$name.get());)*
            }

            fn reset(&self) {
                $(self.$name.0.store(0, Relaxed);)*
                self.connections_open.0.store(0, Relaxed);
            }
        }

        impl Counts {
            fn add(&mut self, other: &Counts) {
                $(self.$name += other.$name;)*
                self.connections_open += other.connections_open;
            }
        }
    };
}

counters! {
    /// Application calls that ended.
    requests,
    /// Connections accepted.
    connections_accepted,
    /// Bytes that sockets took, heads included.
    bytes_sent,
    /// Bytes that came from sockets.
    bytes_received,
    /// Requests refused for what the client sent: 400, 413, 414, 417, 431, 501, 505.
    refused,
    /// Clients that were too slow: 408, and idle or stalled connections that were closed.
    client_timeouts,
    /// Clients that left before their response was whole.
    client_disconnects,
    /// Application calls that failed: exceptions, and responses that break the protocol.
    application_errors,
    /// Application calls that exceeded their time: 504.
    application_timeouts,
}

/// How much of a request line the board keeps.
pub const REQUEST_LINE_BYTES: usize = WORDS * 8;
const WORDS: usize = 30;

/// A short text that one side rewrites often and others read seldom: a sequence lock over atomic words, so that a torn read is
/// noticed and no access is a data race.
#[derive(Default)]
struct RequestLine {
    /// Odd while the text is being written.
    sequence: AtomicU32,
    length: AtomicU32,
    words: [AtomicU64; WORDS],
}

impl RequestLine {
    fn write(&self, method: &[u8], target: &[u8]) {
        let mut text = [0u8; REQUEST_LINE_BYTES];
        let mut length = 0;
        for part in [method, b" ", target] {
            let kept = part.len().min(REQUEST_LINE_BYTES - length);
            text[length..length + kept].copy_from_slice(&part[..kept]);
            length += kept;
        }
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

    fn read(&self) -> Option<Vec<u8>> {
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

    fn clear(&self) {
        self.length.store(0, Relaxed);
        self.sequence.store(0, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn slots_are_assigned_lowest_first_and_reused() {
        let board = Scoreboard::new(2).unwrap();
        assert_eq!(board.assign(1, 1, Moment(10)), Some(0));
        assert_eq!(board.assign(1, 2, Moment(11)), Some(1));
        assert_eq!(board.assign(1, 3, Moment(12)), None);
        assert_eq!(board.slot(1).state(), WorkerState::Booting);
        assert_eq!((board.slot(1).age(), board.slot(1).spawned()), (2, Moment(11)));
        board.release(0);
        assert_eq!(board.slot(0).state(), WorkerState::Empty);
        assert_eq!(board.assign(2, 3, Moment(12)), Some(0));
    }

    #[test]
    fn totals_survive_their_worker() {
        let board = Scoreboard::new(4).unwrap();
        for age in 1..=2 {
            let slot = board.slot(board.assign(1, age, Moment(1)).unwrap());
            slot.counters().requests.add(10);
            slot.counters().connections_open.increment();
        }
        let before = board.totals();
        assert_eq!((before.requests, before.connections_open), (20, 2));
        board.release(0);
        let after = board.totals();
        assert_eq!((after.requests, after.connections_open), (20, 1), "a dead worker's connections are closed");
        board.assign(1, 3, Moment(1)).unwrap();
        assert_eq!(board.slot(0).counters().read(), Counts::default());
    }

    #[test]
    fn idle_siblings_are_ready_and_have_no_call() {
        let board = Scoreboard::new(8).unwrap();
        for age in 1..=4 {
            board.assign(1, age, Moment(1)).unwrap();
        }
        assert_eq!(board.idle_siblings(0), 0, "all are booting");
        for index in 0..4 {
            board.slot(index).set_state(WorkerState::Ready);
        }
        assert_eq!(board.idle_siblings(0), 3);
        board.slot(1).begin_call(Moment(5), b"GET", b"/");
        board.slot(2).set_state(WorkerState::Draining);
        assert_eq!(board.idle_siblings(0), 1);
        board.slot(1).end_call(Moment(6));
        assert_eq!(board.idle_siblings(0), 2);
    }

    #[test]
    fn a_late_answer_is_not_given_to_the_next_request() {
        let board = Scoreboard::new(1).unwrap();
        let slot = board.slot(0);
        slot.begin_call(Moment(100), b"GET", b"/slow");
        assert!(!slot.answer_due());
        slot.want_answer(Moment(100));
        assert!(slot.answer_due() && !slot.is_answered());
        slot.end_call(Moment(200));
        assert!(!slot.answer_due(), "the call came to its end after all");
        slot.begin_call(Moment(201), b"GET", b"/next");
        assert!(!slot.answer_due(), "another call is not meant");
        slot.set_answered();
        assert!(slot.is_answered());
    }

    #[test]
    fn request_lines_are_kept_and_cut() {
        let board = Scoreboard::new(1).unwrap();
        let slot = board.slot(0);
        assert_eq!(slot.request_line().unwrap(), b"");
        slot.begin_call(Moment(1), b"POST", b"/a?b=c");
        assert_eq!(slot.request_line().unwrap(), b"POST /a?b=c");
        slot.begin_call(Moment(1), b"GET", &[b'x'; 1000]);
        let line = slot.request_line().unwrap();
        assert_eq!(line.len(), REQUEST_LINE_BYTES);
        assert!(line.starts_with(b"GET xxx"));
        slot.begin_call(Moment(1), &[b'M'; 1000], b"/");
        assert_eq!(slot.request_line().unwrap(), [b'M'; REQUEST_LINE_BYTES]);
    }

    #[test]
    fn torn_request_lines_are_never_seen() {
        let board = Arc::new(Scoreboard::new(1).unwrap());
        let writer = {
            let board = Arc::clone(&board);
            std::thread::spawn(move || {
                for round in 0..20_000u32 {
                    let letter = b'a' + (round % 26) as u8;
                    board.slot(0).begin_call(Moment(1), &[letter; 3], &vec![letter; (round % 200) as usize]);
                }
            })
        };
        while !writer.is_finished() {
            if let Some(line) = board.slot(0).request_line()
                && let Some(&first) = line.first()
            {
                assert!(line.iter().all(|&byte| byte == first || byte == b' '), "{line:?}");
            }
        }
        writer.join().unwrap();
    }

    #[test]
    fn a_writer_that_died_half_way_does_not_hold_the_reader() {
        let line = RequestLine::default();
        line.write(b"GET", b"/");
        line.sequence.fetch_add(1, Relaxed);
        assert_eq!(line.read(), None);
    }

    #[test]
    fn only_the_first_shows_its_boot_error() {
        let board = Scoreboard::new(1).unwrap();
        assert!(board.shared().claim_boot_error());
        assert!(!board.shared().claim_boot_error());
        board.shared().forget_boot_error();
        assert!(board.shared().claim_boot_error());
    }
}
