//! The strings that every request needs, made once: environ keys, frequent values, and the keys of header fields.
//!
//! An interned `str` costs no allocation and carries its hash, which is the largest single saving in building an
//! environ; the table from field name to key saves the rest.

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::shim;

/// Declares a struct of interned strings, one member per line.
macro_rules! interned {
    ($(#[$doc:meta])* $name:ident { $($(#[$member_doc:meta])* $member:ident = $text:literal,)* }) => {
        $(#[$doc])*
        pub struct $name { $($(#[$member_doc])* pub $member: Py<PyString>,)* }

        impl $name {
            /// Interns them all.
            pub fn new(py: Python<'_>) -> Self {
                Self { $($member: $crate::keys::intern(py, $text),)* }
            }
        }
    };
}
pub(crate) use interned;

interned! {
    /// The keys of the environ whose values change from request to request.
    Keys {
        request_method = "REQUEST_METHOD",
        script_name = "SCRIPT_NAME",
        path_info = "PATH_INFO",
        query_string = "QUERY_STRING",
        raw_uri = "RAW_URI",
        request_uri = "REQUEST_URI",
        server_name = "SERVER_NAME",
        server_port = "SERVER_PORT",
        server_protocol = "SERVER_PROTOCOL",
        server_software = "SERVER_SOFTWARE",
        remote_addr = "REMOTE_ADDR",
        remote_port = "REMOTE_PORT",
        content_length = "CONTENT_LENGTH",
        http_host = "HTTP_HOST",
        version = "wsgi.version",
        url_scheme = "wsgi.url_scheme",
        input = "wsgi.input",
        input_terminated = "wsgi.input_terminated",
        errors = "wsgi.errors",
        multithread = "wsgi.multithread",
        multiprocess = "wsgi.multiprocess",
        run_once = "wsgi.run_once",
        file_wrapper = "wsgi.file_wrapper",
        early_hints = "wsgi.early_hints",
        close = "close",
    }
}

interned! {
    /// Values that most requests share.
    Values {
        empty = "",
        slash = "/",
        http = "http",
        https = "https",
        http_1_0 = "HTTP/1.0",
        http_1_1 = "HTTP/1.1",
        http_2_0 = "HTTP/2.0",
        get = "GET",
        head = "HEAD",
        post = "POST",
        put = "PUT",
        delete = "DELETE",
        options = "OPTIONS",
        patch = "PATCH",
    }
}

impl Values {
    /// The interned name of a frequent method.
    #[inline]
    pub fn method(&self, name: &[u8]) -> Option<&Py<PyString>> {
        Some(match name {
            b"GET" => &self.get,
            b"POST" => &self.post,
            b"HEAD" => &self.head,
            b"PUT" => &self.put,
            b"DELETE" => &self.delete,
            b"OPTIONS" => &self.options,
            b"PATCH" => &self.patch,
            _ => return None,
        })
    }
}

/// What becomes of a request field in the environ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Under its `HTTP_` key; repeated lines are joined with a comma (RFC 9110 §5.3).
    Plain,
    /// `HTTP_COOKIE`; repeated lines are joined with `"; "`, the separator of cookies (RFC 6265 §4.2.1).
    Cookie,
    /// `HTTP_HOST`, which the authority of an absolute-form target replaces.
    Host,
    /// `CONTENT_TYPE`, without the prefix. A singleton: of several lines the first counts, as with most servers and
    /// proxies, for a list of media types would be none (RFC 9110 §5.3, §8.3).
    ContentType,
    /// Framing, which was undone before the application is called: `Content-Length` is set from the length that was
    /// really received, `Transfer-Encoding` no longer describes anything.
    Framing,
    /// May say that the client speaks TLS to the proxy in front of us, if the peer is trusted to say so.
    Scheme,
    /// May give SCRIPT_NAME, if the peer is trusted to say so.
    ScriptName,
}

/// A field name that has been seen: its bytes as they came, its key, and its role.
pub struct Known {
    name: Box<[u8]>,
    pub key: Py<PyString>,
    pub role: Role,
    /// The last value, if it may be kept.
    value: Option<Py<PyAny>>,
    is_secret: bool,
}

impl Known {
    /// The text of a value. The next request often has the same one, and then gets the same object.
    ///
    /// # Errors
    /// `MemoryError`.
    #[inline]
    pub fn value<'py>(&mut self, py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        if let Some(value) = &self.value
            && matches!(shim::text(value.bind(py)), shim::Text::Latin1(text) if text == bytes)
        {
            return Ok(value.bind(py).clone());
        }
        self.other_value(py, bytes)
    }

    fn other_value<'py>(&mut self, py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        let value = shim::latin1(py, bytes)?;
        if bytes.len() <= LONGEST_REMEMBERED_VALUE && !self.is_secret {
            self.value = Some(value.clone().unbind());
        }
        Ok(value)
    }
}

/// From field name (as spelled by the client) to environ key.
///
/// A direct-mapped table: a client that invents names evicts entries, and never makes it grow.
pub struct FieldKeys {
    slots: Box<[Option<Known>]>,
    /// Lower-case names of `secure_scheme_headers`.
    scheme_names: Vec<Box<[u8]>>,
    /// Whether `SCRIPT_NAME` is in `forwarder_headers`.
    script_name: bool,
}

/// Names longer than this are not remembered, so that the table stays small.
const LONGEST_REMEMBERED: usize = 64;
/// The same for values.
pub const LONGEST_REMEMBERED_VALUE: usize = 128;
/// Fields whose values are not kept longer than their request, in lower case.
const SECRET: [&[u8]; 3] = [b"authorization", b"cookie", b"proxy-authorization"];

/// Whether a field, its name in lower case, is one whose values are not kept.
pub fn is_secret(lower: &[u8]) -> bool {
    SECRET.contains(&lower)
}

/// Places in a table of field names, a power of two.
pub const SLOTS: usize = 512;

impl FieldKeys {
    /// An empty table. `scheme_names`: lower-case names of the fields that can tell the scheme.
    pub fn new(scheme_names: Vec<Box<[u8]>>, script_name: bool) -> Self {
        Self { slots: (0..SLOTS).map(|_| None).collect(), scheme_names, script_name }
    }

    /// What is known of the field called `name`.
    #[inline]
    pub fn lookup(&mut self, py: Python<'_>, name: &[u8]) -> &mut Known {
        let slot = slot_of(name);
        let known = matches!(&self.slots[slot], Some(known) if *known.name == *name);
        if !known {
            let fresh = self.describe(py, name);
            self.slots[slot] = Some(fresh);
        }
        match &mut self.slots[slot] {
            Some(known) => known,
            None => unreachable!("the slot was filled just now"),
        }
    }

    #[cold]
    fn describe(&self, py: Python<'_>, name: &[u8]) -> Known {
        let lower = name.to_ascii_lowercase();
        let role = match lower.as_slice() {
            b"host" => Role::Host,
            b"cookie" => Role::Cookie,
            b"content-type" => Role::ContentType,
            b"content-length" | b"transfer-encoding" => Role::Framing,
            b"script_name" if self.script_name => Role::ScriptName,
            other if self.scheme_names.iter().any(|name| **name == *other) => Role::Scheme,
            _ => Role::Plain,
        };
        let mut key = String::with_capacity(5 + name.len());
        if role != Role::ContentType {
            key.push_str("HTTP_");
        }
        key.extend(name.iter().map(|&byte| match byte {
            b'-' => '_',
            byte => char::from(byte.to_ascii_uppercase()),
        }));
        // Only names of this list are interned: CPython 3.12 never frees an interned str, and clients can invent names.
        let key = if USUAL.contains(&lower.as_slice()) { intern(py, &key) } else { PyString::new(py, &key).unbind() };
        // A name too long to be worth remembering is stored under an empty name, which no field has.
        let remembered: Box<[u8]> = if name.len() <= LONGEST_REMEMBERED { name.into() } else { Box::default() };
        Known { name: remembered, key, role, value: None, is_secret: is_secret(&lower) }
    }
}

/// Field names that applications look up, so that their keys should be the same object as the literal in the source.
const USUAL: &[&[u8]] = &[
    b"accept",
    b"accept-charset",
    b"accept-encoding",
    b"accept-language",
    b"access-control-request-headers",
    b"access-control-request-method",
    b"authorization",
    b"cache-control",
    b"connection",
    b"content-encoding",
    b"content-type",
    b"cookie",
    b"dnt",
    b"expect",
    b"forwarded",
    b"host",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"origin",
    b"pragma",
    b"priority",
    b"range",
    b"referer",
    b"sec-ch-ua",
    b"sec-ch-ua-mobile",
    b"sec-ch-ua-platform",
    b"sec-fetch-dest",
    b"sec-fetch-mode",
    b"sec-fetch-site",
    b"sec-fetch-user",
    b"te",
    b"traceparent",
    b"tracestate",
    b"upgrade",
    b"upgrade-insecure-requests",
    b"user-agent",
    b"via",
    b"x-csrftoken",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"x-forwarded-proto",
    b"x-real-ip",
    b"x-request-id",
    b"x-requested-with",
];

/// The place of a field name in a table of [`SLOTS`], by its first and its last bytes and its length. The number is one with which
/// the usual names have a place each.
#[inline]
pub fn slot_of(name: &[u8]) -> usize {
    let (first, last) = match (name.first_chunk(), name.last_chunk(), name.first_chunk(), name.last_chunk()) {
        (Some(first), Some(last), ..) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        (_, _, Some(first), Some(last)) => {
            (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)))
        }
        _ => (name.first().copied().map_or(0, u64::from), name.last().copied().map_or(0, u64::from)),
    };
    let mixed = first ^ last.rotate_left(29) ^ name.len() as u64;
    (mixed.wrapping_mul(0x504b_36d4_fbee_55cf) >> (64 - SLOTS.trailing_zeros())) as usize
}

/// An interned `str`.
pub fn intern(py: Python<'_>, text: &str) -> Py<PyString> {
    PyString::intern(py, text).unbind()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_have_places_of_their_own() {
        let lower = |name: &[u8]| name.to_vec();
        let title = |name: &[u8]| {
            let parts: Vec<Vec<u8>> = name
                .split(|&byte| byte == b'-')
                .map(|part| {
                    let mut part = part.to_vec();
                    part[0].make_ascii_uppercase();
                    part
                })
                .collect();
            parts.join(&b'-')
        };
        // Browsers write those with a capital, but for a few.
        let browser = |name: &[u8]| if name.starts_with(b"sec-ch-") { lower(name) } else { title(name) };
        for spelled in [&lower as &dyn Fn(&[u8]) -> Vec<u8>, &title, &browser] {
            let mut taken: Vec<usize> = USUAL.iter().map(|name| slot_of(&spelled(name))).collect();
            taken.sort_unstable();
            taken.dedup();
            assert_eq!(taken.len(), USUAL.len());
        }
        assert!((0..30).map(|length| slot_of(&vec![b'x'; length])).all(|slot| slot < SLOTS));
    }
}
