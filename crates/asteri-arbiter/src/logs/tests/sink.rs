//! What [`Sink`](super::Sink) does when files move, fill up, block or go away, and when many write at once.

use super::*;
use crate::logs::support::{Directory, read};
use crate::logs::{Colour, ErrorLog, Level};
use std::collections::HashSet;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

/// A sink on a descriptor of the test.
fn sink_on(file: impl Into<OwnedFd>) -> Sink {
    let sink = Sink::open(&Target::Stderr).expect("a stream");
    *sink.file.write().expect("lock") = Some(Arc::new(File::from(file.into())));
    sink
}

#[test]
fn targets_are_named_as_in_the_settings() {
    assert_eq!(Target::error_log("-"), Target::Stderr);
    assert_eq!(Target::access_log("-"), Target::Stdout);
    assert_eq!(Target::error_log("/dev/stdout"), Target::Stdout);
    assert_eq!(Target::access_log("/dev/stderr"), Target::Stderr);
    assert_eq!(Target::access_log("logs/a.log"), Target::File("logs/a.log".into()));
}

#[test]
fn a_file_is_appended_to() {
    let dir = Directory::new();
    let path = dir.path("a.log");
    std::fs::write(&path, "before\n").expect("write");
    let sink = Sink::open(&Target::File(path.clone())).expect("open");
    sink.write(b"after\n");
    assert_eq!(read(&path), "before\nafter\n");
    assert_eq!(sink.dropped(), 0);
}

#[test]
fn a_file_that_cannot_be_opened_says_which_and_what_to_try() {
    let dir = Directory::new();
    let error = Sink::open(&Target::File(dir.path("missing/a.log"))).err().expect("an error");
    assert_eq!(error.path(), dir.path("missing/a.log"));
    assert!(error.to_string().starts_with("cannot open log file \"/"), "{error}");
    assert!(error.to_string().contains("No such file or directory"), "{error}");
    assert_eq!(error.hint(), Some("create the directory of the log file first"));
    let error = Sink::open(&Target::File(dir.root())).err().expect("an error");
    assert_eq!(error.hint(), Some("name a file inside that directory"));
}

#[test]
fn reopening_after_a_rename_starts_a_new_file() {
    let dir = Directory::new();
    let (path, rotated) = (dir.path("a.log"), dir.path("a.log.1"));
    let sink = Sink::open(&Target::File(path.clone())).expect("open");
    sink.write(b"one\n");
    std::fs::rename(&path, &rotated).expect("rename");
    sink.write(b"two\n");
    sink.reopen().expect("reopen");
    sink.write(b"three\n");
    assert_eq!(read(&rotated), "one\ntwo\n");
    assert_eq!(read(&path), "three\n");
}

#[test]
fn the_old_file_stays_when_reopening_fails() {
    let dir = Directory::new();
    let (path, rotated) = (dir.path("a.log"), dir.path("a.log.1"));
    let sink = Sink::open(&Target::File(path.clone())).expect("open");
    std::fs::rename(&path, &rotated).expect("rename");
    std::fs::create_dir(&path).expect("a directory in its place");
    let error = sink.reopen().expect_err("a directory is no log");
    assert_eq!(error.path(), path);
    sink.write(b"still here\n");
    assert_eq!(read(&rotated), "still here\n");
    assert_eq!(sink.dropped(), 0);
}

#[test]
fn a_relative_path_is_made_absolute_and_a_stream_is_not_reopened() {
    let sink = Sink::open(&Target::File("/tmp/../dev/null".into())).expect("open");
    assert!(matches!(sink.target(), Target::File(path) if path.is_absolute()));
    let dir = Directory::new();
    let relative =
        Path::new("../../../../../../../../../..").join(dir.path("r.log").strip_prefix("/").expect("absolute"));
    let sink = Sink::open(&Target::File(relative)).expect("open");
    assert!(matches!(sink.target(), Target::File(path) if path.is_absolute()));
    Sink::open(&Target::Stderr).expect("open").reopen().expect("nothing to do");
}

