//! TLS: RFC 8446 and RFC 5246 by rustls, as far as it is not about sockets.
//!
//! * `options.rs`: what the operator has chosen
//! * `material.rs`: certificates and keys as bytes, and `files.rs`, which reads them
//! * `config.rs`: what rustls is given, and `names.rs`, which picks a certificate by name
//! * `store.rs`: material on its way from the arbiter to its workers, and `tickets.rs`, which opens sessions again
//! * `acceptor.rs`: sessions for new connections; `session.rs`: one of them; `desk.rs`: who makes their handshakes
//! * `details.rs`: what applications are told
//!
//! Only the arbiter reads files: workers may run as a user who must not see the keys. What it has read and found good goes to
//! the workers through memory that both share, also later when a certificate has been renewed.

mod acceptor;
mod config;
mod desk;
mod details;
mod files;
mod material;
mod names;
mod options;
mod session;
mod store;
mod tickets;

pub use acceptor::{Acceptor, Newest};
pub use config::{CIPHER_SUITES, check};
pub(crate) use desk::{Desk, Done};
pub use details::{ClientCertificate, Details, Expiry, expiry};
pub use files::Trouble;
pub use material::{Identity, Key, Material, TicketKey};
pub use options::{Ask, Files, Options, Version};
pub(crate) use session::{PIECE, Progress, Session};
pub use store::{Publisher, Store};
