//! How many processes of the tenant the kernel has killed because its memory was used up.
//!
//! With cgroup v2 the payload's `memory.events` says so and can be polled, see "Memory Interface Files" in
//! `Documentation/admin-guide/cgroup-v2.rst`. With v1 the unit's `memory.oom_control` counts, and an eventfd tells
//! that a kill is about to happen, see "OOM Control" in `Documentation/admin-guide/cgroup-v1/memory.rst`.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use rustix::event::{EventfdFlags, PollFlags, eventfd};

/// Kills that follow each other are told of together.
const TOGETHER: Duration = Duration::from_secs(5);
/// The kernel has killed within this time after it told that it would.
const SETTLED: Duration = Duration::from_millis(200);

/// The file of the unit's cgroup v1 that counts.
pub(in crate::supervisor) const V1_FILE: &str = "memory.oom_control";

/// The counter, and what tells that it changes.
#[derive(Debug)]
pub(in crate::supervisor) struct MemoryEvents {
    /// A file with a line `oom_kill N`.
    counter: File,
    /// Where the counter itself cannot be polled: what can.
    event: Option<OwnedFd>,
    /// What it said when this boot began.
    base: u64,
    muted_until: Option<Instant>,
    /// When to look without being told.
    look_at: Option<Instant>,
}

impl MemoryEvents {
    /// Those of a payload, or of its unit's cgroup v1; none where neither counts.
    pub(in crate::supervisor) fn of(payload: &Path, unit_v1: Option<&Path>) -> Option<Self> {
        let (counter, event) = match File::open(payload.join("memory.events")) {
            Ok(counter) => (counter, None),
            Err(_) => {
                let dir = unit_v1?;
                let counter = File::open(dir.join(V1_FILE)).ok()?;
                let event = listen(dir, &counter);
                if let Err(error) = &event {
                    log::warn!(
                        "cannot watch for OOM kills, so they are reported only when the tenant ends: {error}"
                    );
                }
                (counter, event.ok())
            }
        };
        let mut events = Self { counter, event, base: 0, muted_until: None, look_at: None };
        // Only what comes after it was read is told.
        events.base = events.read().ok()?;
        Some(events)
    }

    fn read(&mut self) -> io::Result<u64> {
        let mut text = String::new();
        self.counter.rewind()?;
        self.counter.read_to_string(&mut text)?;
        Ok(oom_kills(&text))
    }

    /// How many were killed since this boot began. What follows soon is told together.
    ///
    /// # Errors
    /// Its cgroup is gone.
    pub(super) fn count(&mut self, now: Instant) -> io::Result<u64> {
        let count = self.read()?;
        self.muted_until = Some(now + TOGETHER);
        Ok(count.saturating_sub(self.base))
    }

    /// When they are looked at again; none is at once.
    pub(in crate::supervisor) fn muted_until(&self, now: Instant) -> Option<Instant> {
        self.muted_until.filter(|until| *until > now)
    }

    /// When something is due.
    pub(in crate::supervisor) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.muted_until(now).into_iter().chain(self.look_at).min()
    }

    /// What to poll for.
    pub(in crate::supervisor) fn interest(&self) -> PollFlags {
        if self.event.is_some() { PollFlags::IN } else { PollFlags::PRI }
    }

    /// The kernel has told something. Whether the counter says it already.
    pub(super) fn is_told(&mut self, now: Instant) -> bool {
        let Some(event) = &self.event else { return true };
        // How often it happened says the counter.
        let _ = rustix::io::read(event, &mut [0; 8]);
        self.look_at = Some(now + SETTLED);
        false
    }

    /// Whether it is time to look without being told.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        self.look_at.take_if(|at| now >= *at).is_some()
    }
}

impl AsFd for MemoryEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_ref().map_or(self.counter.as_fd(), |event| event.as_fd())
    }
}

/// An eventfd that becomes readable when the kernel finds the memory of a v1 cgroup used up.
fn listen(dir: &Path, control: &File) -> io::Result<OwnedFd> {
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    fs::write(dir.join("cgroup.event_control"), format!("{} {}", event.as_raw_fd(), control.as_raw_fd()))?;
    Ok(event)
}

fn oom_kills(text: &str) -> u64 {
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
    count.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_and_nothing_else() {
        let text = "low 0\nhigh 3\nmax 70\noom 2\noom_kill 5\noom_group_kill 1\n";
        assert_eq!(oom_kills(text), 5);
        assert_eq!(oom_kills("oom 2\n"), 0);
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
    }

    #[test]
    fn kills_before_this_boot_are_not_counted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("memory.events");
        fs::write(&file, "oom 1\noom_kill 4\n").unwrap();
        let mut events = MemoryEvents::of(dir.path(), None).unwrap();
        assert_eq!((events.base, events.interest()), (4, PollFlags::PRI));
        fs::write(&file, "oom 1\noom_kill 6\n").unwrap();
        assert_eq!(events.read().unwrap() - events.base, 2);
        assert!(MemoryEvents::of(&dir.path().join("none"), None).is_none());
    }
}
