//! The content of a request, collected before the application is called: in memory up to a limit, then in a file.

use crate::sys::tempfile;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;

/// The whole content of a request, without its transfer coding.
#[derive(Debug)]
pub enum Body {
    Empty,
    Memory(Vec<u8>),
    /// An unnamed temporary file, positioned at its start, and its length in bytes.
    Spooled(File, u64),
}

impl Body {
    /// In bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Spooled(_, length) => *length,
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Takes content as it arrives.
pub(crate) struct Collector {
    memory: Vec<u8>,
    file: Option<File>,
    length: u64,
}

impl Collector {
    /// `expected` is what the peer declared: memory is reserved for it only as far as it may stay in memory.
    pub fn new(expected: u64, memory_limit: usize) -> Self {
        let reserve =
            usize::try_from(expected).map_or(0, |expected| if expected <= memory_limit { expected } else { 0 });
        Self { memory: Vec::with_capacity(reserve), file: None, length: 0 }
    }

    /// # Errors
    /// When the temporary file cannot be made or written.
    pub fn push(&mut self, bytes: &[u8], memory_limit: usize, folder: &Path) -> io::Result<()> {
        self.length += bytes.len() as u64;
        if self.file.is_none() {
            if self.memory.len() + bytes.len() <= memory_limit {
                self.memory.extend_from_slice(bytes);
                return Ok(());
            }
            let mut file = tempfile::unnamed(folder)?;
            file.write_all(&std::mem::take(&mut self.memory))?;
            self.file = Some(file);
        }
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }

    /// # Errors
    /// When the temporary file cannot be rewound.
    pub fn finish(self) -> io::Result<Body> {
        Ok(match self.file {
            Some(mut file) => {
                file.rewind()?;
                Body::Spooled(file, self.length)
            }
            None if self.length == 0 => Body::Empty,
            None => Body::Memory(self.memory),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn moves_to_a_file_beyond_the_limit_and_loses_nothing() {
        let folder = std::env::temp_dir();
        for size in [0usize, 1, 99, 100, 101, 1000] {
            let all: Vec<u8> = (0..size).map(|number| u8::try_from(number % 251).unwrap()).collect();
            let mut collector = Collector::new(size as u64, 100);
            for piece in all.chunks(30) {
                collector.push(piece, 100, &folder).unwrap();
            }
            let body = collector.finish().unwrap();
            assert_eq!(body.len(), size as u64);
            assert_eq!(matches!(body, Body::Spooled(..)), size > 100, "{size}");
            let back = match body {
                Body::Empty => Vec::new(),
                Body::Memory(bytes) => bytes,
                Body::Spooled(mut file, _) => {
                    let mut bytes = Vec::new();
                    file.read_to_end(&mut bytes).unwrap();
                    bytes
                }
            };
            assert_eq!(back, all);
        }
    }

    #[test]
    fn a_declared_length_reserves_no_more_than_the_limit() {
        assert!(Collector::new(u64::MAX, 65536).memory.capacity() <= 65536);
        assert!(Collector::new(1 << 40, 65536).memory.capacity() <= 65536);
    }
}
