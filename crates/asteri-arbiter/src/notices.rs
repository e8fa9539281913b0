//! What the reactor reports, as lines of the logs.

use crate::logs::{AccessLog, AccessRecord, ErrorLog, Level};
use asteri_server::Peer;
use asteri_server::notice::{Notice, Observer};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Writes notices to a worker's logs.
///
/// A bad peer is a line at debug level, and one in the access log: it says nothing about the server. What the operator has
/// to know is a warning or an error.
pub struct Notices {
    pub log: ErrorLog,
    pub access: Option<Arc<AccessLog>>,
}

impl Observer for Notices {
    fn notice(&self, notice: &Notice<'_>) {
        match notice {
            Notice::Refused { peer, error, sample } => {
                if self.log.enabled(Level::Debug) {
                    let fields: [(&str, &dyn crate::logs::LogValue); 5] = [
                        ("peer", &address(*peer)),
                        ("status", &error.status),
                        ("code", &error.code),
                        ("section", &error.section),
                        ("received", sample),
                    ];
                    self.log.debug(error.detail, &fields);
                }
                self.refused(*peer, error.status, sample);
            }
            Notice::NotBelieved { peer, field, why } => self.log.debug(
                "a field of a request is not believed",
                &[("field", field), ("why", why), ("peer", &address(*peer))],
            ),
            Notice::CannotAccept(error) => self.log.error(
                "cannot accept connections: no descriptors or memory left; they wait in the kernel's queue until some come back \
                 (try a higher limit of open files, such as LimitNOFILE= or ulimit -n)",
                &[("error", *error)],
            ),
            Notice::RequestSpoolFailed(error) => self.log.error(
                "cannot write the content of a request to a temporary file (try another folder with tmp_upload_dir)",
                &[("error", *error)],
            ),
            Notice::ResponseSpoolFailed(error) => self.log.error(
                "cannot write a response to a temporary file while its client is slow, it was cut (try another folder with tmp_upload_dir)",
                &[("error", *error)],
            ),
            Notice::WriteTimeout(peer) => {
                self.log.debug("a client took nothing of its response for too long", &[("peer", &address(*peer))]);
            }
            Notice::HandshakeTimeout(peer) => {
                self.log.debug("a peer did not finish its TLS handshake in time", &[("peer", &address(*peer))]);
            }
            Notice::HandshakeLate(peer) => {
                let say = "a TLS handshake was not done in time: this worker had too many others before it";
                self.log.debug(say, &[("peer", &address(*peer))]);
            }
            Notice::TlsFailed { peer, error } => {
                self.log.debug("a connection failed at TLS", &[("peer", &address(*peer)), ("error", error)]);
            }
            Notice::PongTimeout(peer) => {
                self.log.debug("a WebSocket's peer did not answer a ping in time", &[("peer", &address(*peer))]);
            }
            Notice::SkippedAbandoned(peer) => {
                self.log.debug("a request was skipped, its client had left", &[("peer", &address(*peer))]);
            }
            Notice::Http2Flood { peer, frames } => self.log.debug(
                "a client of HTTP/2 flooded its connection and was cut off",
                &[("peer", &address(*peer)), ("frames", frames)],
            ),
            Notice::Http2Fault { peer, reason, remote } => {
                let text = match remote {
                    true => "a client ended its HTTP/2 connection with an error",
                    false => "a client broke the rules of HTTP/2 and its connection was ended",
                };
                self.log.debug(text, &[("peer", &address(*peer)), ("reason", reason)]);
            }
            Notice::AnsweredForHung(status) => {
                self.log.warning("answered for an application that exceeded its time", &[("status", status)]);
            }
        }
    }
}

impl Notices {
    fn refused(&self, peer: Peer, status: u16, sample: &[u8]) {
        let Some(access) = &self.access else { return };
        let line_end = sample.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(sample.len());
        let remote = match peer {
            Peer::Ip(address) => address.ip().to_string(),
            Peer::Unix => String::new(),
        };
        let record = AccessRecord {
            time: SystemTime::now(),
            remote_addr: Some(remote.as_bytes()),
            request_line: Some(&sample[..line_end]),
            status: Some(status),
            duration: Duration::ZERO,
            pid: std::process::id(),
            ..AccessRecord::default()
        };
        access.write(&record, &());
    }
}

fn address(peer: Peer) -> String {
    match peer {
        Peer::Ip(address) => address.to_string(),
        Peer::Unix => "unix".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{AccessFormat, Colour, Target};
    use asteri_proto::error::ProtocolError;

    #[test]
    fn a_refused_request_is_one_access_line_and_one_debug_line() {
        let folder = std::env::temp_dir().join(format!("asteri-notices-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (errors, requests) = (folder.join("error"), folder.join("access"));
        let format = AccessFormat::compile("%(h)s \"%(r)s\" %(s)s").unwrap();
        let notices = Notices {
            log: ErrorLog::open(&Target::File(errors.clone()), Level::Debug, Colour::Off).unwrap(),
            access: Some(Arc::new(AccessLog::open(&Target::File(requests.clone()), format).unwrap())),
        };
        let error = ProtocolError { status: 400, code: "bad-thing", section: "RFC 0000 §1", detail: "a thing is bad" };
        let sample = b"GET /\x1b[31m\r\nsecret: 1\r\n";
        notices.notice(&Notice::Refused { peer: "192.0.2.7:99".parse().map(Peer::Ip).unwrap(), error, sample });
        assert_eq!(std::fs::read_to_string(&requests).unwrap(), "192.0.2.7 \"GET /\\x1b[31m\" 400\n");
        let line = std::fs::read_to_string(&errors).unwrap();
        assert!(line.contains("[DEBUG] a thing is bad") && line.contains("bad-thing"), "{line}");
        assert!(!line.contains('\x1b') && line.matches('\n').count() == 1, "{line:?}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
