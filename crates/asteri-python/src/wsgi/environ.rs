//! The `environ` of PEP 3333, built from a template.
//!
//! Everything that does not change from request to request, and a place for everything that does, is in one dict per
//! listener; a request copies it and overwrites. Bytes of the request become `str` by the latin-1 rule.
//!
//! Up to CPython 3.11 making any object may start a garbage collection, which may run code of the application, and that
//! may switch to another greenlet in the middle of all this: nothing here is borrowed meanwhile.

use std::cell::Cell;

use asteri_proto::h1::request::{BodyFraming, RequestHead, TargetForm, Version};
use asteri_proto::proxy::{Ends, Told};
use asteri_proto::target::percent_decode;
use asteri_proto::uwsgi::Front;
use asteri_server::{Peer, ReadyRequest};
use memchr::memchr;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::file_wrapper::FileWrapper;
use super::template::Template;
use crate::addresses::{Addresses, Ports};
use crate::keys::{FieldKeys, Keys, Role, Values, intern};
use crate::shim;
use crate::tls;

/// What the operator and the process decide about every environ.
pub struct EnvironOptions {
    /// Where the listeners are bound, in the order of [`ReadyRequest::listener`].
    pub listeners: Vec<ListenerName>,
    /// Fields that tell whether the client speaks TLS to the proxy.
    pub secure_scheme_headers: Vec<SchemeField>,
    /// Fields with an underscore that a trusted peer may set, upper case.
    pub forwarder_headers: Vec<String>,
    /// `SCRIPT_NAME` unless a trusted peer says otherwise; as it was written, see [`mount_point`].
    pub script_name: Vec<u8>,
    /// `SERVER_SOFTWARE`.
    pub software: String,
    /// `wsgi.multithread`: whether calls of the application may overlap in this process.
    pub multithread: bool,
}

/// The name (lower case) of a field that tells the scheme, and the value that means https.
pub type SchemeField = (Box<[u8]>, Box<[u8]>);

/// What `SERVER_NAME` and `SERVER_PORT` say.
#[derive(Clone, Debug)]
pub enum ListenerName {
    /// A TCP address.
    Ip { host: String, port: u16 },
    /// A Unix socket has neither; the `Host` field stands in.
    Unix,
}

/// The objects in an environ that lead to one call under way.
pub struct CallObjects<'a, 'py> {
    pub input: &'a Bound<'py, PyAny>,
    pub errors: &'a Bound<'py, PyAny>,
    pub early_hints: &'a Bound<'py, PyAny>,
}

/// Why there is no environ.
pub enum EnvironError {
    /// The proxies contradict each other about the scheme, or the path is not below SCRIPT_NAME: status 400.
    Refused(&'static str),
    /// The interpreter failed us.
    Python(PyErr),
}

impl From<PyErr> for EnvironError {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

/// Builds environs.
pub struct Environ {
    keys: Keys,
    values: Values,
    templates: Vec<Template>,
    unix: Vec<bool>,
    secure_scheme_headers: Vec<SchemeField>,
    script_name_field: bool,
    script_name: Box<[u8]>,
    /// Taken while an environ is being built.
    caches: Cell<Option<Box<Caches>>>,
}

/// What is remembered from request to request, and memory that is used again.
struct Caches {
    fields: FieldKeys,
    addresses: Addresses,
    ports: Ports,
    decoded: Vec<u8>,
}

impl Environ {
    /// Prepares the templates. `usual`: the objects that most environs have.
    ///
    /// # Errors
    /// `MemoryError`.
    pub fn new(py: Python<'_>, options: EnvironOptions, usual: &CallObjects<'_, '_>) -> PyResult<Self> {
        let keys = Keys::new(py);
        let values = Values::new(py);
        let mut templates = Vec::with_capacity(options.listeners.len());
        for listener in &options.listeners {
            templates.push(Template::new(template(py, &keys, &values, listener, &options, usual)?.unbind()));
        }
        let script_name_field = options.forwarder_headers.iter().any(|name| name == "SCRIPT_NAME" || name == "*");
        Ok(Self {
            keys,
            values,
            templates,
            unix: options.listeners.iter().map(|listener| matches!(listener, ListenerName::Unix)).collect(),
            secure_scheme_headers: options.secure_scheme_headers,
            script_name_field,
            script_name: mount_point(&options.script_name),
            caches: Cell::new(None),
        })
    }

