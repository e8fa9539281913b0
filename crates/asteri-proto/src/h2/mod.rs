//! HTTP/2 on the side of an origin server (RFC 9113), as far as it is not the business of a library.
//!
//! Frames, header compression and flow control are the `h2` crate's, which the server drives over memory. Here is what makes HTTP/2
//! as strict as HTTP/1.1, and cheap to refuse:
//! * [`request`]: from pseudo-header fields and field lines to a [`crate::h1::request::RequestHead`], with the same verdicts.
//! * [`block`]: response heads and trailers on their way from a gateway to a connection.
//! * [`upgrade`]: how a request of HTTP/1.1 becomes the first stream.
//! * [`hpack`]: header compression.
//! * [`frames`]: finds the frames in a stream of bytes; [`meter`] counts those that cost more than they are worth.
//! * [`priority`]: how soon a response is wanted.

pub mod block;
pub mod frames;
pub mod hpack;
pub mod meter;
pub mod priority;
pub mod request;
pub mod upgrade;