#[test]
fn ownership_is_given_now_and_after_reopening() {
    let dir = Directory::new();
    let path = dir.path("a.log");
    let sink = Sink::open(&Target::File(path.clone())).expect("open");
    let mine = std::fs::metadata(&path).expect("metadata");
    // Only root may give a file to another user; for others this shows at least that the call goes through.
    let (user, group) = if mine.uid() == 0 { (12_345, 23_456) } else { (mine.uid(), mine.gid()) };
    sink.set_owner(user, group).expect("set owner");
    std::fs::remove_file(&path).expect("remove");
    sink.reopen().expect("reopen");
    let now = std::fs::metadata(&path).expect("metadata");
    assert_eq!((now.uid(), now.gid()), (user, group));
    let null = Sink::open(&Target::File("/dev/null".into())).expect("open");
    let before = std::fs::metadata("/dev/null").expect("metadata").uid();
    null.set_owner(user, group).expect("left alone");
    assert_eq!(std::fs::metadata("/dev/null").expect("metadata").uid(), before);
}

#[test]
fn a_full_disk_costs_records_and_nothing_else() {
    let sink = Sink::open(&Target::File("/dev/full".into())).expect("open");
    sink.write(b"lost\n");
    sink.write(b"lost\n");
    assert_eq!(sink.dropped(), 2);
}

#[test]
fn a_reader_that_left_costs_records_and_nothing_else() {
    let (reader, writer) = io::pipe().expect("pipe");
    let sink = sink_on(writer);
    drop(reader);
    sink.write(b"lost\n");
    assert_eq!(sink.dropped(), 1);
}

#[test]
fn a_closed_stream_drops_and_counts() {
    let sink = Sink::open(&Target::Stderr).expect("open");
    *sink.file.write().expect("lock") = None;
    sink.write(b"lost\n");
    assert_eq!(sink.dropped(), 1);
    assert!(!sink.is_terminal());
    assert!(sink.duplicate().is_err());
}

#[test]
fn a_full_pipe_drops_quickly_and_recovers() {
    let (mut reader, writer) = UnixStream::pair().expect("socket pair");
    writer.set_nonblocking(true).expect("non-blocking");
    reader.set_nonblocking(true).expect("non-blocking");
    let sink = sink_on(writer);
    let record = [b"x".repeat(4095), b"\n".to_vec()].concat();
    while sink.dropped() == 0 {
        sink.write(&record);
    }
    let before = std::time::Instant::now();
    for _ in 0..10_000 {
        sink.write(&record);
    }
    // Without the memory of being congested this would be 10,000 × 5 ms.
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
    assert!(sink.dropped() > 10_000);

    let mut received = Vec::new();
    let _ = reader.read_to_end(&mut received);
    let dropped = sink.dropped();
    sink.write(b"again\n");
    assert_eq!(sink.dropped(), dropped);
    let _ = reader.read_to_end(&mut received);
    assert!(received.ends_with(b"x\nagain\n"), "a record of its own line");
}

/// A writer that takes `room` bytes and then fails.
struct Short {
    taken: Vec<u8>,
    room: usize,
    then: ErrorKind,
    interruptions: u32,
}

