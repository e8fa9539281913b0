//! What a peer may ask of us: sizes, times and tolerated irregularities.
//!
//! The defaults are safe on the open internet. A number is a plain number here: a setting for which the operator may
//! write 0 for "no limit" is turned into a large number before it gets here.

use std::time::Duration;

/// Everything a connection is measured against. One value serves all connections of a listener.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Sizes.
    pub limits: Limits,
    /// Times.
    pub timeouts: Timeouts,
    /// Irregularities that some deployments need.
    pub policy: Policy,
}

/// Sizes in bytes (`fields`: a count). Going over one is answered with 413, 414 or 431.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest request line, without its CRLF: 414.
    pub request_line: usize,
    /// Most field lines in a header section; those dropped by policy count too: 431. Never more than 32,768.
    pub fields: usize,
    /// Longest field line, without its CRLF: 431.
    pub field_size: usize,
    /// Whole head, including the empty line that ends it: 431.
    pub head_size: usize,
    /// Content after the chunked coding is removed: 413. `u64::MAX` is no limit.
    pub body_size: u64,
    /// All chunk extensions of one body together; each is ignored, so there is no reason to send many: 400.
    pub chunk_extension: usize,
    /// Trailer section of a chunked body, with line ends: 431.
    pub trailer_size: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request_line: 4094,
            fields: 100,
            field_size: 8190,
            head_size: 64 * 1024,
            body_size: u64::MAX,
            chunk_extension: 16 * 1024,
            trailer_size: 8190,
        }
    }
}

impl Limits {
    /// More fields than this are never accepted, whatever is configured: Gunicorn's own upper bound.
    pub const MOST_FIELDS: usize = 32_768;
}

/// Durations. Going over one ends the connection, with a 408 if a request had begun.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// From the first byte of a request to the end of its head; also how long a fresh connection may stay silent.
    pub header: Duration,
    /// Longest silence in the middle of a request body. Also the head start that a body has on `body_min_rate`.
    pub body_idle: Duration,
    /// Least rate of a request body in bytes per second. A client may fall behind it by `body_idle` of time, and what it sends
    /// faster makes up for that, but never for more. 0 turns this off.
    pub body_min_rate: u32,
    /// How long a connection may stay idle between two requests.
    pub keepalive: Duration,
    /// Longest time in which a peer takes nothing of a response; enforced by the owner of the socket.
    pub write_idle: Duration,
    /// How long to go on reading after an error answer, so that the peer sees it; enforced by the owner of the socket.
    pub linger: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            header: Duration::from_secs(10),
            body_idle: Duration::from_secs(30),
            body_min_rate: 240,
            keepalive: Duration::from_secs(2),
            write_idle: Duration::from_secs(30),
            linger: Duration::from_secs(2),
        }
    }
}

/// Irregularities an operator may permit. The default permits none.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Accept methods that are tokens but unlike all registered ones: with a lower-case letter or `#`, shorter than 3
    /// or longer than 20 characters.
    pub permit_unconventional_method: bool,
    /// Treat a method as its upper-case form (see [`crate::h1::request::RequestHead::method_name`]). Methods are
    /// case-sensitive (RFC 9110 §9.1), so this is wrong and only there for clients that cannot be changed.
    pub casefold_method: bool,
    /// What to do with field names that contain `_`.
    pub header_map: HeaderMap,
    /// Names with an underscore that are kept whatever [`Policy::header_map`] says, in any case of letters; `*` keeps all. For
    /// connections from proxies that are trusted to set such fields, and to remove those of their clients.
    pub forwarder_fields: Vec<String>,
}

impl Policy {
    /// Whether a trusted proxy may send this field although its name has an underscore.
    pub(crate) fn is_forwarder_field(&self, name: &[u8]) -> bool {
        self.forwarder_fields.iter().any(|known| known == "*" || known.as_bytes().eq_ignore_ascii_case(name))
    }
}

/// Field names with an underscore: in CGI-like interfaces `X_Real` and `X-Real` become the same key, so a client could
/// forge a field that a proxy in front believes to have removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderMap {
    /// The field is removed, as if it had not been sent.
    #[default]
    Drop,
    /// The request is refused.
    Refuse,
    /// The field is kept.
    Dangerous,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::request::{RequestHead, parse};

    #[test]
    fn forwarder_fields_are_kept_and_only_those() {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nScript_Name: /app\r\nX_Other: no\r\n\r\n";
        let names = |policy: Policy| {
            let mut head = RequestHead::default();
            let config = Config { policy, ..Config::default() };
            parse(request, &mut head, &config).unwrap().unwrap();
            head.fields
                .iter()
                .map(|field| String::from_utf8_lossy(field.name.of(request)).into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(Policy::default()), ["Host"]);
        let trusted = Policy { forwarder_fields: vec!["SCRIPT_NAME".to_owned()], ..Policy::default() };
        assert_eq!(names(trusted), ["Host", "Script_Name"]);
        let all = Policy { forwarder_fields: vec!["*".to_owned()], ..Policy::default() };
        assert_eq!(names(all), ["Host", "Script_Name", "X_Other"]);
    }
}
