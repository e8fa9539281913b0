//! Responses that leave together.
//!
//! A client on the same machine, as a reverse proxy is one, sleeps between the responses of an application that takes longer to
//! make one than the client takes to read it. Each response that is sent alone wakes it, and that wake-up is paid for by who
//! sends: on a virtual machine it can be a seventh of all that a request of Django costs. So, while further requests wait for
//! the application, complete responses wait for each other: at most [`MOST`] of them, for at most [`LONGEST`] and the call
//! that is under way then.
//!
//! That call must not be a long one. Whether it will be, nobody knows; so nothing waits unless nearly all of the last 64
//! calls that were begun right after another were of a length with which it is worth while, and none was long. Where it turns
//! out to be long all the same, another thread sends what waits a few milliseconds later: the standby thread, or the
//! [courier](crate::courier).
//!
//! What it costs: a process that dies in that call takes the responses with it that wait for it.

use super::{Batching, Reactor, Sent};
use crate::connection::Stage;
use crate::courier::Bell;
use crate::slab::Key;
use crate::sys::clock;
use std::ops::Range;
use std::time::{Duration, Instant};

/// So many responses may wait for each other.
const MOST: usize = 8;
/// How long the first of them may wait before another call is begun.
const LONGEST: Duration = Duration::from_micros(500);
/// A response that is larger, in bytes, is not copied.
const LARGEST: usize = 16 * 1024;
/// Calls of a length with which it is worth while: what is saved per response, a few microseconds, is next to nothing of a longer
/// one, and with a shorter one the client has no time to fall asleep.
const WORTH_WHILE: Range<Duration> = Duration::from_micros(16)..Duration::from_micros(300);
/// A call that is as long as this makes others wait too long.
const LONG: Duration = Duration::from_millis(1);
/// So many of the last 64 calls may be of another length.
const STRANGERS: u32 = 8;

/// What the last 64 calls were like: one bit for each that was of another length than [`WORTH_WHILE`].
struct Lately(u64);

impl Lately {
    fn note(&mut self, length: Duration) {
        self.0 = if length >= LONG { u64::MAX } else { self.0 << 1 | u64::from(!WORTH_WHILE.contains(&length)) };
    }

    fn is_even(&self) -> bool {
        self.0.count_ones() <= STRANGERS
    }
}

/// The responses that wait for each other.
pub(super) struct Together {
    /// Which part of `bytes` is whose.
    responses: Vec<(Key, Range<usize>)>,
    bytes: Vec<u8>,
    /// Since when the first of them has waited.
    since: Instant,
    /// When the last call ended, if none has been waited for since.
    last: Option<Instant>,
    lately: Lately,
    courier: CourierState,
}

/// The thread that sends them if nobody else does, where that is not the standby thread.
enum CourierState {
    /// There has been no need.
    Unwanted,
    Wanted,
    /// Is being started, or cannot be.
    Asked,
    Ready(Bell),
}

impl Together {
    pub fn new() -> Self {
        Self {
            responses: Vec::new(),
            bytes: Vec::new(),
            since: Instant::now(),
            last: None,
            lately: Lately(u64::MAX),
            courier: CourierState::Unwanted,
        }
    }
}

impl Reactor {
    /// Whether there has to be a courier from now on. Says so once.
    pub fn wants_courier(&mut self) -> bool {
        let wants = matches!(self.together.courier, CourierState::Wanted);
        if wants {
            self.together.courier = CourierState::Asked;
        }
        wants
    }

    /// There is a courier.
    pub fn set_bell(&mut self, bell: Bell) {
        self.together.courier = CourierState::Ready(bell);
    }

    /// Since when responses wait for each other, if any do.
    pub fn together_since(&self) -> Option<Instant> {
        (!self.together.responses.is_empty()).then_some(self.together.since)
    }

    /// Keeps the last bytes of a response for a moment, if they may wait for others. Says whether it does.
    pub fn put_together(&mut self, key: Key, bytes: &[u8]) -> bool {
        let next = self.next_event < self.event_count || self.woken_now > 0 || !self.queue.is_empty();
        let others = next || !self.together.responses.is_empty();
        if !others || !self.together.lately.is_even() || !self.runs_calls_in_turn() {
            return false;
        }
        if key.is_stream() || bytes.len() > LARGEST || self.together.responses.len() >= MOST {
            return false;
        }
        let Some(connection) = self.connections.get_mut(key) else { return false };
        if connection.stage != Stage::InApplication || connection.outbox.is_some() || connection.together {
            return false;
        }
        let Together { responses, bytes: all, since, courier, .. } = &mut self.together;
        if self.batching != Batching::Loop {
            match courier {
                CourierState::Ready(bell) if responses.is_empty() => bell.ring(),
                CourierState::Ready(_) => {}
                CourierState::Unwanted => {
                    *courier = CourierState::Wanted;
                    return false;
                }
                CourierState::Wanted | CourierState::Asked => return false,
            }
        }
        connection.response_begun = true;
        connection.together = true;
        if responses.is_empty() {
            *since = Instant::now();
        }
        let start = all.len();
        all.extend_from_slice(bytes);
        responses.push((key, start..all.len()));
        true
    }

