//! Both directions: the examples of RFC 7541 Appendix C, each way to be malformed, and properties.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex")).collect()
}

fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Malformed> {
    let mut fields = Vec::new();
    decoder.decode(block, |name, value| fields.push((name.to_vec(), value.to_vec())))?;
    Ok(fields)
}

fn encoded(encoder: &mut Encoder, fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value) in fields {
        encoder.field(&mut out, name, value);
    }
    out
}

fn fields(lines: &[&str]) -> Fields {
    let pair = |line: &&str| line.split_once(": ").map(|(name, value)| (name.into(), value.into()));
    lines.iter().map(|line| pair(line).expect("a name and a value")).collect()
}

/// What a block must mean, and the size of the table behind it.
type Example<'a> = (&'a str, &'a [&'a str], usize);

fn examples_hold(limit: usize, examples: &[Example]) {
    let mut decoder = Decoder::new(4096);
    decoder.table.set_limit(limit);
    for (block, lines, size) in examples {
        assert_eq!(decoded(&mut decoder, &unhex(block)), Ok(fields(lines)));
        assert_eq!(decoder.table.checked_size(), *size);
    }
}

const REQUESTS: [&[&str]; 3] = [
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache"],
    &[
        ":method: GET",
        ":scheme: https",
        ":path: /index.html",
        ":authority: www.example.com",
        "custom-key: custom-value",
    ],
];
const HUFFMAN_REQUESTS: [&str; 3] = [
    "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
    "8286 84be 5886 a8eb 1064 9cbf",
    "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
];
const RESPONSES: [&[&str]; 3] = [
    &[
        ":status: 302",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 307",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 200",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
        "location: https://www.example.com",
        "content-encoding: gzip",
        "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    ],
];

#[test]
fn single_fields_of_appendix_c_2() {
    let block = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    examples_hold(4096, &[(block, &["custom-key: custom-header"], 55)]);
    examples_hold(4096, &[("040c 2f73 616d 706c 652f 7061 7468", &[":path: /sample/path"], 0)]);
    examples_hold(4096, &[("1008 7061 7373 776f 7264 0673 6563 7265 74", &["password: secret"], 0)]);
    examples_hold(4096, &[("82", &[":method: GET"], 0)]);
}

#[test]
fn requests_of_appendices_c_3_and_c_4() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    for blocks in [plain, HUFFMAN_REQUESTS] {
        let sizes = [57, 110, 164];
        examples_hold(4096, &[0, 1, 2].map(|at| (blocks[at], REQUESTS[at], sizes[at])));
    }
}

#[test]
fn responses_of_appendices_c_5_and_c_6() {
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133
         2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d
         54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49
         553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    let huffman = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad
         1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2
         e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    for blocks in [plain, huffman] {
        let sizes = [222, 222, 215];
        examples_hold(256, &[0, 1, 2].map(|at| (blocks[at], RESPONSES[at], sizes[at])));
    }
}

#[test]
fn the_encoder_writes_the_requests_of_appendix_c_4() {
    let mut encoder = Encoder::new();
    for (block, request) in HUFFMAN_REQUESTS.iter().zip(REQUESTS) {
        assert_eq!(encoded(&mut encoder, &fields(request)), unhex(block));
    }
    assert_eq!(encoder.table.checked_size(), 164);
}

#[test]
fn the_encoder_writes_what_it_may_of_the_responses_of_appendix_c_6() {
    // Not `location` and `set-cookie`, which it does not index; it does not code where that saves nothing (307); and in so small a table
    // it would index less.
    let mut encoder = Encoder::new();
    let first = "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff";
    let third = "88c0 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff 5a83 9bd9 ab";
    for (block, response, lines) in [(first, RESPONSES[0], 0..3), ("4803 3330 37c0 bf", RESPONSES[1], 0..3)] {
        assert_eq!(encoded(&mut encoder, &fields(&response[lines])), unhex(block));
    }
    let all = fields(RESPONSES[2]);
    let lines = [all[0].clone(), all[1].clone(), all[2].clone(), all[4].clone()];
    assert_eq!(encoded(&mut encoder, &lines), unhex(third));
}

