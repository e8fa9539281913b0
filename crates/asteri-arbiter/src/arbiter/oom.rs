//! Whether the kernel's out-of-memory killer has struck in the control group that this process lives in.
//!
//! `SIGKILL` alone says nothing about who sent it. The kernel counts its own kills per control group (cgroup v2
//! `memory.events`, v1 `memory.oom_control`); a count that rose is evidence, anything else is a guess that is not made.

use std::fs;
use std::path::PathBuf;

#[derive(Debug)]
pub(super) struct OomWatch {
    file: Option<PathBuf>,
    seen: u64,
}

impl OomWatch {
    /// Finds the counter of this process; none is fine.
    pub fn new() -> OomWatch {
        let file = fs::read_to_string("/proc/self/cgroup").ok().and_then(|groups| counter_file(&groups));
        let mut watch = OomWatch { file, seen: 0 };
        watch.seen = watch.count().unwrap_or(0);
        watch
    }

    /// How many kills there were since the last question.
    pub fn new_kills(&mut self) -> u64 {
        let Some(count) = self.count() else { return 0 };
        let new = count.saturating_sub(self.seen);
        self.seen = count;
        new
    }

    fn count(&self) -> Option<u64> {
        oom_kills(&fs::read_to_string(self.file.as_ref()?).ok()?)
    }
}

/// The counter's path from the contents of `/proc/self/cgroup` (lines `ID:CONTROLLERS:PATH`; v2 has ID 0 and no
/// controllers). Inside a container the path may be that of the host, while the group is mounted as the root: both are tried.
fn counter_file(groups: &str) -> Option<PathBuf> {
    let lines = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        Some((parts.next()?, parts.next()?, parts.next()?.trim_start_matches('/')))
    });
    let candidates = lines.flat_map(|(id, controllers, path)| {
        let (root, name) = if id == "0" && controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.events")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            ("/sys/fs/cgroup/memory", "memory.oom_control")
        } else {
            return Vec::new();
        };
        vec![PathBuf::from(root).join(path).join(name), PathBuf::from(root).join(name)]
    });
    candidates.into_iter().find(|file| fs::read_to_string(file).is_ok_and(|text| oom_kills(&text).is_some()))
}

fn oom_kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_counter_are_read() {
        assert_eq!(oom_kills("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\n"), None);
    }

    #[test]
    fn a_group_without_a_counter_is_no_evidence() {
        assert_eq!(counter_file("0::/no/such/group/anywhere\nnonsense"), counter_file("0::/"));
        let mut watch = OomWatch { file: None, seen: 0 };
        assert_eq!(watch.new_kills(), 0);
    }
}
