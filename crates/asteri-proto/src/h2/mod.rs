//! HTTP/2 on the side of an origin server (RFC 9113).
//!
//! [`connection::Connection`] is the driver: frames, states of streams, flow control and header compression, from bytes to events and
//! from responses to bytes. It reads, writes and waits as little as the one of HTTP/1.1 does.
//! * [`frames`]: types, flags and headers of frames; [`reason`]: error codes; [`flow`]: windows; [`hpack`]: header compression.
//! * [`section`]: a field section; [`request`]: from there to a [`crate::h1::request::RequestHead`], with the verdicts of HTTP/1.1.
//! * [`block`]: response heads and trailers on their way from a gateway to a connection.
//! * [`upgrade`]: how a request of HTTP/1.1 becomes the first stream.
//! * [`priority`]: how soon a response is wanted.

mod allowance;
pub mod block;
pub mod connection;
pub mod flow;
pub mod frames;
pub mod hpack;
pub mod priority;
pub mod reason;
pub mod request;
pub mod section;
mod streams;
pub mod upgrade;
