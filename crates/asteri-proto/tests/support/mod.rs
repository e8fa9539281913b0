//! A server of one connection without sockets: bytes in, a transcript of what it understood out.
//!
//! The corpus test, the property tests and the fuzz targets all go through it, so they agree on what "the same outcome"
//! means: the transcript is the same however the bytes were cut into pieces.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use asteri_proto::error::ProtocolError;
use asteri_proto::h1::connection::{Connection, Event, Timeout};
use asteri_proto::h1::request::{RequestHead, Version};
use asteri_proto::limits::Config;
use asteri_proto::time::Moment;

/// What the client does after its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing that we wait for.
    Nothing,
    /// It closes its sending side.
    Eof,
    /// Nothing, for as long as the server cares to wait.
    Silence,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All requests are answered, and another is welcome.
    Open,
    /// A request has begun and is not complete.
    Waiting,
    /// The server closes it.
    Close,
}

/// A complete request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub path: Vec<u8>,
    pub query: Option<Vec<u8>>,
    pub version: Version,
    pub host: Option<Vec<u8>>,
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
    pub keep_alive: bool,
    /// 100 (Continue) was due when the head had been read.
    pub awaits_continue: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// Complete requests, which an application would see.
    pub requests: Vec<Request>,
    /// Why the next one was refused.
    pub error: Option<ProtocolError>,
    pub fate: Fate,
}

/// Feeds the pieces one after the other, as if each were one read from a socket.
pub fn converse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, then: Then, cfg: &Config) -> Transcript {
    let mut server = Server::new();
    for piece in pieces {
        server.input.extend_from_slice(piece);
        server.run(cfg);
    }
    server.end(then, cfg)
}

struct Server {
    connection: Connection,
    head: RequestHead,
    input: Vec<u8>,
    current: Option<Request>,
    transcript: Transcript,
    closed: bool,
}

impl Server {
    fn new() -> Server {
        Server {
            connection: Connection::new(Moment(0)),
            head: RequestHead::default(),
            input: Vec::new(),
            current: None,
            transcript: Transcript { requests: Vec::new(), error: None, fate: Fate::Open },
            closed: false,
        }
    }

    fn run(&mut self, cfg: &Config) {
        while !self.closed {
            let (consumed, event) = match self.connection.receive(&self.input, &mut self.head, cfg, Moment(0)) {
                Ok(found) => found,
                Err(error) => return self.refuse(error),
            };
            assert!(consumed <= self.input.len(), "more consumed than there was");
            match event {
                Event::NeedData => {
                    self.input.drain(..consumed);
                    return;
                }
                Event::Head => {
                    assert_eq!(consumed, self.head.len);
                    assert!(self.current.is_none(), "two heads for one request");
                    self.current = Some(read(&self.head, &self.input, self.connection.needs_continue()));
                }
                Event::Body(range) => {
                    assert!(!range.is_empty() && range.end <= consumed, "content lies in what is consumed");
                    let request = self.current.as_mut().expect("content follows a head");
                    request.body.extend_from_slice(&self.input[range]);
                }
                Event::End => {
                    let request = self.current.take().expect("the end follows a head");
                    self.closed = !request.keep_alive;
                    self.transcript.requests.push(request);
                    if !self.closed {
                        self.connection.next_request(Moment(0));
                    }
                }
            }
            self.input.drain(..consumed);
        }
    }

    fn refuse(&mut self, error: ProtocolError) {
        self.transcript.error = Some(error);
        self.closed = true;
    }

    fn end(mut self, then: Then, cfg: &Config) -> Transcript {
        if !self.closed {
            match then {
                Then::Nothing => {}
                Then::Eof => match self.connection.received_eof() {
                    Ok(()) => self.closed = true,
                    Err(error) => self.refuse(error),
                },
                Then::Silence => self.wait(cfg),
            }
        }
        self.transcript.fate = match (self.closed, self.connection.is_idle()) {
            (true, _) => Fate::Close,
            (false, true) => Fate::Open,
            (false, false) => Fate::Waiting,
        };
        self.transcript
    }

    fn wait(&mut self, cfg: &Config) {
        let deadline = self.connection.deadline(cfg).expect("a connection that waits for its peer has a deadline");
        assert!(deadline > Moment(0), "a timeout takes time");
        assert_eq!(self.connection.on_timeout(cfg, Moment(deadline.0 - 1)), Timeout::NotYet, "not before the deadline");
        match self.connection.on_timeout(cfg, deadline) {
            Timeout::NotYet => panic!("the deadline has come and nothing follows"),
            Timeout::CloseIdle => self.closed = true,
            Timeout::Refuse(error) => self.refuse(error),
        }
    }
}

fn read(head: &RequestHead, buf: &[u8], awaits_continue: bool) -> Request {
    Request {
        method: head.method_name(buf).into_owned(),
        target: head.target.of(buf).to_vec(),
        path: head.path.of(buf).to_vec(),
        query: head.query.map(|query| query.of(buf).to_vec()),
        version: head.version,
        host: head.host.map(|host| host.of(buf).to_vec()),
        fields: head.fields.iter().map(|f| (f.name.of(buf).to_vec(), f.value.of(buf).to_vec())).collect(),
        body: Vec::new(),
        keep_alive: head.keep_alive,
        awaits_continue,
    }
}