    /// Whether one call is run after the other, by the thread that turns the reactor and with all that comes of it seen to at the end.
    fn runs_calls_in_turn(&self) -> bool {
        matches!(self.batching, Batching::Loop | Batching::Turn { inside: true })
    }

    /// The application has come to the end of a response, which may have been [put](Self::put_together) to the others.
    pub(super) fn call_has_ended(&mut self) {
        if !self.runs_calls_in_turn() {
            return;
        }
        let now = Instant::now();
        if let Some(last) = self.together.last.replace(now) {
            self.together.lately.note(now - last);
        }
        if self.together.responses.len() >= MOST {
            self.send_together();
        }
    }

    /// Something else is about to be done, which may take long.
    #[inline]
    pub(super) fn send_together_if_late(&mut self) {
        if !self.together.responses.is_empty() && self.together.since.elapsed() >= LONGEST {
            self.send_together();
        }
    }

    /// Nothing is left to be run, or somebody else turns the reactor since the call that is under way is a long one: what comes next
    /// will have been waited for.
    pub fn rest(&mut self) {
        if self.together.last.take().is_some_and(|last| last.elapsed() >= LONG) {
            // It did not end a response, or has not yet, and so would not be counted.
            self.together.lately.note(LONG);
        }
        self.send_together();
    }

    /// Sends all responses that wait for each other.
    pub fn send_together(&mut self) {
        if self.together.responses.is_empty() {
            return;
        }
        if self.together.since.elapsed() >= LONG {
            self.together.lately.note(LONG);
        }
        self.now = clock::now();
        let mut responses = std::mem::take(&mut self.together.responses);
        let mut bytes = std::mem::take(&mut self.together.bytes);
        for (key, range) in responses.drain(..) {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.together = false;
            if self.send(key, &bytes[range]) != Sent::Gone {
                self.complete_delivery(key);
            }
        }
        bytes.clear();
        self.together.responses = responses;
        self.together.bytes = bytes;
    }