#[test]
fn statuses() {
    let mut encoder = Encoder::new();
    let mut write = |status| {
        let mut out = Vec::new();
        encoder.status(&mut out, status);
        out
    };
    for (status, byte) in [(200, 0x88), (204, 0x89), (206, 0x8a), (304, 0x8b), (400, 0x8c), (404, 0x8d), (500, 0x8e)] {
        assert_eq!(write(status), [byte]);
    }
    assert_eq!((write(302), write(302)), (unhex("4882 6402"), vec![0xbe]));
    assert_eq!((write(503), write(302), write(503)), (unhex("4803 3530 33"), vec![0xbf], vec![0xbe]));
}

#[test]
fn what_is_secret_or_changes_leaves_no_trace() {
    let mut encoder = Encoder::new();
    for (line, first) in [
        ("set-cookie: id=1", &[0x1f, 40][..]),
        ("authorization: Basic AAAA", &[0x1f, 8]),
        ("proxy-authorization: Basic AAAA", &[0x1f, 34]),
        ("cookie: id=1", &[0x1f, 17]),
        ("www-authenticate: Digest nonce=1", &[0x1f, 46]),
        ("authentication-info: nextnonce=1", &[0x10]),
        ("content-length: 12", &[0x0f, 13]),
        ("etag: \"1\"", &[0x0f, 19]),
        ("last-modified: Mon, 21 Oct 2013 20:13:22 GMT", &[0x0f, 29]),
        ("location: /there", &[0x0f, 31]),
        ("content-range: bytes 0-1/2", &[0x0f, 15]),
        ("age: 12", &[0x0f, 6]),
        ("x-request-id: 12", &[0x00]),
    ] {
        for _ in 0..2 {
            let block = encoded(&mut encoder, &fields(&[line]));
            assert_eq!(&block[..first.len()], first, "{line}");
            assert_eq!(decoded(&mut Decoder::new(4096), &block), Ok(fields(&[line])));
        }
    }
    assert_eq!(encoder.table.len(), 0);
}

#[test]
fn a_large_value_passes_by() {
    let mut encoder = Encoder::new();
    // 1024 bytes are a quarter of the table: 32 for the entry, 4 for the name.
    for (length, len) in [(989, 0), (988, 1)] {
        let lines = [(b"name".to_vec(), vec![b'a'; length])];
        let (first, second) = (encoded(&mut encoder, &lines), encoded(&mut encoder, &lines));
        assert_eq!((encoder.table.len(), second.len() == 1, first.len() > 500), (len, len == 1, true));
    }
    let passing = encoded(&mut encoder, &[(b"name".to_vec(), vec![b'b'; 2000])]);
    assert_eq!(passing[..2], [0x0f, 47], "the name of an entry serves it");
}

#[test]
fn an_entry_is_found_wherever_it_stands() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    // They differ in the middle only, so that their tags are the same, or by their names only.
    let middle = |number: usize| (b"name".to_vec(), format!("beginning {number:02} end.....").into_bytes());
    let named = |number: usize| (format!("x-{number:02}").into_bytes(), b"value".to_vec());
    for make in [&middle as &dyn Fn(usize) -> (Vec<u8>, Vec<u8>), &named] {
        // Each round finds the older ones at other places, at last at those from which still older ones have left.
        for round in 0..100 {
            let lines: Vec<_> = (round..round + 40).map(make).collect();
            let block = encoded(&mut encoder, &lines);
            let new = if round == 0 { block.len() } else { encoded(&mut Encoder::new(), &lines[39..]).len() };
            assert!(block.len() <= new + 39, "one byte for each that is there: {block:x?}");
            assert_eq!(decoded(&mut decoder, &block), Ok(lines));
        }
    }
}

