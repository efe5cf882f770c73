//! Giving the memory of a frozen tenant back, where the host has a controller of memory.
//!
//! With cgroup v2 a part at a time (`memory.reclaim`), so that a packet that comes meanwhile does not wait; with v1 at
//! once (`memory.force_empty`). See `Documentation/admin-guide/cgroup-v2.rst`. Without a controller of memory the
//! kernel takes it when others need it.

use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
    time::{Duration, Instant},
};

/// A tenant that is needed again at once keeps what it has.
const LATER: Duration = Duration::from_secs(2);
/// How much is asked for at a time.
const PART: &str = "8M";
/// Most parts.
const PARTS: u32 = 4096;

/// What of a tenant's memory is still to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) struct Reclaim {
    next: Instant,
    left: u32,
}

impl Reclaim {
    /// All of it, of a tenant that was parked now.
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now + LATER, left: PARTS }
    }

    /// When there is more to do.
    pub(in crate::supervisor) fn at(&self) -> Option<Instant> {
        (self.left > 0).then_some(self.next)
    }

    /// Does a part of it, if that is due.
    pub(in crate::supervisor) fn tick(&mut self, payload: &Path, v1: Option<&Path>, now: Instant) {
        if self.at().is_none_or(|at| now < at) {
            return;
        }
        self.left = match write(&payload.join("memory.reclaim"), PART) {
            Ok(()) => self.left - 1,
            // EAGAIN: there is no more that can be given back.
            Err(error) if error.kind() != io::ErrorKind::NotFound => 0,
            Err(_) => {
                if let Some(v1) = v1 {
                    let _ = write(&v1.join("memory.force_empty"), "0");
                }
                0
            }
        };
    }
}

/// Writes to a file that is there.
fn write(file: &Path, text: &str) -> io::Result<()> {
    File::options().write(true).open(file)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn it_begins_later_and_ends_where_there_is_nothing_to_write_to() {
        let dir = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let mut reclaim = Reclaim::new(now);
        reclaim.tick(dir.path(), None, now);
        assert_eq!(reclaim.at(), Some(now + LATER));
        fs::write(dir.path().join("memory.reclaim"), "").unwrap();
        reclaim.tick(dir.path(), None, now + LATER);
        assert_eq!(fs::read_to_string(dir.path().join("memory.reclaim")).unwrap(), PART);
        assert!(reclaim.at().is_some(), "there may be more");
        fs::remove_file(dir.path().join("memory.reclaim")).unwrap();
        let v1 = dir.path().join("v1");
        fs::create_dir(&v1).unwrap();
        fs::write(v1.join("memory.force_empty"), "").unwrap();
        reclaim.tick(dir.path(), Some(&v1), now + LATER);
        assert_eq!(fs::read_to_string(v1.join("memory.force_empty")).unwrap(), "0");
        assert_eq!(reclaim.at(), None);
    }
}
