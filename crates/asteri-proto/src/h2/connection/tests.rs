use super::*;
use crate::h2::block;
use crate::h2::section::Section;
use proptest::prelude::*;

const RULES: Rules = Rules {
    max_concurrent_streams: 4,
    initial_window_size: 65_535,
    max_frame_size: 16_384,
    max_header_list_size: 1000,
    connect: false,
};
/// GET / of the host h.
const GET: &[u8] = b"\x82\x86\x84\x41\x01h";
const POST: &[u8] = b"\x83\x86\x84\x41\x01h";
const WHOLE: u8 = frames::END_HEADERS | frames::END_STREAM;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    [&Frame { length, kind, flags, stream }.header()[..], payload].concat()
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    frame(frames::SETTINGS, 0, 0, &[&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

/// Frames that were written.
fn written(mut out: &[u8]) -> Vec<(Frame, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some(header) = out.first_chunk::<HEADER>() {
        let frame = Frame::of(header);
        let end = HEADER + frame.length as usize;
        found.push((frame, out[HEADER..end].to_vec()));
        out = &out[end..];
    }
    assert!(out.is_empty(), "whole frames only");
    found
}

/// A connection, and what has come of it.
struct Side {
    connection: Connection,
    section: Section,
    events: Vec<Event>,
    content: Vec<u8>,
    now: Moment,
}

impl Side {
    fn fresh(rules: Rules) -> Self {
        Self {
            connection: Connection::new(rules, Moment(0)),
            section: Section::default(),
            events: Vec::new(),
            content: Vec::new(),
            now: Moment(0),
        }
    }

    /// One whose client has sent its preface and its settings, and knows ours.
    fn new(rules: Rules) -> Self {
        let mut side = Self::fresh(rules);
        let hello = [&PREFACE[..], &frame(frames::SETTINGS, 0, 0, &[]), &frame(frames::SETTINGS, 1, 0, &[])].concat();
        side.take(&hello).unwrap();
        side.connection.out.clear();
        side
    }

    /// Streams are tagged with a hundred times their number.
    fn take(&mut self, mut input: &[u8]) -> Result<(), Fault> {
        while !input.is_empty() {
            let (used, event) = self.connection.receive(input, &mut self.section, self.now)?;
            match &event {
                Event::NeedData => {
                    assert_eq!(used, input.len(), "nothing is left behind");
                    return Ok(());
                }
                Event::Request { stream, .. } => self.connection.set_tag(*stream, u64::from(*stream) * 100),
                Event::Content { bytes, .. } => self.content.extend_from_slice(&input[bytes.clone()]),
                _ => {}
            }
            self.events.push(event);
            input = &input[used..];
        }
        Ok(())
    }

    fn request(&mut self, stream: u32) {
        self.take(&frame(frames::HEADERS, WHOLE, stream, GET)).unwrap();
    }

    fn upload(&mut self, stream: u32) {
        self.take(&frame(frames::HEADERS, frames::END_HEADERS, stream, POST)).unwrap();
    }

    fn answer(&mut self, stream: u32) -> bool {
        let answered = self.connection.send_head(stream, 200, block::lines(&[]), true);
        self.connection.close_stream(stream);
        answered
    }

    fn content_of(&mut self, stream: u32, bytes: &[u8], ends: bool) -> Option<usize> {
        let fill = |out: &mut Vec<u8>, most: usize| {
            let count = most.min(bytes.len());
            out.extend_from_slice(&bytes[..count]);
            Ok(ends && count == bytes.len())
        };
        self.connection.send_content(stream, fill).unwrap()
    }

    fn written(&mut self) -> Vec<(Frame, Vec<u8>)> {
        written(&std::mem::take(&mut self.connection.out))
    }

    /// Types, streams and codes or window increments of the frames that were written and have one.
    fn numbers(&mut self) -> Vec<(u8, u32, u32)> {
        let number = |payload: &[u8]| payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        self.written().iter().map(|(frame, payload)| (frame.kind, frame.stream, number(payload))).collect()
    }
}

fn request_event(stream: u32, ends: bool) -> Event {
    Event::Request { stream, ends, too_large: false }
}

#[test]
fn a_server_speaks_first_and_says_what_it_allows() {
    let mut side = Side::fresh(Rules { connect: true, ..RULES });
    let first = side.written();
    assert_eq!((first[0].0.kind, first[0].0.flags, first[0].0.stream), (frames::SETTINGS, 0, 0));
    let expected = [(3u16, 4u32), (4, 65_535), (5, 16_384), (6, 1000), (8, 1)];
    let expected: Vec<u8> =
        expected.iter().flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    assert_eq!(first[0].1, expected);
    assert_eq!(first[1].0.kind, frames::WINDOW_UPDATE);
    assert_eq!(first[1].1, (CONNECTION_WINDOW - FIRST_WINDOW).to_be_bytes());
    assert!(!side.connection.has_begun());
}

#[test]
fn a_request_is_its_fields_and_its_content() {
    let mut side = Side::new(RULES);
    side.upload(1);
    assert_eq!(side.section.pseudo().method, b"POST");
    assert_eq!(side.section.pseudo().authority, Some(&b"h"[..]));
    side.take(&frame(frames::DATA, 0, 1, b"one ")).unwrap();
    side.take(&frame(frames::DATA, frames::PADDED, 1, b"\x02two\0\0")).unwrap();
    side.take(&frame(frames::DATA, frames::PADDED | frames::END_STREAM, 1, b"\x01!\0")).unwrap();
    assert_eq!(side.content, b"one two!");
    let tag = 100;
    assert_eq!(
        side.events,
        [
            request_event(1, false),
            Event::Content { tag, bytes: 9..13, ends: false },
            Event::Content { tag, bytes: 10..13, ends: false },
            Event::Content { tag, bytes: 10..11, ends: false },
            Event::End { tag },
        ]
    );
}

#[test]
fn windows_open_again_when_as_much_was_taken_as_is_left() {
    let mut side = Side::new(RULES);
    side.upload(1);
    let piece = frame(frames::DATA, 0, 1, &[0; 16_000]);
    for _ in 0..4 {
        side.take(&piece).unwrap();
    }
    assert_eq!(side.written(), [], "nothing was taken yet");
    side.connection.release(1, 1534);
    assert_eq!(side.written(), []);
    side.connection.release(1, 31_234);
    assert_eq!(side.numbers(), [(frames::WINDOW_UPDATE, 1, 32_768)]);
    // More than was received is never given back.
    side.connection.release(1, 1 << 30);
    assert_eq!(side.numbers(), []);
    side.take(&piece).unwrap();
    side.take(&piece).unwrap();
    assert_eq!(side.events.len(), 7);
    // 96,000 of 98,303 bytes.
    side.take(&frame(frames::DATA, 0, 1, &[0; 2304])).unwrap();
    assert_eq!(side.events.last(), Some(&Event::Reset { tag: 100, by_client: false }));
    assert_eq!(side.numbers(), [(frames::RST_STREAM, 1, Reason::FLOW_CONTROL_ERROR.0)]);
}

#[test]
fn the_window_of_the_connection_is_for_all_streams() {
    let mut side = Side::new(Rules { initial_window_size: 400_000, ..RULES });
    [1, 3, 5].into_iter().for_each(|stream| side.upload(stream));
    let mut sent = 0;
    let outcome = loop {
        let stream = 1 + 2 * (sent / 16_000 % 3);
        if let Err(fault) = side.take(&frame(frames::DATA, 0, stream, &[0; 16_000])) {
            break fault;
        }
        sent += 16_000;
    };
    assert_eq!(outcome, Fault::of(Reason::FLOW_CONTROL_ERROR));
    assert!(sent <= CONNECTION_WINDOW && sent + 16_000 > CONNECTION_WINDOW, "{sent}");
    assert!(side.connection.is_over());
}

#[test]
fn what_nobody_takes_does_not_shut_the_connection() {
    let mut side = Side::new(RULES);
    side.upload(1);
    side.take(&frame(frames::DATA, 0, 1, &[0; 10_000])).unwrap();
    // The answer comes early: the rest of the request is not needed.
    assert!(side.answer(1));
    assert_eq!(side.numbers().last(), Some(&(frames::RST_STREAM, 1, Reason::NO_ERROR.0)));
    let mut opened = 0;
    for _ in 0..200 {
        // What is on its way when the client learns of it.
        side.take(&frame(frames::DATA, 0, 1, &[0; 16_000])).unwrap();
        opened +=
            side.numbers().iter().filter(|(kind, stream, _)| (*kind, *stream) == (frames::WINDOW_UPDATE, 0)).count();
    }
    assert!(opened >= 6, "the window was opened {opened} times");
    assert_eq!(side.events.len(), 2, "nobody is told of it");
}

#[test]
fn a_client_keeps_to_a_small_window_when_it_knows_of_it() {
    let rules = Rules { initial_window_size: 100, ..RULES };
    let mut side = Side::fresh(rules);
    side.take(&[&PREFACE[..], &frame(frames::SETTINGS, 0, 0, &[])].concat()).unwrap();
    side.upload(1);
    side.take(&frame(frames::DATA, 0, 1, &[0; 10_000])).unwrap();
    assert_eq!(side.content.len(), 10_000);
    side.take(&frame(frames::SETTINGS, frames::ACK, 0, &[])).unwrap();
    side.connection.out.clear();
    side.upload(3);
    side.take(&frame(frames::DATA, 0, 3, &[0; 101])).unwrap();
    side.take(&frame(frames::DATA, 0, 1, &[0; 1])).unwrap();
    let reason = Reason::FLOW_CONTROL_ERROR.0;
    assert_eq!(side.numbers(), [(frames::RST_STREAM, 3, reason), (frames::RST_STREAM, 1, reason)]);
}

#[test]
fn streams_that_nobody_takes_from_leave_room_for_others() {
    for (window, slow) in [(65_535, 12), (600_000, 1), (4 << 20, 1)] {
        let mut side = Side::new(Rules { initial_window_size: window, max_concurrent_streams: 20, ..RULES });
        let mut stream = 1;
        for _ in 0..slow {
            side.upload(stream);
            for at in (0..window).step_by(16_384) {
                side.take(&frame(frames::DATA, 0, stream, &vec![0; (window - at).min(16_384) as usize])).unwrap();
            }
            stream += 2;
        }
        side.upload(stream);
        side.connection.out.clear();
        // As much as the window of the connection has left, and then as much as is opened.
        let held = i64::from(window) * slow;
        let mut room = i64::from(CONNECTION_WINDOW.max(2 * window)) - held;
        let mut sent = 0;
        while sent < 10 << 20 {
            assert!(room >= 10_000, "window {window}: stuck after {sent} bytes");
            side.take(&frame(frames::DATA, 0, stream, &[0; 10_000])).unwrap();
            side.connection.release(stream, 10_000);
            (room, sent) = (room - 10_000, sent + 10_000);
            let opened = side.numbers();
            room += opened.iter().filter(|(_, stream, _)| *stream == 0).map(|(_, _, by)| i64::from(*by)).sum::<i64>();
        }
    }
}

#[test]
fn content_has_the_length_that_it_was_said_to_have() {
    for (pieces, expected) in [
        (&[(3, false), (2, true)][..], None),
        (&[(3, false), (1, true)], Some(4)),
        (&[(3, false), (3, false)], Some(6)),
        (&[(6, true)], Some(6)),
        (&[(5, false), (0, true)], None),
        (&[(4, false), (0, true)], Some(4)),
    ] {
        let mut side = Side::new(RULES);
        side.upload(1);
        side.connection.expect_content(1, 5);
        for (length, ends) in pieces {
            let flags = if *ends { frames::END_STREAM } else { 0 };
            side.take(&frame(frames::DATA, flags, 1, &vec![0; *length])).unwrap();
        }
        let reset = side.events.contains(&Event::Reset { tag: 100, by_client: false });
        assert_eq!(reset, expected.is_some(), "{pieces:?}: {:?}", side.events);
        let found: Vec<_> = side.numbers();
        assert_eq!(found.contains(&(frames::RST_STREAM, 1, Reason::PROTOCOL_ERROR.0)), expected.is_some());
    }
    // Trailers are an end as well.
    let mut side = Side::new(RULES);
    side.upload(1);
    side.connection.expect_content(1, 5);
    side.take(&frame(frames::HEADERS, WHOLE, 1, b"\x00\x01a\x01b")).unwrap();
    assert_eq!(side.events.last(), Some(&Event::Reset { tag: 100, by_client: false }));
}

#[test]
fn streams_over_the_limit_are_refused_and_may_be_repeated() {
    let mut side = Side::new(RULES);
    for stream in [1, 3, 5, 7, 9] {
        side.request(stream);
    }
    assert_eq!(side.numbers(), [(frames::RST_STREAM, 9, Reason::REFUSED_STREAM.0)]);
    assert_eq!(side.connection.open_streams(), 4);
    // Content of the refused one is passed over.
    side.take(&frame(frames::DATA, 0, 9, b"x")).unwrap();
    assert!(side.answer(3));
    side.request(11);
    assert_eq!(side.events.last(), Some(&request_event(11, true)));
    assert!(!side.answer(9) && !side.answer(3));
}

#[test]
fn a_client_that_knows_of_the_end_opens_no_more() {
    let mut side = Side::new(RULES);
    side.request(1);
    side.connection.close();
    side.connection.close();
    let said = side.written();
    assert_eq!(said.len(), 2, "it is said once");
    assert_eq!((said[0].0.kind, &said[0].1[..]), (frames::GOAWAY, &b"\x7f\xff\xff\xff\0\0\0\0"[..]));
    assert_eq!(said[1].0.kind, frames::PING);
    // It crosses the words on its way.
    side.request(3);
    assert!(!side.connection.is_over());
    side.take(&frame(frames::PING, frames::ACK, 0, &said[1].1)).unwrap();
    assert_eq!(side.written()[0].1, b"\0\0\0\x03\0\0\0\0");
    side.request(5);
    assert_eq!(side.numbers(), [(frames::RST_STREAM, 5, Reason::REFUSED_STREAM.0)]);
    assert!(side.answer(1) && !side.connection.is_over());
    assert!(side.answer(3) && side.connection.is_over());
    assert_eq!(side.connection.told(), None);
}

#[test]
fn a_client_that_leaves_says_why() {
    for (code, told) in [(0, None), (2, Some(Reason::INTERNAL_ERROR))] {
        let mut side = Side::new(RULES);
        side.take(&frame(frames::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, code])).unwrap();
        side.take(&frame(frames::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, code])).unwrap();
        assert_eq!(side.events, [Event::Leaving], "once");
        assert_eq!(side.connection.told().map(|fault| fault.reason), told);
    }
}

