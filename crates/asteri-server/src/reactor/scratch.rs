//! What a thread receives into.

use crate::content::Body;
use crate::request::ReadyRequest;
use asteri_proto::h1::request::RequestHead;

/// The receive buffer of a thread. A connection has none of its own unless part of a request has arrived.
pub(crate) const SCRATCH: usize = 64 * 1024;

/// The buffer of a request that is kept with it, in bytes.
const LARGEST: usize = 4096;
/// Requests that are kept to be used again: as many as a client of HTTP/2 commonly makes at a time.
pub(super) const BLANKS: usize = 64;

/// A receive buffer and requests to parse into: one set per thread, used again and again.
pub(crate) struct Scratch {
    buffer: Vec<u8>,
    blanks: Vec<ReadyRequest>,
}

impl Scratch {
    pub fn new() -> Self {
        Self { buffer: Vec::with_capacity(SCRATCH), blanks: Vec::new() }
    }

    /// An empty buffer of full size.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        if buffer.capacity() < SCRATCH {
            buffer.reserve_exact(SCRATCH);
        }
        buffer
    }

    pub fn give_buffer(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() >= SCRATCH {
            self.buffer = buffer;
        }
    }

    /// The head of the request that is being parsed.
    pub fn head(&mut self) -> &mut RequestHead {
        if self.blanks.is_empty() {
            self.blanks.push(ReadyRequest::blank());
        }
        let last = self.blanks.len() - 1;
        &mut self.blanks[last].head
    }

    /// The request with that head.
    pub fn take_request(&mut self) -> ReadyRequest {
        self.blanks.pop().unwrap_or_else(ReadyRequest::blank)
    }

    /// Takes back what a request was made of.
    pub fn recycle(&mut self, mut request: ReadyRequest) {
        // That of a stream is its own.
        if !request.key.is_stream() || request.buffer.capacity() > LARGEST {
            let buffer = std::mem::take(&mut request.buffer);
            if buffer.capacity() <= LARGEST && buffer.capacity() > request.spare.capacity() {
                request.spare = buffer;
            } else {
                self.give_buffer(buffer);
            }
        }
        request.body = Body::Empty;
        request.tls = None;
        if self.blanks.len() < BLANKS {
            self.blanks.push(request);
        }
    }
}
