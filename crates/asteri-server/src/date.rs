//! The `Date` field, made once a second.

use crate::sys::clock;
use asteri_proto::h1::response::http_date;

/// The current date in the form of RFC 9110 §5.6.7.
#[derive(Clone, Debug)]
pub struct DateCache {
    second: u64,
    text: [u8; 29],
}

impl DateCache {
    #[must_use]
    pub fn new() -> Self {
        let second = clock::unix_seconds();
        Self { second, text: http_date(second) }
    }

    pub fn get(&mut self) -> [u8; 29] {
        let second = clock::unix_seconds();
        if second != self.second {
            self.second = second;
            self.text = http_date(second);
        }
        self.text
    }
}

impl Default for DateCache {
    fn default() -> Self {
        Self::new()
    }
}