#[test]
fn a_violation_is_the_last_word() {
    let mut side = Side::new(RULES);
    side.request(1);
    let ping = frame(frames::PING, 0, 0, &[0; 8]);
    let outcome = side.take(&[frame(frames::DATA, 0, 0, b"x"), ping.clone()].concat());
    assert_eq!(outcome, Err(Fault::of(Reason::PROTOCOL_ERROR)));
    let said = side.written();
    assert_eq!((said.len(), said[0].0.kind, &said[0].1[..]), (1, frames::GOAWAY, &b"\0\0\0\x01\0\0\0\x01"[..]));
    assert_eq!(side.take(&ping), Ok(()));
    assert!(side.connection.is_over() && side.connection.out.is_empty());
}

#[test]
fn who_errs_on_hundreds_of_streams_errs_on_the_connection() {
    let errors = |seconds: u64| {
        let mut side = Side::new(RULES);
        for number in 0..2000 {
            side.now = Moment(number * seconds * 1000);
            let stream = 2 * u32::try_from(number).unwrap() + 1;
            if let Err(fault) = side.take(&frame(frames::HEADERS, WHOLE, stream, b"\x82\x82")) {
                assert_eq!((fault.reason, fault.flood), (Reason::ENHANCE_YOUR_CALM, Some("stream-errors")));
                return number;
            }
            assert!(matches!(side.events.last(), Some(Event::Malformed(_))));
        }
        2000
    };
    assert!((200..=256).contains(&errors(0)), "at once: {}", errors(0));
    assert_eq!(errors(1), 2000, "now and then, as long as the connection lasts");
}

