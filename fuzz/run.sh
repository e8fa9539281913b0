#!/bin/sh
# Fuzzes each target for SECONDS, starting from the corpus of raw requests, or from a few frames. Fails on the first finding.
#
#   fuzz/run.sh SECONDS [TARGET...]
#
# Needs what the product needs and a C++ compiler (for libFuzzer, whose source comes with the crate libfuzzer-sys). The
# coverage that guides libFuzzer comes from an LLVM pass which stable rustc can be told to run, so neither nightly nor
# cargo-fuzz is needed; the folder has cargo-fuzz's layout for those who prefer it.
#
# Generated inputs stay in fuzz/corpus and findings in fuzz/artifacts; both are ignored by git. A finding belongs into
# tests/corpus, or for WebSocket into crates/asteri-proto/tests/ws, with a name and the reason.
set -eu

seconds=${1:?"usage: fuzz/run.sh SECONDS [TARGET...]"}
shift
[ $# -gt 0 ] || set -- h1_request chunked_body ws_frames proxy_header uwsgi_packet h2_frames h2_driver hpack

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
seeds=$here/../tests/corpus/h1
host=$(rustc -vV | sed -n 's/^host: //p')

command -v c++ >/dev/null || {
    echo "fuzz/run.sh: no C++ compiler found, expected c++ in PATH" >&2
    echo "  try: apt-get install g++" >&2
    exit 1
}

# What cargo-fuzz would pass, without the sanitizers that need nightly: what judges bytes has no unsafe block. With --target
# the flags do not reach build scripts, which could not be linked with them.
flags="--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares"

RUSTFLAGS=$(echo $flags) CARGO_TARGET_DIR=${FUZZ_TARGET_DIR:-$here/target} \
    cargo build --quiet --release --locked --manifest-path "$here/Cargo.toml" --target "$host"
binaries=${FUZZ_TARGET_DIR:-$here/target}/$host/release

# Seeds: the requests as they are; for the chunked target what stands behind the head in the cases about chunks; and frames
# of every kind, which the fuzzer puts together.
python3 - "$seeds" "$here/corpus" <<'PYTHON'
import pathlib, sys

seeds, corpus = map(pathlib.Path, sys.argv[1:])
for target in ("h1_request", "chunked_body", "ws_frames", "proxy_header", "uwsgi_packet", "h2_frames", "h2_driver", "hpack"):
    (corpus / target / "seeds").mkdir(parents=True, exist_ok=True)
for file in seeds.glob("*/*.http"):
    data = file.read_bytes()
    (corpus / "h1_request" / "seeds" / file.name).write_bytes(data)
    if file.name.startswith("chunk"):
        (corpus / "chunked_body" / "seeds" / file.name).write_bytes(data.partition(b"\r\n\r\n")[2])
for file in (seeds.parent / "proxy").glob("*/*.bin"):
    (corpus / "proxy_header" / "seeds" / file.name).write_bytes(file.read_bytes())


def packet(**variables):
    """A packet of the uwsgi protocol."""
    texts = [text.encode() for pair in variables.items() for text in pair]
    block = b"".join(len(text).to_bytes(2, "little") + text for text in texts)
    return b"\x00" + len(block).to_bytes(2, "little") + b"\x00" + block


get = {"REQUEST_METHOD": "GET", "REQUEST_URI": "/a%20b?c", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "a"}
packets = {
    "get": packet(**get),
    "nginx": packet(**get, PATH_INFO="/a b", QUERY_STRING="c", HTTPS="on", REMOTE_ADDR="::1", REMOTE_PORT="1", SERVER_NAME="a"),
    "post": packet(**{**get, "REQUEST_METHOD": "POST"}, CONTENT_LENGTH="3", CONTENT_TYPE="a/b", HTTP_EXPECT="x") + b"abc",
    "mounted": packet(**get, SCRIPT_NAME="/a", PATH_INFO="/b"),
    "path": packet(REQUEST_METHOD="OPTIONS", PATH_INFO="*"),
}
for name, data in packets.items():
    (corpus / "uwsgi_packet" / "seeds" / name).write_bytes(data)


def frame(first, payload):
    """A frame whose key masks nothing."""
    long = len(payload) > 125
    return bytes([first, 0x80 | (126 if long else len(payload))]) + len(payload).to_bytes(2, "big") * long + bytes(4) + payload


hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00"
frames = {
    "text": frame(0x81, "κόσμε".encode()),
    "fragments": frame(0x01, b"\xce") + frame(0x89, b"ping") + frame(0x80, b"\xba"),
    "binary": frame(0x82, bytes(200)) + frame(0x8A, b""),
    "close": frame(0x88, b"\x03\xe8bye"),
    "compressed": frame(0xC1, hello) + frame(0xC1, b"\xf2\x00\x11\x00\x00") + frame(0xC2, b"\x00"),
    "compressed-fragments": frame(0x41, hello[:3]) + frame(0x80, hello[3:]),
    "stored": frame(0xC2, b"\x00\x05\x00\xfa\xffHello\x00"),
    "final": frame(0xC1, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"),
}
for name, data in frames.items():
    (corpus / "ws_frames" / "seeds" / name).write_bytes(data)


def h2_frame(kind, payload=b"", flags=0, stream=0):
    """A frame of HTTP/2."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


h2_inputs = {
    "settings": h2_frame(4, bytes([0, 4, 0, 1, 0, 0])) + h2_frame(4, flags=1) + h2_frame(6, bytes(8)),
    "request": h2_frame(1, b"\x82\x84\x86\x41\x01h", 5, 1) + h2_frame(3, bytes(4), 0, 1) + h2_frame(8, bytes([0, 0, 0, 1])),
    "content": h2_frame(1, b"\x83", 0, 1) + h2_frame(9, b"\x84\x86", 4, 1) + h2_frame(0, b"abc", 1, 1),
    "get": b"GET\nh\n\n/a?b\n\naccept\n*/*\ncookie\na=1\ncookie\nb=2",
    "websocket": b"CONNECT\nh\n\n/a\nwebsocket\nsec-websocket-version\n13",
    "post": b"POST\nh\nh\n/\n\nhost\nh\ncontent-length\n3\nte\ntrailers",
}
for name, data in h2_inputs.items():
    (corpus / "h2_frames" / "seeds" / name).write_bytes(data)


def h2_request(stream, path, method=b"\x82", more=b"", flags=5):
    return h2_frame(1, method + b"\x86\x41\x01h\x04" + bytes([len(path)]) + path + more, flags, stream)


connect = b"\x02\x07CONNECT\x00\x09:protocol\x09websocket"
version = b"\x00\x15sec-websocket-version\x0213"
h2_dialogues = {
    "get": h2_request(1, b"/") + h2_request(3, b"/l") + h2_frame(8, bytes([0, 1, 0, 0])),
    "post": h2_request(1, b"/", b"\x83", flags=4) + h2_frame(0, b"abc", 0, 1) + h2_frame(0, b"def", 1, 1),
    "trailers": h2_request(1, b"/t", b"\x83", flags=4) + h2_frame(1, b"\x00\x01a\x01b", 5, 1),
    "reset": h2_request(1, b"/l") + h2_frame(3, bytes([0, 0, 0, 8]), 0, 1) + h2_request(3, b"/a"),
    "small": h2_frame(4, bytes([0, 4, 0, 0, 0, 9])) + h2_request(1, b"/l") + h2_frame(8, bytes([0, 0, 0, 9]), 0, 1),
    "priorities": h2_frame(16, b"\0\0\0\x03u=1, i") + h2_request(1, b"/l") + h2_request(3, b"/l"),
    "websocket": h2_request(1, b"/", connect, version, 4) + h2_frame(0, frame(0x81, b"hello") + frame(0x88, b"\x03\xe8"), 0, 1),
    "length": h2_request(1, b"/", b"\x83", b"\x0f\x0d\x019", 4) + h2_frame(0, b"abc", 1, 1),
    "goaway": h2_request(1, b"/l") + h2_frame(7, bytes(8)) + h2_frame(6, bytes(8)),
}
for name, data in h2_dialogues.items():
    for how in range(4):
        (corpus / "h2_driver" / "seeds" / f"{name}-{how}").write_bytes(bytes([how, 3 * how + 2]) + data)

# Field blocks of one connection each: those of RFC 7541 Appendix C.4 and C.6, changes of the table's size, and names of entries that leave.
hpack_blocks = {
    "requests": ["828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf", "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"],
    "responses": [
        "3fe101488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672"
        "c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ],
    "sizes": ["4001610162be", "3f453fe11fbe", "20be", "203fe11f4001610162be"],
    "leaving": ["3f094004" + b"name".hex() + "0131", "7e0132be", "7e811fbe", "7e053132333435"],
    "literals": ["1008" + b"password".hex() + "06" + b"secret".hex() + "040c" + b"/sample/path".hex() + "0f0d023132"],
}
for name, blocks in hpack_blocks.items():
    data = b"".join(bytes([len(block) // 2]) + bytes.fromhex(block) for block in blocks)
    for how in (0, 0x13):
        (corpus / "hpack" / "seeds" / f"{name}-{how}").write_bytes(bytes([how]) + data)
PYTHON

# dictionary TARGET: its words.
dictionary() {
    case $1 in
    h1_request | chunked_body) echo h1.dict ;;
    ws_frames) echo ws.dict ;;
    proxy_header) echo proxy.dict ;;
    uwsgi_packet) echo uwsgi.dict ;;
    h2_frames | h2_driver) echo h2.dict ;;
    hpack) echo hpack.dict ;;
    *)
        echo "fuzz/run.sh: got target \"$1\", expected h1_request, chunked_body, ws_frames, proxy_header, uwsgi_packet, h2_frames, h2_driver or hpack" >&2
        return 1
        ;;
    esac
}

# fuzz TARGET: until the time is over or something is found.
fuzz() {
    mkdir -p "$here/corpus/$1/found" "$here/artifacts/$1"
    "$binaries/$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=8192 \
        -dict="$here/$(dictionary "$1")" -artifact_prefix="$here/artifacts/$1/" -print_final_stats=1 \
        "$here/corpus/$1/found" "$here/corpus/$1/seeds" 2>"$here/artifacts/$1.log"
}

# report TARGET PROCESS: waits for it, and tells what came of it.
report() {
    if wait "$2"; then
        echo "fuzzed $1 for $seconds s"
        grep -E '^(Done|stat::number_of_executed_units|stat::new_units_added)' "$here/artifacts/$1.log"
    else
        tail -n 40 "$here/artifacts/$1.log" >&2
        echo "fuzz/run.sh: $1 found something; the input is in $here/artifacts/$1" >&2
        found=1
    fi
}

for target in "$@"; do
    dictionary "$target" >/dev/null
done

# Eight at a time, on however many cores there are.
found=0
while [ $# -gt 0 ]; do
    running=
    for target in "$@"; do
        fuzz "$target" &
        running="$running $target:$!"
        shift
        [ "$(echo $running | wc -w)" -lt 8 ] || break
    done
    for one in $running; do
        report "${one%:*}" "${one#*:}"
    done
done
exit "$found"
