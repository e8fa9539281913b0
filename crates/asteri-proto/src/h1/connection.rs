//! The request side of one connection, from its first byte to its last.
//!
//! [`Connection`] turns what has arrived into [`Event`]s and knows which deadline is next; it does not read, write or
//! wait. It implements RFC 9112 §9.3 (persistence) and §9.3.2 (pipelining: the next request is looked at when the owner has
//! answered this one), RFC 9110 §10.1.1 (when 100 is due), and the timeouts of [`crate::limits::Timeouts`].
//!
//! ```text
//!          first byte          head complete              message complete
//!   Idle ────────────▶ Head ─────────────────▶ Length ──────────────────────▶ End ──▶ Dispatched
//!    ▲                                         Chunked                                    │
//!    └──────────────────────────────── next_request ──────────────────────────────────────┘
//! ```

use super::chunked::{Decoder, Step};
use super::lines::Progress;
use super::request::{BodyFraming, RequestHead};
use crate::error::{HEAD_TIMEOUT, INCOMPLETE_BODY, INCOMPLETE_HEAD, ProtocolError};
use crate::limits::{Config, Timeouts};
use crate::pace::Pace;
use crate::time::Moment;
use std::ops::Range;

/// What the bytes at the start of the input mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing complete: call again when there is more input than what was not consumed.
    NeedData,
    /// A request head; the consumed bytes are those of the head, and the spans count from the start of the input.
    Head,
    /// This part of the input is content.
    Body(Range<usize>),
    /// The request is complete. Nothing more is consumed until [`Connection::next_request`].
    End,
}

/// What follows from the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Nothing.
    NotYet,
    /// No request has begun: the connection is to be closed without a word.
    CloseIdle,
    /// A request has begun and is to be refused.
    Refuse(ProtocolError),
}

/// The driver. It has no memory on the heap; an idle connection costs no more than this.
#[derive(Debug)]
pub struct Connection {
    state: State,
    /// When the state was entered; in `Head`, when the first byte arrived.
    since: Moment,
}

#[derive(Debug)]
enum State {
    Idle { progress: Progress, fresh: bool },
    Head { progress: Progress },
    Length { left: u64, body: Body },
    Chunked { decoder: Decoder, body: Body },
    End,
    Dispatched,
}

/// What both framings have in common.
#[derive(Clone, Copy, Debug)]
struct Body {
    /// Whether any byte of the body has arrived.
    begun: bool,
    pace: Pace,
    /// The client waits for 100 (Continue).
    awaits_continue: bool,
}

// 10,000 idle connections must be cheap.
const _: () = assert!(size_of::<Connection>() <= 96);

impl Connection {
    /// A connection that was accepted at `now` and has sent nothing yet.
    pub fn new(now: Moment) -> Connection {
        Connection { state: State::Idle { progress: Progress::default(), fresh: true }, since: now }
    }

    /// Looks at `input`: all bytes that have arrived and were not consumed. Returns how many of them are consumed from
    /// now on, and what they mean. Bytes may be consumed with any event, also with [`Event::NeedData`] (framing of a
    /// chunked body, empty lines between requests); a partial head is not consumed.
    ///
    /// With [`Event::Head`], `head` is filled and has spans into `input`; with others it is left alone or has no meaning.
    /// It need not be the same one in each call.
    ///
    /// # Errors
    /// The request is to be refused, and this must not be called again: it is not known where a next request starts.
    pub fn receive(
        &mut self,
        input: &[u8],
        head: &mut RequestHead,
        cfg: &Config,
        now: Moment,
    ) -> Result<(usize, Event), ProtocolError> {
        match &mut self.state {
            State::Idle { progress, .. } => match progress.advance(input, head, cfg)? {
                Some(()) => Ok(self.begin_body(head, cfg, now)),
                None if progress.has_begun() => {
                    self.state = State::Head { progress: *progress };
                    self.since = now;
                    Ok((0, Event::NeedData))
                }
                None => Ok((progress.take_empty_lines(), Event::NeedData)),
            },
            State::Head { progress } => match progress.advance(input, head, cfg)? {
                Some(()) => Ok(self.begin_body(head, cfg, now)),
                None => Ok((0, Event::NeedData)),
            },
            State::Length { left, body } => {
                let run = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                if run == 0 {
                    return Ok((0, Event::NeedData));
                }
                body.received(run, &cfg.timeouts, now);
                *left -= run as u64;
                if *left == 0 {
                    self.state = State::End;
                }
                Ok((run, Event::Body(0..run)))
            }
            State::Chunked { decoder, body } => {
                let (consumed, step) = decoder.decode(input, &cfg.limits)?;
                body.received(consumed, &cfg.timeouts, now);
                match step {
                    Step::NeedData => Ok((consumed, Event::NeedData)),
                    Step::Data(range) => Ok((consumed, Event::Body(range))),
                    Step::End => {
                        self.state = State::Dispatched;
                        Ok((consumed, Event::End))
                    }
                }
            }
            State::End => {
                self.state = State::Dispatched;
                Ok((0, Event::End))
            }
            State::Dispatched => Ok((0, Event::NeedData)),
        }
    }

