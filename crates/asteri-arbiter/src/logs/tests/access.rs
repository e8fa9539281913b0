//! Each atom, each JSON key, and what hostile requests do to them.

use super::*;
use crate::logs::support::{Directory, read};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::HashMap;

/// Fields as maps. `environ` is looked up by exact key.
#[derive(Default)]
struct Fields {
    request: HashMap<&'static str, Vec<u8>>,
    response: HashMap<&'static str, Vec<u8>>,
    environ: HashMap<&'static str, Vec<u8>>,
}

impl AccessFields for Fields {
    fn request_field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.request.get(name).map(Cow::from)
    }

    fn response_field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.response.get(name).map(Cow::from)
    }

    fn environ(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.environ.get(name).map(Cow::from)
    }
}

fn fields() -> Fields {
    Fields {
        request: HashMap::from([
            ("authorization", b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_vec()),
            ("host", b"example.org".to_vec()),
            ("referer", b"http://example.org/start".to_vec()),
            ("user-agent", b"curl/8.0 \"x\"".to_vec()),
            ("x-forwarded-for", b"192.0.2.7".to_vec()),
            ("x-both", b"request".to_vec()),
        ]),
        response: HashMap::from([("content-type", b"text/html".to_vec()), ("x-both", b"response".to_vec())]),
        environ: HashMap::from([("REMOTE_USER", b"root".to_vec()), ("X-BOTH", b"environ".to_vec())]),
    }
}

/// 2026-11-23 01:02:03.004005 UTC
fn time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_795_395_723, 4_005_000)
}

fn record() -> AccessRecord<'static> {
    AccessRecord {
        time: time(),
        remote_addr: Some(b"127.0.0.1"),
        request_line: None,
        method: Some(b"POST"),
        target: Some(b"/a%20b?c=%22d"),
        path: Some(b"/a b"),
        query: Some(b"c=%22d"),
        protocol: Some(b"HTTP/1.1"),
        status: Some(201),
        bytes: Some(5678),
        duration: Duration::new(12, 345_678_999),
        pid: 4321,
    }
}

fn line(format: &str, record: &AccessRecord<'_>, fields: &dyn AccessFields) -> String {
    let mut out = b"before ".to_vec();
    AccessFormat::compile(format).expect(format).render(&mut out, record, fields);
    let line = String::from_utf8(out).expect("a line in UTF-8");
    line.strip_prefix("before ").expect("what was there stays").to_owned()
}

fn date() -> String {
    String::from_utf8(crate::logs::clock::stamp(time()).common.to_vec()).expect("ASCII")
}

