//! Turning the reactor: events are fetched, connections do what they can, complete requests come out.

use super::{CONTROL_TOKEN, EVENTS, HANDOVER_TOKEN, LISTENER_TOKEN, Reactor, Scratch, TIMER_TOKEN, Turner, WAKE_TOKEN};
use crate::connection::Stage;
use crate::request::ReadyRequest;
use crate::slab::Key;
use crate::sys::clock;
use crate::sys::epoll::Event;
use crate::tls::Desk;
use asteri_proto::time::Moment;
use std::time::Duration;

/// When events were fetched: what an event tells of may have happened at any time since the fetch before it.
pub(super) struct Turns {
    last: Moment,
    this: Moment,
    /// All that was ready came.
    is_complete: bool,
}

impl Turns {
    pub fn new(now: Moment) -> Self {
        Self { last: now, this: now, is_complete: true }
    }

    fn begin(&mut self, now: Moment, is_complete: bool) {
        if self.is_complete {
            self.last = self.this;
        }
        (self.this, self.is_complete) = (now, is_complete);
    }
}

impl Reactor {
    /// Looks for events without waiting, and at the clock; says whether there are any. Does nothing while earlier ones are
    /// not worked off.
    pub fn poll(&mut self) -> bool {
        self.away_until = None;
        if self.next_event == self.event_count {
            self.expire(self.fetched);
            self.next_event = 0;
            self.now = clock::now();
            // An error would mean that the descriptor is gone: the wait that follows tells.
            self.event_count = self.epoll.wait(&mut self.events[..], Some(Duration::ZERO)).unwrap_or(0);
            if self.event_count < EVENTS {
                self.fetched = self.now;
            }
            if self.event_count == 0 && self.woken.is_empty() {
                self.expire(self.now);
            }
            self.tick();
            self.turns.begin(self.now, self.event_count < EVENTS);
        }
        self.next_event < self.event_count
    }

    /// How many events were fetched the last time.
    pub fn fetched(&self) -> usize {
        self.event_count
    }

    /// Takes over events that were waited for outside the lock.
    pub fn take_events(&mut self, events: &[Event]) {
        debug_assert!(self.next_event == self.event_count, "the turner waits only when nothing is left to do");
        self.away_until = None;
        self.events[..events.len()].copy_from_slice(events);
        self.next_event = 0;
        self.event_count = events.len();
        self.tick();
        self.turns.begin(self.now, self.event_count < EVENTS);
    }

    /// The moment of the last look at the clock.
    #[inline]
    pub fn now(&self) -> Moment {
        self.now
    }

    /// Somebody else has looked at the clock, which may have been long ago here.
    #[inline]
    pub fn pass_time(&mut self, now: Moment) {
        self.now = self.now.max(now);
    }

    pub(super) fn tick(&mut self) {
        self.now = clock::now();
        self.resume_accepting();
        self.take_handshakes();
        self.woken_now = self.woken.len();
    }

