//! The connection scope of HTTP requests and WebSockets (ASGI HTTP & WebSocket specification, version 2.5).
//!
//! Everything that does not change from request to request, and a place for everything that does, is in one dict per
//! listener and type; a request copies it and overwrites. Decisions where the specification leaves room:
//!
//! * `path` is decoded from percent-encoding and then from UTF-8; what is no UTF-8 becomes U+FFFD, as in other servers. The bytes
//!   as they came are in `raw_path`.
//! * `path` contains `root_path`. A proxy in front may have cut that off: a path that is not below it gets it in front.
//! * `client` is the peer of the connection, as REMOTE_ADDR is in WSGI: who trusts `X-Forwarded-For` reads it.

use asteri_proto::h1::request::{RequestHead, Version};
use asteri_proto::target::percent_decode;
use asteri_proto::uwsgi::Front;
use asteri_server::{Peer, ReadyRequest};
use memchr::memchr;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use super::names::{FieldNames, Names, Role};
use crate::addresses::Clients;
use crate::keys::Values;
use crate::shim::{self, NewList};
use crate::tls;

/// What the operator and the process decide about every scope.
pub struct ScopeOptions {
    /// Where the listeners are bound, in the order of [`ReadyRequest::listener`].
    pub listeners: Vec<ServerAddress>,
    /// Fields that tell whether the client speaks TLS to the proxy: name (lower case), and the value that means https.
    pub secure_scheme_headers: Vec<SchemeField>,
    /// Whether a trusted peer may set the root path with `SCRIPT_NAME`.
    pub script_name_field: bool,
    /// Where the application is mounted: empty, or a path without a slash at its end.
    pub root_path: String,
    /// Whether the application may send debugging information (the extension `http.response.debug`).
    pub debug: bool,
}

/// The name of a field that tells the scheme, and the value that means https.
pub type SchemeField = (Box<[u8]>, Box<[u8]>);

/// What `server` says.
#[derive(Clone, Debug)]
pub enum ServerAddress {
    /// A TCP address.
    Ip { host: String, port: u16 },
    /// The path of a Unix socket.
    Unix(String),
}

/// Why there is no scope.
pub enum ScopeError {
    /// The proxies contradict each other about the scheme: status 400.
    Refused(&'static str),
    /// The interpreter failed us.
    Python(PyErr),
}

impl From<PyErr> for ScopeError {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

/// Builds scopes.
pub struct Scopes {
    values: Values,
    /// One per listener.
    http: Vec<Py<PyDict>>,
    websocket: Vec<Py<PyDict>>,
    asgi: Part,
    http_extensions: Part,
    websocket_extensions: Part,
    /// What the application keeps for its requests. Each gets a copy that ends with it: applications put there what they need for
    /// one request, which must not live until the next one comes.
    state: Py<PyDict>,
    fields: FieldNames,
    clients: Clients,
    secure_scheme_headers: Vec<SchemeField>,
    root_path: String,
    decoded: Vec<u8>,
}

/// A dict that each scope has for itself, since an application may change it; nearly none does. So the templates have a copy,
/// which is given to one request after the other as long as each has let go of it and left it as it was.
struct Part {
    /// Under which key.
    key: Py<PyString>,
    original: Py<PyDict>,
    /// What is in the original, which never changes.
    items: Vec<(Py<PyAny>, Py<PyAny>)>,
    copy: Py<PyDict>,
    /// The templates that have the copy.
    templates: Vec<Py<PyDict>>,
}

impl Part {
    fn new(
        key: &Py<PyString>,
        original: Bound<'_, PyDict>,
        templates: impl Iterator<Item = Py<PyDict>>,
    ) -> PyResult<Self> {
        let py = original.py();
        let (key, copy) = (key.clone_ref(py), original.clone().unbind());
        let items = original.iter().map(|(key, value)| (key.unbind(), value.unbind())).collect();
        let mut part = Self { key, original: original.unbind(), items, copy, templates: templates.collect() };
        part.renew(py)?;
        Ok(part)
    }

    /// Sees to it that what the templates have is a copy that is nobody else's, and has what the original has.
    #[inline]
    fn refresh(&mut self, py: Python<'_>) -> PyResult<()> {
        let references = 1 + self.templates.len() as isize;
        let is_same = shim::references(&self.copy) == references && shim::has_items(py, &self.copy, &self.items);
        if is_same { Ok(()) } else { self.renew(py) }
    }

