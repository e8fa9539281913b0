//! The I/O core of the Asteri application server: reactor, listeners, connections, timers, spooling, scoreboard.
//!
//! There is no Python here. Application code comes in through the trait [`host::Application`]; an echo application in
//! Rust (`examples/echo.rs`) lets the server be tested, fuzzed and profiled without an interpreter.
//!
//! All `unsafe` of this crate lives in [`sys`].

mod attribution;
mod connection;
mod content;
pub mod control;
mod courier;
mod date;
pub mod host;
pub mod hosted;
pub mod listener;
pub mod notice;
mod outbox;
mod reactor;
mod request;
mod responder;
pub mod scoreboard;
pub mod settings;
mod slab;
pub mod stream;
pub mod sync;
pub mod sys;
pub mod threads;
pub mod tls;
pub mod warm_up;
mod wheel;

pub use content::Body;
pub use date::DateCache;
pub use request::ReadyRequest;
pub use responder::{ClientGone, Lag, Responder};
pub use sys::socket::Peer;