impl Write for Short {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.interruptions > 0 {
            self.interruptions -= 1;
            return Err(ErrorKind::Interrupted.into());
        }
        let n = bytes.len().min(self.room);
        if n == 0 {
            return Err(self.then.into());
        }
        self.room -= n;
        self.taken.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn each_way_a_write_can_end() {
    let cases = [
        (100, ErrorKind::StorageFull, Delivery::Whole),
        (0, ErrorKind::StorageFull, Delivery::Lost),
        (0, ErrorKind::BrokenPipe, Delivery::Lost),
        (0, ErrorKind::WouldBlock, Delivery::WouldBlock),
        (3, ErrorKind::StorageFull, Delivery::Cut { would_block: false }),
        (3, ErrorKind::WouldBlock, Delivery::Cut { would_block: true }),
    ];
    for (room, then, expected) in cases {
        let mut writer = Short { taken: Vec::new(), room, then, interruptions: 2 };
        assert_eq!(deliver(&mut writer, b"record\n", 1), expected, "{room} bytes, then {then}");
    }
}

#[test]
fn after_a_torn_record_the_next_starts_a_line() {
    let (mut reader, writer) = io::pipe().expect("pipe");
    let sink = sink_on(writer);
    sink.torn.store(true, Ordering::Relaxed);
    sink.write(b"one\n");
    sink.write(b"two\n");
    drop(sink);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("read");
    assert_eq!(text, "\none\ntwo\n");
}

const WRITERS: usize = 8;
const RECORDS: usize = 400;

/// Records of very different length, some larger than a pipe takes at once, each able to tell if it is whole.
fn write_recognisable(log: &ErrorLog, writer: usize) {
    for number in 0..RECORDS {
        let filler = "abcdefgh".repeat((number * 37 + writer) % 700);
        let detail = format!("detail {writer} {number} {filler} end");
        log.record(Level::Info, "begin", &[("id", &format_args!("{writer}/{number}"))], detail.as_bytes());
    }
}

fn assert_no_record_mixed(text: &str, writers: usize) {
    let mut seen = HashSet::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let (_, id) = line.split_once("[INFO] begin id=").unwrap_or_else(|| panic!("a head, not {line:?}"));
        let (writer, number) = id.split_once('/').expect("an id");
        let (w, n): (usize, usize) = (writer.parse().expect("number"), number.parse().expect("number"));
        let filler = "abcdefgh".repeat((n * 37 + w) % 700);
        assert_eq!(lines.next(), Some(format!("detail {writer} {number} {filler} end").as_str()));
        assert!(seen.insert((w, n)), "{id} twice");
    }
    assert_eq!(seen.len(), writers * RECORDS);
}

#[test]
fn threads_do_not_mix_their_records_while_the_file_is_reopened() {
    let dir = Directory::new();
    let path = dir.path("error.log");
    let log = ErrorLog::open(&Target::File(path.clone()), Level::Info, Colour::Auto).expect("open");
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let log = log.clone();
            scope.spawn(move || write_recognisable(&log, writer));
        }
        for _ in 0..50 {
            log.reopen().expect("reopen");
        }
    });
    assert_eq!(log.dropped(), 0);
    assert_no_record_mixed(&read(&path), WRITERS);
}

const CHILD: &str = "ASTERI_TEST_LOG_WRITER";

/// Not a test of its own: what the children of the next test run, on the standard error they inherit.
#[test]
#[ignore = "run by processes_sharing_a_descriptor_do_not_mix_their_records"]
fn child_writer() {
    let Ok(writer) = std::env::var(CHILD) else { return };
    let log = ErrorLog::open(&Target::Stderr, Level::Info, Colour::Auto).expect("open");
    write_recognisable(&log, writer.parse().expect("a number"));
    assert_eq!(log.dropped(), 0);
}

#[test]
fn processes_sharing_a_descriptor_do_not_mix_their_records() {
    let dir = Directory::new();
    let path = dir.path("error.log");
    let file = open_file(&path).expect("open");
    let test = format!("{}::child_writer", module_path!().split_once("::").expect("a crate").1);
    let children: Vec<_> = (0..4)
        .map(|writer| {
            Command::new(std::env::current_exe().expect("this test"))
                .args(["--ignored", "--exact", &test])
                .env(CHILD, writer.to_string())
                .stdout(Stdio::null())
                .stderr(file.try_clone().expect("duplicate"))
                .spawn()
                .expect("a child")
        })
        .collect();
    for mut child in children {
        assert!(child.wait().expect("wait").success());
    }
    let text = read(&path);
    assert_no_record_mixed(&text, 4);
    let pids: HashSet<_> = text.lines().filter_map(|line| line.split("] [").nth(1)).collect();
    assert_eq!(pids.len(), 4, "each process signs its own records: {pids:?}");
}
