//! Whether a tenant is idle, pure: what was seen of it, and since when that is nothing.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// CPU time that counts as nothing, of any time between two looks, and the share of that time in addition: what a
/// system's own processes use that only wait.
const CPU_FREE: Duration = Duration::from_millis(20);
const CPU_SHARE: u32 = 200;
/// The same of what is read from and written to block devices, bytes.
const IO_FREE: u64 = 1 << 20;
/// How often it is looked at in the time after which it is idle, and the bounds of that.
const LOOKS: u32 = 4;
const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(60);

/// Why a tenant is not idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Busy {
    /// A process looks at one of its consoles.
    Viewer,
    /// A process has logged in, or a command runs that came from outside.
    Session,
    /// Its processes compute.
    Cpu,
    /// They read or write.
    Io,
    /// One waits for a disk.
    Disk,
    /// It is connected with something outside.
    Connection,
    /// Something is due so soon that parking it is not worth while.
    Timer,
    /// An admin has frozen it.
    Frozen,
    /// It has been looked at for the first time.
    New,
    /// Its processes do not come to rest.
    Restless,
    /// It has more processes than are looked at.
    Crowded,
    /// What it does cannot be told.
    Unknown,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "a client is attached to one of its consoles",
            Self::Session => "a user or a command is in it",
            Self::Cpu => "its processes use CPU time",
            Self::Io => "its processes read or write",
            Self::Disk => "a process waits for a disk",
            Self::Connection => "it has an open connection",
            Self::Timer => "a timer is due soon",
            Self::Frozen => "it is frozen",
            Self::New => "it has not been observed for long enough",
            Self::Restless => "its processes did not freeze in time",
            Self::Crowded => "it has too many processes",
            Self::Unknown => "its processes cannot be inspected",
        })
    }
}

/// What a tenant has used since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::supervisor) struct Counters {
    /// CPU time, microseconds.
    pub(in crate::supervisor) cpu_us: u64,
    /// Bytes read from and written to block devices; none where that is not counted.
    pub(in crate::supervisor) io: Option<u64>,
}

impl Counters {
    /// Whether it was used between an earlier look and this one.
    pub(in crate::supervisor) fn busy_since(&self, earlier: &Self, window: Duration) -> Option<Busy> {
        let cpu = Duration::from_micros(self.cpu_us.saturating_sub(earlier.cpu_us));
        if cpu > CPU_FREE + window / CPU_SHARE {
            return Some(Busy::Cpu);
        }
        let (now, then) = (self.io?, earlier.io?);
        (now.saturating_sub(then) > IO_FREE).then_some(Busy::Io)
    }
}

/// Looks at a tenant from time to time, and knows since when it is idle.
#[derive(Clone, Debug)]
pub(in crate::supervisor) struct Watch {
    after: Duration,
    next: Instant,
    last: Option<(Instant, Counters)>,
    since: Option<Instant>,
}

impl Watch {
    /// One that is idle when it has done nothing for so long.
    pub(in crate::supervisor) fn new(after: Duration, now: Instant) -> Self {
        let mut watch = Self { after, next: now, last: None, since: None };
        watch.next = now + watch.interval();
        watch
    }

    fn interval(&self) -> Duration {
        (self.after / LOOKS).clamp(OFTEN, SELDOM)
    }

    /// When it is to be looked at next.
    pub(in crate::supervisor) fn next(&self) -> Instant {
        self.next
    }

    /// Something happened: it is not idle before that long from now.
    pub(in crate::supervisor) fn stir(&mut self, now: Instant) {
        self.since = None;
        self.last = None;
        self.next = now + self.interval();
    }

    /// What its counters say since the last look.
    pub(in crate::supervisor) fn compare(&mut self, counters: Counters, now: Instant) -> Option<Busy> {
        let last = self.last.replace((now, counters));
        match last {
            Some((then, earlier)) => counters.busy_since(&earlier, now - then),
            None => Some(Busy::New),
        }
    }

    /// What a look has found; whether it has been idle for long enough by now.
    pub(in crate::supervisor) fn judge(&mut self, busy: Option<Busy>, now: Instant) -> bool {
        self.next = now + self.interval();
        if busy.is_some() {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        now - since >= self.after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn used(cpu_us: u64) -> Counters {
        Counters { cpu_us, io: None }
    }

    #[test]
    fn a_little_is_nothing_and_more_is_not() {
        let window = 60 * SECOND;
        for (cpu_ms, io, busy) in [
            (0, None, None),
            (300, Some(0), None),
            (330, None, Some(Busy::Cpu)),
            (0, Some(1 << 20), None),
            (0, Some((1 << 20) + 1), Some(Busy::Io)),
            (330, Some(1 << 30), Some(Busy::Cpu)),
        ] {
            let before = Counters { cpu_us: 7_000_000, io: io.map(|_| 5) };
            let after = Counters { cpu_us: 7_000_000 + cpu_ms * 1000, io: io.map(|io| io + 5) };
            assert_eq!(after.busy_since(&before, window), busy, "{cpu_ms} ms, {io:?}");
        }
        assert_eq!(used(1_000).busy_since(&used(9_000), SECOND), None, "another boot began at 0");
    }

    #[test]
    fn it_is_idle_after_its_whole_time_and_any_stir_begins_that_again() {
        let begin = Instant::now();
        let at = |seconds| begin + seconds * SECOND;
        let mut watch = Watch::new(8 * SECOND, begin);
        assert_eq!(watch.next(), at(2));
        let mut look = |seconds, busy| watch.judge(busy, at(seconds));
        assert!(!look(2, Some(Busy::New)));
        assert!(!look(4, None) && !look(6, None));
        assert!(!look(8, Some(Busy::Connection)));
        assert!(!look(10, None) && !look(12, None) && !look(14, None) && !look(16, None));
        assert!(look(18, None));
        watch.stir(at(20));
        assert_eq!(watch.next(), at(22));
        assert_eq!(watch.compare(used(1), at(22)), Some(Busy::New));
        assert!(!watch.judge(None, at(24)) && watch.judge(None, at(32)));
    }

    #[test]
    fn looks_are_neither_rare_nor_frequent() {
        let now = Instant::now();
        for (after, interval) in [(2, 1), (40, 10), (600, 60), (86_400, 60)] {
            assert_eq!(Watch::new(after * SECOND, now).next() - now, interval * SECOND);
        }
    }
}
