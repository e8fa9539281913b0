//! How strictly HTTP is read, and what answers say about the server.

use super::super::kind::Kind;
use super::super::setting::{Initial, Refusal, Section, Setting, Status};
use super::super::value::Value;

const BASE: Setting = Setting { section: Section::Http, ..Setting::BASE };

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "server_header",
        flags: &["--server-header"],
        kind: Kind::Switch,
        default: Initial::Text("true"),
        help: "\
Send the Server field with responses
A `Server` field of the application is sent in any case.",
        off_help: "Send no Server field with responses",
        ..BASE
    },
    Setting {
        name: "header_map",
        flags: &["--header-map"],
        kind: Kind::Choice(&["drop", "refuse", "dangerous"]),
        default: Initial::Text("drop"),
        help: "\
What to do with fields that have an underscore in their name
`X_Forwarded_For` and `X-Forwarded-For` are the same key for an application, so a client can forge what a proxy believes \
to have removed. `drop` removes the field, `refuse` answers with 400, `dangerous` passes it on.",
        ..BASE
    },
    Setting {
        name: "permit_unconventional_http_method",
        flags: &["--permit-unconventional-http-method"],
        kind: Kind::Switch,
        help: "\
Accept methods unlike all registered ones
Those with lower-case letters or `#`, shorter than 3 or longer than 20 characters.",
        ..BASE
    },
    Setting {
        name: "casefold_http_method",
        flags: &["--casefold-http-method"],
        kind: Kind::Switch,
        help: "\
Turn methods to upper case
Methods are case-sensitive (RFC 9110 §9.1); this is for clients that cannot be changed.",
        ..BASE
    },
    Setting {
        name: "permit_unconventional_http_version",
        flags: &["--permit-unconventional-http-version"],
        kind: Kind::Switch,
        status: Status::Refused {
            why: "but a version that is not HTTP/1.0 or HTTP/1.1 cannot be answered correctly",
            instead: "leave it out; HTTP/1.0 and HTTP/1.1 are always served",
        },
        help: "\
Accept odd HTTP versions",
        ..BASE
    },
    Setting {
        name: "permit_obsolete_folding",
        flags: &["--permit-obsolete-folding"],
        kind: Kind::Switch,
        status: Status::Refused {
            why: "but folded field lines let requests be smuggled past a proxy (RFC 9112 §5.2)",
            instead: "leave it out, and let the proxy in front unfold them",
        },
        help: "\
Accept field lines that continue on the next line",
        ..BASE
    },
    Setting {
        name: "strip_header_spaces",
        flags: &["--strip-header-spaces"],
        kind: Kind::Switch,
        status: Status::Refused {
            why: "but spaces before the colon let requests be smuggled past a proxy (RFC 9112 §5.1)",
            instead: "leave it out; such requests are answered with 400",
        },
        help: "\
Accept spaces between field name and colon",
        ..BASE
    },
    Setting {
        name: "http_parser",
        flags: &["--http-parser"],
        kind: Kind::Choice(&["auto", "fast", "python"]),
        default: Initial::Text("auto"),
        status: Status::Partly(one_parser),
        help: "\
Accepted for Gunicorn's sake; there is one parser",
        ..BASE
    },
];

fn one_parser(value: &Value) -> Result<(), Refusal> {
    match value {
        Value::Text(name) if name == "auto" => Ok(()),
        _ => Err(Refusal::new(
            "but Asteri has one parser, which reads the same bytes the same way for all workers",
            "leave it out",
        )),
    }
}