#[test]
fn a_head_like_the_last_is_all_indexes_also_when_its_entries_have_moved() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    let head = fields(&["server: asteri", "x-one: 1", "content-length: 5", "x-two: 2"]);
    let other = |number: usize| vec![(format!("x-{number}").into_bytes(), vec![b'a'; 100])];
    let mut both = |lines: &[(Vec<u8>, Vec<u8>)]| {
        let block = encoded(&mut encoder, lines);
        assert_eq!(decoded(&mut decoder, &block).as_deref(), Ok(lines));
        block.len()
    };
    let new = both(&head);
    for number in 0..10 {
        // Three indexes, and a length that is no entry.
        assert_eq!(both(&head), 3 + 4);
        both(&other(number));
    }
    for number in 0..40 {
        both(&other(number));
    }
    assert_eq!(both(&head), new, "its entries have left");
    assert_eq!(both(&head), 3 + 4);
}

#[test]
fn changes_of_the_limit_are_told_once() {
    let mut encoder = Encoder::new();
    let line = fields(&["name: value"]);
    let begun = |encoder: &mut Encoder| encoded(encoder, &[]);
    assert_eq!(begun(&mut encoder), b"");
    encoder.set_limit(1 << 20);
    assert_eq!(begun(&mut encoder), b"", "it is not used");
    encoded(&mut encoder, &line);
    encoder.set_limit(100);
    encoder.set_limit(200);
    assert_eq!(begun(&mut encoder), unhex("3f45 3fa9 01"), "the smallest, and the last");
    assert_eq!((begun(&mut encoder), encoder.table.len()), (Vec::new(), 1));
    encoder.set_limit(0);
    encoder.set_limit(u32::MAX);
    assert_eq!(begun(&mut encoder), unhex("20 3fe1 1f"));
    assert_eq!((encoder.table.len(), encoder.tags.len(), encoder.table.limit()), (0, 0, 4096));
    encoder.set_limit(5000);
    encoder.set_limit(4096);
    assert_eq!(begun(&mut encoder), b"");
    encoder.set_limit(0);
    assert_eq!(encoded(&mut encoder, &line)[..2], [0x20, 0x00], "without a table nothing is indexed");
    assert_eq!(encoded(&mut encoder, &line)[0], 0x00);
}

#[test]
fn unused_ones_own_no_memory() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    let mut out = Vec::new();
    encoder.begin(&mut out);
    encoder.status(&mut out, 200);
    decoder.decode(&out, |_, _| ()).expect("good");
    assert_eq!((encoder.tags.capacity(), decoder.scratch.capacity()), (0, 0));
    assert!(std::mem::size_of::<Encoder>() <= 192 && std::mem::size_of::<Decoder>() <= 128);
}

#[test]
fn debugging_tells_no_secrets() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    let block = encoded(&mut encoder, &fields(&["name: hunter2"]));
    decoder.decode(&block, |_, _| ()).expect("good");
    let told = format!("{encoder:?} {decoder:?}");
    assert!(!told.contains("hunter2") && !told.contains("[1") && told.contains("size: 43"), "{told}");
}

