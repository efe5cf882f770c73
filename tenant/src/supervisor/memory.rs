//! `memory.events` of the payload: how many processes the kernel has killed for want of memory, see "Memory
//! Interface Files" in `Documentation/admin-guide/cgroup-v2.rst`.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    time::{Duration, Instant},
};

use super::Supervisor;

/// Kills that follow each other are told of together.
const TOGETHER: Duration = Duration::from_secs(5);

/// The file, to be polled for `POLLPRI`.
#[derive(Debug)]
pub(super) struct MemoryEvents {
    file: File,
    muted_until: Option<Instant>,
}

impl MemoryEvents {
    /// Those of a cgroup; none where it has no memory controller of version 2.
    pub(super) fn of(cgroup: &Path) -> Option<Self> {
        let mut events = Self { file: File::open(cgroup.join("memory.events")).ok()?, muted_until: None };
        // Only what comes after it was read is told.
        events.oom_kills().ok()?;
        Some(events)
    }

    fn oom_kills(&mut self) -> io::Result<u64> {
        let mut text = String::new();
        self.file.rewind()?;
        self.file.read_to_string(&mut text)?;
        Ok(oom_kills(&text))
    }

    /// When they are looked at again; none is at once.
    pub(super) fn muted_until(&self, now: Instant) -> Option<Instant> {
        self.muted_until.filter(|until| *until > now)
    }
}

impl AsFd for MemoryEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn oom_kills(text: &str) -> u64 {
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
    count.unwrap_or(0)
}

impl Supervisor {
    /// Something of the tenant's memory has happened.
    pub(super) fn count_oom_kills(&mut self, now: Instant) {
        let Some(memory) = &mut self.memory else { return };
        let Ok(count) = memory.oom_kills() else {
            // Its cgroup is gone.
            self.memory = None;
            return;
        };
        memory.muted_until = Some(now + TOGETHER);
        let Some(state) = &mut self.state else { return };
        let before = state.oom_kills.unwrap_or(0);
        if count <= before {
            return;
        }
        state.oom_kills = Some(count);
        self.report_out_of_memory(count - before);
        self.publish();
        self.tell_status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_and_nothing_else() {
        let text = "low 0\nhigh 3\nmax 70\noom 2\noom_kill 5\noom_group_kill 1\n";
        assert_eq!(oom_kills(text), 5);
        assert_eq!(oom_kills("oom 2\n"), 0);
    }
}
