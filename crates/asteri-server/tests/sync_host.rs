//! The sync host over real sockets, with an application in Rust.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};
use support::{Server, read_response};

fn get(stream: &mut TcpStream, path: &str) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
}

#[test]
fn a_connection_is_kept_and_pipelined_requests_are_answered_in_order() {
    let server = Server::start();
    let mut stream = server.connect();
    let mut all = Vec::new();
    for number in 0..50 {
        write!(all, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\n{number:03}").unwrap();
    }
    stream.write_all(&all).unwrap();
    for number in 0..50 {
        let response = read_response(&mut stream);
        assert_eq!(response.status, 200);
        assert_eq!(response.body, format!("{number:03}").as_bytes());
    }
    get(&mut stream, "/");
    assert_eq!(read_response(&mut stream).body, b"Hello, World!");
}

#[test]
fn a_request_may_arrive_byte_by_byte_and_others_do_not_wait() {
    let server = Server::start();
    let mut slow = server.connect();
    for byte in b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nslo" {
        slow.write_all(&[*byte]).unwrap();
        let mut other = server.connect();
        get(&mut other, "/");
        assert_eq!(read_response(&mut other).status, 200);
    }
    slow.write_all(b"w!").unwrap();
    assert_eq!(read_response(&mut slow).body, b"slow!");
}