    /// Whether the request is complete, as many are with their head. `true` is [`Event::End`], and nothing is consumed any more;
    /// after `false`, go on with [`Connection::receive`].
    #[inline]
    pub fn ends_here(&mut self) -> bool {
        let ends = self.content_is_read();
        if ends {
            self.state = State::Dispatched;
        }
        ends
    }

    /// Whether the next bytes belong to a head.
    pub fn awaits_head(&self) -> bool {
        matches!(self.state, State::Idle { .. } | State::Head { .. })
    }

    /// For a head that is written in another way than HTTP/1's and read by the owner: its first bytes have arrived.
    pub fn head_begins(&mut self, now: Moment) {
        if let State::Idle { progress, .. } = self.state {
            self.state = State::Head { progress };
            self.since = now;
        }
    }

    /// For such a head, when it is complete: what comes next is content.
    pub fn head_ends(&mut self, head: &RequestHead, cfg: &Config, now: Moment) {
        self.begin_body(head, cfg, now);
    }

    fn begin_body(&mut self, head: &RequestHead, cfg: &Config, now: Moment) -> (usize, Event) {
        let body = || Body { begun: false, pace: Pace::new(&cfg.timeouts, now), awaits_continue: head.expect_continue };
        self.since = now;
        self.state = match head.framing {
            BodyFraming::None | BodyFraming::Length(0) => State::End,
            BodyFraming::Length(left) => State::Length { left, body: body() },
            BodyFraming::Chunked => State::Chunked { decoder: Decoder::default(), body: body() },
        };
        (head.len, Event::Head)
    }

    /// The peer has closed its side. Bytes that were not consumed are to be handed to [`Connection::receive`] first.
    ///
    /// # Errors
    /// In the middle of a request (RFC 9112 §8). While the last one is being answered it is none: a client may close its
    /// sending side early and still read.
    pub fn received_eof(&mut self) -> Result<(), ProtocolError> {
        match self.state {
            State::Head { .. } => Err(INCOMPLETE_HEAD),
            State::Length { .. } | State::Chunked { .. } => Err(INCOMPLETE_BODY),
            State::Idle { .. } | State::End | State::Dispatched => Ok(()),
        }
    }

    /// The request was read to its [`Event::End`] and answered, and the connection is kept: back to idle. Bytes that
    /// arrived meanwhile are the next request's.
    pub fn next_request(&mut self, now: Moment) {
        debug_assert!(matches!(self.state, State::Dispatched), "a connection is kept only after a complete request");
        self.state = State::Idle { progress: Progress::default(), fresh: false };
        self.since = now;
    }

    /// The next instant at which [`Connection::on_timeout`] may have something to say; `None` while the owner is busy with
    /// a complete request. It moves with every byte, so ask again after each call.
    pub fn deadline(&self, cfg: &Config) -> Option<Moment> {
        let deadline = match &self.state {
            State::Idle { fresh: true, .. } | State::Head { .. } => self.since + cfg.timeouts.header,
            State::Idle { fresh: false, .. } => self.since + cfg.timeouts.keepalive,
            State::Length { body, .. } | State::Chunked { body, .. } => body.pace.deadline(),
            State::End | State::Dispatched => return None,
        };
        (deadline != Moment(u64::MAX)).then_some(deadline)
    }

    /// What follows from its being `now`. May be called at any time.
    pub fn on_timeout(&mut self, cfg: &Config, now: Moment) -> Timeout {
        if self.deadline(cfg).is_none_or(|deadline| now < deadline) {
            return Timeout::NotYet;
        }
        match &self.state {
            State::Idle { .. } => Timeout::CloseIdle,
            State::Head { .. } => Timeout::Refuse(HEAD_TIMEOUT),
            State::Length { body, .. } | State::Chunked { body, .. } => {
                Timeout::Refuse(body.pace.fault(&cfg.timeouts, now))
            }
            State::End | State::Dispatched => Timeout::NotYet,
        }
    }