    #[cold]
    fn renew(&mut self, py: Python<'_>) -> PyResult<()> {
        self.copy = shim::copy_dict(py, &self.original)?.unbind();
        self.templates.iter().try_for_each(|template| shim::set(template.bind(py), &self.key, self.copy.bind(py)))
    }
}

/// The version of the HTTP and WebSocket specification that the scopes, and what can be done with them, follow.
const SPEC_VERSION: &str = "2.5";

impl Scopes {
    /// Prepares the templates.
    ///
    /// # Errors
    /// `MemoryError`.
    pub fn new(py: Python<'_>, names: &Names, options: ScopeOptions) -> PyResult<Self> {
        let ScopeOptions { listeners, secure_scheme_headers, script_name_field, root_path, debug } = options;
        let asgi = PyDict::new(py);
        asgi.set_item("version", "3.0")?;
        asgi.set_item("spec_version", SPEC_VERSION)?;
        let mut extensions = vec![
            "http.response.pathsend",
            "http.response.zerocopysend",
            "http.response.early_hint",
            "http.response.trailers",
        ];
        if debug {
            extensions.push("http.response.debug");
        }
        let http_extensions = extensions_dict(py, &extensions)?;
        let websocket_extensions = extensions_dict(py, &["websocket.http.response"])?;
        let values = Values::new(py);
        let mut http = Vec::with_capacity(listeners.len());
        let mut websocket = Vec::with_capacity(listeners.len());
        for listener in &listeners {
            http.push(template(py, names, &values, listener, &root_path, false)?.unbind());
            websocket.push(template(py, names, &values, listener, &root_path, true)?.unbind());
        }
        let of_http = || http.iter().map(|template| template.clone_ref(py));
        let of_websocket = || websocket.iter().map(|template| template.clone_ref(py));
        let asgi = Part::new(&names.asgi, asgi, of_http().chain(of_websocket()))?;
        let http_extensions = Part::new(&names.extensions, http_extensions, of_http())?;
        let websocket_extensions = Part::new(&names.extensions, websocket_extensions, of_websocket())?;
        let scheme_names = secure_scheme_headers.iter().map(|(name, _)| name.clone()).collect();
        Ok(Self {
            values,
            http,
            websocket,
            asgi,
            http_extensions,
            websocket_extensions,
            state: PyDict::new(py).unbind(),
            fields: FieldNames::new(scheme_names, script_name_field),
            clients: Clients::new(),
            secure_scheme_headers,
            root_path,
            decoded: Vec::new(),
        })
    }

    /// The dict that the application fills during its lifespan, for the scope of that.
    pub fn state(&self, py: Python<'_>) -> Py<PyDict> {
        self.state.clone_ref(py)
    }

    /// The scope of an HTTP request.
    ///
    /// # Errors
    /// See [`ScopeError`].
    pub fn http<'py>(
        &mut self,
        py: Python<'py>,
        names: &Names,
        request: &ReadyRequest,
    ) -> Result<Bound<'py, PyDict>, ScopeError> {
        let head = &request.head;
        self.asgi.refresh(py)?;
        self.http_extensions.refresh(py)?;
        let scope = shim::copy_dict(py, &self.http[request.listener.min(self.http.len() - 1)])?;
        let method = head.method_name(request.bytes());
        match self.values.method(&method) {
            // The template has it.
            Some(known) if known.is(&self.values.get) => {}
            Some(known) => shim::set(&scope, &names.method, known.bind(py))?,
            None => shim::set(&scope, &names.method, &shim::latin1(py, &method)?)?,
        }
        self.version(py, names, &scope, head.version)?;
        let https = self.fill(py, names, request, &scope)?;
        if https {
            shim::set(&scope, &names.scheme, names.https.bind(py))?;
        }
        tls_extension(py, names, &self.http_extensions, request, &scope)?;
        Ok(scope)
    }

