//! The file that tells others the arbiter's process id.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use asteri_server::sys::process::{self, Pid};

/// A file that holds our process id. Not removed on drop, because workers drop it too: see [`remove`](Self::remove).
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
}

/// Why there is no pid file.
#[derive(Debug)]
pub(super) enum PidFileError {
    /// The process that the file names is alive.
    Running(Pid),
    /// The file is there and holds something else than a process id.
    NotOurs,
    Failed(io::Error),
}

impl PidFile {
    /// Creates the file with its contents in one step, so that nobody ever reads half a number. One that names a dead process
    /// (or ourselves: after a crash in a container the id is likely to be the same) is replaced.
    pub fn create(path: &Path) -> Result<PidFile, PidFileError> {
        // The process may change its directory before the file is removed.
        let path = std::path::absolute(path).map_err(PidFileError::Failed)?;
        let own = std::process::id();
        let mut draft = path.clone().into_os_string();
        draft.push(format!(".{own}"));
        let draft = PathBuf::from(draft);
        let result = write_draft(&draft, own).and_then(|()| publish(&draft, &path));
        // After a failure to write it, too, nothing is to be left behind.
        let _ = fs::remove_file(&draft);
        result.map(|()| PidFile { path })
    }

    /// Removes the file if it still holds our id.
    pub fn remove(&self) {
        if read_pid(&self.path).is_ok_and(|pid| pid == Some(std::process::id() as Pid)) {
            // The directory may have become read-only; at the end there is nobody to tell.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn write_draft(draft: &Path, pid: u32) -> Result<(), PidFileError> {
    let mut file = File::create(draft).map_err(PidFileError::Failed)?;
    writeln!(file, "{pid}").map_err(PidFileError::Failed)
}

fn publish(draft: &Path, path: &Path) -> Result<(), PidFileError> {
    // Twice: a stale file is in the way at first. A second one can only come from somebody who starts just now.
    for _ in 0..2 {
        match fs::hard_link(draft, path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(PidFileError::Failed(error)),
        }
        match read_pid(path) {
            Ok(Some(pid)) if pid != std::process::id() as Pid && process::is_alive(pid) => {
                return Err(PidFileError::Running(pid));
            }
            Ok(Some(_)) => remove_stale(path)?,
            Ok(None) => return Err(PidFileError::NotOurs),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(PidFileError::Failed(error)),
        }
    }
    Err(PidFileError::Failed(io::ErrorKind::AlreadyExists.into()))
}

fn remove_stale(path: &Path) -> Result<(), PidFileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(PidFileError::Failed(error)),
        _ => Ok(()),
    }
}

/// The id in the file; `None` when it holds anything else. An empty file counts as stale (id 0, never alive): a
/// machine that lost its power leaves one.
fn read_pid(path: &Path) -> io::Result<Option<Pid>> {
    let text = fs::read_to_string(path)?;
    Ok(match text.trim() {
        "" => Some(0),
        number => number.parse().ok().filter(|&pid| pid > 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("asteri-pidfile-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn it_is_made_and_removed() {
        let room = room("made");
        let path = room.join("pid");
        let file = PidFile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        assert_eq!(fs::read_dir(&room).unwrap().count(), 1, "no draft is left");
        file.remove();
        assert!(!path.exists());
        fs::remove_dir_all(room).unwrap();
    }

    #[test]
    fn stale_ones_are_replaced() {
        let room = room("stale");
        let path = room.join("pid");
        let own = std::process::id().to_string();
        for stale in ["999999999\n", "", &own] {
            fs::write(&path, stale).unwrap();
            PidFile::create(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap().trim(), own);
        }
        fs::remove_dir_all(room).unwrap();
    }

    #[test]
    fn a_living_process_and_other_peoples_files_are_respected() {
        let room = room("respected");
        let path = room.join("pid");
        fs::write(&path, "1\n").unwrap();
        assert!(matches!(PidFile::create(&path), Err(PidFileError::Running(1))));
        fs::write(&path, "notes").unwrap();
        assert!(matches!(PidFile::create(&path), Err(PidFileError::NotOurs)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "notes");
        fs::remove_dir_all(room).unwrap();
    }

    #[test]
    fn a_successors_file_is_left_alone() {
        let room = room("successor");
        let path = room.join("pid");
        let file = PidFile::create(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        file.remove();
        assert!(path.exists());
        fs::remove_dir_all(room).unwrap();
    }
}