    /// Empty ones: for the first request, and while another environ is being built.
    #[cold]
    fn new_caches(&self) -> Box<Caches> {
        let scheme_names = self.secure_scheme_headers.iter().map(|(name, _)| name.clone()).collect();
        Box::new(Caches {
            fields: FieldKeys::new(scheme_names, self.script_name_field),
            addresses: Addresses::new(),
            ports: Ports::new(),
            decoded: Vec::new(),
        })
    }

    /// The interned strings, for the other halves of the gateway.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Makes other objects the usual ones: an application has kept some of those.
    ///
    /// # Errors
    /// `MemoryError`.
    pub fn set_usual(&self, py: Python<'_>, usual: &CallObjects<'_, '_>) -> PyResult<()> {
        self.templates.iter().try_for_each(|template| self.set_objects(template.dict(py), usual))
    }

    /// Puts the objects of one call into its environ.
    ///
    /// # Errors
    /// `MemoryError`.
    pub fn set_objects(&self, environ: &Bound<'_, PyDict>, objects: &CallObjects<'_, '_>) -> PyResult<()> {
        shim::set(environ, &self.keys.input, objects.input)?;
        shim::set(environ, &self.keys.errors, objects.errors)?;
        shim::set(environ, &self.keys.early_hints, objects.early_hints)
    }

    /// How many references the templates hold to each of the usual objects.
    pub fn template_count(&self) -> usize {
        self.templates.len()
    }

    /// The environ of one request, whose content has the given length, with the usual objects.
    ///
    /// # Errors
    /// See [`EnvironError`].
    #[inline]
    pub fn build<'py>(
        &self,
        py: Python<'py>,
        request: &ReadyRequest,
        content_length: u64,
    ) -> Result<Bound<'py, PyDict>, EnvironError> {
        let mut caches = self.caches.take().unwrap_or_else(|| self.new_caches());
        let built = self.build_with(&mut caches, py, request, content_length);
        self.caches.set(Some(caches));
        built
    }

