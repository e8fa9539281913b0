//! Temporary files that have no name: nobody else can open them and nothing is left behind after a crash.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Opens an empty, unnamed file for reading and writing on the file system of `folder`.
///
/// # Errors
/// When the folder cannot be written to.
pub fn unnamed(folder: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(folder);
    match opened {
        Ok(file) => Ok(file),
        // Not every file system has O_TMPFILE (overlays of old kernels, some network ones).
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::ENOENT)) => {
            named_then_unlinked(folder)
        }
        Err(error) => Err(error),
    }
}

fn named_then_unlinked(folder: &Path) -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".asteri-{}-{number}", std::process::id()));
        match OpenOptions::new().read(true).write(true).mode(0o600).create_new(true).open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};

    #[test]
    fn leaves_nothing_in_the_folder() {
        let folder = std::env::temp_dir().join(format!("asteri-tempfile-test-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for mut file in [unnamed(&folder).unwrap(), named_then_unlinked(&folder).unwrap()] {
            file.write_all(b"bytes").unwrap();
            file.rewind().unwrap();
            let mut back = String::new();
            file.read_to_string(&mut back).unwrap();
            assert_eq!(back, "bytes");
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        std::fs::remove_dir(&folder).unwrap();
    }
}
