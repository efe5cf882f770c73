//! Out-of-memory kills among a tenant's processes, see `memory.events` in the kernel's
//! `Documentation/admin-guide/cgroup-v2.rst`.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

/// A tenant that runs out of memory again and again is told of this often.
const INTERVAL: Duration = Duration::from_secs(10);

/// The kills in a unit's cgroup and below.
#[derive(Debug)]
pub(super) struct MemoryEvents {
    file: File,
    kills: u64,
    muted_until: Option<Instant>,
}

impl MemoryEvents {
    /// Those of a unit's cgroup v2; none where it has no memory controller there.
    pub(super) fn open(unit: &Path) -> Option<Self> {
        let mut events =
            Self { file: File::open(unit.join("memory.events")).ok()?, kills: 0, muted_until: None };
        events.kills = events.read().ok()?;
        Some(events)
    }

    /// What to poll for POLLPRI, unless it is not to be told of at the moment.
    pub(super) fn source(&self) -> Option<&File> {
        self.muted_until.is_none().then_some(&self.file)
    }

    /// When it may be told of again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.muted_until
    }

    /// Notes the time.
    pub(super) fn tick(&mut self, now: Instant) {
        self.muted_until = self.muted_until.filter(|until| now < *until);
    }

    /// How many processes were killed since this was asked last.
    pub(super) fn take(&mut self, now: Instant) -> u64 {
        let kills = self.read().unwrap_or(self.kills);
        let new = kills.saturating_sub(self.kills);
        self.kills = kills;
        self.muted_until = (new > 0).then_some(now + INTERVAL);
        new
    }

    fn read(&self) -> io::Result<u64> {
        let mut bytes = [0; 512];
        let length = self.file.read_at(&mut bytes, 0)?;
        Ok(oom_kills(&String::from_utf8_lossy(&bytes[..length])))
    }
}

fn oom_kills(text: &str) -> u64 {
    let counts = text.lines().filter_map(|line| line.strip_prefix("oom_kill "));
    counts.filter_map(|count| count.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_told_once_and_then_not_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.events");
        let write = |kills: u32| {
            let text = format!("low 0\nhigh 0\nmax 7\noom 3\noom_kill {kills}\noom_group_kill 0\n");
            std::fs::write(&path, text).unwrap();
        };
        assert!(MemoryEvents::open(dir.path()).is_none());
        write(2);
        let now = Instant::now();
        let mut events = MemoryEvents::open(dir.path()).unwrap();
        assert_eq!(events.take(now), 0);
        assert!(events.source().is_some());
        write(5);
        assert_eq!(events.take(now), 3);
        assert!(events.source().is_none());
        events.tick(now + INTERVAL);
        assert!(events.source().is_some() && events.take(now) == 0);
    }
}
