//! Where the server listens.

use super::super::kind::{Bare, Kind};
use super::super::setting::{Effect, Initial, Section, Setting, Variable};

const BASE: Setting = Setting { section: Section::Socket, ..Setting::BASE };

pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        name: "bind",
        flags: &["-b", "--bind"],
        env: Some(Variable {
            name: "PORT",
            read: |port| (!port.is_empty()).then(|| format!("0.0.0.0:{port}")),
            example: "8000",
        }),
        kind: Kind::Addresses,
        default: Initial::Text("127.0.0.1:8000"),
        help: "\
Address to listen on; may be given several times
`HOST:PORT`, `[IPV6]:PORT`, `unix:PATH`, `fd://NUMBER`, or `fd://NAME` for the sockets that a service manager passes under that \
name. Port 0 lets the system choose. The environment variable `PORT` means `0.0.0.0:$PORT`. In a config file a list, or a single \
string. Options follow the address after semicolons: `mode=660` is what `uds_mode` is, for this socket \
alone; `proxy=v2` (`off`, `v1`, `auto`) what `proxy_protocol` is; `protocol=uwsgi` (`http`) what `protocol` is; `tls` means that TLS is spoken here and only where it says so \
(see `certfile`). Sockets that a service manager passes (`LISTEN_FDS`) take the place of all addresses, unless one of them begins \
with `fd://`.",
        ..BASE
    },
    Setting {
        name: "host",
        flags: &["--host"],
        in_file: false,
        help: "\
Host to listen on, for people used to it
`--host H --port P` is the same as `--bind H:P`; the host is 127.0.0.1 and the port 8000 if only the other is given.",
        ..BASE
    },
    Setting {
        name: "port",
        flags: &["--port"],
        kind: Kind::Count { min: 0, max: 65_535, unit: "" },
        in_file: false,
        help: "\
Port to listen on; see --host",
        ..BASE
    },
    Setting {
        name: "uds",
        flags: &["--uds"],
        kind: Kind::Path,
        in_file: false,
        help: "\
Unix socket to listen on, the same as --bind unix:PATH",
        ..BASE
    },
    Setting {
        name: "fd",
        flags: &["--fd"],
        kind: Kind::Count { min: 0, max: i32::MAX as u64, unit: "" },
        in_file: false,
        help: "\
Inherited socket to listen on, the same as --bind fd://NUMBER",
        ..BASE
    },
    Setting {
        name: "uds_mode",
        flags: &["--uds-mode"],
        kind: Kind::Mode { bare: Bare::Octal },
        effect: Effect::Restart,
        help: "\
Permission bits of Unix sockets, for example 660
Digits are octal, in a config file write `0o660` or `\"660\"`. By default `umask` decides.",
        ..BASE
    },
    Setting {
        name: "backlog",
        flags: &["--backlog"],
        kind: Kind::Count { min: 1, max: i32::MAX as u64, unit: "connections" },
        default: Initial::Text("2048"),
        help: "\
Connections that may wait to be accepted
The kernel cuts the number to `net.core.somaxconn`.",
        ..BASE
    },
    Setting {
        name: "defer_accept",
        flags: &["--defer-accept"],
        kind: Kind::Switch,
        default: Initial::Text("true"),
        help: "\
Leave TCP connections to the kernel until their first byte comes
This is `TCP_DEFER_ACCEPT`. A connection that brings one request, as from a proxy that keeps none open, then wakes a worker once and \
not twice. Those that say nothing are taken after about a second, also when the server stops. Sockets that were passed to \
the server stay as they are (systemd has `DeferAcceptSec=`).",
        off_help: "Take TCP connections as soon as they are made",
        ..BASE
    },
    Setting {
        name: "reuse_port",
        flags: &["--reuse-port"],
        kind: Kind::Switch,
        effect: Effect::Restart,
        help: "\
Let other servers of the same user listen on the same port (SO_REUSEPORT)
The kernel spreads new connections over the servers. Within one server the workers share the arbiter's socket, with or without \
this: a socket of a worker's own would take the connections that wait in it along when the worker leaves.",
        ..BASE
    },
];
