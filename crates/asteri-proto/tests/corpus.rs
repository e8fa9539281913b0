//! Every case of `tests/corpus/h1`, fed whole, in two parts at every position, and byte by byte.
//!
//! The format of the cases is specified in `tests/corpus/README.md`; the running server is tested with the same files.

mod support;

use asteri_proto::error::{ALL, ProtocolError};
use asteri_proto::h1::request::Version;
use asteri_proto::limits::{Config, HeaderMap};
use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{Fate, Request, Then, Transcript, converse};
use toml::{Table, Value};

struct Case {
    name: String,
    input: Vec<u8>,
    expected: Table,
}

impl Case {
    fn text(&self, key: &str) -> Option<&str> {
        self.expected.get(key).map(|value| value.as_str().unwrap_or_else(|| panic!("{}: {key} is text", self.name)))
    }

    fn then(&self) -> Then {
        match self.text("then") {
            None => Then::Nothing,
            Some("eof") => Then::Eof,
            Some("silence") => Then::Silence,
            Some(other) => panic!("{}: then = {other:?}", self.name),
        }
    }

    fn fate(&self) -> Fate {
        match self.text("fate") {
            Some("open") => Fate::Open,
            Some("waiting") => Fate::Waiting,
            Some("close") => Fate::Close,
            other => panic!("{}: fate = {other:?}", self.name),
        }
    }

    fn error(&self) -> Option<ProtocolError> {
        let error = self.expected.get("error")?;
        let (code, status) = (error["code"].as_str(), error["status"].as_integer());
        let known = ALL.iter().find(|known| Some(known.code) == code);
        let known = known.unwrap_or_else(|| panic!("{}: no error has the code {code:?}", self.name));
        assert_eq!(Some(i64::from(known.status)), status, "{}: status of {code:?}", self.name);
        Some(*known)
    }

    fn requests(&self) -> &[Value] {
        self.expected.get("request").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn config(&self) -> Config {
        let mut cfg = Config::default();
        let Some(table) = self.expected.get("config").and_then(Value::as_table) else { return cfg };
        for (key, value) in table {
            let number = || value.as_integer().and_then(|n| u32::try_from(n).ok()).expect("a number");
            let size = || number() as usize;
            let millis = || Duration::from_millis(number().into());
            match key.as_str() {
                "request_line" => cfg.limits.request_line = size(),
                "fields" => cfg.limits.fields = size(),
                "field_size" => cfg.limits.field_size = size(),
                "head_size" => cfg.limits.head_size = size(),
                "body_size" => cfg.limits.body_size = number().into(),
                "chunk_extension" => cfg.limits.chunk_extension = size(),
                "trailer_size" => cfg.limits.trailer_size = size(),
                "header_timeout_ms" => cfg.timeouts.header = millis(),
                "body_idle_ms" => cfg.timeouts.body_idle = millis(),
                "body_min_rate" => cfg.timeouts.body_min_rate = number(),
                "keepalive_ms" => cfg.timeouts.keepalive = millis(),
                "permit_unconventional_method" => {
                    cfg.policy.permit_unconventional_method = value.as_bool().expect("a flag")
                }
                "casefold_method" => cfg.policy.casefold_method = value.as_bool().expect("a flag"),
                "header_map" => {
                    cfg.policy.header_map = match value.as_str() {
                        Some("drop") => HeaderMap::Drop,
                        Some("refuse") => HeaderMap::Refuse,
                        Some("dangerous") => HeaderMap::Dangerous,
                        _ => panic!("{}: header_map = {value}", self.name),
                    }
                }
                _ => panic!("{}: unknown key config.{key}", self.name),
            }
        }
        cfg
    }

    fn run<'a>(&self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Transcript {
        converse(pieces, self.then(), &self.config())
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/h1")
}

/// Cases of `valid` or `invalid`. A file without its other half is an error.
fn cases(kind: &str) -> Vec<Case> {
    let mut halves: BTreeSet<PathBuf> = BTreeSet::new();
    for entry in fs::read_dir(folder().join(kind)).expect("the corpus is there") {
        let path = entry.expect("a readable folder").path();
        let extension = path.extension().and_then(|e| e.to_str());
        assert!(matches!(extension, Some("http" | "toml")), "unexpected file {}", path.display());
        halves.insert(path.with_extension(""));
    }
    let load = |path: PathBuf| {
        let name = format!("{kind}/{}", path.file_name().and_then(|n| n.to_str()).expect("a name in ASCII"));
        let input = fs::read(path.with_extension("http")).unwrap_or_else(|e| panic!("{name}.http: {e}"));
        let text = fs::read_to_string(path.with_extension("toml")).unwrap_or_else(|e| panic!("{name}.toml: {e}"));
        let expected = text.parse().unwrap_or_else(|e| panic!("{name}.toml: {e}"));
        Case { name, input, expected }
    };
    halves.into_iter().map(load).collect()
}

fn all_cases() -> impl Iterator<Item = Case> {
    cases("valid").into_iter().chain(cases("invalid"))
}

/// The files say bytes as text: a character up to U+00FF is one byte.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("characters up to U+00FF")).collect()
}