#[test]
fn a_field_section_is_bounded_however_it_comes() {
    // In one piece: it is answered, and the table goes on.
    let long = [b"\x82\x86\x84\x41\x01h\x40\x01a\x7f\xa1\x0f".as_slice(), &[b'v'; 2080]].concat();
    let mut side = Side::new(RULES);
    side.take(&frame(frames::HEADERS, WHOLE, 1, &long)).unwrap();
    assert_eq!(side.events, [Event::Request { stream: 1, ends: true, too_large: true }]);
    side.request(3);
    assert_eq!(side.events[1], request_event(3, true));
    // A byte for each time that it is meant.
    let bomb = [&GET[..3], &[0xbf; 20]].concat();
    let outcome = side.take(&frame(frames::HEADERS, WHOLE, 5, &bomb));
    assert_eq!(outcome, Err(Fault::of(Reason::ENHANCE_YOUR_CALM)));
    // Without an end.
    let mut side = Side::new(RULES);
    side.take(&frame(frames::HEADERS, 0, 1, GET)).unwrap();
    let piece = frame(frames::CONTINUATION, 0, 1, &[0; 1000]);
    let taken = (0..1000).take_while(|_| side.take(&piece).is_ok()).count();
    assert!(taken <= 33, "{taken}");
}

#[test]
fn a_response_head_that_is_longer_than_a_frame_goes_on_in_others() {
    let mut lines = Vec::new();
    for _ in 0..5 {
        block::field(&mut lines, b"x-long", &[b'~'; 10_000]);
    }
    block::end(&mut lines);
    let mut side = Side::new(RULES);
    side.request(1);
    assert!(side.connection.send_head(1, 200, block::lines(&lines), true));
    let said = side.written();
    let shape: Vec<_> = said.iter().map(|(frame, _)| (frame.kind, frame.flags)).collect();
    assert_eq!(said[0].0.length, 16_384);
    assert_eq!(shape[0], (frames::HEADERS, frames::END_STREAM));
    assert!(shape[1..].iter().all(|(kind, _)| *kind == frames::CONTINUATION));
    assert_eq!(shape.iter().filter(|(_, flags)| flags & frames::END_HEADERS != 0).count(), 1);
    assert_eq!(shape.last().map(|(_, flags)| *flags), Some(frames::END_HEADERS));
    let section: Vec<u8> = said.into_iter().flat_map(|(_, payload)| payload).collect();
    let mut fields = Vec::new();
    Decoder::new(4096).decode(&section, |name, value| fields.push((name.to_vec(), value.len()))).unwrap();
    assert_eq!(fields.len(), 6);
    assert!(fields[1..].iter().all(|(name, length)| name == b"x-long" && *length == 10_000));
}

