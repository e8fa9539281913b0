//! How connections end, and with them a worker that drains.

use super::Reactor;
use crate::slab::Key;
use crate::sys::clock;
use crate::sys::socket;
use std::os::fd::AsFd;

impl Reactor {
    /// Stops taking connections and lets those that are open end well: requests that have begun are finished, idle
    /// connections may send one more request within `drain_idle`. With `empty_queue`, what waits in the accept queue is
    /// served too: nobody else will.
    pub fn drain(&mut self, empty_queue: bool) {
        if self.draining {
            return;
        }
        self.now = clock::now();
        self.draining = true;
        if empty_queue && !self.is_held() {
            self.accepting.finish(self.now, self.settings.drain_accept);
        } else {
            self.close_listeners();
        }
        for key in self.connections.keys() {
            self.limit_idle_time(key);
            self.drain_http2(key);
        }
    }

    /// An idle connection of a draining worker does not wait for its whole keep-alive time.
    pub(super) fn limit_idle_time(&mut self, key: Key) {
        let limit = self.now + self.settings.drain_idle;
        if let Some(connection) = self.connections.get_mut(key)
            && connection.is_unused()
        {
            connection.deadline = limit;
            self.schedule(key);
        }
    }

    /// Whether a draining worker has nothing left to do.
    pub fn is_drained(&mut self) -> bool {
        // What this worker has put into the channel and nobody has taken comes back to it: it must not be lost with it.
        self.draining && self.connections.len() == 0 && self.accepting.is_closed() && !self.take_given()
    }

    /// Closes without further ado. What the kernel holds is still delivered.
    pub(super) fn close(&mut self, key: Key) {
        if let Some(mut connection) = self.connections.remove(key) {
            self.wheel.cancel(&mut connection.alarm);
            if connection.tls.is_some() {
                self.say_goodbye(&mut connection);
            }
            if let Some(http2) = connection.http2.take() {
                self.abandon_streams(http2);
            }
            if self.streamed {
                self.depart(key, connection);
                return self.accepting.note_descriptor_freed();
            }
            // Closing the descriptor also removes it from the epoll set.
            drop(connection);
            self.accepting.note_descriptor_freed();
        }
    }

    /// Closes so that the peer can tell: the response it got is not whole.
    pub(super) fn reset(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key) {
            socket::set_reset_on_close(connection.socket.as_fd());
            // Nor is it told by TLS that this was all.
            connection.tls = None;
        }
        self.close(key);
    }
}
