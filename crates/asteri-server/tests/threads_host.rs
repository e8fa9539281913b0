//! One thread for the sockets, several for the application.

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use support::{Server, read_response};

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn calls_overlap_and_the_rest_waits_its_turn() {
    let server = Server::start_threads(4, |_| {});
    let begun = Instant::now();
    let mut streams: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream.write_all(get("/sleep/300").as_bytes()).unwrap();
    }
    for stream in &mut streams {
        assert_eq!(read_response(stream).status, 200);
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(600), "eight calls of 300 ms on four threads took {took:?}");
    assert!(took < Duration::from_millis(2000), "they took {took:?}");
}

#[test]
fn a_call_that_lasts_stops_nobody() {
    let server = Server::start_threads(2, |_| {});
    let mut slow = server.connect();
    slow.write_all(get("/sleep/3000").as_bytes()).unwrap();
    server.wait_for_calls(1);
    let begun = Instant::now();
    let mut stream = server.connect();
    for _ in 0..100 {
        stream.write_all(get("/").as_bytes()).unwrap();
        assert_eq!(read_response(&mut stream).body, b"Hello, World!");
    }
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
    assert_eq!(read_response(&mut slow).status, 200);
}

#[test]
fn pipelined_requests_stay_in_order() {
    let server = Server::start_threads(4, |_| {});
    let mut stream = server.connect();
    let all: String = (0..50).map(|count| get(&format!("/bytes/{count}"))).collect();
    stream.write_all(all.as_bytes()).unwrap();
    for count in 0..50 {
        assert_eq!(read_response(&mut stream).body.len(), count);
    }
}

#[test]
fn many_connections_at_once_lose_nothing() {
    let server = Server::start_threads(8, |_| {});
    std::thread::scope(|scope| {
        for number in 0..16 {
            let server = &server;
            scope.spawn(move || {
                let mut stream = server.connect();
                for round in 0..200 {
                    let body = format!("{number}:{round}");
                    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
                    stream.write_all((head + &body).as_bytes()).unwrap();
                    assert_eq!(read_response(&mut stream).body, body.as_bytes());
                }
            });
        }
    });
    assert_eq!(server.calls(), 3200);
}

#[test]
fn a_queued_request_whose_client_has_left_is_skipped() {
    let server = Server::start_threads(1, |_| {});
    let mut first = server.connect();
    first.write_all(get("/sleep/500").as_bytes()).unwrap();
    server.wait_for_calls(1);
    let mut gone = server.connect();
    gone.write_all(get("/").as_bytes()).unwrap();
    // It has to be in the queue for a while before it leaves.
    std::thread::sleep(Duration::from_millis(250));
    drop(gone);
    assert_eq!(read_response(&mut first).status, 200);
    first.write_all(get("/").as_bytes()).unwrap();
    assert_eq!(read_response(&mut first).status, 200);
    assert_eq!(server.calls(), 2);
}

#[test]
fn a_client_that_closes_its_side_with_the_request_waits_its_turn() {
    let server = Server::start_threads(1, |_| {});
    let mut first = server.connect();
    first.write_all(get("/sleep/300").as_bytes()).unwrap();
    server.wait_for_calls(1);
    let mut half: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for stream in &mut half {
        stream.write_all(get("/").as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
    for stream in &mut half {
        assert_eq!(read_response(stream).status, 200);
    }
}

#[test]
fn a_panic_is_the_failure_of_one_request() {
    let server = Server::start_threads(1, |_| {});
    let mut stream = server.connect();
    stream.write_all(get("/panic").as_bytes()).unwrap();
    assert!(matches!(stream.read(&mut [0; 10]), Ok(0) | Err(_)));
    let mut stream = server.connect();
    stream.write_all(get("/").as_bytes()).unwrap();
    assert_eq!(read_response(&mut stream).status, 200);
}

#[test]
fn a_drain_finishes_what_runs_and_what_waits() {
    let server = Server::start_threads(1, |settings| settings.drain_idle = Duration::ZERO);
    let mut running = server.connect();
    running.write_all(get("/sleep/400").as_bytes()).unwrap();
    server.wait_for_calls(1);
    let mut waiting = server.connect();
    waiting.write_all(get("/").as_bytes()).unwrap();
    server.drain();
    let response = read_response(&mut running);
    assert!(response.status == 200 && response.closes());
    assert_eq!(read_response(&mut waiting).status, 200);
    server.join();
}

#[test]
fn a_slow_reader_holds_no_thread() {
    let server = Server::start_threads(1, |_| {});
    let mut slow = server.connect();
    slow.write_all(get("/bytes/30000000").as_bytes()).unwrap();
    server.wait_for_calls(1);
    let mut stream = server.connect();
    stream.write_all(get("/").as_bytes()).unwrap();
    assert_eq!(read_response(&mut stream).status, 200);
    assert_eq!(read_response(&mut slow).body.len(), 30_000_000);
}

#[test]
fn an_idle_worker_drains_at_once() {
    let server = Server::start_threads(2, |settings| {
        settings.drain_idle = Duration::ZERO;
        settings.drain_accept = Duration::ZERO;
    });
    let mut stream = server.connect();
    stream.write_all(get("/").as_bytes()).unwrap();
    assert_eq!(read_response(&mut stream).status, 200);
    // Off the beat.
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    server.drain();
    server.join();
    assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
}

#[test]
fn time_limits_that_begin_with_an_answer_hold() {
    let server = Server::start_threads(1, |settings| settings.http.timeouts.keepalive = Duration::from_millis(50));
    let mut waited = Duration::ZERO;
    for _ in 0..8 {
        let mut stream = server.connect();
        stream.write_all(get("/sleep/200").as_bytes()).unwrap();
        assert_eq!(read_response(&mut stream).status, 200);
        let begun = Instant::now();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        waited += begun.elapsed();
    }
    // Once a second the sockets are looked at anyway.
    assert!(waited < Duration::from_secs(2), "{waited:?}");
}

#[test]
fn the_wait_for_a_thread_is_counted() {
    let server = Server::start_threads(1, |_| {});
    let mut running = server.connect();
    running.write_all(get("/sleep/400").as_bytes()).unwrap();
    server.wait_for_calls(1);
    let mut waiting = server.connect();
    waiting.write_all(get("/").as_bytes()).unwrap();
    assert_eq!(read_response(&mut waiting).status, 200);
    // The figures come with the next beat.
    while server.waits().1 < 200 {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(server.waits().1 < 2000, "{:?}", server.waits());
}

#[test]
fn the_request_of_a_warm_up_is_not_given_to_a_sibling() {
    let (near, mut far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.write_all(get("/").as_bytes()).unwrap();
    // Until the thread has come, the request waits beside a sibling that is free.
    let (server, sibling) = Server::start_held(near.into());
    far.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut start = [0; 12];
    far.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    assert_eq!((server.calls(), sibling.calls()), (1, 0));
}