#[test]
fn every_atom_shows_its_value() {
    let date = date();
    let cases = [
        ("h", "127.0.0.1"),
        ("l", "-"),
        ("u", "Aladdin"),
        ("t", date.as_str()),
        ("r", "POST /a%20b?c=%22d HTTP/1.1"),
        ("m", "POST"),
        ("U", "/a b"),
        ("q", "c=%22d"),
        ("H", "HTTP/1.1"),
        ("s", "201"),
        ("B", "5678"),
        ("b", "5678"),
        ("f", "http://example.org/start"),
        ("a", r#"curl/8.0 \"x\""#),
        ("T", "12"),
        ("M", "12345"),
        ("D", "12345678"),
        ("L", "12.345678"),
        ("p", "<4321>"),
        ("{x-forwarded-for}i", "192.0.2.7"),
        ("{X-Forwarded-For}i", "192.0.2.7"),
        ("{x-both}i", "request"),
        ("{x-both}o", "response"),
        ("{x-both}e", "environ"),
        ("{Content-Type}O", "text/html"),
        ("{remote_user}e", "root"),
        ("{REMOTE_USER}E", "root"),
        ("{absent}i", "-"),
        ("{absent}o", "-"),
        ("{absent}e", "-"),
        ("nothing", "-"),
    ];
    for (atom, expected) in cases {
        assert_eq!(line(&format!("<%({atom})s>"), &record(), &fields()), format!("<{expected}>"), "%({atom})s");
    }
    for (letter, _) in format::ATOMS {
        assert!(cases.iter().any(|(atom, _)| atom == letter), "%({letter})s has no case here");
    }
}

#[test]
fn nothing_known_shows_dashes() {
    let empty = AccessRecord::default();
    for atom in ["h", "l", "u", "r", "m", "U", "q", "H", "s", "B", "b", "f", "a", "{x}i", "{x}o", "{x}e"] {
        assert_eq!(line(&format!("%({atom})s"), &empty, &()), "-", "{atom}");
    }
    assert_eq!(line("%(s)d %(b)d %(T)d %(D)d %(L)s", &empty, &()), "- - 0 0 0.000000");
}

#[test]
fn gunicorns_default_line() {
    assert_eq!(
        line(AccessFormat::DEFAULT, &record(), &fields()),
        format!(
            r#"127.0.0.1 - Aladdin {} "POST /a%20b?c=%22d HTTP/1.1" 201 5678 "http://example.org/start" "curl/8.0 \"x\"""#,
            date()
        )
    );
}

#[test]
fn present_but_empty_is_not_absent() {
    let fields = Fields { request: HashMap::from([("referer", Vec::new())]), ..Fields::default() };
    let empty = AccessRecord { query: None, bytes: Some(0), remote_addr: Some(b""), ..record() };
    assert_eq!(line("[%(f)s] [%(a)s] [%(q)s] [%(b)s] [%(h)s]", &empty, &fields), "[] [-] [] [0] [-]");
}

#[test]
fn a_refused_request_shows_what_came() {
    let garbage =
        AccessRecord { request_line: Some(b"\x16\x03\x01 \"\\"), status: Some(400), ..AccessRecord::default() };
    assert_eq!(line("\"%(r)s\" %(m)s %(s)s", &garbage, &()), r#""\x16\x03\x01 \"\\" - 400"#);
    let half = AccessRecord { method: Some(b"GET"), ..AccessRecord::default() };
    assert_eq!(line("%(r)s", &half, &()), "GET - -");
}

#[test]
fn values_are_fitted_as_python_does() {
    let cases = [
        ("[%(s)6s]", "[   201]"),
        ("[%(s)-6s]", "[201   ]"),
        ("[%(s)06d]", "[000201]"),
        ("[%(s)06s]", "[   201]"),
        ("[%(s)-06d]", "[201   ]"),
        ("[%(s)2d]", "[201]"),
        ("[%(D)i|%(D)u]", "[12345678|12345678]"),
        ("[%(m).2s]", "[PO]"),
        ("[%(m)5.2s]", "[   PO]"),
        ("[%(m).0s]", "[]"),
        ("[%(m).s]", "[]"),
        ("[%(nothing)3d]", "[  -]"),
        ("%%(m)s 100%% %(m)s%%", "%(m)s 100% POST%"),
        ("a\tb%(s)s", "a\tb201"),
        ("%({x(y)}i)s.", "-."),
    ];
    for (format, expected) in cases {
        assert_eq!(line(format, &record(), &fields()), expected, "{format}");
    }
}

#[test]
fn cutting_counts_characters_and_never_splits_an_escape() {
    let path = "\u{e9}\"\n\u{65e5}z".as_bytes();
    let record = AccessRecord { path: Some(path), ..record() };
    let expected =
        ["", "\u{e9}", "\u{e9}\\\"", "\u{e9}\\\"\\x0a", "\u{e9}\\\"\\x0a\u{65e5}", "\u{e9}\\\"\\x0a\u{65e5}z"];
    for (limit, expected) in expected.into_iter().enumerate() {
        assert_eq!(line(&format!("%(U).{limit}s"), &record, &()), expected);
    }
    assert_eq!(line("[%(U)12s]", &record, &()), "[   \u{e9}\\\"\\x0a\u{65e5}z]", "the width counts what is seen");
}

#[test]
fn a_missing_number_is_not_padded_with_zeros() {
    assert_eq!(line("[%(b)04d]", &AccessRecord::default(), &()), "[   -]");
}

#[test]
fn the_password_is_never_shown() {
    let fields = fields();
    for format in [AccessFormat::DEFAULT, "json", "%(u)s %(u).200s"] {
        let line = line(format, &record(), &fields);
        assert!(!line.contains("open sesame") && !line.contains("QWxhZGRpbj"), "{line}");
    }
}

fn json(record: &AccessRecord<'_>, fields: &dyn AccessFields) -> Value {
    serde_json::from_str(&line("json", record, fields)).expect("valid JSON")
}

#[test]
fn json_is_typed_and_complete() {
    let value = json(&record(), &fields());
    let expected = serde_json::json!({
        "timestamp": value["timestamp"],
        "remote_addr": "127.0.0.1",
        "user": "Aladdin",
        "request_line": "POST /a%20b?c=%22d HTTP/1.1",
        "method": "POST",
        "path": "/a b",
        "query": "c=%22d",
        "protocol": "HTTP/1.1",
        "host": "example.org",
        "status": 201,
        "bytes": 5678,
        "duration_us": 12_345_678,
        "referer": "http://example.org/start",
        "user_agent": "curl/8.0 \"x\"",
        "pid": 4321,
    });
    assert_eq!(value, expected);
    let timestamp: jiff::Timestamp = value["timestamp"].as_str().expect("text").parse().expect("RFC 3339");
    assert_eq!(SystemTime::from(timestamp), time());
}

#[test]
fn json_keys_are_the_documented_ones_in_order() {
    let line = line("json", &AccessRecord::default(), &());
    let mut rest = line.as_str();
    for key in json::KEYS {
        let at = rest.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key} missing or out of order"));
        rest = &rest[at..];
    }
    assert_eq!(line.matches("\":").count(), json::KEYS.len());
}

#[test]
fn json_knows_null() {
    let value = json(&AccessRecord::default(), &());
    for key in json::KEYS {
        let given = matches!(*key, "timestamp" | "duration_us" | "pid");
        assert_eq!(value[key].is_null(), !given, "{key}");
    }
}

#[test]
fn json_strings_survive_anything() {
    let path = b"a\"\\/\x00\x1f\x7f\n\xff\xc3\xe2\x80\xa8 \xc3\xa9 \xf0\x9f\xa6\x80 \xc2\x9b\xf3\xa0\x80\x81";
    let record = AccessRecord { path: Some(path), ..record() };
    assert_eq!(
        json(&record, &())["path"],
        "a\"\\/\0\u{1f}\u{7f}\n\u{fffd}\u{fffd}\u{2028} \u{e9} \u{1f980} \u{9b}\u{e0001}"
    );
    let line = line("json", &record, &());
    assert!(line.contains(r#""path":"a\"\\/\u0000\u001f\u007f\u000a"#), "{line}");
    assert!(line.contains("\u{e9}") && line.contains(r"\udb40\udc01"), "{line}");
}

#[test]
fn lines_are_written_whole_and_the_log_reopens() {
    let dir = Directory::new();
    let (path, rotated) = (dir.path("access.log"), dir.path("access.log.1"));
    let format = AccessFormat::compile("%(m)s %(s)s").expect("compiles");
    let log = AccessLog::open(&Target::File(path.clone()), format).expect("open");
    log.write(&record(), &());
    std::fs::rename(&path, &rotated).expect("rename");
    log.reopen().expect("reopen");
    log.write(&AccessRecord { method: Some(b"GET\n"), ..record() }, &());
    assert_eq!(read(&rotated), "POST 201\n");
    assert_eq!(read(&path), "GET\\x0a 201\n");
    assert_eq!(log.dropped(), 0);
}

#[test]
fn a_warm_buffer_does_not_grow() {
    for format in [AccessFormat::DEFAULT, "json", "%(U)400s%(U)-400s"] {
        let format = AccessFormat::compile(format).expect("compiles");
        let mut out = Vec::new();
        format.render(&mut out, &record(), &fields());
        out.shrink_to_fit();
        let capacity = out.capacity();
        out.clear();
        format.render(&mut out, &record(), &fields());
        assert_eq!(out.capacity(), capacity);
    }
}

/// The page for operators names every atom and every key.
#[test]
fn the_guide_is_complete() {
    let guide = include_str!("../../../../../docs/guides/logging.md");
    for (letter, _) in format::ATOMS {
        assert!(guide.contains(&format!("`%({letter})s`")), "%({letter})s");
    }
    for field in ["{name}i", "{name}o", "{name}e"] {
        assert!(guide.contains(&format!("`%({field})s`")), "{field}");
    }
    for key in json::KEYS {
        assert!(guide.contains(&format!("| `{key}` |")), "{key}");
    }
    assert!(guide.contains(AccessFormat::DEFAULT));
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let evil = prop_oneof![
        any::<u8>(),
        Just(b'"'),
        Just(b'\\'),
        Just(b'\n'),
        Just(b'\r'),
        Just(0x1b),
        Just(b'%'),
        0x80..=0x9fu8,
    ];
    proptest::collection::vec(evil, 0..40)
}

proptest! {
    #[test]
    fn hostile_requests_stay_on_their_line(
        a in hostile(), b in hostile(), c in hostile(), d in hostile(), status in any::<Option<u16>>(),
    ) {
        let record = AccessRecord {
            remote_addr: Some(&a), method: Some(&b), target: Some(&c), path: Some(&d), query: Some(&a),
            protocol: Some(&b), status, ..record()
        };
        let mut fields = Fields::default();
        for name in ["referer", "user-agent", "host", "x", "authorization"] {
            fields.request.insert(name, [&c[..], &d[..]].concat());
        }
        fields.response.insert("x", b.clone());
        fields.environ.insert("X", a.clone());
        let everything = r#""%(h)s" "%(u)s" "%(r)s" "%(m)7s" "%(U).5s" "%(q)s" "%(H)s" "%(f)s" "%(a)s" "%({x}i)s" "%({x}o)s" "%({x}e)s""#;
        let text = line(everything, &record, &fields);
        prop_assert!(text.chars().all(|c| !c.is_control()), "{text:?}");
        // Only the quotes of the format close a value: the line splits into as many as it has atoms.
        let (mut quotes, mut escaped) = (0, false);
        for c in text.chars() {
            quotes += usize::from(c == '"' && !escaped);
            escaped = c == '\\' && !escaped;
        }
        prop_assert_eq!(quotes, 24, "{}", text);

        let text = line("json", &record, &fields);
        prop_assert!(text.chars().all(|c| !c.is_control()), "{text:?}");
        let value: Value = serde_json::from_str(&text).expect("valid JSON");
        prop_assert_eq!(&value["path"], &Value::from(lossy(&d)));
        prop_assert_eq!(value["status"].as_u64(), status.map(u64::from));
    }
}

/// Each byte that is not part of a character becomes one U+FFFD (the standard library may use one for several).
fn lossy(mut bytes: &[u8]) -> String {
    let mut text = String::new();
    while !bytes.is_empty() {
        let valid = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
        text.push_str(std::str::from_utf8(&bytes[..valid]).expect("valid"));
        bytes = &bytes[valid..];
        if !bytes.is_empty() {
            text.push('\u{fffd}');
            bytes = &bytes[1..];
        }
    }
    text
}