    /// Works until a request is complete and returns it, or until there is nothing to do and returns `None`.
    ///
    /// The standby thread gets requests too, so that the caller decides; it [queues](Self::queue) them.
    pub fn next_request(&mut self, turner: Turner, scratch: &mut Scratch) -> Option<ReadyRequest> {
        self.send_together_if_late();
        if turner == Turner::Application
            && let Some(request) = self.dequeue()
        {
            self.flush_for(&request);
            return Some(request);
        }
        loop {
            self.send_together_if_late();
            if self.desk.as_ref().is_some_and(Desk::has_done) {
                // All that has been fetched may be a long way, if each of it is a request.
                self.take_handshakes();
                self.woken_now = self.woken.len();
            }
            let key = if self.woken_now > 0
                && let Some(key) = self.woken.pop_front()
            {
                self.woken_now -= 1;
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.woken = false;
                }
                key
            } else if self.next_event < self.event_count {
                let event = self.events[self.next_event];
                self.next_event += 1;
                match self.on_event(event, turner) {
                    Some(key) => key,
                    None => continue,
                }
            } else {
                self.flush_touched();
                self.rest();
                return None;
            };
            let request = self.work(key, scratch);
            if request.is_none() && turner == Turner::Application && !self.queue.is_empty() {
                // A connection of HTTP/2 brings many at a time.
                if let Some(request) = self.dequeue() {
                    self.flush_for(&request);
                    return Some(request);
                }
            }
            if let Some(request) = request {
                match turner {
                    Turner::Application if self.begin(&request) => {
                        self.flush_for(&request);
                        return Some(request);
                    }
                    Turner::Application => {}
                    Turner::Standby => return Some(request),
                }
            }
        }
    }

    pub(super) fn on_event(&mut self, event: Event, turner: Turner) -> Option<Key> {
        let token = event.token();
        if token == CONTROL_TOKEN {
            self.control_ready = true;
            return None;
        }
        if token == WAKE_TOKEN {
            return None;
        }
        if token == TIMER_TOKEN {
            self.timer_ready = true;
            return None;
        }
        if token == HANDOVER_TOKEN {
            self.take_given();
            return None;
        }
        if (LISTENER_TOKEN..CONTROL_TOKEN).contains(&token) {
            self.accept(usize::try_from(token - LISTENER_TOKEN).unwrap_or(0));
            return None;
        }
        let key = Key::from_token(token);
        let connection = self.connections.get_mut(key)?;
        connection.readable |= event.readable();
        if turner == Turner::Application && connection.stage == Stage::Receiving && !event.peer_closed() {
            // Nearly always, and then there is nothing more to see.
            return Some(key);
        }
        let news = event.peer_closed() && !connection.peer_closed && connection.stage == Stage::InApplication;
        if event.peer_closed() && !connection.peer_closed {
            connection.peer_closed = true;
            // With an event loop the last fetch may be long ago; there each request that has to wait was looked at.
            connection.closed_at = if self.batching.is_hosted() { self.now } else { self.turns.last };
        }
        if event.broken() && !matches!(connection.stage, Stage::Receiving | Stage::Upgraded) {
            // Nothing that we send can arrive. The application finds out by its next flush. (What a WebSocket's peer has sent
            // before it left still counts.)
            self.close(key);
            return None;
        }
        if turner == Turner::Standby && event.readable() && self.give_idle(key) {
            return None;
        }
        if self.streamed {
            if news {
                self.tell(key);
            }
            return Some(key);
        }
        let connection = self.connections.get_mut(key)?;
        let busy = matches!(connection.stage, Stage::Queued | Stage::InApplication);
        if busy && !(event.writable() && connection.outbox.is_some()) {
            return None;
        }
        Some(key)
    }

    /// Does what a connection can do now.
    pub(super) fn work(&mut self, key: Key, scratch: &mut Scratch) -> Option<ReadyRequest> {
        let connection = self.connections.get_mut(key)?;
        let mut stage = connection.stage;
        if connection.outbox.is_some() {
            self.deliver(key);
            stage = self.connections.get_mut(key)?.stage;
        }
        match stage {
            Stage::ProxyHeader => self.receive_proxy_header(key, scratch),
            Stage::Receiving => self.receive(key, scratch),
            Stage::Lingering => {
                self.linger(key, scratch);
                None
            }
            Stage::InApplication => {
                if self.streamed {
                    self.receive_content(key, scratch);
                }
                None
            }
            Stage::Upgraded => {
                self.receive_frames(key, scratch);
                None
            }
            Stage::Multiplexed => {
                self.receive_http2(key, scratch);
                None
            }
            Stage::Queued | Stage::Delivering { .. } => None,
        }
    }

    /// Has the connection looked at without a new event.
    pub(super) fn wake(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key)
            && !std::mem::replace(&mut connection.woken, true)
        {
            self.woken.push_back(key);
        }
    }

    /// Whether [`next_request`](Self::next_request) would have work without a new event.
    pub fn has_work(&self) -> bool {
        !self.woken.is_empty() || !self.queue.is_empty() || self.next_event < self.event_count
    }

    /// Whether there is work that needs neither a new event nor the application.
    pub fn has_events(&self) -> bool {
        !self.woken.is_empty() || self.next_event < self.event_count || self.could_accept_again()
    }

    /// The turner is going to wait for events, and comes back then if there are none.
    pub fn leave_until(&mut self, back: Moment) {
        self.away_until = Some(back);
    }

    /// Whether a turner who waits is to be called back: it is `wanted`, or others have done meanwhile what leaves work of which no
    /// event tells, or a deadline before it comes back by itself. Says so once.
    pub fn call_back(&mut self, wanted: bool) -> bool {
        let Some(back) = self.away_until else { return false };
        let work = wanted || self.has_events() || self.has_news() || self.has_unsent();
        let wanted = work || self.next_wake().is_some_and(|wake| wake < back);
        if wanted {
            self.away_until = None;
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::Batching;
    use crate::reactor::receive::TOGETHER;
    use std::io::Write;
    use std::net::{Shutdown, TcpStream};

    #[test]
    fn an_event_may_have_been_there_since_the_last_fetch_that_brought_all() {
        let mut turns = Turns::new(Moment(0));
        let mut begin = |now, is_complete| {
            turns.begin(Moment(now), is_complete);
            turns.last.0
        };
        assert_eq!([begin(100, true), begin(200, false), begin(300, false)], [0, 100, 100]);
        assert_eq!([begin(400, true), begin(500, true)], [100, 400]);
    }

    /// When a client closes its sending side.
    #[derive(Clone, Copy, PartialEq)]
    enum Closes {
        /// Before its request is read, which a thread that is late does after a while.
        BeforeRead,
        /// The same, and then its end is seen after a while.
        BeforeReadOfBusyLoop,
        WhileItWaits,
    }

    /// Whether it is answered although its request has to wait for the application.
    fn is_answered(closes: Closes, batching: Batching) -> bool {
        let (mut reactor, address) = Reactor::listening();
        reactor.set_batching(batching);
        let mut scratch = Scratch::new();
        let mut client = TcpStream::connect(address).unwrap();
        while reactor.open_connections() == 0 {
            reactor.poll();
            assert!(reactor.next_request(Turner::Standby, &mut scratch).is_none());
        }
        while reactor.poll() {
            assert!(reactor.next_request(Turner::Standby, &mut scratch).is_none());
        }
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        while !reactor.poll() {}
        if closes != Closes::WhileItWaits {
            client.shutdown(Shutdown::Write).unwrap();
            std::thread::sleep(TOGETHER * 2);
        }
        let request = reactor.next_request(Turner::Standby, &mut scratch).unwrap();
        reactor.enqueue(request);
        assert!(reactor.next_request(Turner::Standby, &mut scratch).is_none());
        if closes != Closes::BeforeRead {
            std::thread::sleep(TOGETHER * 2);
        }
        if closes == Closes::WhileItWaits {
            // As whoever has requests that wait does all the time.
            reactor.poll();
            assert!(reactor.next_request(Turner::Standby, &mut scratch).is_none());
            client.shutdown(Shutdown::Write).unwrap();
        }
        while !reactor.poll() {}
        assert!(reactor.next_request(Turner::Standby, &mut scratch).is_none());
        reactor.dequeue().is_some()
    }

    #[test]
    fn a_client_that_closes_with_its_request_is_answered_by_a_thread_that_is_late() {
        assert!(is_answered(Closes::BeforeRead, Batching::Queue));
        assert!(is_answered(Closes::BeforeRead, Batching::Loop));
    }

    #[test]
    fn a_client_that_closes_with_its_request_is_answered_by_an_event_loop_that_is_busy() {
        assert!(is_answered(Closes::BeforeReadOfBusyLoop, Batching::Turn { inside: false }));
    }

    #[test]
    fn a_client_that_closes_while_its_request_waits_has_left() {
        for batching in [Batching::Queue, Batching::Loop, Batching::Turn { inside: false }] {
            assert!(!is_answered(Closes::WhileItWaits, batching));
        }
    }
}