fn check_request(name: &str, got: &Request, expected: &Value) {
    let expected = expected.as_table().expect("a table");
    let named = |n: &str, field: &(Vec<u8>, Vec<u8>)| field.0.eq_ignore_ascii_case(&bytes(n));
    for (key, value) in expected {
        let text = || bytes(value.as_str().expect("text"));
        match key.as_str() {
            "method" => assert_eq!(got.method, text(), "{name}: method"),
            "target" => assert_eq!(got.target, text(), "{name}: target"),
            "path" => assert_eq!(got.path, text(), "{name}: path"),
            "query" => assert_eq!(got.query, Some(text()), "{name}: query"),
            "host" => assert_eq!(got.host, Some(text()), "{name}: host"),
            "body" => assert_eq!(got.body, text(), "{name}: body"),
            "version" => {
                let version = if got.version == Version::Http11 { "1.1" } else { "1.0" };
                assert_eq!(Some(version), value.as_str(), "{name}: version");
            }
            "body_length" => assert_eq!(Some(got.body.len() as i64), value.as_integer(), "{name}: body_length"),
            "fields" => assert_eq!(Some(got.fields.len() as i64), value.as_integer(), "{name}: fields"),
            "keep_alive" => assert_eq!(Some(got.keep_alive), value.as_bool(), "{name}: keep_alive"),
            "continue" => assert_eq!(Some(got.awaits_continue), value.as_bool(), "{name}: continue"),
            "has" => {
                let mut fields = got.fields.iter();
                for pair in value.as_array().expect("a list") {
                    let (n, v) = (pair[0].as_str().expect("a name"), bytes(pair[1].as_str().expect("a value")));
                    assert!(
                        fields.any(|field| named(n, field) && field.1 == v),
                        "{name}: {n}: {} in this order",
                        v.escape_ascii()
                    );
                }
            }
            "lacks" => {
                for n in value.as_array().expect("a list").iter().map(|n| n.as_str().expect("a name")) {
                    assert!(!got.fields.iter().any(|field| named(n, field)), "{name}: lacks {n}");
                }
            }
            _ => panic!("{name}: unknown key request.{key}"),
        }
    }
    if !expected.contains_key("host") {
        assert_eq!(got.host, None, "{name}: host");
    }
    if !expected.contains_key("body") && !expected.contains_key("body_length") {
        assert_eq!(got.body, b"", "{name}: body");
    }
}

fn check(case: &Case) {
    let got = case.run([case.input.as_slice()]);
    assert_eq!(got.error, case.error(), "{}: error", case.name);
    assert_eq!(got.requests.len(), case.requests().len(), "{}: number of requests", case.name);
    for (request, expected) in got.requests.iter().zip(case.requests()) {
        check_request(&case.name, request, expected);
    }
    assert_eq!(got.fate, case.fate(), "{}: fate", case.name);

    for at in cuts(&case.input) {
        let (a, b) = case.input.split_at(at);
        assert_eq!(case.run([a, b]), got, "{}: cut at {at}", case.name);
    }
    assert_eq!(case.run(case.input.chunks(1)), got, "{}: byte by byte", case.name);
}

/// Every position; in a long input those near both ends and near every line end, and a sample of the others.
fn cuts(input: &[u8]) -> impl Iterator<Item = usize> {
    let length = input.len();
    (0..=length).filter(move |&at| {
        length < 3000
            || at < 300
            || length - at < 300
            || at % 997 == 0
            || input[at.saturating_sub(2)..(at + 2).min(length)].contains(&b'\n')
    })
}

/// Checks all of them before it fails, so that one run shows every case that is wrong.
fn check_all(kind: &str) {
    let cases = cases(kind);
    let failed = cases.iter().filter(|case| catch_unwind(AssertUnwindSafe(|| check(case))).is_err());
    let failed: Vec<_> = failed.map(|case| case.name.as_str()).collect();
    assert!(failed.is_empty(), "{} of {} cases failed: {failed:#?}", failed.len(), cases.len());
}

#[test]
fn valid_cases() {
    check_all("valid");
    assert!(cases("valid").iter().all(|case| case.error().is_none()));
}

#[test]
fn invalid_cases() {
    check_all("invalid");
    assert!(cases("invalid").iter().all(|case| case.error().is_some() && case.fate() == Fate::Close));
}

#[test]
fn every_error_has_a_case() {
    let tested: BTreeSet<_> = all_cases().filter_map(|case| case.error()).map(|error| error.code).collect();
    // A case has no clock: bytes that trickle in over time are the driver's own test.
    let timed = asteri_proto::error::BODY_TOO_SLOW.code;
    let missing: Vec<_> =
        ALL.iter().map(|error| error.code).filter(|code| *code != timed && !tested.contains(code)).collect();
    assert!(missing.is_empty(), "errors without a case: {missing:?}");
}

#[test]
fn every_case_says_why_and_where_that_is_written() {
    let mut count = 0;
    for case in all_cases() {
        assert!(case.text("why").is_some_and(|why| why.len() > 4), "{}: why", case.name);
        assert!(
            case.text("section").is_some_and(|s| s.starts_with("RFC ") && s.contains(" §")),
            "{}: section",
            case.name
        );
        for key in case.expected.keys() {
            let known = ["why", "section", "then", "fate", "config", "request", "error"];
            assert!(known.contains(&key.as_str()), "{}: unknown key {key}", case.name);
        }
        count += 1;
    }
    assert!(count >= 250, "{count} cases");
}