    /// The scope of a WebSocket.
    ///
    /// # Errors
    /// See [`ScopeError`].
    pub fn websocket<'py>(
        &mut self,
        py: Python<'py>,
        names: &Names,
        request: &ReadyRequest,
        subprotocols: &[String],
    ) -> Result<Bound<'py, PyDict>, ScopeError> {
        self.asgi.refresh(py)?;
        self.websocket_extensions.refresh(py)?;
        let scope = shim::copy_dict(py, &self.websocket[request.listener.min(self.websocket.len() - 1)])?;
        self.version(py, names, &scope, request.head.version)?;
        let https = self.fill(py, names, request, &scope)?;
        if https {
            shim::set(&scope, &names.scheme, names.wss.bind(py))?;
        }
        shim::set(&scope, &names.subprotocols, &PyList::new(py, subprotocols)?)?;
        tls_extension(py, names, &self.websocket_extensions, request, &scope)?;
        Ok(scope)
    }

    /// `http_version`, which is 1.1 in the templates.
    #[expect(clippy::unused_self, reason = "it is about a scope of this maker's")]
    fn version(&self, py: Python<'_>, names: &Names, scope: &Bound<'_, PyDict>, version: Version) -> PyResult<()> {
        let value = match version {
            Version::Http11 => return Ok(()),
            Version::Http10 => &names.version_1_0,
            Version::Http2 => &names.version_2,
        };
        shim::set(scope, &names.http_version, value.bind(py))
    }

    /// What both have. Whether the client speaks TLS, to us or to the proxy.
    #[inline]
    fn fill<'py>(
        &mut self,
        py: Python<'py>,
        names: &Names,
        request: &ReadyRequest,
        scope: &Bound<'py, PyDict>,
    ) -> Result<bool, ScopeError> {
        let (head, bytes) = (&request.head, request.bytes());
        shim::set(scope, &names.state, &shim::copy_dict(py, &self.state)?)?;
        if let Peer::Ip(peer) = request.peer {
            shim::set(scope, &names.client, self.clients.pair(py, peer)?.bind(py))?;
        }
        if let Some(query) = head.query.filter(|query| !query.is_empty()) {
            shim::set(scope, &names.query_string, &PyBytes::new(py, query.of(bytes)))?;
        }
        let (headers, from_proxy) = self.headers(py, head, bytes, request.trusted)?;
        shim::set(scope, &names.headers, &headers)?;
        let mut root_path = from_proxy.root_path;
        if let Some(front) = &head.front {
            root_path = front.script_name.map(|span| decoded_root_path(span.of(bytes))).or(root_path);
            self.front(py, names, scope, front, bytes)?;
        }
        self.path(py, names, scope, head.path.of(bytes), root_path)?;
        Ok(from_proxy.https.or(request.https) == Some(true))
    }

    /// What a server in front says with uwsgi, as far as a scope has a place for it.
    #[cold]
    fn front(
        &self,
        py: Python<'_>,
        names: &Names,
        scope: &Bound<'_, PyDict>,
        front: &Front,
        bytes: &[u8],
    ) -> PyResult<()> {
        if let Some(version) = front.protocol.and_then(|protocol| protocol.of(bytes).strip_prefix(b"HTTP/")) {
            // "1.0", "1.1", "2", "3" are the values that there are.
            let version = version.strip_suffix(b".0").filter(|major| *major != b"1").unwrap_or(version);
            shim::set(scope, &names.http_version, &shim::latin1(py, version)?)?;
        }
        let port = front.variable(bytes, "SERVER_PORT").and_then(|port| std::str::from_utf8(port).ok()?.parse().ok());
        if let (Some(host), Some(port)) = (front.variable(bytes, "SERVER_NAME").filter(|host| !host.is_empty()), port) {
            let port: u16 = port;
            scope.set_item(&names.server, (shim::latin1(py, host)?, port))?;
        }
        Ok(())
    }

    /// `path`, `raw_path` and `root_path`. The template has those of a request for `/`.
    #[inline]
    fn path(
        &mut self,
        py: Python<'_>,
        names: &Names,
        scope: &Bound<'_, PyDict>,
        raw: &[u8],
        from_proxy: Option<String>,
    ) -> PyResult<()> {
        if raw == b"/" && from_proxy.is_none() {
            return Ok(());
        }
        shim::set(scope, &names.raw_path, &PyBytes::new(py, raw))?;
        let encoded = memchr(b'%', raw).is_some();
        if !encoded && self.root_path.is_empty() && from_proxy.is_none() {
            // All bytes of a target are ASCII.
            return shim::set(scope, &names.path, &shim::latin1(py, raw)?);
        }
        self.decoded.clear();
        percent_decode(raw, &mut self.decoded);
        if let Some(root_path) = &from_proxy {
            shim::set(scope, &names.root_path, &PyString::new(py, root_path))?;
        }
        let root_path = from_proxy.as_ref().unwrap_or(&self.root_path).as_bytes();
        let below = |path: &[u8]| path.strip_prefix(root_path).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
        // "*" is no path: the server as a whole is meant (RFC 9110 §9.3.7).
        if self.decoded.first() == Some(&b'/') && !below(&self.decoded) {
            self.decoded.splice(0..0, root_path.iter().copied());
        }
        shim::set(scope, &names.path, &decode(py, &self.decoded)?)
    }

    /// The field lines, names in lower case, in the order of arrival, and what trusted ones say.
    #[inline]
    fn headers<'py>(
        &mut self,
        py: Python<'py>,
        head: &RequestHead,
        bytes: &[u8],
        trusted: bool,
    ) -> Result<(Bound<'py, PyAny>, FromProxy), ScopeError> {
        let mut from_proxy = FromProxy::default();
        // RFC 9112 §3.2.2: the authority of an absolute-form target replaces the Host field; HTTP/1.0 need not have one.
        let host = head.authority.filter(|_| head.find(bytes, "host").is_none());
        let mut headers = NewList::new(py, head.fields.len() + usize::from(host.is_some()))?;
        if let Some(host) = host {
            headers.push(self.fields.lookup(py, b"host").pair(py, host.of(bytes))?);
        }
        for field in &head.fields {
            let name = field.name.of(bytes);
            let value = field.value.of(bytes);
            let known = self.fields.lookup(py, name);
            headers.push(known.pair(py, value)?);
            let role = known.role;
            if role != Role::Plain && trusted {
                from_proxy.note(role, &self.secure_scheme_headers, name, value)?;
            }
        }
        Ok((headers.finish(), from_proxy))
    }
}

