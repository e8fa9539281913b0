use super::*;
use std::sync::Arc;

#[test]
fn slots_are_assigned_lowest_first_and_reused() {
    let board = Scoreboard::new(2).unwrap();
    assert_eq!(board.assign(1, 1, Moment(10)), Some(0));
    assert_eq!(board.assign(1, 2, Moment(11)), Some(1));
    assert_eq!(board.assign(1, 3, Moment(12)), None);
    assert_eq!(board.slot(1).state(), WorkerState::Booting);
    assert_eq!((board.slot(1).age(), board.slot(1).spawned()), (2, Moment(11)));
    board.release(0);
    assert_eq!(board.slot(0).state(), WorkerState::Empty);
    assert_eq!(board.assign(2, 3, Moment(12)), Some(0));
}

#[test]
fn totals_survive_their_worker() {
    let board = Scoreboard::new(4).unwrap();
    for age in 1..=2 {
        let slot = board.slot(board.assign(1, age, Moment(1)).unwrap());
        slot.counters().requests.add(10);
        slot.counters().connections_open.increment();
    }
    let before = board.totals();
    assert_eq!((before.requests, before.connections_open), (20, 2));
    board.release(0);
    let after = board.totals();
    assert_eq!((after.requests, after.connections_open), (20, 1), "a dead worker's connections are closed");
    board.assign(1, 3, Moment(1)).unwrap();
    assert_eq!(board.slot(0).counters().read(), Counts::default());
}

#[test]
fn idle_siblings_are_ready_and_have_no_call() {
    let board = Scoreboard::new(8).unwrap();
    for age in 1..=4 {
        board.assign(1, age, Moment(1)).unwrap();
    }
    assert_eq!(board.idle_siblings(0), 0, "all are booting");
    for index in 0..4 {
        board.slot(index).set_state(WorkerState::Ready);
    }
    assert_eq!(board.idle_siblings(0), 3);
    board.slot(1).begin_call(Moment(5), b"GET", b"/");
    board.slot(2).set_state(WorkerState::Draining);
    assert_eq!(board.idle_siblings(0), 1);
    board.slot(1).end_call(Moment(6));
    assert_eq!(board.idle_siblings(0), 2);
}

#[test]
fn a_worker_whose_call_is_over_is_not_given_up() {
    let board = Scoreboard::new(1).unwrap();
    let slot = board.slot(0);
    slot.begin_call(Moment(100), b"GET", b"/slow");
    slot.end_call(Moment(200));
    assert!(!slot.give_up(Some(Moment(100))));
    slot.begin_call(Moment(200), b"GET", b"/other");
    assert!(!slot.give_up(Some(Moment(100))));
    assert_eq!(slot.state(), WorkerState::Draining);
    assert!(slot.give_up(Some(Moment(200))));
    slot.end_call(Moment(300));
    assert_eq!(slot.state(), WorkerState::Exited);
}

#[test]
fn a_late_answer_is_not_given_to_the_next_request() {
    let board = Scoreboard::new(1).unwrap();
    let slot = board.slot(0);
    slot.begin_call(Moment(100), b"GET", b"/slow");
    assert!(!slot.answer_due());
    slot.want_answer(Moment(100));
    assert!(slot.answer_due() && !slot.is_answered());
    slot.end_call(Moment(200));
    assert!(!slot.answer_due(), "the call came to its end after all");
    slot.begin_call(Moment(201), b"GET", b"/next");
    assert!(!slot.answer_due(), "another call is not meant");
    slot.set_answered();
    assert!(slot.is_answered());
}

#[test]
fn request_lines_are_kept_and_cut() {
    let board = Scoreboard::new(1).unwrap();
    let slot = board.slot(0);
    assert_eq!(slot.request_line().unwrap(), b"");
    slot.begin_call(Moment(1), b"POST", b"/a?b=c");
    assert_eq!(slot.request_line().unwrap(), b"POST /a?b=c");
    slot.begin_call(Moment(1), b"GET", &[b'x'; 1000]);
    let line = slot.request_line().unwrap();
    assert_eq!(line.len(), REQUEST_LINE_BYTES);
    assert!(line.starts_with(b"GET xxx"));
    slot.begin_call(Moment(1), &[b'M'; 1000], b"/");
    assert_eq!(slot.request_line().unwrap(), [b'M'; REQUEST_LINE_BYTES]);
}

#[test]
fn torn_request_lines_are_never_seen() {
    let board = Arc::new(Scoreboard::new(1).unwrap());
    let writer = {
        let board = Arc::clone(&board);
        std::thread::spawn(move || {
            for round in 0..20_000u32 {
                let letter = b'a' + (round % 26) as u8;
                board.slot(0).begin_call(Moment(1), &[letter; 3], &vec![letter; (round % 200) as usize]);
            }
        })
    };
    while !writer.is_finished() {
        if let Some(line) = board.slot(0).request_line()
            && let Some(&first) = line.first()
        {
            assert!(line.iter().all(|&byte| byte == first || byte == b' '), "{line:?}");
        }
    }
    writer.join().unwrap();
}

#[test]
fn only_the_first_shows_its_boot_error() {
    let board = Scoreboard::new(1).unwrap();
    assert!(board.shared().claim_boot_error());
    assert!(!board.shared().claim_boot_error());
    board.shared().forget_boot_error();
    assert!(board.shared().claim_boot_error());
}
