//! Connections that the kernel keeps to itself until their first byte has come (`TCP_DEFER_ACCEPT`, tcp(7)), and how to know of them.

use super::socket::{receive, set_option};
use super::{check, check_size};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// For how long a connection that says nothing is left to the kernel, in seconds: the shortest time that there is.
const SECONDS: libc::c_int = 1;

/// Has the kernel keep connections of a listener to itself until their first byte has come, or for about a second; or gives them out as
/// soon as they are made. Failure means that this is no TCP socket, which is fine.
pub fn set_defer_accept(listener: BorrowedFd<'_>, on: bool) {
    set_option(listener, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, if on { SECONDS } else { 0 });
}

/// Whether the kernel keeps connections of a listener.
#[must_use]
pub fn defers_accept(listener: BorrowedFd<'_>) -> bool {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: value and length describe a writable c_int.
    let failed = unsafe {
        libc::getsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    failed == 0 && value > 0
}

/// Whether there are connections to any of these ports that the kernel keeps to itself. A listener that is closed takes them along.
///
/// The kernel is asked for connections in that one state. Where it does not answer such questions (a sandbox, a kernel without
/// `tcp_diag`), the whole list of sockets is read, which takes some thirty times as long.
///
/// # Errors
/// When it cannot be found out.
pub fn has_deferred(ports: &[u16]) -> io::Result<bool> {
    ask(ports).or_else(|_| read_tables(ports))
}

/// The state of a connection whose handshake is not over for the kernel, as the kernel numbers them.
const SYN_RECV: u32 = 3;

/// sock_diag(7): the length of a request with its header, and where things are in an answer.
const REQUEST: usize = 72;
const HEADER: usize = 16;
/// Family, state, timer and retransmissions come first, one byte each.
const OWN_PORT: usize = HEADER + 4;

/// Asks through a socket of sock_diag(7).
fn ask(ports: &[u16]) -> io::Result<bool> {
    // SAFETY: no pointers are passed; the result is checked and owned by nobody else.
    let socket = unsafe {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        OwnedFd::from_raw_fd(check(libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_SOCK_DIAG))?)
    };
    for family in [libc::AF_INET, libc::AF_INET6] {
        match ask_family(socket.as_fd(), family, ports) {
            Ok(false) => {}
            // Of a machine without IPv6.
            Err(error) if family == libc::AF_INET6 && error.raw_os_error() == Some(libc::ENOENT) => {}
            decided => return decided,
        }
    }
    Ok(false)
}

fn ask_family(socket: BorrowedFd<'_>, family: libc::c_int, ports: &[u16]) -> io::Result<bool> {
    let request = request(family);
    // SAFETY: the kernel reads `request`, which has that length. Without an address it goes to the kernel.
    check_size(unsafe { libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) })?;
    // The longest answer in one piece.
    let mut answer = Vec::with_capacity(32 * 1024);
    loop {
        answer.clear();
        // Each piece is there before it is asked for: one that is not never comes.
        receive(socket, &mut answer)?;
        match judge(&answer, ports)? {
            Verdict::Found => return Ok(true),
            Verdict::End => return Ok(false),
            Verdict::More => {}
        }
    }
}