    /// The owner did not look at the content for a while, since it had no room for it; now it goes on. That time is not the
    /// peer's.
    pub fn content_resumed(&mut self, timeouts: &Timeouts, now: Moment) {
        if let State::Length { body, .. } | State::Chunked { body, .. } = &mut self.state {
            body.pace.resumed(timeouts, now);
        }
    }

    /// No byte of a request has arrived since the last one was answered, so closing the connection loses nothing that is
    /// known here.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle { .. })
    }

    /// No byte has been consumed since the connection was made.
    pub fn is_fresh(&self) -> bool {
        matches!(self.state, State::Idle { fresh: true, .. })
    }

    /// Every byte of the content has been consumed: [`Connection::receive`] has [`Event::End`] to give, whatever the input.
    pub fn content_is_read(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// Whether 100 (Continue) must be sent before content is waited for: the client asked for it, has sent no content
    /// yet, and [`Connection::continue_sent`] was not called.
    pub fn needs_continue(&self) -> bool {
        match &self.state {
            State::Length { body, .. } | State::Chunked { body, .. } => body.awaits_continue && !body.begun,
            _ => false,
        }
    }

    /// 100 (Continue) has been sent. It is sent once.
    pub fn continue_sent(&mut self) {
        if let State::Length { body, .. } | State::Chunked { body, .. } = &mut self.state {
            body.awaits_continue = false;
        }
    }
}

