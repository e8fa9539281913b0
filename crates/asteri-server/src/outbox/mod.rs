//! What a client has not taken yet of its response: first in memory, then in an unnamed file.
//!
//! An application never waits for a client. What the socket does not take at once is put here and trickled out by the
//! reactor. Memory is bounded; beyond the bound the bytes go to a file and back out by `sendfile`, without passing
//! through this process again.

mod sealed;

use crate::sys::{socket, tempfile};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

enum Segment {
    Memory { bytes: Vec<u8>, sent: usize },
    File { file: Arc<File>, offset: u64, left: u64, ours: bool },
}

/// Where undelivered bytes may be kept.
#[derive(Clone, Copy)]
pub(crate) struct Room<'a> {
    /// Bytes of one response that may be held in memory.
    pub memory: usize,
    /// The folder for spool files.
    pub folder: &'a Path,
}

/// A spool file is given up for a new one at this size, in bytes. What was delivered from it is freed only with the whole file,
/// so this bounds how much more disk than backlog a response may take.
const SPOOL_FILE: u64 = 16 << 20;

/// What one delivery may move, in bytes: a client that takes as fast as we give must not keep the others out.
const BUDGET: usize = 2 << 20;
/// What one system call may move.
const PIECE: usize = 1 << 20;

/// How far a delivery got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Whether the socket took anything.
    pub moved: bool,
    /// Whether nothing is left.
    pub drained: bool,
    /// Whether the socket would take more: nothing will announce that again.
    pub more: bool,
}

#[derive(Default)]
pub(crate) struct Outbox {
    segments: VecDeque<Segment>,
    in_memory: usize,
    spool: Option<Spool>,
    left: u64,
    /// The part of `left` that is in files of the application, and takes no room of ours.
    left_in_files: u64,
    /// With TLS: what is encrypted already and goes before everything else, and how much of it is sent.
    sealed: Vec<u8>,
    sealed_sent: usize,
}

struct Spool {
    file: Arc<File>,
    end: u64,
}

impl Outbox {
    /// Bytes that wait for the client.
    pub fn len(&self) -> u64 {
        self.left
    }

    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Bytes that are kept for the client, in memory or in a file of ours.
    pub fn kept(&self) -> u64 {
        self.left - self.left_in_files
    }

