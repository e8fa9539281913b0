//! Arbitrary bytes as what a client of HTTP/2 sends, and as what a request of it consists of.
//!
//! Checked: nothing panics; the verdict on frames does not depend on how the bytes were cut into pieces; a request that is taken
//! has only what an application may see; what was asked of HTTP/1.1 becomes the same bytes at every pace.

#![no_main]

use asteri_proto::fields::{is_field_value, is_token};
use asteri_proto::h1::request::{RequestHead, parse};
use asteri_proto::h2::block;
use asteri_proto::h2::connection::{Connection, Event, Rules};
use asteri_proto::h2::frames::{Frame, HEADER, PREFACE};
use asteri_proto::h2::reason::Fault;
use asteri_proto::h2::request::judge;
use asteri_proto::h2::section::Section;
use asteri_proto::h2::upgrade;
use asteri_proto::limits::Config;
use asteri_proto::time::Moment;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    frames(input);
    request(input);
    upgraded(input);
    if let Some((block, length)) = block::read(input) {
        assert!(length <= input.len());
        assert!(block.fields().map(|(name, value)| name.len() + value.len()).sum::<usize>() < input.len());
    }
});

/// Empty settings.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const RULES: Rules = Rules {
    max_concurrent_streams: 8,
    initial_window_size: 1000,
    max_frame_size: 16_384,
    max_header_list_size: 1000,
    connect: true,
};

/// What comes of the frames: events, content, what is answered, and how it ends. An owner takes all content, and answers every third
/// request.
fn understood<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Event>, Vec<u8>, Vec<u8>, Option<Fault>) {
    let (mut connection, mut section) = (Connection::new(RULES, Moment(0)), Section::default());
    let (mut events, mut content, mut fault) = (Vec::new(), Vec::new(), None);
    for piece in [PREFACE, SETTINGS].into_iter().chain(pieces) {
        let mut rest = piece;
        while !rest.is_empty() {
            match connection.receive(rest, &mut section, Moment(0)) {
                Ok((used, event)) => {
                    assert!(used <= rest.len());
                    match &event {
                        Event::NeedData => assert_eq!(used, rest.len()),
                        Event::Request { stream, .. } => {
                            assert!(fault.is_none() && connection.open_streams() <= 8);
                            connection.set_tag(*stream, u64::from(*stream));
                            if stream % 3 == 0 {
                                assert!(connection.send_head(*stream, 200, block::lines(&[]), true));
                                connection.close_stream(*stream);
                            }
                        }
                        Event::Content { tag, bytes, .. } => {
                            content.extend_from_slice(&rest[bytes.clone()]);
                            connection.release(*tag as u32, bytes.len());
                        }
                        _ => {}
                    }
                    // How many pieces content has depends on the cuts.
                    if !matches!(event, Event::NeedData | Event::Content { .. }) {
                        events.push(event);
                    }
                    rest = &rest[used..];
                }
                Err(found) => {
                    assert!(fault.is_none() && connection.is_over());
                    fault = Some(found);
                    break;
                }
            }
        }
    }
    (events, content, connection.out, fault)
}

fn frames(input: &[u8]) {
    let whole = understood([input]);
    // The end of content may come with its last piece or by itself; all else is the same, and so is what is said.
    let bytewise = understood(input.chunks(1));
    assert_eq!((bytewise.1, bytewise.3), (whole.1, whole.3));
    let told = |events: Vec<Event>| -> Vec<Event> {
        events.into_iter().filter(|event| !matches!(event, Event::End { .. })).collect()
    };
    assert_eq!(told(bytewise.0), told(whole.0));
    assert_eq!(bytewise.2, whole.2);
    let mut out = &whole.2[..];
    while let Some(header) = out.first_chunk::<HEADER>() {
        out = &out[HEADER + Frame::of(header).length as usize..];
    }
    assert!(out.is_empty(), "whole frames only");
    // A header block of nine bytes may have an answer of thirteen.
    assert!(whole.2.len() <= 200 + 3 * input.len(), "{} bytes for {}", whole.2.len(), input.len());
}

/// Lines: method, authority, path, protocol, and then names and values in turn. An empty one is a part that is missing.
fn request(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let mut section = Section::default();
    section.begin(input.len() * 20);
    for name in [":method", ":authority", ":path", ":protocol"] {
        if let Some(line) = lines.next().filter(|line| !line.is_empty()) {
            section.add(name.as_bytes(), line);
        }
    }
    let fields: Vec<&[u8]> = lines.collect();
    fields.chunks_exact(2).for_each(|pair| section.add(pair[0], pair[1]));
    let (mut out, mut head) = (Vec::new(), RequestHead::default());
    if judge(&mut section, input.len() % 2 == 0, &mut head, &Config::default()).is_err() {
        return;
    }
    section.swap_bytes(&mut out);
    assert!(is_token(head.method.of(&out)) && !head.target.is_empty() && head.len == out.len());
    assert!(head.path.of(&out).starts_with(b"/") || head.path.of(&out) == b"*");
    for field in &head.fields {
        let (name, value) = (field.name.of(&out), field.value.of(&out));
        assert!(is_token(name) && !name.iter().any(u8::is_ascii_uppercase) && !name.contains(&b'_'));
        assert!(is_field_value(value));
    }
    assert_eq!(head.find_all(&out, "host").count(), 1);
    assert!(head.find_all(&out, "cookie").count() <= 1);
    assert!(["connection", "upgrade", "transfer-encoding"].iter().all(|name| head.find(&out, name).is_none()));
}

fn upgraded(input: &[u8]) {
    let request = b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    let mut head = RequestHead::default();
    parse(request, &mut head, &Config::default()).expect("good").expect("whole");
    let told = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut upgrade = upgrade::offer(&head, request).expect("it asks for it");
        let mut told = Vec::new();
        let mut decided = false;
        for piece in pieces {
            if decided {
                told.extend_from_slice(piece);
            } else if let Some(bytes) = upgrade.receive(piece) {
                (told, decided) = (bytes, true);
            }
        }
        told
    };
    for sent in [input.to_vec(), [&PREFACE[..], input].concat()] {
        assert_eq!(told(&mut sent.chunks(1)), told(&mut std::iter::once(&sent[..])));
    }
}
