//! What records of the error log look like.

use super::*;
use crate::logs::escape;
use crate::logs::support::{Directory, read};
use proptest::prelude::*;

/// The file of a log to which `write` has written, at level debug.
fn logged(write: impl FnOnce(&ErrorLog)) -> String {
    let dir = Directory::new();
    let path = dir.path("error.log");
    let log = ErrorLog::open(&Target::File(path.clone()), Level::Debug, Colour::Auto).expect("open");
    write(&log);
    read(&path)
}

/// A record without its date and process id.
fn body(line: &str) -> &str {
    line.splitn(3, "] ").nth(2).expect("three parts")
}

#[test]
fn a_record_has_gunicorns_layout() {
    let before = clock::stamp(SystemTime::now()).error_log;
    let text = logged(|log| log.info("listening", &[("address", &"127.0.0.1:8000")]));
    let after = clock::stamp(SystemTime::now()).error_log;
    let expected = |date: &[u8]| {
        let date = std::str::from_utf8(date).expect("ASCII");
        format!("[{date}] [{}] [INFO] listening address=127.0.0.1:8000\n", std::process::id())
    };
    assert!(text == expected(&before) || text == expected(&after), "{text}");
}

#[test]
fn levels_are_named_and_filtered() {
    let text = logged(|log| {
        for shown in Level::ALL {
            log.set_level(shown);
            assert!(log.enabled(Level::Critical));
            assert_eq!(log.enabled(Level::Warning), shown <= Level::Warning);
            log.debug("text", &[]);
            log.info("text", &[]);
            log.warning("text", &[]);
            log.error("text", &[]);
            log.critical("text", &[]);
        }
    });
    let names: Vec<_> = text.lines().map(|line| body(line).split(' ').next().expect("a level")).collect();
    let all = ["[DEBUG]", "[INFO]", "[WARNING]", "[ERROR]", "[CRITICAL]"];
    let expected: Vec<_> = (0..5).flat_map(|from| all[from..].iter().copied()).collect();
    assert_eq!(names, expected);
}

#[test]
fn levels_and_colours_are_parsed() {
    assert_eq!("Warning".parse(), Ok(Level::Warning));
    assert_eq!("critical".parse(), Ok(Level::Critical));
    let error = "verbose".parse::<Level>().expect_err("no level");
    assert_eq!(error.to_string(), "expected debug, info, warning, error or critical");
    assert_eq!("auto".parse(), Ok(Colour::Auto));
    assert_eq!("always".parse::<Colour>().expect_err("no choice").to_string(), "expected auto, on or off");
}

#[test]
fn several_fields_follow_in_order() {
    let text = logged(|log| {
        log.warning(
            "worker did not answer in time",
            &[("worker", &12u32), ("request", &b"GET /slow\r\n".as_slice()), ("path", &None::<&str>)],
        );
    });
    assert_eq!(
        body(&text),
        "[WARNING] worker did not answer in time worker=12 request=\"GET /slow\\x0d\\x0a\" path=-\n"
    );
}

#[test]
fn detail_keeps_its_lines_but_cannot_pose_as_a_record() {
    let detail = b"Traceback (most recent call last):\n\tFile \"a\\b.py\"\nValueError: \x1b[2J\n[2026-11-23 00:00:00 +0000] [1] [INFO] forged\n\n";
    let text = logged(|log| log.record(Level::Error, "application failed", &[("status", &500u16)], detail));
    assert_eq!(
        body(&text),
        "[ERROR] application failed status=500\nTraceback (most recent call last):\n\tFile \"a\\b.py\"\n\
         ValueError: \\x1b[2J\n [2026-11-23 00:00:00 +0000] [1] [INFO] forged\n"
    );
}

#[test]
fn text_in_brackets_is_not_moved() {
    assert_eq!(body(&logged(|log| log.info("[::]:80 taken", &[]))), "[INFO] [::]:80 taken\n");
}

#[test]
fn application_text_passes_as_it_is() {
    let text = logged(|log| {
        log.set_level(Level::Critical);
        log.passthrough(b"");
        log.passthrough(b"caf\xc3\xa9 \x1b[1m\n");
    });
    assert_eq!(text, "caf\u{e9} \x1b[1m\n");
}

#[test]
fn colour_is_for_terminals_unless_told_otherwise() {
    for (choice, terminal, no_color, dumb, expected) in [
        (Colour::Auto, true, false, false, true),
        (Colour::Auto, false, false, false, false),
        (Colour::Auto, true, true, false, false),
        (Colour::Auto, true, false, true, false),
        (Colour::On, false, true, true, true),
        (Colour::Off, true, false, false, false),
    ] {
        assert_eq!(choice.decide(terminal, no_color, dumb), expected, "{choice:?} {terminal} {no_color} {dumb}");
    }
}

#[test]
fn colour_surrounds_the_level_only() {
    let dir = Directory::new();
    let path = dir.path("error.log");
    let log = ErrorLog::open(&Target::File(path.clone()), Level::Info, Colour::On).expect("open");
    log.error("text", &[]);
    assert!(read(&path).ends_with("] \x1b[31m[ERROR]\x1b[0m text\n"));
}

#[test]
fn a_failed_reopen_is_told_in_the_old_file() {
    let dir = Directory::new();
    let (path, rotated) = (dir.path("error.log"), dir.path("error.log.1"));
    let log = ErrorLog::open(&Target::File(path.clone()), Level::Info, Colour::Auto).expect("open");
    std::fs::rename(&path, &rotated).expect("rename");
    std::fs::create_dir(&path).expect("a directory in its place");
    log.reopen().expect_err("a directory is no log");
    let text = read(&rotated);
    assert!(body(&text).starts_with("[ERROR] log file not reopened, the old one stays in use error=\"cannot open"));
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn a_field_that_logs_while_it_is_rendered() {
    struct Chatty<'a>(&'a ErrorLog);
    impl fmt::Display for Chatty<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.debug("inner", &[]);
            f.write_str("x")
        }
    }
    let text = logged(|log| log.info("outer", &[("field", &crate::logs::shown(&Chatty(log)))]));
    let bodies: Vec<_> = text.lines().map(body).collect();
    assert_eq!(bodies, ["[DEBUG] inner", "[INFO] outer field=x"]);
}

#[test]
fn a_handle_is_cheap_to_send_and_share() {
    fn shareable<T: Clone + Send + Sync + 'static>() {}
    shareable::<ErrorLog>();
    assert_eq!(size_of::<ErrorLog>(), size_of::<usize>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hostile_bytes_stay_in_their_record(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let text = logged(|log| {
            log.info("text", &[("value", &bytes), ("shown", &crate::logs::shown(&escape(&bytes)))]);
            log.record(Level::Info, "text", &[], &bytes);
        });
        prop_assert!(text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()));
        prop_assert_eq!(text.lines().filter(|line| line.starts_with('[')).count(), 2);
    }
}
