//! Pure protocol code of the Asteri application server: bytes and time in, events and bytes out.
//!
//! Nothing here knows a socket, a thread, a clock or Python. Whoever owns the bytes calls in with what has arrived
//! and with `now`, and learns what it means; whoever has an answer calls in with its parts and gets the bytes to
//! send. Every worker type uses the same code, so all of them accept and refuse the same requests.
//!
//! * [`h1`]: HTTP/1.1 and HTTP/1.0 on the side of an origin server.
//! * [`h2`]: HTTP/2: frames, streams, flow control, header compression.
//! * [`ws`]: WebSocket, from the handshake on.
//! * [`uwsgi`]: the uwsgi protocol, whose packets become heads as those of [`h1`] do.
//! * [`proxy`]: the PROXY protocol, which comes before all others.
//! * [`forwarded`]: who the client is, by what proxies have written into fields.
//! * [`fields`], [`target`]: the grammar that versions of HTTP share (RFC 9110, RFC 3986).
//! * [`limits`]: what a peer may ask for; [`error`]: every way in which a peer can be refused; [`pace`]: how fast content has to come;
//!   [`time`]: instants.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod error;
pub mod fields;
pub mod forwarded;
pub mod h1;
pub mod h2;
pub mod limits;
pub mod pace;
pub mod proxy;
pub mod target;
pub mod time;
pub mod uwsgi;
pub mod ws;