#[test]
fn each_way_to_be_malformed() {
    let with_entry = unhex("4001 6101 62");
    for (block, why) in [
        ("80", Malformed::Index),
        ("bf", Malformed::Index),
        ("c0", Malformed::Index),
        ("ff ffff ffff", Malformed::Truncated),
        ("ff ffff ffff 0e", Malformed::Index),
        ("ff ffff ffff 0f", Malformed::Integer),
        ("ff 8080 8080 8000", Malformed::Integer),
        ("7f 00 01 62", Malformed::Index),
        ("0f 30 01 62", Malformed::Index),
        ("1f 30 01 62", Malformed::Index),
        ("ff", Malformed::Truncated),
        ("40", Malformed::Truncated),
        ("40 01", Malformed::Truncated),
        ("40 01 61", Malformed::Truncated),
        ("40 01 61 02 62", Malformed::Truncated),
        ("00 7f", Malformed::Truncated),
        ("44", Malformed::Truncated),
        ("44 82 6402 00 81", Malformed::Truncated),
        ("04 84 ffff ffff", Malformed::Huffman),
        ("04 84 3fff ffff", Malformed::Huffman),
        ("04 81 00", Malformed::Huffman),
        ("04 82 07 ff", Malformed::Huffman),
        ("00 81 00 01 61", Malformed::Huffman),
        ("82 20", Malformed::SizeUpdate),
        ("20 82 20", Malformed::SizeUpdate),
        ("0401 61 20", Malformed::SizeUpdate),
        ("3f e2 1f", Malformed::SizeUpdate),
        ("20 3f e2 1f", Malformed::SizeUpdate),
        ("3f", Malformed::Truncated),
        ("3f ff ff ff ff ff", Malformed::Integer),
    ] {
        let mut decoder = Decoder::new(4096);
        decoder.decode(&with_entry, |_, _| ()).expect("good");
        assert_eq!(decoded(&mut decoder, &unhex(block)), Err(why), "{block}");
        decoder.table.checked_size();
    }
}

#[test]
fn the_names_of_the_reasons_differ() {
    use Malformed::*;
    let names = [Truncated, Integer, Huffman, Index, SizeUpdate].map(Malformed::name);
    assert_eq!(std::collections::BTreeSet::from(names).len(), names.len());
}

#[test]
fn sizes_may_change_several_times_where_a_block_begins() {
    let mut decoder = Decoder::new(4096);
    assert_eq!(decoded(&mut decoder, &unhex("4001 6101 62")), Ok(fields(&["a: b"])));
    assert_eq!(decoded(&mut decoder, &unhex("3f45 3fe1 1f be")), Ok(fields(&["a: b"])));
    assert_eq!(decoder.table.limit(), 4096);
    assert_eq!(decoded(&mut decoder, &unhex("20 3fe1 1f be")), Err(Malformed::Index), "everything has left");
    let mut decoder = Decoder::new(1 << 16);
    assert_eq!(decoded(&mut decoder, &unhex("3f e1ff 03")), Ok(Vec::new()));
    assert_eq!(decoder.table.limit(), 1 << 16);
    assert_eq!(decoded(&mut decoder, &unhex("3f e2ff 03")), Err(Malformed::SizeUpdate));
}

#[test]
fn a_peer_that_does_not_know_our_smaller_limit_yet_is_understood() {
    let mut decoder = Decoder::new(0);
    assert_eq!(decoded(&mut decoder, &unhex("4001 6101 62 be")), Ok(fields(&["a: b", "a: b"])));
    assert_eq!(decoded(&mut decoder, &unhex("20 4001 6101 62")), Ok(fields(&["a: b"])));
    assert_eq!(decoded(&mut decoder, &unhex("be")), Err(Malformed::Index));
}

#[test]
fn a_name_outlives_the_entry_that_leaves_for_its_own_successor() {
    // The table has room for one of them (RFC 7541 §4.4).
    let mut decoder = Decoder::new(4096);
    decoder.table.set_limit(40);
    assert_eq!(decoded(&mut decoder, &unhex("4004 6e61 6d65 0131")), Ok(fields(&["name: 1"])));
    for value in ["0132", "81 1f"] {
        let block = unhex(&format!("7e {value} be"));
        let told = decoded(&mut decoder, &block).expect("good");
        assert_eq!((told.len(), &told[0]), (2, &told[1]));
        assert_eq!(told[0].0, b"name");
        assert_eq!((decoder.table.len(), decoder.table.checked_size()), (1, 37));
    }
    let larger = unhex("7e 05 3132 3334 35");
    assert_eq!(decoded(&mut decoder, &larger), Ok(fields(&["name: 12345"])));
    assert_eq!(decoder.table.len(), 0, "an entry larger than the table");
}