    /// The response is with the kernel or in the outbox; if the application has ended it, that is what is left to be done.
    fn complete_delivery(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Stage::Delivering { keep_alive } = connection.stage
            && connection.outbox.is_none()
        {
            self.after_response(key, keep_alive);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::{Scratch, Turner};
    use crate::request::ReadyRequest;
    use crate::sys::socket::Peer;
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;

    const EVEN: Lately = Lately(0);
    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    struct Table {
        reactor: Reactor,
        scratch: Scratch,
        clients: Vec<TcpStream>,
    }

    impl Table {
        /// So many clients, each of which has sent a request.
        fn with(clients: usize) -> Self {
            let (mut reactor, address) = Reactor::listening();
            reactor.together.lately = EVEN;
            let mut table = Self { reactor, scratch: Scratch::new(), clients: Vec::new() };
            for _ in 0..clients {
                table.clients.push(TcpStream::connect(address).unwrap());
                table.clients.last().unwrap().set_nonblocking(true).unwrap();
                // They are accepted in that order.
                while table.reactor.open_connections() < table.clients.len() {
                    table.reactor.poll();
                    assert!(table.next().is_none(), "nobody has asked for anything");
                }
            }
            table.ask(0..clients);
            table
        }

        fn ask(&mut self, who: Range<usize>) {
            for client in &mut self.clients[who] {
                client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            }
            self.reactor.poll();
        }

        fn next(&mut self) -> Option<ReadyRequest> {
            self.reactor.next_request(Turner::Application, &mut self.scratch)
        }

        /// Whose it is.
        fn client_of(&self, request: &ReadyRequest) -> usize {
            let is_its = |client: &TcpStream| request.peer == Peer::Ip(client.local_addr().unwrap());
            self.clients.iter().position(is_its).unwrap()
        }

        /// Runs one request, whose whole response is known at its end, and says whose it was.
        fn run(&mut self) -> usize {
            let request = self.next().expect("a request is there");
            self.reactor.finish_with(request.key, RESPONSE, true);
            self.stop_the_clock();
            self.client_of(&request)
        }

        /// However long this test takes: it has taken no time, and calls are what it says they are.
        fn stop_the_clock(&mut self) {
            self.reactor.together.since = Instant::now() + Duration::from_secs(600);
            self.reactor.together.last = None;
        }

        /// Begins one, whose response is complete before its end.
        fn begin(&mut self) -> (ReadyRequest, usize) {
            let request = self.next().expect("a request is there");
            assert!(self.reactor.put_together(request.key, RESPONSE));
            self.stop_the_clock();
            let client = self.client_of(&request);
            (request, client)
        }

        /// Which clients have a response that they have not read yet.
        fn answered(&mut self) -> Vec<usize> {
            let mut answered = Vec::new();
            for (number, client) in self.clients.iter_mut().enumerate() {
                let mut bytes = [0; 100];
                match client.read(&mut bytes) {
                    Ok(count) => {
                        assert_eq!(&bytes[..count], RESPONSE);
                        answered.push(number);
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            answered
        }
    }

    #[test]
    fn responses_wait_while_there_is_something_to_run() {
        let mut table = Table::with(3);
        for _ in 0..3 {
            table.run();
            assert_eq!(table.answered(), [], "that it was the last is not known yet");
        }
        assert!(table.next().is_none());
        assert_eq!(table.answered(), [0, 1, 2]);
        table.ask(0..3);
        table.run();
        assert_eq!(table.answered(), [], "the connections go on");
    }

    #[test]
    fn the_response_to_the_only_request_waits_for_nothing() {
        let mut table = Table::with(1);
        table.run();
        assert_eq!(table.answered(), [0]);
    }

    #[test]
    fn no_more_than_eight_wait() {
        let mut table = Table::with(10);
        for _ in 0..7 {
            table.run();
        }
        assert_eq!(table.answered(), []);
        table.run();
        assert_eq!(table.answered().len(), 8);
    }

    #[test]
    fn none_waits_when_another_call_begins_after_its_time() {
        let mut table = Table::with(3);
        let first = table.run();
        table.reactor.together.since = Instant::now().checked_sub(LONGEST).unwrap();
        let _second = table.next();
        assert_eq!(table.answered(), [first]);
    }

    #[test]
    fn none_waits_behind_calls_that_are_no_use_or_long() {
        let mut table = Table::with(3);
        table.reactor.together.lately = Lately(u64::MAX);
        let first = table.run();
        assert_eq!(table.answered(), [first]);

        let mut lately = EVEN;
        let mut note = |count, microseconds| {
            for _ in 0..count {
                lately.note(Duration::from_micros(microseconds));
            }
            lately.is_even()
        };
        assert!(!note(100, 5), "the clients are awake");
        assert!(note(60, 50));
        assert!(!note(1, 1500));
        assert!(!note(50, 50), "one long call is remembered");
        assert!(note(10, 50));
        assert!(!note(100, 400), "there is little to be saved");
    }

    #[test]
    fn that_one_has_waited_long_is_remembered() {
        let mut table = Table::with(3);
        let first = table.run();
        table.reactor.together.since = Instant::now().checked_sub(LONG).unwrap();
        table.reactor.send_together();
        assert_eq!(table.answered(), [first]);
        let second = table.run();
        assert_eq!(table.answered(), [second]);
    }

    #[test]
    fn a_response_that_is_there_before_the_call_ends_is_sent_once() {
        let mut table = Table::with(4);
        let (request, first) = table.begin();
        table.reactor.finish_with(request.key, b"", true);
        let (request, second) = table.begin();
        assert_eq!(table.answered(), []);
        // The call turns out to be long, and somebody else sends what is there.
        table.reactor.send_held();
        let answered = table.answered();
        assert!(answered.len() == 2 && answered.contains(&first) && answered.contains(&second));
        table.reactor.finish_with(request.key, b"", true);
        table.run();
        table.run();
        assert!(table.next().is_none());
        assert_eq!(table.answered().len(), 2);
        for client in [first, second] {
            table.ask(client..client + 1);
            assert_eq!(table.run(), client, "its connection goes on");
            assert_eq!(table.answered(), [client]);
        }
    }

    #[test]
    fn a_call_that_fails_after_its_response_takes_nothing_back() {
        let mut table = Table::with(3);
        let (request, client) = table.begin();
        table.reactor.abort_response(request.key);
        let mut bytes = Vec::new();
        let error = table.clients[client].read_to_end(&mut bytes).unwrap_err();
        assert_eq!((&bytes[..], error.kind()), (RESPONSE, ErrorKind::ConnectionReset));
    }

    #[test]
    fn what_is_behind_a_request_comes_after_its_response() {
        let mut table = Table::with(3);
        table.ask(0..3);
        let mut order = Vec::new();
        while order.len() < 6 {
            match table.next() {
                Some(request) => {
                    order.push(table.client_of(&request));
                    table.reactor.finish_with(request.key, RESPONSE, true);
                    table.stop_the_clock();
                }
                None => {
                    assert_eq!(table.answered(), [0, 1, 2]);
                    table.reactor.poll();
                }
            }
        }
        order[..3].sort_unstable();
        assert_eq!(order[..3], [0, 1, 2]);
        assert!(table.next().is_none());
        assert_eq!(table.answered(), [0, 1, 2]);
    }

    #[test]
    fn a_client_that_has_left_does_not_stop_the_others() {
        let mut table = Table::with(3);
        let first = table.run();
        table.run();
        drop(table.clients.remove(first));
        table.run();
        assert!(table.next().is_none());
        assert_eq!(table.answered(), [0, 1]);
    }

    #[test]
    fn nothing_waits_where_nobody_would_send_it() {
        for batching in [Batching::Queue, Batching::Turn { inside: false }, Batching::Turn { inside: true }] {
            let mut table = Table::with(3);
            table.reactor.set_batching(batching);
            let first = table.run();
            assert_eq!(table.answered(), [first]);
            let wanted = batching == Batching::Turn { inside: true };
            assert_eq!([(); 2].map(|()| table.reactor.wants_courier()), [wanted, false]);
        }
    }
}