#[test]
fn content_of_many_megabytes_is_whole() {
    let server = Server::start();
    let content: Vec<u8> = (0..5_000_000u32).map(|number| (number % 251) as u8).collect();
    let mut stream = server.connect();
    write!(stream, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", content.len()).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let sent = content.clone();
    let upload = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    let response = read_response(&mut stream);
    upload.join().unwrap();
    assert!(response.body == content, "the content came back changed");
}

#[test]
fn chunked_content_is_decoded() {
    let server = Server::start();
    let mut stream = server.connect();
    stream
        .write_all(
            b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n\
            4\r\nWiki\r\n6;x=y\r\npedia \r\n0\r\nTrailer: gone\r\n\r\n",
        )
        .unwrap();
    assert_eq!(read_response(&mut stream).body, b"Wikipedia ");
}

#[test]
fn a_slow_reader_does_not_hold_the_application() {
    let server = Server::start();
    let mut slow = server.connect();
    get(&mut slow, "/bytes/20000000");
    for _ in 0..20 {
        let mut other = server.connect();
        get(&mut other, "/");
        assert_eq!(read_response(&mut other).status, 200);
    }
    let response = read_response(&mut slow);
    assert_eq!(response.body.len(), 20_000_000);
    assert!(response.body.iter().all(|byte| *byte == b'x'));
}

#[test]
fn while_the_application_is_busy_uploads_are_read_and_timeouts_kept() {
    let server = Server::start_with(|settings| {
        settings.http.timeouts.header = Duration::from_millis(300);
    });
    let mut upload = server.connect();
    let mut stalled = server.connect();
    let mut busy = server.connect();
    get(&mut busy, "/sleep/3000");
    server.wait_for_calls(1);
    let started = Instant::now();
    // Far more than the socket buffers hold, so it is only taken if somebody reads.
    let content = vec![b'u'; 30_000_000];
    write!(upload, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", content.len()).unwrap();
    upload.write_all(&content).unwrap();
    stalled.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
    assert_eq!(read_response(&mut stalled).status, 408);
    assert_eq!(server.calls(), 1, "still in the same call");
    assert!(started.elapsed() < Duration::from_secs(3), "the upload was read while the application slept");
    assert_eq!(read_response(&mut busy).status, 200);
    assert_eq!(read_response(&mut upload).body.len(), content.len());
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let server = Server::start_with(|settings| settings.http.limits.body_size = 1000);
    let mut stream = server.connect();
    write!(stream, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10000000\r\n\r\n").unwrap();
    // Errors are expected once the server has closed; what counts is that the answer was not destroyed by a reset.
    for _ in 0..100 {
        if stream.write_all(&[0; 10_000]).is_err() {
            break;
        }
    }
    assert_eq!(read_response(&mut stream).status, 413);
}

#[test]
fn continue_is_sent_when_content_is_awaited() {
    let server = Server::start();
    let mut stream = server.connect();
    write!(stream, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n").unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").unwrap();
    assert_eq!(read_response(&mut stream).body, b"body");
}

#[test]
fn a_panic_ends_one_request_only() {
    let server = Server::start();
    let mut stream = server.connect();
    get(&mut stream, "/panic");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(rest, b"");
    let mut next = server.connect();
    get(&mut next, "/");
    assert_eq!(read_response(&mut next).status, 200);
}

#[test]
fn a_half_closed_client_is_answered() {
    let server = Server::start();
    let mut stream = server.connect();
    get(&mut stream, "/");
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_response(&mut stream).status, 200);
}

#[test]
fn a_client_that_left_while_it_waited_is_skipped() {
    let server = Server::start();
    let mut busy = server.connect();
    let mut gone = server.connect();
    get(&mut busy, "/sleep/500");
    server.wait_for_calls(1);
    get(&mut gone, "/gone");
    // The standby thread has to see the request before the client leaves.
    std::thread::sleep(Duration::from_millis(150));
    drop(gone);
    assert_eq!(read_response(&mut busy).status, 200);
    let mut next = server.connect();
    get(&mut next, "/");
    assert_eq!(read_response(&mut next).status, 200);
    assert_eq!(server.calls(), 2, "/gone was not run");
}

#[test]
fn draining_finishes_what_has_begun_and_what_waits() {
    let server = Server::start();
    let mut busy = server.connect();
    let mut idle = server.connect();
    get(&mut idle, "/");
    assert_eq!(read_response(&mut idle).status, 200);
    get(&mut busy, "/sleep/500");
    server.wait_for_calls(2);
    // These wait in the accept queue, or with the standby thread.
    let mut waiting: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for stream in &mut waiting {
        get(stream, "/");
    }
    server.drain();
    assert_eq!(read_response(&mut busy).status, 200);
    for stream in &mut waiting {
        let response = read_response(stream);
        assert_eq!(response.status, 200);
        assert!(response.closes(), "a draining server says that it closes");
    }
    // A request on a kept connection that races with the drain is served, too.
    get(&mut idle, "/");
    assert!(read_response(&mut idle).closes());
    server.join();
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let server = Server::start_with(|settings| settings.http.timeouts.keepalive = Duration::from_millis(200));
    let mut stream = server.connect();
    get(&mut stream, "/");
    assert_eq!(read_response(&mut stream).status, 200);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
}

#[test]
fn a_reader_that_takes_nothing_is_cut_off() {
    let server = Server::start_with(|settings| settings.http.timeouts.write_idle = Duration::from_millis(300));
    let mut stream = server.connect();
    get(&mut stream, "/bytes/50000000");
    std::thread::sleep(Duration::from_millis(1500));
    let mut rest = Vec::new();
    let error = stream.read_to_end(&mut rest).expect_err("the connection was reset, as the response is not whole");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(rest.len() < 50_000_000);
}

#[test]
fn a_request_does_not_wait_behind_another_while_a_sibling_is_idle() {
    let server = Server::start();
    let mut long = server.connect();
    let mut kept = server.connect();
    get(&mut kept, "/");
    assert_eq!(read_response(&mut kept).status, 200);
    get(&mut long, "/sleep/2000");
    server.wait_for_calls(2);
    // Waits in the busy worker before there is a sibling; the second one comes when there is.
    let mut waiting = server.connect();
    write!(waiting, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let sibling = server.start_sibling();
    get(&mut kept, "/");
    assert_eq!(read_response(&mut kept).status, 200);
    assert_eq!(read_response(&mut waiting).body, b"body");
    assert_eq!((server.calls(), sibling.calls()), (2, 2), "the long call has not returned yet");
    // The connection lives on with the sibling.
    get(&mut kept, "/");
    assert_eq!(read_response(&mut kept).status, 200);
    assert_eq!(read_response(&mut long).status, 200);
    assert_eq!(sibling.calls(), 3);
}

#[test]
fn a_draining_worker_takes_back_what_nobody_took() {
    let server = Server::start();
    let mut long = server.connect();
    let mut kept = server.connect();
    get(&mut kept, "/");
    assert_eq!(read_response(&mut kept).status, 200);
    // A sibling that leaves before it takes anything.
    drop(server.start_sibling());
    get(&mut long, "/sleep/500");
    server.wait_for_calls(2);
    get(&mut kept, "/");
    std::thread::sleep(Duration::from_millis(100));
    server.drain();
    assert_eq!(read_response(&mut long).status, 200);
    assert_eq!(read_response(&mut kept).status, 200);
    server.join();
}

#[test]
fn bytes_that_come_during_the_call_do_not_destroy_the_answer() {
    let server = Server::start();
    let mut stream = server.connect();
    write!(stream, "GET /sleep-then-bytes/2000000 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    server.wait_for_calls(1);
    // As some old clients do; it might as well be a pipelined request.
    stream.write_all(b"\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(600));
    let response = read_response(&mut stream);
    assert_eq!(response.body.len(), 2_000_000);
}

#[test]
fn a_half_closed_client_that_has_to_wait_is_answered() {
    let server = Server::start();
    let mut busy = server.connect();
    get(&mut busy, "/sleep/500");
    server.wait_for_calls(1);
    let mut half = server.connect();
    get(&mut half, "/");
    half.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_response(&mut busy).status, 200);
    assert_eq!(read_response(&mut half).status, 200);
}

#[test]
fn a_response_that_outgrows_the_spool_limit_waits_for_its_client() {
    let server = Server::start_with(|settings| settings.response_spool = 4 << 20);
    let mut stream = server.connect();
    get(&mut stream, "/stream/100000000");
    server.wait_for_calls(1);
    // Another client is not served meanwhile, as there is one application thread; but its request is read.
    let mut other = server.connect();
    get(&mut other, "/");
    assert_eq!(read_response(&mut stream).body.len(), 100_000_000);
    assert_eq!(read_response(&mut other).status, 200);
}

#[test]
fn errors_after_a_head_request_have_no_content() {
    let server = Server::start_with(|settings| settings.http.limits.body_size = 10);
    let mut stream = server.connect();
    stream.write_all(b"HEAD / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    stream.write_all(b"20\r\n").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.starts_with(b"HTTP/1.1 413 ") && rest.ends_with(b"\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn a_reader_that_takes_little_is_not_cut_off() {
    let server = Server::start_with(|settings| settings.http.timeouts.write_idle = Duration::from_millis(500));
    let mut stream = server.connect();
    get(&mut stream, "/bytes/20000000");
    let mut piece = [0; 20_000];
    let mut got = 0;
    // Far too little for the kernel to find the socket writable within the timeout, but always something.
    for _ in 0..30 {
        got += stream.read(&mut piece).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut rest = Vec::new();
    write!(stream, "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    stream.read_to_end(&mut rest).expect("not reset");
    assert!(got + rest.len() > 20_000_000);
    assert!(rest.ends_with(b"Hello, World!"));
}

#[test]
fn a_large_file_needs_no_room_and_nobody_waits_for_its_reader() {
    let server = Server::start_with(|settings| settings.response_spool = 1 << 20);
    let mut reader = server.connect();
    get(&mut reader, "/file/300000000");
    server.wait_for_calls(1);
    let mut other = server.connect();
    get(&mut other, "/");
    assert_eq!(read_response(&mut other).status, 200);
    assert_eq!(read_response(&mut reader).body.len(), 300_000_000);
}

#[test]
fn parts_that_come_at_once_are_sent_soon_even_if_the_application_then_pauses() {
    let server = Server::start();
    let mut stream = server.connect();
    get(&mut stream, "/parts/100");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let started = Instant::now();
    let mut body = [0; 400];
    stream.read_exact(&mut body).unwrap();
    assert_eq!(body, *b"part".repeat(100));
    assert!(started.elapsed() < Duration::from_millis(1000), "held until the next part, {:?}", started.elapsed());
    let mut last = [0; 4];
    stream.read_exact(&mut last).unwrap();
    assert_eq!(&last, b"last");
    get(&mut stream, "/");
    assert_eq!(read_response(&mut stream).status, 200);
}

#[test]
fn a_full_worker_takes_the_next_connection_as_soon_as_there_is_room() {
    let server = Server::start_with(|settings| settings.max_connections = 1);
    let begun = Instant::now();
    for _ in 0..10 {
        let mut first = server.connect();
        get(&mut first, "/");
        assert_eq!(read_response(&mut first).status, 200);
        let mut second = server.connect();
        get(&mut second, "/");
        drop(first);
        assert_eq!(read_response(&mut second).status, 200);
    }
    // It looks again after a second in any case.
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}
