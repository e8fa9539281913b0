//! Frames (RFC 9113 §4.1): their types, flags and headers.

/// DATA (RFC 9113 §6.1).
pub const DATA: u8 = 0;
/// HEADERS (RFC 9113 §6.2).
pub const HEADERS: u8 = 1;
/// PRIORITY (RFC 9113 §6.3), which means nothing any more.
pub const PRIORITY: u8 = 2;
/// `RST_STREAM` (RFC 9113 §6.4).
pub const RST_STREAM: u8 = 3;
/// SETTINGS (RFC 9113 §6.5).
pub const SETTINGS: u8 = 4;
/// `PUSH_PROMISE` (RFC 9113 §6.6), which no client may send.
pub const PUSH_PROMISE: u8 = 5;
/// PING (RFC 9113 §6.7).
pub const PING: u8 = 6;
/// GOAWAY (RFC 9113 §6.8).
pub const GOAWAY: u8 = 7;
/// `WINDOW_UPDATE` (RFC 9113 §6.9).
pub const WINDOW_UPDATE: u8 = 8;
/// CONTINUATION (RFC 9113 §6.10).
pub const CONTINUATION: u8 = 9;
/// `PRIORITY_UPDATE` (RFC 9218 §7.1).
pub const PRIORITY_UPDATE: u8 = 0x10;

/// The flag of DATA and HEADERS that says that nothing follows on this stream, and of SETTINGS and PING that they are answers.
pub const END_STREAM: u8 = 0x1;
/// See [`END_STREAM`].
pub const ACK: u8 = 0x1;
/// The flag of HEADERS and CONTINUATION that ends a field section.
pub const END_HEADERS: u8 = 0x4;
/// The flag of DATA and HEADERS that says that padding is there, and how long.
pub const PADDED: u8 = 0x8;
/// The flag of HEADERS that says that it has what a PRIORITY frame has.
pub const WITH_PRIORITY: u8 = 0x20;

/// What a client sends first (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame header.
pub const HEADER: usize = 9;

/// What a frame header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Of the payload, in bytes.
    pub length: u32,
    /// Which type it is.
    pub kind: u8,
    /// Depends on the type.
    pub flags: u8,
    /// 0 for the connection.
    pub stream: u32,
}

impl Frame {
    /// From bytes.
    #[must_use]
    pub fn of(header: &[u8; HEADER]) -> Self {
        let &[a, b, c, kind, flags, s0, s1, s2, s3] = header;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            // The first bit is reserved.
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
        }
    }

    /// As bytes.
    #[must_use]
    pub fn header(&self) -> [u8; HEADER] {
        let [_, a, b, c] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, s0, s1, s2, s3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_what_was_put_into_it() {
        for frame in [
            Frame { length: 0, kind: SETTINGS, flags: 0, stream: 0 },
            Frame { length: 5, kind: DATA, flags: END_STREAM, stream: 1 },
            Frame { length: 0xff_ffff, kind: HEADERS, flags: END_HEADERS, stream: 0x7fff_ffff },
        ] {
            assert_eq!(Frame::of(&frame.header()), frame);
        }
        let mut reserved = Frame { length: 0, kind: PING, flags: 0, stream: 3 }.header();
        reserved[5] |= 0x80;
        assert_eq!(Frame::of(&reserved).stream, 3);
    }
}