/// `nlmsghdr` and `inet_diag_req_v2` of `linux/netlink.h` and `linux/inet_diag.h`: all connections in that state, nothing more about
/// them than who they are.
fn request(family: libc::c_int) -> [u8; REQUEST] {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    let mut request = [0; REQUEST];
    let mut put = |at: usize, bytes: &[u8]| request[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(REQUEST as u32).to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    put(HEADER, &[family as u8, libc::IPPROTO_TCP as u8]);
    put(HEADER + 4, &(1_u32 << SYN_RECV).to_ne_bytes());
    request
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Found,
    End,
    More,
}

/// Judges one piece of an answer: messages one after another, each with its length.
fn judge(mut answer: &[u8], ports: &[u16]) -> io::Result<Verdict> {
    let senseless = || io::Error::from(io::ErrorKind::InvalidData);
    if answer.is_empty() {
        return Err(senseless());
    }
    while !answer.is_empty() {
        let length = answer.first_chunk().map(|length| u32::from_ne_bytes(*length) as usize).ok_or_else(senseless)?;
        let message = answer.get(..length).filter(|_| length >= HEADER).ok_or_else(senseless)?;
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        match libc::c_int::from(kind) {
            libc::NLMSG_DONE => return Ok(Verdict::End),
            libc::NLMSG_ERROR => {
                let number = message[HEADER..].first_chunk().map(|number| i32::from_ne_bytes(*number));
                return Err(io::Error::from_raw_os_error(-number.ok_or_else(senseless)?));
            }
            _ => {}
        }
        let own = message.get(OWN_PORT..OWN_PORT + 2).ok_or_else(senseless)?;
        if ports.contains(&u16::from_be_bytes([own[0], own[1]])) {
            return Ok(Verdict::Found);
        }
        // The next one begins at a multiple of four.
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Verdict::More)
}

fn read_tables(ports: &[u16]) -> io::Result<bool> {
    for path in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let table = match File::open(path) {
            Ok(table) => BufReader::new(table),
            // Of a machine without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.ends_with('6') => continue,
            Err(error) => return Err(error),
        };
        if table_has_deferred(table, ports)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn table_has_deferred(table: impl BufRead, ports: &[u16]) -> io::Result<bool> {
    for line in table.lines() {
        // `0: 0100007F:1F90 0100007F:D2C4 03 …`: number, own address, the other's, state in hexadecimal.
        let line = line?;
        let mut words = line.split_ascii_whitespace().skip(1);
        let own = words.next().and_then(|own| u16::from_str_radix(own.rsplit(':').next()?, 16).ok());
        let state = words.nth(1).and_then(|state| u32::from_str_radix(state, 16).ok());
        if state == Some(SYN_RECV) && own.is_some_and(|own| ports.contains(&own)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    /// Each way to look, by itself.
    fn is_known_until_it_says_something(address: &str, look: fn(&[u16]) -> io::Result<bool>) {
        let listener = TcpListener::bind((address, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        set_defer_accept(listener.as_fd(), true);
        assert!(defers_accept(listener.as_fd()) && !look(&[port]).unwrap());
        let mut client = TcpStream::connect((address, port)).unwrap();
        // Unless this thread has been kept from going on for the second for which the connection is kept.
        let deferred = look(&[1, port]).unwrap();
        assert!(deferred || listener.accept().is_ok());
        if deferred {
            assert!(!look(&[port ^ 1]).unwrap());
            client.write_all(b"x").unwrap();
            listener.set_nonblocking(false).unwrap();
            assert!(listener.accept().is_ok());
        }
        assert!(!look(&[port]).unwrap());
        set_defer_accept(listener.as_fd(), false);
        assert!(!defers_accept(listener.as_fd()));
    }

    #[test]
    fn a_deferred_connection_is_in_the_answer_until_it_says_something() {
        // Where the kernel does not answer there is nothing to see.
        let look = |ports: &[u16]| ask(ports).or_else(|_| read_tables(ports));
        is_known_until_it_says_something("127.0.0.1", look);
        if TcpListener::bind("[::1]:0").is_ok() {
            is_known_until_it_says_something("::1", look);
        }
    }

    #[test]
    fn a_deferred_connection_is_in_the_table_until_it_says_something() {
        is_known_until_it_says_something("127.0.0.1", read_tables);
    }

    #[test]
    fn a_long_answer_is_read_to_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        super::super::listen::set_backlog(listener.as_fd(), 1024).unwrap();
        set_defer_accept(listener.as_fd(), true);
        let clients: Vec<_> = (0..400).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
        // It takes more than one piece, and what is asked for is in none of them.
        let found = ask(&[1]);
        assert!(found.is_err() || !found.unwrap());
        drop(clients);
    }

    fn message(kind: libc::c_int, body: &[u8]) -> Vec<u8> {
        let mut message = vec![0; HEADER];
        message[..4].copy_from_slice(&((HEADER + body.len()) as u32).to_ne_bytes());
        message[4..6].copy_from_slice(&(kind as u16).to_ne_bytes());
        message.extend_from_slice(body);
        message
    }

    /// A connection to port 8080 as the kernel describes it.
    fn connection() -> Vec<u8> {
        message(20, &[2, 3, 0, 0, 0x1F, 0x90, 0xD2, 0xC4, 127, 0, 0, 1])
    }

    #[test]
    fn only_the_own_port_counts_in_an_answer() {
        let judge = |answer: &[u8], port| judge(answer, &[1, port]).unwrap();
        let two = [connection(), message(20, &[10, 3, 0, 0, 0, 80, 0, 0])].concat();
        assert_eq!(judge(&two, 8080), Verdict::Found);
        assert_eq!(judge(&two, 80), Verdict::Found);
        assert_eq!(judge(&two, 0xD2C4), Verdict::More);
        let ended = [two, message(libc::NLMSG_DONE, &[0; 4]), connection()].concat();
        assert_eq!(judge(&ended, 0xD2C4), Verdict::End);
    }

    #[test]
    fn an_answer_without_sense_is_an_error() {
        let refused = message(libc::NLMSG_ERROR, &(-libc::ENOENT).to_ne_bytes());
        assert_eq!(judge(&refused, &[1]).unwrap_err().raw_os_error(), Some(libc::ENOENT));
        for length in 0..connection().len() {
            assert!(judge(&connection()[..length], &[80]).is_err(), "{length} bytes");
        }
        assert!(judge(&[0; HEADER], &[80]).is_err());
        assert!(judge(&message(20, &[2, 3, 0, 0]), &[80]).is_err());
        assert!(judge(&message(libc::NLMSG_ERROR, &[]), &[80]).is_err());
    }

    #[test]
    fn only_the_state_and_the_own_port_count_in_a_table() {
        let table = |line: &str| format!("  sl  local_address rem_address   st tx_queue rx_queue\n{line}\n");
        let finds = |line: &str, port| table_has_deferred(table(line).as_bytes(), &[1, port]).unwrap();
        let line = "   0: 0100007F:1F90 0100007F:D2C4 03 00000000:00000000 01:00000063 00000000     0        0 0 1";
        assert!(finds(line, 8080));
        assert!(!finds(line, 0xD2C4) && !finds(line, 80) && !finds(&line.replace(" 03 ", " 01 "), 8080));
        assert!(finds(&line.replace("0100007F:1F90", "00000000000000000000000001000000:0050"), 80));
        assert!(!finds("", 80) && !finds("nonsense", 80));
    }
}
