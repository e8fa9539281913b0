//! Arbitrary bytes on one connection.
//!
//! Checked: nothing panics (also not with overflow checks and debug assertions), the outcome does not depend on how the
//! bytes were cut into pieces, and whatever was accepted as a request satisfies what the gateways rely on.
//!
//! The input is the corpus format, `tests/corpus/h1/*/*.http`, as it is: bytes from a client. How to cut them is derived
//! from them, so a finding can be copied into the corpus unchanged.

#![no_main]

#[path = "../../crates/asteri-proto/tests/support/mod.rs"]
mod support;

use asteri_proto::fields::{is_field_value, is_host, is_token};
use asteri_proto::h1::request::Version;
use asteri_proto::limits::Config;
use libfuzzer_sys::fuzz_target;
use support::{Request, Then, converse};

fuzz_target!(|input: &[u8]| {
    let mut cfg = Config::default();
    // Small enough for a fuzzer to reach.
    cfg.limits.request_line = 256;
    cfg.limits.field_size = 256;
    cfg.limits.head_size = 1024;
    cfg.limits.fields = 20;
    cfg.limits.body_size = 4096;
    cfg.limits.chunk_extension = 64;
    cfg.limits.trailer_size = 128;

    let whole = converse([input], Then::Nothing, &cfg);
    assert_eq!(converse(input.chunks(1), Then::Nothing, &cfg), whole, "byte by byte");
    let at = checksum(input) % (input.len() + 1);
    let (a, b) = input.split_at(at);
    assert_eq!(converse([a, b], Then::Nothing, &cfg), whole, "cut at {at}");
    assert_eq!(converse(input.chunks(1 + at % 7), Then::Nothing, &cfg), whole, "in pieces of {}", 1 + at % 7);

    for request in &whole.requests {
        check(request, &cfg);
    }
});

fn checksum(input: &[u8]) -> usize {
    input.iter().fold(0, |sum: usize, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
}

fn check(request: &Request, cfg: &Config) {
    assert!(is_token(&request.method));
    assert!(request.path == b"*" || request.path.starts_with(b"/"));
    assert!(request.target.iter().all(|b| b.is_ascii_graphic() && *b != b'#'));
    assert!(request.fields.len() <= cfg.limits.fields && request.body.len() as u64 <= cfg.limits.body_size);
    assert!(request.version == Version::Http10 || request.host.is_some());
    assert!(request.host.as_ref().is_none_or(|host| is_host(host)));
    let count = |wanted: &[u8]| request.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).count();
    assert!(count(b"host") <= 1 && count(b"content-length") + count(b"transfer-encoding") <= 1);
    for (name, value) in &request.fields {
        assert!(is_token(name) && !name.contains(&b'_'));
        assert!(is_field_value(value));
        assert!(
            !value.starts_with(b" ") && !value.ends_with(b" ") && !value.starts_with(b"\t") && !value.ends_with(b"\t")
        );
    }
}