/// What trusted fields say.
#[derive(Default)]
struct FromProxy {
    https: Option<bool>,
    root_path: Option<String>,
}

impl FromProxy {
    /// Notes what a field says. Two of `secure_scheme_headers` that disagree are an attack or a broken set-up.
    #[cold]
    fn note(&mut self, role: Role, headers: &[SchemeField], name: &[u8], value: &[u8]) -> Result<(), ScopeError> {
        if role == Role::ScriptName {
            self.root_path = Some(decoded_root_path(value));
            return Ok(());
        }
        let secure = headers
            .iter()
            .any(|(header, secure)| name.eq_ignore_ascii_case(header) && value.eq_ignore_ascii_case(secure));
        if self.https.is_some_and(|before| before != secure) {
            return Err(ScopeError::Refused("the fields that tell the scheme contradict each other"));
        }
        self.https = Some(secure);
        Ok(())
    }
}

/// A root path as a proxy writes it, decoded and without a slash at its end.
fn decoded_root_path(written: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(written.len());
    percent_decode(written, &mut decoded);
    String::from_utf8_lossy(&decoded).trim_end_matches('/').to_owned()
}

/// A `str` from UTF-8; what is none becomes U+FFFD.
fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if bytes.is_ascii() {
        return shim::latin1(py, bytes);
    }
    let len = ffi::Py_ssize_t::try_from(bytes.len())?;
    // SAFETY: reads `len` bytes; returns a new reference or null with an exception set.
    unsafe {
        let text = ffi::PyUnicode_DecodeUTF8(bytes.as_ptr().cast(), len, c"replace".as_ptr());
        Bound::from_owned_ptr_or_err(py, text)
    }
}

/// What a request has as an extension that not all have.
#[inline]
fn tls_extension(
    py: Python<'_>,
    names: &Names,
    usual: &Part,
    request: &ReadyRequest,
    scope: &Bound<'_, PyDict>,
) -> PyResult<()> {
    let Some(details) = &request.tls else { return Ok(()) };
    let extensions = shim::copy_dict(py, &usual.original)?;
    shim::set(&extensions, &names.tls, &tls::extension(py, details)?)?;
    shim::set(scope, &names.extensions, &extensions)
}

fn extensions_dict<'py>(py: Python<'py>, extensions: &[&str]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for name in extensions {
        dict.set_item(PyString::intern(py, name), PyDict::new(py))?;
    }
    Ok(dict)
}

/// The dict that requests of one listener start from: that of a request for `/` without any field.
fn template<'py>(
    py: Python<'py>,
    names: &Names,
    values: &Values,
    listener: &ServerAddress,
    root_path: &str,
    websocket: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let scope = PyDict::new(py);
    let kind = if websocket { &names.websocket } else { &names.http };
    scope.set_item(&names.kind, kind)?;
    scope.set_item(&names.asgi, py.None())?;
    scope.set_item(&names.http_version, &names.version_1_1)?;
    if !websocket {
        scope.set_item(&names.method, &values.get)?;
    }
    scope.set_item(&names.scheme, if websocket { &names.ws } else { &names.http })?;
    scope.set_item(&names.path, PyString::intern(py, &format!("{root_path}/")))?;
    scope.set_item(&names.raw_path, PyBytes::new(py, b"/"))?;
    scope.set_item(&names.query_string, PyBytes::new(py, b""))?;
    scope.set_item(&names.root_path, PyString::intern(py, root_path))?;
    scope.set_item(&names.headers, py.None())?;
    scope.set_item(&names.client, py.None())?;
    match listener {
        ServerAddress::Ip { host, port } => scope.set_item(&names.server, (host, port))?,
        ServerAddress::Unix(path) => scope.set_item(&names.server, (path, py.None()))?,
    }
    if websocket {
        scope.set_item(&names.subprotocols, py.None())?;
    }
    scope.set_item(&names.state, py.None())?;
    scope.set_item(&names.extensions, py.None())?;
    Ok(scope)
}
