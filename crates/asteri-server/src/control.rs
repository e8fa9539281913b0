//! What a worker hears from its arbiter and tells it: signals, the scoreboard, and the line that breaks when the arbiter
//! dies.

use crate::host::{Control, Counters, Order};
use crate::request::ReadyRequest;
use crate::scoreboard::{Place, Slot, WorkerState};
use crate::sys::clock;
use crate::sys::epoll;
use crate::sys::eventfd::EventFd;
use crate::sys::process;
use crate::sys::signals::{Receiver, Signal};
use crate::warm_up::WarmUp;
use asteri_proto::time::Moment;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The signals that a worker takes over. Those that are meant for the arbiter are taken over to be ignored: sent to all
/// processes of the server by name, they would end or stop a worker.
pub const WORKER_SIGNALS: [Signal; 9] = [
    Signal::TERM,
    Signal::INT,
    Signal::QUIT,
    Signal::USR1,
    Signal::HUP,
    Signal::USR2,
    Signal::TTIN,
    Signal::TTOU,
    Signal::WINCH,
];

/// The worker's end of the line to the arbiter.
pub struct WorkerControl {
    /// Where on the scoreboard it is.
    pub place: Place,
    pub signals: Receiver,
    /// The read end of a pipe whose write end only the arbiter has, and into which nothing is written: it becomes readable
    /// when the arbiter dies, however it dies.
    pub arbiter: OwnedFd,
    /// Wakes the arbiter.
    pub notify: EventFd,
    /// Ask for a successor after so many requests; `None` for never.
    pub max_requests: Option<u64>,
    /// The request that has to be answered before the worker is open; `None` if it is open from the start.
    pub warm_up: Option<WarmUp>,
    /// Opens the log files again.
    pub reopen_logs: Box<dyn Fn() + Send + Sync>,
    /// Called once, when the worker is told to leave without finishing.
    pub on_quit: Box<dyn Fn(Signal) + Send + Sync>,
    /// How long a worker whose arbiter has died may take to finish: nobody else would end it.
    pub graceful_timeout: Duration,
    /// When the arbiter was found dead, or not to know of this worker, in milliseconds; 0 as long as neither is so.
    pub orphaned_ms: AtomicU64,
}

impl WorkerControl {
    fn slot(&self) -> &Slot {
        self.place.slot()
    }

    /// The arbiter knows nothing of this worker, which it cannot have wanted: it leaves as if it had been replaced, and nobody
    /// else would end it.
    fn leave_if_unknown(&self) {
        if self.place.is_lost() && self.must_leave_at(clock::now()) {
            // The way by which a worker that is busy, too, finds out that it is to leave.
            let _ = process::kill(std::process::id().cast_signed(), Signal::TERM);
        }
    }

    /// Says whether that is new.
    fn must_leave_at(&self, now: Moment) -> bool {
        self.orphaned_ms.compare_exchange(0, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// What [`crate::host::Worker::control_fds`] has to contain.
    #[must_use]
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let warm_up = self.warm_up.as_ref().map(|warm_up| warm_up.event().as_fd());
        [self.signals.as_fd(), self.arbiter.as_fd()].into_iter().chain(warm_up).collect()
    }

    /// Asks for a successor after the last of `max_requests`.
    #[inline]
    fn retire_in_time(&self, slot: &Slot) {
        if self.max_requests.is_some_and(|most| slot.counters().requests.get() >= most)
            && slot.state() == WorkerState::Ready
        {
            slot.set_state(WorkerState::Retiring);
            self.notify.wake();
        }
    }

    fn arbiter_is_gone(&self) -> bool {
        epoll::is_readable(self.arbiter.as_fd())
    }
}

impl Control for WorkerControl {
    fn poll(&self) -> Order {
        let mut order = Order::Serve;
        for (signal, _) in self.signals.take() {
            if signal == Signal::USR1 {
                (self.reopen_logs)();
            } else if signal == Signal::TERM {
                // With a successor at the same listeners, the accept queue is theirs.
                order = Order::Drain { empty_queue: !self.slot().is_replaced() };
            } else if signal == Signal::INT || signal == Signal::QUIT {
                (self.on_quit)(signal);
                return Order::Quit;
            }
        }
        if self.arbiter_is_gone() && self.must_leave_at(clock::now()) {
            order = Order::Drain { empty_queue: true };
        }
        if let Order::Drain { .. } = order {
            self.slot().set_state(WorkerState::Draining);
            return order;
        }
        match self.warm_up.as_ref().and_then(WarmUp::take) {
            None => Order::Serve,
            Some(true) => Order::Open,
            // The reason has been told where it was found.
            Some(false) => Order::Quit,
        }
    }

    fn beat(&self, counters: Counters, open_connections: usize) {
        let slot = self.slot();
        slot.beat(clock::now());
        self.leave_if_unknown();
        let board = slot.counters();
        board.connections_open.set(open_connections as u64);
        if counters != Counters::default() {
            board.connections_accepted.add(counters.accepted);
            board.refused.add(counters.refused);
            board.client_timeouts.add(counters.timeouts);
            board.bytes_sent.add(counters.bytes_sent);
            board.client_disconnects.add(counters.abandoned);
            board.requests_queued.add(counters.queued);
            board.queue_wait_ms.add(counters.waited_ms);
            board.tls_handshakes.add(counters.tls_handshakes);
            board.tls_resumed.add(counters.tls_resumed);
            board.tls_failures.add(counters.tls_failures);
            board.http2_connections.add(counters.http2_connections);
            board.http2_resets.add(counters.http2_resets);
            board.http2_floods.add(counters.http2_floods);
        }
    }

    fn call_begins(&self, request: &ReadyRequest, now: Moment) {
        let (method, target) = request.method_and_target();
        self.slot().begin_call(now, method, target);
    }

    fn call_ends(&self, now: Moment) -> bool {
        let slot = self.slot();
        slot.end_call(now);
        self.retire_in_time(slot);
        slot.state() == WorkerState::Exited
    }

    fn request_begins(&self, request: &ReadyRequest) {
        let (method, target) = request.method_and_target();
        self.slot().begin_request(method, target);
    }

    fn request_ends(&self) {
        let slot = self.slot();
        slot.end_request();
        self.retire_in_time(slot);
    }

    fn accept_while_busy(&self) -> bool {
        // While a sibling exists, a new connection is better off in the queue, where whoever is free first takes it.
        self.place.board.ready_siblings(self.place.index) == 0
    }

    fn is_closing(&self) -> bool {
        self.place.board.shared().is_closing()
    }

    fn idle_sibling(&self) -> bool {
        self.place.board.idle_siblings(self.place.index) > 0
    }

    fn must_end(&self) -> bool {
        let orphaned = Moment(self.orphaned_ms.load(Ordering::Relaxed));
        orphaned != Moment(0) && clock::now() >= orphaned + self.graceful_timeout
    }

    fn is_condemned(&self) -> bool {
        self.slot().state() == WorkerState::Exited
    }

    fn must_answer_for_hung(&self) -> bool {
        self.slot().answer_due()
    }

    fn answered_for_hung(&self, answered: bool) {
        if answered {
            self.slot().counters().application_timeouts.increment();
        }
        self.slot().set_answered();
        self.notify.wake();
    }
}