impl Body {
    fn received(&mut self, bytes: usize, timeouts: &Timeouts, now: Moment) {
        if bytes > 0 {
            self.begun = true;
            self.pace.received(bytes, timeouts, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{BODY_TIMEOUT, BODY_TOO_SLOW};
    use std::time::Duration;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";

    struct Virtual {
        connection: Connection,
        head: RequestHead,
        cfg: Config,
        now: Moment,
    }

    impl Virtual {
        fn new() -> Virtual {
            Virtual {
                connection: Connection::new(Moment(0)),
                head: RequestHead::default(),
                cfg: Config::default(),
                now: Moment(0),
            }
        }

        fn receive(&mut self, input: &[u8]) -> (usize, Event) {
            self.connection.receive(input, &mut self.head, &self.cfg, self.now).expect("a good request")
        }

        fn at(&mut self, ms: u64) -> Timeout {
            self.now = Moment(ms);
            self.connection.on_timeout(&self.cfg, self.now)
        }

        fn deadline(&self) -> Option<u64> {
            self.connection.deadline(&self.cfg).map(|moment| moment.0)
        }
    }

    #[test]
    fn a_complete_head_without_content_is_two_calls() {
        let mut v = Virtual::new();
        assert_eq!(v.receive(GET), (GET.len(), Event::Head));
        assert!(!Connection::new(v.now).ends_here());
        assert_eq!(v.receive(b"whatever"), (0, Event::End));
        assert!(!v.connection.ends_here(), "once");
        assert_eq!(v.receive(GET), (0, Event::NeedData), "nothing is looked at before the answer");
        assert_eq!(v.deadline(), None);
        v.connection.next_request(v.now);
        assert_eq!(v.receive(GET), (GET.len(), Event::Head));
        assert!(v.connection.ends_here());
        assert_eq!((v.receive(GET), v.deadline()), ((0, Event::NeedData), None));
    }

    #[test]
    fn empty_lines_between_requests_are_consumed_and_do_not_begin_one() {
        let mut v = Virtual::new();
        assert_eq!(v.receive(b"\r\n\r"), (2, Event::NeedData));
        assert_eq!(v.receive(b"\r\n"), (2, Event::NeedData));
        assert!(v.connection.is_idle());
        assert_eq!(v.receive(b"\r\nG"), (0, Event::NeedData));
        assert!(!v.connection.is_idle());
        let late = [b"\r\n", GET].concat();
        assert_eq!(v.receive(&late), (late.len(), Event::Head));
        assert_eq!(v.head.method.of(&late), b"GET");
    }

    #[test]
    fn the_bound_on_empty_lines_holds_across_calls() {
        let mut v = Virtual::new();
        for _ in 0..4 {
            assert_eq!(v.receive(b"\r\n"), (2, Event::NeedData));
        }
        let fifth = v.connection.receive(b"\r\n", &mut v.head, &v.cfg, v.now);
        assert_eq!(fifth, Err(crate::error::TOO_MANY_EMPTY_LINES));
    }

    #[test]
    fn silence_on_a_fresh_and_on_a_kept_connection() {
        let mut v = Virtual::new();
        assert_eq!(v.deadline(), Some(10_000));
        assert_eq!((v.at(9_999), v.at(10_000)), (Timeout::NotYet, Timeout::CloseIdle));
        v.receive(GET);
        v.receive(b"");
        v.connection.next_request(Moment(20_000));
        assert_eq!(v.deadline(), Some(22_000));
        assert_eq!((v.at(21_999), v.at(22_000)), (Timeout::NotYet, Timeout::CloseIdle));
    }

    #[test]
    fn the_header_deadline_counts_from_the_first_byte_and_does_not_move() {
        let mut v = Virtual::new();
        v.now = Moment(4_000);
        v.receive(&GET[..1]);
        assert_eq!(v.deadline(), Some(14_000));
        v.now = Moment(13_000);
        v.receive(&GET[..2]);
        assert_eq!(v.deadline(), Some(14_000));
        assert_eq!(v.at(14_000), Timeout::Refuse(HEAD_TIMEOUT));
        assert_eq!(v.connection.received_eof(), Err(INCOMPLETE_HEAD));
    }

    #[test]
    fn a_body_that_stops() {
        let mut v = Virtual::new();
        v.cfg.timeouts.body_min_rate = 0;
        v.receive(POST);
        v.now = Moment(7_000);
        assert_eq!(v.receive(b"abc"), (3, Event::Body(0..3)));
        assert_eq!(v.receive(b""), (0, Event::NeedData));
        assert_eq!(v.deadline(), Some(37_000));
        assert_eq!((v.at(36_999), v.at(37_000)), (Timeout::NotYet, Timeout::Refuse(BODY_TIMEOUT)));
        assert_eq!(v.connection.received_eof(), Err(INCOMPLETE_BODY));
    }

    #[test]
    fn a_body_that_crawls() {
        let mut v = Virtual::new();
        v.receive(POST);
        assert_eq!(v.deadline(), Some(30_000), "the credit at the beginning");
        v.now = Moment(20_000);
        v.receive(&[b'x'; 480]);
        assert_eq!(v.deadline(), Some(32_000), "480 bytes buy 2 s at 240 bytes a second");
        for step in 1..100 {
            v.now = Moment(20_000 + step * 100);
            v.receive(b"x");
        }
        assert_eq!(v.deadline(), Some(32_413), "a byte now and then buys next to nothing");
        assert_eq!((v.at(32_412), v.at(32_413)), (Timeout::NotYet, Timeout::Refuse(BODY_TOO_SLOW)));
    }

    #[test]
    fn a_body_cannot_pay_in_advance_for_more_than_the_idle_time() {
        let mut v = Virtual::new();
        v.receive(POST);
        v.now = Moment(1_000);
        v.receive(&[b'x'; 500_000]);
        assert_eq!(v.deadline(), Some(31_000));
        v.now = Moment(16_000);
        v.receive(b"x");
        assert_eq!(v.deadline(), Some(31_005), "and not for half an hour, a byte at a time");
    }

    #[test]
    fn timeouts_of_the_longest_duration_never_come() {
        let mut v = Virtual::new();
        v.cfg.timeouts.header = Duration::MAX;
        assert_eq!(v.deadline(), None);
        assert_eq!(v.at(u64::MAX), Timeout::NotYet);
    }

    #[test]
    fn continue_is_due_until_sent_or_until_content_comes() {
        let expecting = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut v = Virtual::new();
        v.receive(expecting);
        assert!(v.connection.needs_continue());
        v.connection.continue_sent();
        assert!(!v.connection.needs_continue());

        let mut v = Virtual::new();
        v.receive(expecting);
        v.receive(b"5");
        assert!(!v.connection.needs_continue());

        let mut v = Virtual::new();
        v.receive(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n");
        assert!(v.head.expect_continue && !v.connection.needs_continue(), "there is no content to wait for");
    }

    #[test]
    fn heads_of_other_connections_may_use_the_same_memory() {
        let mut v = Virtual::new();
        let line = b"GET /first HTTP/1.1\r\n";
        v.receive(line);
        let mut other = Connection::new(Moment(0));
        assert!(other.receive(POST, &mut v.head, &v.cfg, v.now).is_ok());
        let whole = [&line[..], b"Host: a\r\n\r\n"].concat();
        assert_eq!(v.receive(&whole), (whole.len(), Event::Head));
        assert_eq!((v.head.method.of(&whole), v.head.path.of(&whole)), (&b"GET"[..], &b"/first"[..]));
        assert_eq!(v.head.framing, BodyFraming::None);
    }
}
