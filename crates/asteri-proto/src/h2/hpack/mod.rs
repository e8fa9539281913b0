//! HPACK: header compression for HTTP/2 (RFC 7541), for both directions of a connection.
//!
//! * [`Decoder`] understands the field blocks of a peer, [`Encoder`] writes field blocks to it. Each lives as long as the connection, and
//!   sees every block in the order in which it travels.
//! * Inside: integers and strings (`primitives.rs`, RFC 7541 §5), the Huffman code (`huffman.rs`, Appendix B), the static table
//!   (`static_table.rs`, Appendix A) and the dynamic table (`dynamic_table.rs`, §4).
//!
//! A connection that has seen no block owns no memory here. What the dynamic table takes is bounded by its limit, whatever the peer sends.
//! Names and values are bytes: what may stand in them is judged elsewhere (RFC 9113 §8.2).

mod decoder;
mod dynamic_table;
mod encoder;
mod huffman;
mod primitives;
mod static_table;
#[cfg(test)]
mod tests;

pub use decoder::Decoder;
pub use encoder::Encoder;

/// The size of a dynamic table before anything else was agreed on, in bytes (RFC 9113 §6.5.2).
const INITIAL_LIMIT: usize = 4096;

/// Why a field block cannot be understood: the connection has to end with `COMPRESSION_ERROR` (RFC 9113 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The block ends within a field line.
    Truncated,
    /// An integer is larger than any that could mean something, or is written with more bytes than such ones need (RFC 7541 §5.1).
    Integer,
    /// A string has no proper end, or has the symbol EOS in it (RFC 7541 §5.2).
    Huffman,
    /// There is no entry with such an index (RFC 7541 §2.3.3).
    Index,
    /// The dynamic table is to become larger than it may, or changes its size behind a field line (RFC 7541 §4.2, §6.3).
    SizeUpdate,
}

impl Malformed {
    /// A stable name, for logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Integer => "integer",
            Self::Huffman => "huffman",
            Self::Index => "index",
            Self::SizeUpdate => "size-update",
        }
    }
}