#[test]
fn content_is_sent_as_far_as_there_is_room() {
    let mut side = Side::new(RULES);
    side.take(&setting(4, 20_000)).unwrap();
    side.request(1);
    assert!(side.connection.send_head(1, 200, block::lines(&[]), false));
    side.connection.out.clear();
    let content = vec![7; 50_000];
    assert_eq!(side.content_of(1, &content, true), Some(16_384), "a frame");
    assert_eq!(side.content_of(1, &content, true), Some(3616), "the window");
    assert_eq!(side.content_of(1, &content, true), Some(0));
    assert_eq!(side.written().len(), 2, "an empty frame means nothing");
    // It may be taken back below nothing, and has to be opened that much more.
    side.take(&setting(4, 0)).unwrap();
    side.take(&frame(frames::WINDOW_UPDATE, 0, 1, &20_000u32.to_be_bytes())).unwrap();
    assert_eq!(side.connection.room(1), 0);
    side.take(&frame(frames::WINDOW_UPDATE, 0, 1, &5u32.to_be_bytes())).unwrap();
    assert_eq!(side.connection.room(1), 5);
    side.connection.out.clear();
    // What cannot be read was not sent.
    let failed = side.connection.send_content(1, |out, _| {
        out.extend_from_slice(b"abc");
        Err(std::io::ErrorKind::UnexpectedEof.into())
    });
    assert!(failed.is_err() && side.connection.out.is_empty());
    assert_eq!(side.connection.room(1), 5);
    assert_eq!(side.content_of(1, b"last", true), Some(4));
    let last = side.written();
    assert_eq!((last[0].0.flags, &last[0].1[..]), (frames::END_STREAM, &b"last"[..]));
    assert_eq!(side.content_of(1, b"more", true), None, "the response is complete");
}

