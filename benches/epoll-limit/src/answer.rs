//! The prepared answer: a head padded to a wanted size, a body, and a `Date` renewed in place.

use std::time::{SystemTime, UNIX_EPOCH};

/// What the answer looks like on the wire.
pub struct Shape {
    pub body_bytes: usize,
    /// Size of head and body together; the head is padded up to it. 0: no padding.
    pub response_bytes: usize,
    /// Say `Connection: close`; the caller closes.
    pub close: bool,
}

/// Repeated and cut to the length of the body; the benchmark applications answer with the same.
const PATTERN: &[u8] = b"Hello, world!\n";
const DATE_FIELD: &[u8] = b"\r\nDate: ";
const PAD_FIELD: &[u8] = b"X-Pad: \r\n";

pub struct Answer {
    bytes: Vec<u8>,
    date_at: usize,
    second: u64,
}

impl Answer {
    pub fn new(shape: &Shape) -> Self {
        let mut bytes = b"HTTP/1.1 200 OK".to_vec();
        bytes.extend_from_slice(DATE_FIELD);
        let date_at = bytes.len();
        bytes.extend_from_slice(&http_date(0));
        bytes.extend_from_slice(
            format!("\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n", shape.body_bytes).as_bytes(),
        );
        if shape.close {
            bytes.extend_from_slice(b"Connection: close\r\n");
        }
        let unpadded = bytes.len() + 2 + shape.body_bytes;
        if let Some(missing) = shape.response_bytes.checked_sub(unpadded + PAD_FIELD.len()) {
            bytes.extend_from_slice(&PAD_FIELD[..PAD_FIELD.len() - 2]);
            bytes.resize(bytes.len() + missing, b'-');
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend(PATTERN.iter().cycle().take(shape.body_bytes));
        let mut answer = Answer { bytes, date_at, second: 0 };
        answer.renew_date();
        answer
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes the present time into the head, if the second has changed since the last call.
    pub fn renew_date(&mut self) {
        let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if second != self.second {
            self.second = second;
            self.bytes[self.date_at..self.date_at + 29].copy_from_slice(&http_date(second));
        }
    }
}

/// IMF-fixdate (RFC 9110 §5.6.7) of a time in Unix seconds.
fn http_date(unix_seconds: u64) -> [u8; 29] {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (mut day, clock) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let weekday = DAYS[(day % 7) as usize];
    let mut year = 1970;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 0;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let text = format!(
        "{weekday}, {:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        day + 1,
        MONTHS[month],
        clock / 3600,
        clock / 60 % 60,
        clock % 60
    );
    let mut date = [b' '; 29];
    date.copy_from_slice(&text.as_bytes()[..29]);
    date
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        let cases: [(u64, &[u8; 29]); 4] = [
            (0, b"Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, b"Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, b"Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_735_689_599, b"Tue, 31 Dec 2024 23:59:59 GMT"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(&http_date(seconds), expected);
        }
    }

    #[test]
    fn padded_to_the_size_asked_for() {
        for response_bytes in [160, 200, 1000] {
            let answer = Answer::new(&Shape { body_bytes: 14, response_bytes, close: true });
            assert_eq!(answer.bytes().len(), response_bytes);
            assert!(answer.bytes().ends_with(b"\r\n\r\nHello, world!\n"));
        }
    }
}