    #[inline]
    fn build_with<'py>(
        &self,
        caches: &mut Caches,
        py: Python<'py>,
        request: &ReadyRequest,
        content_length: u64,
    ) -> Result<Bound<'py, PyDict>, EnvironError> {
        let head = &request.head;
        let bytes = request.bytes();
        let listener = request.listener.min(self.templates.len().saturating_sub(1));
        let peer = match request.peer {
            Peer::Ip(peer) => Some(peer),
            Peer::Unix => None,
        };
        // RFC 9112 §3.2.2: the authority of an absolute-form target replaces the Host field.
        let host = head.host.as_ref().map(|host| host.of(bytes));
        let names = (&self.keys, &self.values);
        let address = peer.map(|peer| peer.ip());
        let environ = self.templates[listener].copy(py, names, &mut caches.addresses, address, host)?;
        let environ = &environ;

        self.request_line(py, environ, head, bytes)?;
        // A proxy may not say which port its client has.
        if let Some(peer) = peer.filter(|peer| peer.port() != 0) {
            shim::set(environ, &self.keys.remote_port, caches.ports.text(py, peer.port())?.bind(py))?;
        }
        if let Some(details) = &request.tls {
            tls::add_variables(environ, details)?;
        }
        if let Some(told) = &request.told {
            self.proxy_header(py, environ, told)?;
        }
        let from_proxy = self.field_lines(&mut caches.fields, py, environ, head, bytes, request.trusted)?;
        if head.framing != BodyFraming::None {
            // The length that was received, also of a chunked body: the application can read exactly that much.
            let mut digits = itoa::Buffer::new();
            let length = shim::latin1(py, digits.format(content_length).as_bytes())?;
            shim::set(environ, &self.keys.content_length, &length)?;
        }
        let https = from_proxy.https.or(request.https);
        if let Some(https) = https {
            let scheme = if https { &self.values.https } else { &self.values.http };
            shim::set(environ, &self.keys.url_scheme, scheme.bind(py))?;
        }
        let mut script_name = from_proxy.script_name;
        if let Some(front) = &head.front {
            script_name = front.script_name.map(|span| mount_point(span.of(bytes))).or(script_name);
        }
        self.path(&mut caches.decoded, py, environ, head, bytes, script_name.as_deref())?;
        if self.unix[listener] {
            self.server_from_host(py, environ, head, bytes, https == Some(true))?;
        }
        if let Some(front) = &head.front {
            self.front(py, environ, front, bytes)?;
        }
        Ok(environ.clone())
    }

    /// What the PROXY header said, under Gunicorn's keys. The client's own address is in REMOTE_ADDR already.
    #[cold]
    fn proxy_header(&self, py: Python<'_>, environ: &Bound<'_, PyDict>, told: &Told) -> PyResult<()> {
        environ.set_item(PyString::intern(py, "PROXY_PROTOCOL"), PyString::intern(py, told.name()))?;
        if let Ends::Ip { destination, .. } = told.ends {
            environ.set_item(PyString::intern(py, "PROXY_ADDR"), destination.ip().to_string())?;
            environ.set_item(PyString::intern(py, "PROXY_PORT"), destination.port().to_string())?;
        }
        Ok(())
    }

    /// What a server in front says with uwsgi, variables of the operator's own among it.
    #[cold]
    fn front(&self, py: Python<'_>, environ: &Bound<'_, PyDict>, front: &Front, bytes: &[u8]) -> PyResult<()> {
        for (name, value) in &front.variables {
            // Names have no dot, so none of wsgi's is among them.
            environ.set_item(shim::latin1(py, name.of(bytes))?, shim::latin1(py, value.of(bytes))?)?;
        }
        if let Some(protocol) = front.protocol {
            shim::set(environ, &self.keys.server_protocol, &shim::latin1(py, protocol.of(bytes))?)?;
        }
        Ok(())
    }

    /// Method, target, query and version.
    #[inline]
    fn request_line(
        &self,
        py: Python<'_>,
        environ: &Bound<'_, PyDict>,
        head: &RequestHead,
        bytes: &[u8],
    ) -> PyResult<()> {
        let method = head.method_name(bytes);
        match self.values.method(&method) {
            // The template has it.
            Some(known) if known.is(&self.values.get) => {}
            Some(known) => shim::set(environ, &self.keys.request_method, known.bind(py))?,
            None => shim::set(environ, &self.keys.request_method, &shim::latin1(py, &method)?)?,
        }
        let target = head.target.of(bytes);
        if target != b"/" {
            let target = shim::latin1(py, target)?;
            shim::set(environ, &self.keys.raw_uri, &target)?;
            shim::set(environ, &self.keys.request_uri, &target)?;
        }
        if let Some(query) = &head.query {
            shim::set(environ, &self.keys.query_string, &shim::latin1(py, query.of(bytes))?)?;
        }
        let protocol = match head.version {
            Version::Http11 => return Ok(()),
            Version::Http10 => &self.values.http_1_0,
            Version::Http2 => &self.values.http_2_0,
        };
        shim::set(environ, &self.keys.server_protocol, protocol.bind(py))?;
        Ok(())
    }

    /// `PATH_INFO`, decoded and without `SCRIPT_NAME`.
    ///
    /// RFC 3875 §4.1.5 and §4.1.13: both are decoded, and the one followed by the other is the decoded path.
    #[inline]
    fn path(
        &self,
        decoded: &mut Vec<u8>,
        py: Python<'_>,
        environ: &Bound<'_, PyDict>,
        head: &RequestHead,
        bytes: &[u8],
        from_proxy: Option<&[u8]>,
    ) -> Result<(), EnvironError> {
        let raw = head.path.of(bytes);
        // One byte has nothing to decode, and most that are asked for it are asked for "/".
        let whole: &[u8] = if raw.len() > 1 && memchr(b'%', raw).is_some() {
            decoded.clear();
            percent_decode(raw, decoded);
            decoded
        } else {
            raw
        };
        let script_name = from_proxy.unwrap_or(&self.script_name);
        let path = if head.form == TargetForm::Asterisk {
            // RFC 9110 §9.3.7: the server as a whole is meant, and none of its paths. The target itself is in RAW_URI.
            b"" as &[u8]
        } else if script_name.is_empty() {
            // RFC 9110 §4.2.3: an empty path means "/".
            if whole.is_empty() { b"/" } else { whole }
        } else {
            let rest = whole.strip_prefix(script_name).filter(|rest| rest.is_empty() || rest[0] == b'/');
            let Some(rest) = rest else {
                return Err(EnvironError::Refused("the path is not below SCRIPT_NAME"));
            };
            shim::set(environ, &self.keys.script_name, &shim::latin1(py, script_name)?)?;
            rest
        };
        if path == b"/" {
            return Ok(());
        }
        Ok(shim::set(environ, &self.keys.path_info, &shim::latin1(py, path)?)?)
    }

    /// The field lines.
    #[inline]
    fn field_lines(
        &self,
        keys: &mut FieldKeys,
        py: Python<'_>,
        environ: &Bound<'_, PyDict>,
        head: &RequestHead,
        bytes: &[u8],
        trusted: bool,
    ) -> Result<FromProxy, EnvironError> {
        let mut from_proxy = FromProxy::default();
        for field in &head.fields {
            let name = field.name.of(bytes);
            let value = field.value.of(bytes);
            let known = keys.lookup(py, name);
            match known.role {
                Role::Plain | Role::ContentType | Role::Cookie => {}
                // The host is there already, and content is described from what was received.
                Role::Framing | Role::Host => continue,
                Role::Scheme => {
                    if trusted {
                        from_proxy.scheme(&self.secure_scheme_headers, name, value)?;
                    }
                }
                Role::ScriptName => {
                    if trusted {
                        from_proxy.script_name = Some(mount_point(value));
                        continue;
                    }
                }
            }
            let value = known.value(py, value)?;
            if let Some(first) = shim::insert_or_get(environ, &known.key, &value)? {
                if known.role == Role::ContentType {
                    continue;
                }
                let separator = if known.role == Role::Cookie { "; " } else { "," };
                let joined = first.add(PyString::new(py, separator))?.add(value)?;
                shim::set(environ, &known.key, &joined)?;
            }
        }
        Ok(from_proxy)
    }

    /// A Unix socket has no name and port to offer, and PEP 3333 wants both not to be empty.
    fn server_from_host(
        &self,
        py: Python<'_>,
        environ: &Bound<'_, PyDict>,
        head: &RequestHead,
        bytes: &[u8],
        https: bool,
    ) -> PyResult<()> {
        let authority = head.authority.as_ref().or(head.host.as_ref()).map_or(&b""[..], |span| span.of(bytes));
        let (name, port) = split_authority(authority);
        let port: &[u8] = match (port.is_empty(), https) {
            (true, true) => b"443",
            (true, false) => b"80",
            (false, _) => port,
        };
        if !name.is_empty() {
            shim::set(environ, &self.keys.server_name, &shim::latin1(py, name)?)?;
        }
        shim::set(environ, &self.keys.server_port, &shim::latin1(py, port)?)
    }
}