#[test]
fn the_window_of_the_connection_bounds_all_responses() {
    let mut side = Side::new(RULES);
    side.take(&setting(4, 1 << 20)).unwrap();
    side.request(1);
    side.request(3);
    let content = vec![7; 65_000];
    for stream in [1, 3] {
        assert!(side.connection.send_head(stream, 200, block::lines(&[]), false));
    }
    let mut sent = 0;
    while let Some(count @ 1..) = side.content_of(1, &content, false) {
        sent += count;
    }
    assert_eq!((sent, side.connection.room(3)), (65_535, 0));
    side.take(&frame(frames::WINDOW_UPDATE, 0, 0, &9u32.to_be_bytes())).unwrap();
    assert_eq!(side.content_of(3, &content, false), Some(9));
}

#[test]
fn settings_cost_by_their_size_and_count_once_per_frame() {
    let mut side = Side::new(RULES);
    side.request(1);
    // Whoever says it again and again says the last of it.
    let twice: Vec<u8> = [7u32, 70_000].iter().flat_map(|value| [&[0, 4], &value.to_be_bytes()[..]].concat()).collect();
    side.take(&frame(frames::SETTINGS, 0, 0, &twice)).unwrap();
    side.take(&frame(frames::WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0])).unwrap();
    assert_eq!(side.connection.room(1), 70_000);
    let long = frame(frames::SETTINGS, 0, 0, &twice.repeat(1000));
    let fault = (0..100).find_map(|_| side.take(&long).err());
    assert_eq!(fault.map(|fault| fault.reason), Some(Reason::ENHANCE_YOUR_CALM));
}