#[test]
fn a_large_string_leaves_no_large_buffer_behind() {
    let mut decoder = Decoder::new(4096);
    let line = vec![(b"name".to_vec(), vec![b'0'; 50_000])];
    let block = encoded(&mut Encoder::new(), &line);
    assert_eq!(decoded(&mut decoder, &block), Ok(line));
    assert!(decoder.scratch.capacity() <= 4096);
}

/// What happens to an encoder and its peer.
#[derive(Clone, Debug)]
enum Step {
    Limit(u32),
    Block(Fields),
}

fn field() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let entries = static_table::ENTRIES.map(|(name, _)| name.to_vec()).to_vec();
    let name = prop_oneof![
        4 => prop::sample::select(entries),
        4 => "x-[a-d]{1,2}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..40),
    ];
    let value = prop_oneof![
        4 => prop::sample::select(static_table::ENTRIES.map(|(_, value)| value.to_vec()).to_vec()),
        4 => "[a-c]{0,3}".prop_map(String::into_bytes),
        2 => "[ -~]{0,80}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..300),
    ];
    (name, value)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => prop_oneof![Just(0), Just(100), Just(600), Just(4096), any::<u32>()].prop_map(Step::Limit),
        4 => vec(field(), 0..16).prop_map(Step::Block),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(steps in vec(step(), 0..16)) {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
        for step in steps {
            match step {
                Step::Limit(limit) => encoder.set_limit(limit),
                Step::Block(fields) => {
                    let block = encoded(&mut encoder, &fields);
                    prop_assert_eq!(decoded(&mut decoder, &block), Ok(fields));
                    // Both tables are the same, entry for entry.
                    prop_assert_eq!(encoder.table.checked_size(), decoder.table.checked_size());
                    prop_assert_eq!(encoder.table.limit(), decoder.table.limit());
                    prop_assert_eq!(encoder.tags.len(), encoder.table.len());
                    for newer in 0..=encoder.table.len() {
                        prop_assert_eq!(encoder.table.get(newer), decoder.table.get(newer));
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_goes_in_twice(lines in vec(field(), 0..60)) {
        let mut encoder = Encoder::new();
        encoded(&mut encoder, &lines);
        let entries: Vec<_> = (0..encoder.table.len()).filter_map(|newer| encoder.table.get(newer)).collect();
        let distinct: std::collections::BTreeSet<_> = entries.iter().collect();
        prop_assert_eq!(distinct.len(), entries.len());
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(limit in prop_oneof![Just(4096), 0..10_000_usize], blocks in vec(vec(any::<u8>(), 0..200), 0..20)) {
        let mut decoder = Decoder::new(limit);
        for block in blocks {
            let malformed = decoder.decode(&block, |_, _| ()).is_err();
            prop_assert!(decoder.table.checked_size() <= limit.max(INITIAL_LIMIT));
            if malformed {
                break;
            }
        }
    }

    #[test]
    fn a_block_that_has_been_tampered_with_does_no_harm(lines in vec(field(), 1..20), at in any::<prop::sample::Index>(), by in 1..=255_u8) {
        let mut block = encoded(&mut Encoder::new(), &lines);
        *at.get_mut(&mut block) ^= by;
        let mut decoder = Decoder::new(4096);
        let _ = decoder.decode(&block, |_, _| ());
        decoder.table.checked_size();
    }

    #[test]
    fn a_string_of_any_bytes_survives_its_code(text in vec(any::<u8>(), 0..300)) {
        let mut coded = Vec::new();
        huffman::encode(&text, huffman::length(&text), &mut coded);
        let mut plain = Vec::new();
        prop_assert_eq!(huffman::decode(&coded, &mut plain), Ok(()));
        prop_assert_eq!(plain, text);
    }

    #[test]
    fn a_code_that_is_understood_is_the_only_one_for_its_text(coded in vec(any::<u8>(), 0..40)) {
        let mut plain = Vec::new();
        if huffman::decode(&coded, &mut plain).is_ok() {
            let mut again = Vec::new();
            huffman::encode(&plain, huffman::length(&plain), &mut again);
            prop_assert_eq!(again, coded);
        }
    }
}
