//! Workers that die, do not boot, or hang.

use std::fs;
use std::time::{Duration, Instant};

use asteri_server::sys::process;
use asteri_server::sys::signals::Signal;

use crate::server::{Server, answer, wait_gone};

#[test]
fn a_dead_worker_is_replaced_and_the_cause_told() {
    let mut server = Server::ready("--workers 1");
    let first = server.who();
    assert_eq!(server.ask("kill"), "");
    let line = server.wait_line("worker died, replacing it");
    assert!(line.contains("SIGKILL (signal 9) from outside"), "{line}");
    assert!(line.contains("request=\"GET kill\""), "{line}");
    let second = server.who();
    assert_ne!(second.pid, first.pid);
    assert_eq!((second.generation, second.age), (1, 2));
    assert_eq!(server.ask("exit 7"), "");
    assert!(server.wait_line("worker died").contains("exit code 7"));
}

#[test]
fn an_application_that_cannot_be_loaded_ends_the_server_with_its_code() {
    for code in [3, 4] {
        let mut server = Server::start_with("--bind 127.0.0.1:0 --workers 4", |dir| {
            fs::write(dir.join("boot"), format!("exit {code}")).unwrap();
        });
        assert_eq!(server.wait_exit().code(), Some(code));
        let log = server.rest();
        assert_eq!(log.matches("this is the traceback").count(), 1, "{log}");
        assert_eq!(log.matches("cannot be loaded").count(), 1, "{log}");
        assert_eq!(log.matches("worker forked").count(), 4, "nobody is respawned:\n{log}");
    }
}

#[test]
fn workers_that_fail_later_are_tried_again_ever_more_slowly() {
    let mut server = Server::ready("--workers 2");
    server.boot_order("exit 3");
    let begin = Instant::now();
    server.ask("exit 1");
    server.wait_line("worker could not boot, trying again");
    let line = server.wait_line("times=4");
    // 0.1 + 0.2 + 0.4 s after the first, however fast the machine is.
    assert!(begin.elapsed() >= Duration::from_millis(650), "{:?}: {line}", begin.elapsed());
    let log = server.rest();
    assert_eq!(log.matches("this is the traceback").count(), 1, "{log}");
    assert!(!log.contains("times=3"), "{log}");
    server.who(); // The other one serves all the while.
    server.boot_order("ok");
    server.wait_line("a worker could boot again");
    server.wait_workers(2);
}

#[test]
fn a_request_that_hangs_is_answered_told_of_and_its_worker_replaced() {
    let mut server = Server::ready("--workers 1 --timeout 400ms");
    let first = server.who();
    let client = server.send("hang /report?\x1b");
    assert_eq!(answer(client), "504");
    let line = server.wait_line("WORKER TIMEOUT");
    assert!(line.contains(r#"request="GET hang /report?\x1b""#), "{line}");
    assert!(line.contains("requests_before=1"), "{line}");
    assert!(server.wait_line("File").contains("line 7 in view"), "the stack follows");
    let second = server.who();
    assert_ne!(second.pid, first.pid);
    server.wait_line("killed by the arbiter: a request took longer");
    wait_gone(first.pid);
}

#[test]
fn the_replacement_of_a_hanging_worker_does_not_wait_for_its_death() {
    let mut server = Server::ready("--workers 1 --timeout 300ms");
    let client = server.send("hang");
    server.wait_line("worker forked");
    assert!(!server.seen.iter().any(|line| line.contains("worker is gone")), "{:?}", server.seen);
    assert_eq!(answer(client), "504");
}

#[test]
fn a_worker_that_is_silent_is_replaced() {
    let mut server = Server::ready("--workers 1 --timeout 400ms");
    let first = server.wait_workers(1)[0];
    // SIGSTOP: alive, and deaf to everything but SIGKILL.
    process::kill(first, Signal::from_number(19)).unwrap();
    server.wait_line("WORKER TIMEOUT: the worker is silent");
    server.wait_line("(no stack could be had)");
    assert_ne!(server.who().pid, first);
    wait_gone(first);
}

#[test]
fn a_call_that_comes_back_late_does_not_cost_the_next_one_its_answer() {
    for step in ["stack", "answer"] {
        let mut server = Server::ready("--workers 1 --timeout 400ms");
        let first = server.who();
        assert_eq!(server.ask(&format!("late {step}")), "late", "while {step} was waited for");
        let line = server.wait_line("the request that took too long came to its end");
        assert!(line.contains(&format!(r#"request="GET late {step}""#)), "{line}");
        server.wait_line("worker left");
        wait_gone(first.pid);
        assert_eq!(server.who().age, 2);
        assert!(!server.rest().contains("worker is gone"), "{}", server.rest());
    }
}
