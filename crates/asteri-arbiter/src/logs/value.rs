//! Variables of an error-log record: `key=value` behind the constant text.
//!
//! A value of plain characters stands bare, anything else in quotes with [`escape`](super::escape())'s notation, so a
//! line can be split again whatever the value was.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::escape::{Style, push_escaped};

/// One variable: its name, a constant in `snake_case`, and its value.
pub type Field<'a> = (&'a str, &'a dyn LogValue);

/// Something that can be the value of a [`Field`].
///
/// Implemented for numbers, text, bytes, paths, durations, addresses, I/O errors, and `Option` of these (`None` is `-`).
/// For other types with a `Display` there is [`shown`].
pub trait LogValue {
    /// Appends the value, quoted and escaped as needed.
    fn write_value(&self, out: &mut Vec<u8>);
}

/// Makes any `Display` a value: `("error", &shown(&error))`.
pub fn shown<T: Display + ?Sized>(value: &T) -> Shown<'_, T> {
    Shown(value)
}

/// What [`shown`] returns.
pub struct Shown<'a, T: ?Sized>(&'a T);

impl<T: Display + ?Sized> LogValue for Shown<'_, T> {
    fn write_value(&self, out: &mut Vec<u8>) {
        let start = out.len();
        // Writing to memory cannot fail; a `Display` that reports an error has written what it could.
        let _ = write!(out, "{}", self.0);
        if !is_bare(&out[start..]) {
            let text = out.split_off(start);
            push_quoted(out, &text);
        }
    }
}

impl LogValue for [u8] {
    fn write_value(&self, out: &mut Vec<u8>) {
        if is_bare(self) {
            out.extend_from_slice(self);
        } else {
            push_quoted(out, self);
        }
    }
}

impl LogValue for Duration {
    /// `30s`, `1.250s`, `250ms`, `80us`
    fn write_value(&self, out: &mut Vec<u8>) {
        let (seconds, millis, micros) = (self.as_secs(), self.subsec_millis(), self.subsec_micros());
        let _ = match (seconds, millis) {
            (0, 0) => write!(out, "{micros}us"),
            (0, _) => write!(out, "{millis}ms"),
            (_, 0) => write!(out, "{seconds}s"),
            _ => write!(out, "{seconds}.{millis:03}s"),
        };
    }
}

impl<T: LogValue> LogValue for Option<T> {
    fn write_value(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.write_value(out),
            None => out.push(b'-'),
        }
    }
}

impl<T: LogValue + ?Sized> LogValue for &T {
    fn write_value(&self, out: &mut Vec<u8>) {
        (**self).write_value(out);
    }
}

impl<T: LogValue + ToOwned + ?Sized> LogValue for Cow<'_, T> {
    fn write_value(&self, out: &mut Vec<u8>) {
        (**self).write_value(out);
    }
}

impl LogValue for bool {
    fn write_value(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

macro_rules! value_as_bytes {
    ($($type:ty: |$value:ident| $bytes:expr;)*) => {$(
        impl LogValue for $type {
            fn write_value(&self, out: &mut Vec<u8>) {
                let $value = self;
                <[u8]>::write_value($bytes, out);
            }
        }
    )*};
}
value_as_bytes! {
    str: |v| v.as_bytes();
    String: |v| v.as_bytes();
    Vec<u8>: |v| v;
    Path: |v| v.as_os_str().as_encoded_bytes();
    PathBuf: |v| v.as_os_str().as_encoded_bytes();
}

macro_rules! value_as_integer {
    ($($type:ty)*) => {$(
        impl LogValue for $type {
            fn write_value(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(itoa::Buffer::new().format(*self).as_bytes());
            }
        }
    )*};
}
value_as_integer! { u8 u16 u32 u64 usize i8 i16 i32 i64 isize }

macro_rules! value_as_display {
    ($($type:ty)*) => {$(
        impl LogValue for $type {
            fn write_value(&self, out: &mut Vec<u8>) {
                shown(self).write_value(out);
            }
        }
    )*};
}
value_as_display! { f64 io::Error IpAddr SocketAddr std::fmt::Arguments<'_> }

/// Printable ASCII that needs no quotes to be told from the text around it. `-` alone stands for "absent".
fn is_bare(value: &[u8]) -> bool {
    !value.is_empty()
        && value != b"-"
        && value.iter().all(|b| matches!(b, 0x21..=0x7e) && !matches!(b, b'"' | b'=' | b'\\'))
}

fn push_quoted(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    push_escaped(out, value, Style::Quoted);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: &dyn LogValue) -> String {
        let mut out = Vec::new();
        value.write_value(&mut out);
        String::from_utf8(out).expect("values are UTF-8")
    }

    #[test]
    fn numbers_and_truth() {
        assert_eq!(text(&-7i32), "-7");
        assert_eq!(text(&u64::MAX), "18446744073709551615");
        assert_eq!(text(&true), "true");
        assert_eq!(text(&1.5f64), "1.5");
    }

    #[test]
    fn text_is_bare_when_it_can_be() {
        assert_eq!(text(&"127.0.0.1:8000"), "127.0.0.1:8000");
        assert_eq!(text(&"GET / HTTP/1.1"), "\"GET / HTTP/1.1\"");
        assert_eq!(text(&""), "\"\"");
        assert_eq!(text(&"-"), "\"-\"", "not to be taken for an absent value");
        assert_eq!(text(&"a=b"), "\"a=b\"");
        assert_eq!(text(&&b"a\n\"\xff"[..]), r#""a\x0a\"\xff""#);
        assert_eq!(text(&Path::new("/run/my app.sock")), "\"/run/my app.sock\"");
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(text(&Duration::from_secs(30)), "30s");
        assert_eq!(text(&Duration::from_millis(1250)), "1.250s");
        assert_eq!(text(&Duration::from_millis(250)), "250ms");
        assert_eq!(text(&Duration::from_micros(80)), "80us");
    }

    #[test]
    fn options_addresses_and_displays() {
        assert_eq!(text(&None::<u32>), "-");
        assert_eq!(text(&Some("x")), "x");
        assert_eq!(text(&"[::1]:80".parse::<SocketAddr>().expect("address")), "[::1]:80");
        assert_eq!(text(&io::Error::from(io::ErrorKind::NotFound)), "\"entity not found\"");
        assert_eq!(text(&shown(&"two words")), "\"two words\"");
        assert_eq!(text(&format_args!("{}/{}", 1, 2)), "1/2");
    }

    proptest! {
        #[test]
        fn a_value_never_ends_its_line_or_its_field(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let text = text(&bytes);
            prop_assert!(text.chars().all(|c| !c.is_control()));
            if let Some(inner) = text.strip_prefix('"') {
                let inner = inner.strip_suffix('"').expect("closed");
                // Every quote inside is escaped by an odd number of backslashes.
                let mut backslashes = 0;
                for c in inner.chars() {
                    prop_assert!(c != '"' || backslashes % 2 == 1);
                    backslashes = if c == '\\' { backslashes + 1 } else { 0 };
                }
                prop_assert!(backslashes % 2 == 0);
            } else {
                prop_assert!(!text.contains([' ', '=', '"']) && !text.is_empty());
            }
        }
    }
}