#[test]
fn a_client_pays_for_content_in_tiny_pieces() {
    let mut side = Side::new(Rules { max_concurrent_streams: 100, ..RULES });
    side.take(&setting(4, 0)).unwrap();
    let streams: Vec<u32> = (0..100).map(|number| 2 * number + 1).collect();
    for stream in &streams {
        side.request(*stream);
        assert!(side.connection.send_head(*stream, 200, block::lines(&[]), false));
    }
    // One frame of the client makes room for a byte on each of them.
    let (mut pieces, mut fault) = (0, None);
    for size in 1..10_000 {
        let room = [setting(4, size), frame(frames::WINDOW_UPDATE, 0, 0, &100u32.to_be_bytes())].concat();
        if let Err(found) = side.take(&room) {
            fault = Some(found.reason);
            break;
        }
        for stream in &streams {
            pieces += side.content_of(*stream, &[7; 1000], false).unwrap_or(0);
        }
        let sent = std::mem::take(&mut side.connection.out).len();
        side.connection.sent(sent);
    }
    assert_eq!(fault, Some(Reason::ENHANCE_YOUR_CALM), "after {pieces} pieces");
    assert!((1000..10_000).contains(&pieces), "{pieces}");
}

#[test]
fn only_content_comes_in_frames_as_large_as_are_allowed() {
    let rules = Rules { max_frame_size: 1 << 20, initial_window_size: 1 << 20, ..RULES };
    for kind in [frames::HEADERS, frames::SETTINGS, frames::GOAWAY, frames::PRIORITY_UPDATE] {
        let mut side = Side::new(rules);
        let stream = u32::from(kind == frames::HEADERS);
        let large = frame(kind, frames::END_HEADERS, stream, &vec![0; 600_000]);
        let outcome = side.take(&large[..HEADER]);
        assert_eq!(outcome.map_err(|fault| fault.reason), Err(Reason::ENHANCE_YOUR_CALM), "type {kind}");
    }
    let mut side = Side::new(rules);
    side.upload(1);
    side.take(&frame(frames::DATA, 0, 1, &vec![0; 600_000])).unwrap();
    assert_eq!(side.content.len(), 600_000);
}

