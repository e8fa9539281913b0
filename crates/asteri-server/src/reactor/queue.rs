//! Requests between the reactor and the application: those that wait for it, and those that it keeps.

use super::scratch::BLANKS;
use super::{Reactor, Scratch};
use crate::request::ReadyRequest;
use crate::slab::Key;
use crate::sys::clock;
use crate::sys::socket::Pending;
use std::time::Duration;

impl Reactor {
    /// Lets a complete request wait for the application.
    pub fn enqueue(&mut self, mut request: ReadyRequest) {
        // Watched, so that a client which leaves while it waits is noticed.
        self.schedule(request.key);
        if self.batching.is_hosted()
            && let Some(connection) = self.connections.get_mut(request.key)
        {
            // Its end may have come with the request and not have been read: then it waits for the answer all the same.
            request.half_closed |= connection.pending() == Pending::End;
        }
        self.queue.push_back(request);
    }

    /// The request that has waited longest for the application and whose client is still there.
    pub fn dequeue(&mut self) -> Option<ReadyRequest> {
        while let Some(request) = self.queue.pop_front() {
            if self.begin(&request) {
                let waited = clock::now().0.saturating_sub(request.arrived.0);
                // The streams of a connection come together, and wait only if they are many.
                if waited > 0 || !request.key.is_stream() {
                    self.counters.queued += 1;
                    self.counters.waited_ms += waited;
                }
                return Some(request);
            }
        }
        None
    }

    /// Takes back what an answered request was made of, for the turner; returns it if there are enough.
    pub fn give_back(&mut self, request: ReadyRequest) -> Option<ReadyRequest> {
        if self.answered.len() >= BLANKS {
            return Some(request);
        }
        self.answered.push(request);
        None
    }

    /// Lets the turner have what has been given back.
    pub fn reclaim(&mut self, scratch: &mut Scratch) {
        for request in self.answered.drain(..) {
            scratch.recycle(request);
        }
    }

    /// For how long the first of the requests that wait for the application has done so.
    pub fn longest_wait(&self) -> Duration {
        let since = |request: &ReadyRequest| Duration::from_millis(clock::now().0.saturating_sub(request.arrived.0));
        self.queue.front().map_or(Duration::ZERO, since)
    }

    /// Requests that wait for the application.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The application has a request and has not finished it at once: its connection is watched from now on.
    pub fn settle(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.in_use()) else { return };
        // What has arrived of its content and was not read with the head makes no event of its own.
        let unread = connection.readable && connection.stream.as_ref().is_some_and(|stream| !stream.complete);
        let ended = !connection.watched && connection.pending() == Pending::End;
        if !connection.watched
            && let Some(stream) = &mut connection.stream
        {
            // The end may have come with the request, whose socket nobody watched: then the client waits for the answer all the same.
            stream.half_closed |= stream.complete && ended;
        }
        self.schedule(key);
        if unread {
            self.wake(key);
        }
    }
}
