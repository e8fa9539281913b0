//! The limit: what answering an HTTP request costs when nothing is done but receive, find the end
//! of the head, and send.
//!
//! One thread, level-triggered epoll, one `recv` and one `send` per wake-up. Every complete request
//! head (anything that ends in CR LF CR LF) is answered with the same prepared bytes, whose `Date`
//! is renewed each second. It parses nothing, limits nothing, times nothing out and never buffers:
//! a client that does not take its answer at once is dropped. A server that does its duty can come
//! close to it and cannot beat it by much, which is what makes it a measuring stick.
//!
//! Linux only. Usage: `epoll-limit PORT [--body-bytes N] [--response-bytes N] [--close]`.

mod answer;
mod net;

use std::process::ExitCode;

use answer::{Answer, Shape};
use net::{Connection, Epoll, Received};

/// What one `recv` may take. Larger than any request the benchmarks send in one piece.
const RECEIVE_BYTES: usize = 16 * 1024;

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// Descriptors are the index into the table of progress; the runner opens a few thousand.
const MAX_DESCRIPTORS: usize = 1 << 16;

fn main() -> ExitCode {
    let (port, shape) = match arguments(std::env::args().skip(1)) {
        Ok(parsed) => parsed,
        Err(message) => {
            eprintln!("epoll-limit: {message}");
            eprintln!("  try: epoll-limit 8000 --body-bytes 14 --response-bytes 150");
            return ExitCode::from(2);
        }
    };
    match serve(port, &shape) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("epoll-limit: 127.0.0.1:{port}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut args: impl Iterator<Item = String>) -> Result<(u16, Shape), String> {
    let mut port = None;
    let mut shape = Shape { body_bytes: 14, response_bytes: 0, close: false };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--close" => shape.close = true,
            "--body-bytes" => shape.body_bytes = number(&arg, args.next())?,
            "--response-bytes" => shape.response_bytes = number(&arg, args.next())?,
            _ => port = Some(number("PORT", Some(arg))?),
        }
    }
    let port = port.ok_or("PORT is missing, expected a number from 1 to 65535")?;
    let port = u16::try_from(port).map_err(|_| format!("PORT: got {port}, expected at most 65535"))?;
    Ok((port, shape))
}

fn number(name: &str, text: Option<String>) -> Result<usize, String> {
    let text = text.ok_or_else(|| format!("{name}: a number is missing"))?;
    text.parse().map_err(|_| format!("{name}: got {text:?}, expected a number"))
}

fn serve(port: u16, shape: &Shape) -> std::io::Result<std::convert::Infallible> {
    let listener = net::listen(port)?;
    let epoll = Epoll::new()?;
    epoll.add(&listener)?;

    let mut answer = Answer::new(shape);
    // How many bytes of CR LF CR LF each connection has shown; survives a head split over reads.
    let mut progress = vec![0u8; MAX_DESCRIPTORS];
    let mut buffer = [0u8; RECEIVE_BYTES];
    let mut events = Epoll::events();

    let mut turn = |connection: Connection, answer: &Answer| -> Fate {
        let matched = &mut progress[connection.index()];
        let stays = match connection.receive(&mut buffer) {
            Received::Bytes(bytes) => {
                let heads = complete_heads(bytes, matched);
                let sent = (0..heads).all(|_| connection.send(answer.bytes()));
                sent && !(shape.close && heads > 0)
            }
            Received::Nothing => true,
            Received::End => false,
        };
        if stays {
            return Fate::Stays;
        }
        // The descriptor's number is about to belong to another connection.
        *matched = 0;
        Fate::Ends
    };

    loop {
        let ready = epoll.wait(&mut events)?;
        answer.renew_date();
        for event in ready {
            if !net::is(event, &listener) {
                let connection = net::connection(event);
                if turn(connection, &answer) == Fate::Ends {
                    connection.close();
                }
                continue;
            }
            while let Some(connection) = net::accept(&listener, MAX_DESCRIPTORS) {
                // The request has mostly come with the connection: one that is answered and closed
                // at once never needs the epoll set.
                match turn(connection, &answer) {
                    Fate::Stays => epoll.watch(connection),
                    Fate::Ends => connection.close(),
                }
            }
        }
    }
}

#[derive(PartialEq)]
enum Fate {
    Stays,
    Ends,
}

/// Counts the heads that end within `bytes`. `matched` is how many bytes of CR LF CR LF came last.
fn complete_heads(bytes: &[u8], matched: &mut u8) -> usize {
    // One request per read is by far the most frequent case.
    if *matched == 0 && net::find(bytes, END_OF_HEAD).is_some_and(|at| at + END_OF_HEAD.len() == bytes.len()) {
        return 1;
    }
    let mut heads = 0;
    for &byte in bytes {
        *matched = match (byte, *matched) {
            (b'\r', 0 | 2) => *matched + 1,
            (b'\n', 1) => 2,
            (b'\n', 3) => {
                heads += 1;
                0
            }
            (b'\r', _) => 1,
            _ => 0,
        };
    }
    heads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_heads_whole_split_and_pipelined() {
        let one = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut matched = 0;
        assert_eq!(complete_heads(one, &mut matched), 1);
        for split in 0..one.len() {
            let mut matched = 0;
            let first = complete_heads(&one[..split], &mut matched);
            assert_eq!(first + complete_heads(&one[split..], &mut matched), 1, "split at {split}");
        }
        let two = [&one[..], &one[..]].concat();
        assert_eq!(complete_heads(&two, &mut matched), 2);
        assert_eq!(complete_heads(b"GET / HTTP/1.1\r\n\r", &mut matched), 0);
    }

    #[test]
    fn arguments_are_checked() {
        let parse = |text: &str| arguments(text.split_whitespace().map(str::to_owned));
        assert!(parse("8000 --body-bytes 10 --close").is_ok_and(|(port, shape)| port == 8000 && shape.close));
        assert!(parse("").is_err());
        assert!(parse("70000").is_err());
        assert!(parse("8000 --body-bytes").is_err());
    }
}