    /// # Errors
    /// When the spool file cannot be made or written: the bytes are not kept, the response cannot be completed.
    pub fn push(&mut self, bytes: &[u8], room: Room<'_>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.in_memory + bytes.len() <= room.memory {
            self.in_memory += bytes.len();
            match self.segments.back_mut() {
                Some(Segment::Memory { bytes: last, sent }) => {
                    // A client that is always a little behind would otherwise make this grow with all it ever got.
                    if *sent > last.len() / 2 {
                        last.drain(..*sent);
                        *sent = 0;
                    }
                    last.extend_from_slice(bytes);
                }
                _ => self.segments.push_back(Segment::Memory { bytes: bytes.to_vec(), sent: 0 }),
            }
        } else {
            self.spool(bytes, room.folder)?;
        }
        self.left += bytes.len() as u64;
        Ok(())
    }

    fn spool(&mut self, bytes: &[u8], folder: &Path) -> io::Result<()> {
        if self.spool.as_ref().is_some_and(|spool| spool.end >= SPOOL_FILE) {
            // Its segments keep it alive until they are delivered.
            self.spool = None;
        }
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => none.insert(Spool { file: Arc::new(tempfile::unnamed(folder)?), end: 0 }),
        };
        spool.file.write_all_at(bytes, spool.end)?;
        let start = spool.end;
        spool.end += bytes.len() as u64;
        match self.segments.back_mut() {
            Some(Segment::File { file, offset, left, .. })
                if Arc::ptr_eq(file, &spool.file) && *offset + *left == start =>
            {
                *left += bytes.len() as u64;
            }
            _ => self.segments.push_back(Segment::File {
                file: Arc::clone(&spool.file),
                offset: start,
                left: bytes.len() as u64,
                ours: true,
            }),
        }
        Ok(())
    }

    /// `length` bytes of a file of the application, from `offset`.
    pub fn push_file(&mut self, file: File, offset: u64, length: u64) {
        if length > 0 {
            self.segments.push_back(Segment::File { file: Arc::new(file), offset, left: length, ours: false });
            self.left += length;
            self.left_in_files += length;
        }
    }

    /// Moves up to `most` bytes to the end of `into`.
    ///
    /// # Errors
    /// When a file cannot be read, or turned out shorter than it was said to be.
    pub fn take(&mut self, into: &mut Vec<u8>, most: usize) -> io::Result<()> {
        let mut wanted = most;
        while wanted > 0 {
            let Some(segment) = self.segments.front_mut() else { break };
            let (count, finished) = match segment {
                Segment::Memory { bytes, sent } => {
                    let count = wanted.min(bytes.len() - *sent);
                    into.extend_from_slice(&bytes[*sent..*sent + count]);
                    *sent += count;
                    self.in_memory -= count;
                    (count, *sent == bytes.len())
                }
                Segment::File { file, offset, left, ours } => {
                    let count = usize::try_from(*left).map_or(wanted, |left| left.min(wanted));
                    let at = into.len();
                    into.resize(at + count, 0);
                    file.read_exact_at(&mut into[at..], *offset)?;
                    *offset += count as u64;
                    *left -= count as u64;
                    if !*ours {
                        self.left_in_files -= count as u64;
                    }
                    (count, *left == 0)
                }
            };
            wanted -= count;
            self.left -= count as u64;
            if finished {
                self.segments.pop_front();
            }
        }
        if self.left == 0 {
            self.spool = None;
        }
        Ok(())
    }

    /// Sends until all is gone, the socket takes no more, or the budget is used up. Without TLS.
    ///
    /// # Errors
    /// When the connection is broken, or a file turned out shorter than it was said to be.
    pub fn deliver(&mut self, to: BorrowedFd<'_>) -> io::Result<Progress> {
        let mut moved = 0;
        // What is left of an alert, after which TLS is over.
        if let Some(progress) = self.deliver_sealed_bytes(to, &mut moved)? {
            return Ok(progress);
        }
        while let Some(segment) = self.segments.front_mut() {
            let sent = match segment {
                Segment::Memory { bytes, sent } => {
                    socket::send(to, &bytes[*sent..bytes.len().min(*sent + PIECE)], false)
                }
                Segment::File { file, offset, left, .. } => {
                    match socket::send_file(to, file.as_fd(), *offset, (*left).min(PIECE as u64)) {
                        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                        other => other,
                    }
                }
            };
            let count = match sent {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Progress { moved: moved > 0, drained: false, more: false });
                }
                Err(error) => return Err(error),
            };
            moved += count;
            self.left -= count as u64;
            let finished = match segment {
                Segment::Memory { bytes, sent } => {
                    *sent += count;
                    self.in_memory -= count;
                    *sent == bytes.len()
                }
                Segment::File { offset, left, ours, .. } => {
                    *offset += count as u64;
                    *left -= count as u64;
                    if !*ours {
                        self.left_in_files -= count as u64;
                    }
                    *left == 0
                }
            };
            if finished {
                self.segments.pop_front();
            }
            if moved >= BUDGET && self.left > 0 {
                return Ok(Progress { moved: true, drained: false, more: true });
            }
        }
        self.spool = None;
        Ok(Progress { moved: moved > 0, drained: true, more: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    /// Delivers all to a reader that keeps up only when the socket is full.
    fn delivered(outbox: &mut Outbox) -> Vec<u8> {
        let (sender, mut reader) = UnixStream::pair().unwrap();
        sender.set_nonblocking(true).unwrap();
        reader.set_nonblocking(true).unwrap();
        let mut all = Vec::new();
        loop {
            let drained = outbox.deliver(sender.as_fd()).unwrap().drained;
            // The end of what is there now, not of the stream.
            let _ = reader.read_to_end(&mut all);
            if drained {
                return all;
            }
        }
    }

    #[test]
    fn order_is_kept_across_memory_spool_and_files() {
        let folder = std::env::temp_dir();
        let room = Room { memory: 1000, folder: &folder };
        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        for round in 0u8..200 {
            let piece = vec![round; 37 * usize::from(round)];
            expected.extend_from_slice(&piece);
            outbox.push(&piece, room).unwrap();
            if round % 50 == 7 {
                let mut file = tempfile::unnamed(&folder).unwrap();
                file.write_all(b"not this|but this|not this").unwrap();
                outbox.push_file(file, 9, 8);
                expected.extend_from_slice(b"but this");
            }
        }
        assert_eq!(outbox.len(), expected.len() as u64);
        assert!(outbox.in_memory <= 1000, "memory is bounded");
        assert_eq!(delivered(&mut outbox), expected);
        assert!(outbox.is_empty());
    }

    #[test]
    fn neither_memory_nor_disk_grows_with_what_was_delivered_already() {
        let folder = std::env::temp_dir();
        for memory in [1 << 20, 0] {
            let room = Room { memory, folder: &folder };
            let (sender, mut reader) = UnixStream::pair().unwrap();
            sender.set_nonblocking(true).unwrap();
            let mut outbox = Outbox::default();
            // More than the socket takes, so that the client is behind from now on and stays so.
            outbox.push(&vec![7; 700_000], room).unwrap();
            outbox.deliver(sender.as_fd()).unwrap();
            let mut piece = vec![7; 50_000];
            for _ in 0..3 * SPOOL_FILE / 50_000 {
                outbox.push(&piece, room).unwrap();
                reader.read_exact(&mut piece).unwrap();
                assert!(!outbox.deliver(sender.as_fd()).unwrap().drained);
            }
            let held: usize = outbox
                .segments
                .iter()
                .map(|segment| match segment {
                    Segment::Memory { bytes, .. } => bytes.capacity(),
                    Segment::File { .. } => 0,
                })
                .sum();
            assert!(held < 4 << 20, "{held} bytes of memory for {} to deliver", outbox.len());
            let disk = outbox.spool.as_ref().map_or(0, |spool| spool.end);
            assert!(disk <= SPOOL_FILE + 50_000, "{disk} bytes in one file");
            assert!(outbox.segments.len() <= 2, "a file that was delivered is let go of");
        }
    }

    #[test]
    fn what_is_taken_out_is_what_was_put_in() {
        let folder = std::env::temp_dir();
        let room = Room { memory: 1000, folder: &folder };
        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        for round in 0u8..50 {
            let piece = vec![round; 31 * usize::from(round)];
            expected.extend_from_slice(&piece);
            outbox.push(&piece, room).unwrap();
        }
        let mut file = tempfile::unnamed(&folder).unwrap();
        file.write_all(b"not this|but this").unwrap();
        outbox.push_file(file, 9, 8);
        expected.extend_from_slice(b"but this");
        let mut all = Vec::new();
        for most in (1..2000).cycle() {
            let mut taken = Vec::new();
            outbox.take(&mut taken, most).unwrap();
            assert!(taken.len() <= most && taken.is_empty() == outbox_was_empty(&expected, &all));
            if taken.is_empty() {
                break;
            }
            all.extend_from_slice(&taken);
            assert_eq!(outbox.len() as usize, expected.len() - all.len());
        }
        assert_eq!(all, expected);
        assert_eq!((outbox.in_memory, outbox.kept()), (0, 0));
    }

    fn outbox_was_empty(expected: &[u8], all: &[u8]) -> bool {
        expected.len() == all.len()
    }

    #[test]
    fn a_file_that_shrank_is_an_error() {
        let mut outbox = Outbox::default();
        let mut file = tempfile::unnamed(&std::env::temp_dir()).unwrap();
        file.write_all(b"short").unwrap();
        outbox.push_file(file, 0, 100);
        let (sender, _reader) = UnixStream::pair().unwrap();
        let error = outbox.deliver(sender.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