/// What trusted fields say.
#[derive(Default)]
struct FromProxy {
    https: Option<bool>,
    script_name: Option<Box<[u8]>>,
}

impl FromProxy {
    /// Notes what one of `secure_scheme_headers` says; two that disagree are an attack or a broken set-up.
    fn scheme(&mut self, headers: &[SchemeField], name: &[u8], value: &[u8]) -> Result<(), EnvironError> {
        let secure = headers
            .iter()
            .any(|(header, secure)| name.eq_ignore_ascii_case(header) && value.eq_ignore_ascii_case(secure));
        if self.https.is_some_and(|before| before != secure) {
            return Err(EnvironError::Refused("the fields that tell the scheme contradict each other"));
        }
        self.https = Some(secure);
        Ok(())
    }
}

/// `SCRIPT_NAME` as PEP 3333 wants it: decoded, and empty instead of `/`, because `PATH_INFO` begins with the next slash.
fn mount_point(written: &[u8]) -> Box<[u8]> {
    let mut decoded = Vec::with_capacity(written.len());
    percent_decode(written, &mut decoded);
    while decoded.last() == Some(&b'/') {
        decoded.pop();
    }
    decoded.into()
}

/// `"[::1]:80"` → `("[::1]", "80")`; the port may be missing.
fn split_authority(authority: &[u8]) -> (&[u8], &[u8]) {
    let after_literal = memchr(b']', authority).map_or(0, |bracket| bracket + 1);
    match memchr(b':', &authority[after_literal..]) {
        Some(colon) => (&authority[..after_literal + colon], &authority[after_literal + colon + 1..]),
        None => (authority, b""),
    }
}

