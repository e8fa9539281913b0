//! Durations and sizes as people write them: `30s`, `500ms`, `64KiB`, `10MB`, and bare numbers (seconds, bytes).

use std::time::Duration;

/// `30`, `0.5`, `30s`, `2m`, `1.5h`, `500ms`, `1d`. Bare numbers are seconds.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text);
    let seconds = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    seconds_to_duration(decimal(number)? * seconds)
}

/// A number of seconds from a config file, to the millisecond.
#[must_use]
pub fn seconds_to_duration(seconds: f64) -> Option<Duration> {
    // Finite and below 2^53 ms, so the cast is exact to the millisecond.
    let ms = (seconds * 1000.0).round();
    (ms.is_finite() && (0.0..9.0e15).contains(&ms)).then(|| Duration::from_millis(ms as u64))
}

/// What somebody who wrote `2 minutes` probably meant; only for suggestions.
#[must_use]
pub fn guess_duration(text: &str) -> Option<Duration> {
    let text = text.trim().to_ascii_lowercase();
    let (number, unit) = split(&text);
    let unit = match unit {
        "msec" | "millis" | "millisecond" | "milliseconds" => "ms",
        "sec" | "secs" | "second" | "seconds" => "s",
        "min" | "mins" | "minute" | "minutes" => "m",
        "hr" | "hrs" | "hour" | "hours" => "h",
        "day" | "days" => "d",
        other => other,
    };
    parse_duration(&format!("{number}{unit}"))
}

/// `8190`, `64KiB`, `10MB`, `1.5GiB`. `KB`, `MB`, `GB` are powers of 1000, `KiB`, `MiB`, `GiB` powers of 1024; case
/// does not matter. Bare `K` or `M` mean different things to different servers and are refused.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" => return parse_integer(number),
        "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    if let Some(whole) = parse_integer(number) {
        return whole.checked_mul(factor);
    }
    let bytes = (decimal(number)? * factor as f64).round();
    (bytes < 9.0e15).then_some(bytes as u64)
}

/// What somebody who wrote `10M` or `64 kilobytes` probably meant; only for suggestions.
#[must_use]
pub fn guess_size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let (number, unit) = split(&text);
    let unit = match unit.chars().next()? {
        'k' => "kib",
        'm' => "mib",
        'g' => "gib",
        'b' => "b",
        _ => return None,
    };
    parse_size(&format!("{number}{unit}"))
}

/// A whole number in any of Python's forms: `64`, `1_000`, `0x40`, `0o100`, `0b11`.
#[must_use]
pub fn parse_integer(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let (digits, radix) = match lower.get(..2) {
        Some("0x") => (&lower[2..], 16),
        Some("0o") => (&lower[2..], 8),
        Some("0b") => (&lower[2..], 2),
        _ => (lower.as_str(), 10),
    };
    if digits.is_empty() || digits.starts_with('_') || digits.ends_with('_') || digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(&digits.replace('_', ""), radix).ok()
}

/// The shortest exact form in seconds or milliseconds.
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    let ms = duration.as_millis();
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

/// For ranges: whole days or hours where seconds would be hard to read.
#[must_use]
pub fn span_text(seconds: u64) -> String {
    match seconds {
        86_400.. if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        7_200.. if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        _ => format!("{seconds}s"),
    }
}

/// The largest binary unit that divides the size, else the plain number of bytes.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    match bytes {
        0 => "0".to_owned(),
        n if n.is_multiple_of(1 << 30) => format!("{}GiB", n >> 30),
        n if n.is_multiple_of(1 << 20) => format!("{}MiB", n >> 20),
        n if n.is_multiple_of(1 << 10) => format!("{}KiB", n >> 10),
        n => n.to_string(),
    }
}

/// Whether a size is written as a plain number.
#[must_use]
pub fn is_plain(bytes: u64) -> bool {
    size_text(bytes).bytes().all(|b| b.is_ascii_digit())
}

/// Splits `64 KiB` into `64` and `KiB`.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    // `0x40` is one number, `0s` is not.
    if text.len() > 2 && matches!(text.as_bytes(), [b'0', b'x' | b'X' | b'o' | b'O' | b'b' | b'B', ..]) {
        return (text, "");
    }
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// Digits with at most one point; no sign, exponent, `inf` or `nan`.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    (plain && text.bytes().any(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("0ms", 0),
            ("30", 30_000),
            ("0.5", 500),
            (".5", 500),
            ("30s", 30_000),
            ("30 s", 30_000),
            ("2m", 120_000),
            ("1.5h", 5_400_000),
            ("1d", 86_400_000),
            ("500ms", 500),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1", "2 minutes", "1e3", "inf", "nan", "1.2.3", "0x10", "10S", "99999999999999999d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("0B", 0),
            ("0KiB", 0),
            ("8190", 8190),
            ("1_000", 1000),
            ("0x40", 64),
            ("64KiB", 65_536),
            ("64 kib", 65_536),
            ("10MB", 10_000_000),
            ("1.5GiB", 3 << 29),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "10M", "-5", "1.5", "KiB", "64 K", "99999999999GiB", "_1"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn text_forms_parse_back() {
        for bytes in [0, 1, 1000, 4094, 8190, 65_536, 10 << 20, 3 << 30] {
            assert_eq!(parse_size(&size_text(bytes)), Some(bytes));
        }
        for ms in [0, 1, 500, 1000, 1500, 120_000, 86_400_000] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&duration_text(duration)), Some(duration));
        }
    }

    #[test]
    fn guesses() {
        assert_eq!(guess_duration("2 minutes"), Some(Duration::from_secs(120)));
        assert_eq!(guess_duration("30 sec"), Some(Duration::from_secs(30)));
        assert_eq!(guess_duration("soon"), None);
        assert_eq!(guess_size("10M"), Some(10 << 20));
        assert_eq!(guess_size("64 kilobytes"), Some(65_536));
    }
}
