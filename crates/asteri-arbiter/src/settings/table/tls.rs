//! TLS.

use super::super::kind::Kind;
use super::super::setting::{Initial, Section, Setting, Status};

const BASE: Setting = Setting { section: Section::Tls, status: Status::NotBuilt { missing: "TLS" }, ..Setting::BASE };

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "keyfile",
        flags: &["--keyfile"],
        kind: Kind::Path,
        help: "\
File with the private key",
        ..BASE
    },
    Setting {
        name: "certfile",
        flags: &["--certfile"],
        kind: Kind::Path,
        help: "\
File with the certificate",
        ..BASE
    },
    Setting {
        name: "ssl_version",
        flags: &["--ssl-version"],
        kind: Kind::Count { min: 0, max: 100, unit: "" },
        // ssl.PROTOCOL_TLS.
        default: Initial::Text("2"),
        status: Status::Refused {
            why: "but this number chooses nothing: Gunicorn itself ignores it",
            instead: "leave it out",
        },
        help: "\
Has no effect in Gunicorn",
        ..BASE
    },
    Setting {
        name: "cert_reqs",
        flags: &["--cert-reqs"],
        kind: Kind::Count { min: 0, max: 2, unit: "" },
        default: Initial::Text("0"),
        help: "\
Whether clients need a certificate",
        ..BASE
    },
    Setting {
        name: "ca_certs",
        flags: &["--ca-certs"],
        kind: Kind::Path,
        help: "\
File with the authorities that sign client certificates",
        ..BASE
    },
    Setting {
        name: "suppress_ragged_eofs",
        flags: &["--suppress-ragged-eofs"],
        kind: Kind::Switch,
        default: Initial::Text("true"),
        help: "\
Tolerate connections that end without a TLS close",
        ..BASE
    },
    Setting {
        name: "do_handshake_on_connect",
        flags: &["--do-handshake-on-connect"],
        kind: Kind::Switch,
        help: "\
Make the TLS handshake as soon as a client connects",
        ..BASE
    },
    Setting {
        name: "ciphers",
        flags: &["--ciphers"],
        help: "\
Cipher suites, in OpenSSL's notation",
        ..BASE
    },
];