/// The dict that requests of one listener start from.
///
/// It has more than 21 keys, so the copies have a table of 64 slots from the start and a usual number of fields fits
/// without growing it.
fn template<'py>(
    py: Python<'py>,
    keys: &Keys,
    values: &Values,
    listener: &ListenerName,
    options: &EnvironOptions,
    usual: &CallObjects<'_, 'py>,
) -> PyResult<Bound<'py, PyDict>> {
    let environ = PyDict::new(py);
    for (key, value) in [
        (&keys.request_method, &values.get),
        (&keys.script_name, &values.empty),
        (&keys.path_info, &values.slash),
        (&keys.query_string, &values.empty),
        (&keys.raw_uri, &values.slash),
        (&keys.request_uri, &values.slash),
        (&keys.server_protocol, &values.http_1_1),
        (&keys.remote_addr, &values.empty),
        (&keys.url_scheme, &values.http),
    ] {
        environ.set_item(key, value)?;
    }
    match listener {
        ListenerName::Ip { host, port } => {
            environ.set_item(&keys.server_name, intern(py, host))?;
            environ.set_item(&keys.server_port, intern(py, &port.to_string()))?;
            environ.set_item(&keys.remote_port, &values.empty)?;
        }
        ListenerName::Unix => {
            environ.set_item(&keys.server_name, intern(py, "localhost"))?;
            environ.set_item(&keys.server_port, intern(py, "80"))?;
        }
    }
    environ.set_item(&keys.server_software, intern(py, &options.software))?;
    environ.set_item(&keys.version, (1, 0))?;
    environ.set_item(&keys.input, usual.input)?;
    environ.set_item(&keys.input_terminated, true)?;
    environ.set_item(&keys.errors, usual.errors)?;
    environ.set_item(&keys.multithread, options.multithread)?;
    // More processes may serve the same application at any time, with one worker too: during a reload, when workers are
    // added by signal, and while a worker that had its fill is replaced.
    environ.set_item(&keys.multiprocess, true)?;
    environ.set_item(&keys.run_once, false)?;
    environ.set_item(&keys.file_wrapper, py.get_type::<FileWrapper>())?;
    environ.set_item(&keys.early_hints, usual.early_hints)?;
    Ok(environ)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_split_at_the_port() {
        for (authority, name, port) in
            [("a", "a", ""), ("a:1", "a", "1"), ("[::1]", "[::1]", ""), ("[::1]:80", "[::1]", "80"), ("", "", "")]
        {
            assert_eq!(split_authority(authority.as_bytes()), (name.as_bytes(), port.as_bytes()));
        }
    }
}