#[test]
fn it_is_known_since_when_something_small_is_not_finished() {
    let mut side = Side::fresh(RULES);
    assert_eq!(side.connection.within_head_since(), Some(Moment(0)));
    side.now = Moment(1);
    side.take(&PREFACE[..10]).unwrap();
    assert_eq!(side.connection.within_head_since(), Some(Moment(0)));
    side.take(&[&PREFACE[10..], &frame(frames::SETTINGS, 0, 0, &[])].concat()).unwrap();
    assert_eq!(side.connection.within_head_since(), None);
    side.now = Moment(2);
    let head = frame(frames::HEADERS, 0, 1, POST);
    side.take(&head[..5]).unwrap();
    side.now = Moment(3);
    side.take(&head[5..]).unwrap();
    assert_eq!(side.connection.within_head_since(), Some(Moment(2)), "the field section is not at its end");
    side.now = Moment(4);
    side.take(&frame(frames::CONTINUATION, frames::END_HEADERS, 1, &[])).unwrap();
    assert_eq!(side.connection.within_head_since(), None);
    let data = frame(frames::DATA, 0, 1, &[0; 100]);
    side.take(&data[..50]).unwrap();
    assert_eq!(side.connection.within_head_since(), None, "content has a pace of its own");
    assert_eq!(side.content.len(), 41, "and is handed on at once");
    side.now = Moment(5);
    side.take(&[&data[50..], &frame(0xee, 0, 0, &[0; 9])[..10]].concat()).unwrap();
    assert_eq!(side.connection.within_head_since(), Some(Moment(5)));
}

/// Frames as a client may send them, mostly in order.
fn a_frame() -> impl Strategy<Value = Vec<u8>> {
    let stream = prop_oneof![8 => (0u32..6).prop_map(|n| 2 * n + 1), 1 => 0u32..8];
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    let kind = prop_oneof![6 => Just(frames::DATA), 3 => 0u8..11, 1 => any::<u8>()];
    prop_oneof![
        4 => (stream.clone(), any::<bool>()).prop_map(|(stream, ends)| {
            frame(frames::HEADERS, frames::END_HEADERS | u8::from(ends), stream, if ends { GET } else { POST })
        }),
        2 => stream.clone().prop_map(|stream| [
            frame(frames::HEADERS, frames::END_STREAM, stream, &GET[..3]),
            frame(frames::CONTINUATION, frames::END_HEADERS, stream, &GET[3..]),
        ].concat()),
        6 => (kind, any::<u8>(), stream.clone(), bytes.clone()).prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload)),
        3 => (stream.clone(), bytes).prop_map(|(stream, payload)| frame(frames::DATA, 0, stream, &payload)),
        2 => (stream, 1u32..100).prop_map(|(stream, by)| frame(frames::WINDOW_UPDATE, 0, stream, &by.to_be_bytes())),
        1 => (1u16..8, 0u32..70_000).prop_map(|(name, value)| setting(name, value)),
    ]
}

/// What was said, what came of it, and how it ended. Pieces of content are put together, as their number depends on the cuts.
fn outcome(pieces: &[&[u8]]) -> (Vec<String>, Vec<u8>, Option<Fault>) {
    let mut side = Side::new(RULES);
    let mut fault = None;
    for piece in pieces {
        if let Err(found) = side.take(piece) {
            assert!(fault.is_none(), "one end is enough");
            fault = Some(found);
        }
    }
    let mut told: Vec<String> = Vec::new();
    let mut at = 0;
    for event in &side.events {
        let Event::Content { tag, bytes, ends } = event else {
            told.push(format!("{event:?}"));
            continue;
        };
        let piece = &side.content[at..at + bytes.len()];
        at += bytes.len();
        let name = format!("content of {tag}:");
        match told.last_mut() {
            Some(last) if last.starts_with(&name) => *last += &format!("{piece:?}"),
            _ => told.push(format!("{name}{piece:?}")),
        }
        if *ends {
            told.push(format!("{:?}", Event::End { tag: *tag }));
        }
    }
    (told.iter().map(|line| line.replace("][", ", ")).collect(), side.connection.out, fault)
}

proptest! {
    #[test]
    fn it_does_not_matter_how_bytes_are_cut(
        frames in prop::collection::vec(a_frame(), 1..30),
        cuts in prop::collection::vec(0usize..500, 0..20),
    ) {
        let sent = frames.concat();
        let whole = outcome(&[&sent]);
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < sent.len()).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut at = 0;
        for cut in cuts {
            pieces.push(&sent[at..cut]);
            at = cut;
        }
        pieces.push(&sent[at..]);
        prop_assert_eq!(&outcome(&pieces), &whole);
        let bytes: Vec<&[u8]> = sent.chunks(1).collect();
        prop_assert_eq!(&outcome(&bytes), &whole);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(sent in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut side = Side::new(RULES);
        let _ = side.take(&sent);
        let mut side = Side::fresh(RULES);
        let _ = side.take(&sent);
    }
}
