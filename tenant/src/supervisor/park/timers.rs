//! What is due next in a tenant whose processes are frozen: their timers, and the limits of what they wait for.
//!
//! Timers of timerfd_create(2) and sleeps are exact. Of a wait whose beginning the kernel does not tell, the limit counts
//! from the beginning of the process where that can be it, else from now. POSIX timers do not tell when they are due: a
//! tenant with one is looked after each minute. What is in a tenant's memory is its own to say: it can be woken often by
//! that, or late, and that is all.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use super::waits::{Call, Clock, Limit, Wait, bytes_of, is_calendar, offset_of, time_of, timer_of, wait_of};

/// A shorter limit of a wait for something else is a habit of an event loop.
const HABIT: Duration = Duration::from_secs(10);
/// How often a tenant has to run where it cannot be told when.
const UNTOLD: Duration = Duration::from_secs(60);
/// Most tasks and open files that are looked at; of more it cannot be told either.
const MOST: usize = 16_384;

/// What is due only then is no timer.
const NEVER: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
/// Most waits whose rest is corrected.
const MOST_RESTS: usize = 256;

/// What is remembered of a task from one look to the next.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The system call that it was in.
    number: i64,
    /// Whether its limit was one of an event loop.
    was_short: bool,
}

/// The rest of a wait that counts only while its task is running: a select(2) that a freeze has interrupted begins anew with
/// what the kernel has written back.
#[derive(Debug)]
struct Rest {
    /// The memory of the task.
    memory: File,
    at: u64,
    left: Duration,
    /// Nanoseconds in the smaller unit of the structure there.
    unit: u32,
}

/// Finds what is due next, and remembers what it has to know for that.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Timers {
    tasks: BTreeMap<i32, Known>,
    /// The timers that were due and that no process has read of: process and descriptor.
    overdue: BTreeSet<(i32, i32)>,
    /// What stands still with the tenant, since then.
    rests: Vec<Rest>,
    since: Option<Instant>,
    /// What a tenant that is stopped would miss.
    missed: Missed,
}

/// What a tenant would miss that is stopped and boots again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::supervisor) struct Missed {
    /// How long until the first timer of init's that goes by the calendar.
    pub(in crate::supervisor) calendar: Option<Duration>,
    /// Whether a process besides init sleeps, or has a timer that goes by the calendar: it would not go on there.
    pub(in crate::supervisor) sleeper: bool,
}

/// One look at processes.
struct Look<'a> {
    known: &'a Timers,
    next: Timers,
    earliest: Option<Duration>,
    seen: usize,
    offsets: String,
    /// The process that is looked at, and init.
    pid: i32,
    init: i32,
}

impl Timers {
    /// How long until the first of what these processes, which are frozen, wait for is due; none where they wait for
    /// nothing of that kind. `init` is one of them.
    pub(in crate::supervisor) fn earliest(&mut self, pids: &BTreeSet<i32>, init: i32) -> Option<Duration> {
        let offsets = fs::read_to_string(format!("/proc/{init}/timens_offsets")).unwrap_or_default();
        let next = Self { since: Some(Instant::now()), ..Self::default() };
        let mut look = Look { known: self, next, earliest: None, seen: 0, offsets, pid: init, init };
        for pid in pids {
            look.pid = *pid;
            // One that has ended meanwhile waits for nothing.
            let _ = look.descriptors(*pid);
            let _ = look.tasks(*pid);
            if has_posix_timer(*pid) {
                look.due(UNTOLD);
                look.next.missed.sleeper |= *pid != init;
            }
        }
        if look.seen > MOST {
            look.due(UNTOLD);
        }
        let (earliest, next) = (look.earliest, look.next);
        *self = next;
        earliest
    }

    /// What it would miss, as the last look has found it. Timers that count from a boot or from what happened since are not
    /// among that: they begin anew with each boot.
    pub(in crate::supervisor) fn missed(&self) -> Missed {
        self.missed
    }

    /// Takes the time for which the tenant stood still from what counts only while it is running. It is frozen yet.
    pub(in crate::supervisor) fn catch_up(&mut self, now: Instant) {
        let Some(since) = self.since.take() else { return };
        for rest in self.rests.drain(..) {
            let left = rest.left.saturating_sub(now.saturating_duration_since(since));
            // One that has been killed waits no more.
            let _ = rest.memory.write_all_at(&bytes_of(left, rest.unit), rest.at);
        }
    }
}

fn has_posix_timer(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/timers")).is_ok_and(|text| !text.is_empty())
}

/// The time of a clock, nanoseconds.
fn now(clock: Clock) -> i128 {
    let time = clock_gettime(match clock {
        Clock::Realtime => ClockId::Realtime,
        Clock::Monotonic => ClockId::Monotonic,
        Clock::Boottime => ClockId::Boottime,
    });
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

impl Look<'_> {
    fn due(&mut self, left: Duration) {
        self.earliest = self.earliest.into_iter().chain([left]).min();
    }

    fn descriptors(&mut self, pid: i32) -> io::Result<()> {
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            let entry = entry?;
            self.seen += 1;
            if self.seen > MOST {
                break;
            }
            if !fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == "anon_inode:[timerfd]") {
                continue;
            }
            let Some(fd) = entry.file_name().to_str().and_then(|fd| fd.parse::<i32>().ok()) else { continue };
            let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
            let timer = timer_of(&info);
            // The one by which a change of the clock is heard of is due in centuries.
            if let Some(left) = timer.filter(|left| is_calendar(&info) && *left < NEVER) {
                match self.pid == self.init {
                    true => {
                        self.next.missed.calendar = self.next.missed.calendar.into_iter().chain([left]).min()
                    }
                    false => self.next.missed.sleeper = true,
                }
            }
            match timer {
                Some(Duration::ZERO) => {
                    self.next.overdue.insert((pid, fd));
                    // One that no process has read of since the last look is not waited for.
                    if !self.known.overdue.contains(&(pid, fd)) {
                        self.due(Duration::ZERO);
                    }
                }
                Some(left) => self.due(left),
                None => {}
            }
        }
        Ok(())
    }

    fn tasks(&mut self, pid: i32) -> io::Result<()> {
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let entry = entry?;
            self.seen += 1;
            if self.seen > MOST {
                break;
            }
            let Some(tid) = entry.file_name().to_str().and_then(|tid| tid.parse::<i32>().ok()) else {
                continue;
            };
            let text = fs::read_to_string(entry.path().join("syscall")).unwrap_or_default();
            let Some(call) = Call::parse(&text) else { continue };
            self.task(pid, tid, call);
        }
        Ok(())
    }

    fn task(&mut self, pid: i32, tid: i32, call: Call) {
        let known = self.known.tasks.get(&tid).copied();
        let number = match known {
            Some(known) if call.is_restart() => known.number,
            None if call.is_restart() => return self.due(UNTOLD),
            _ => call.number,
        };
        let wait = wait_of(&Call { number, ..call });
        let left = wait.and_then(|wait| Some((wait, self.left(pid, tid, wait)?)));
        self.next.missed.sleeper |= pid != self.init && left.is_some_and(|(wait, _)| !wait.is_habit);
        if let Some((wait, left)) = left {
            self.stands_still(tid, wait, left);
        }
        let is_short = left.is_some_and(|(wait, left)| wait.is_habit && left < HABIT);
        self.next.tasks.insert(tid, Known { number, was_short: is_short });
        // The rest of a long wait can be short once; that of a habit is each time.
        let is_habit = match left {
            Some((Wait { limit: Limit::Whole(_) | Limit::WholeAt(_), .. }, _)) => is_short,
            _ => is_short && known.is_some_and(|known| known.was_short),
        };
        if let (Some((_, left)), false) = (left, is_habit) {
            self.due(left);
        }
    }

    /// Remembers a wait that counts only while its task is running.
    fn stands_still(&mut self, tid: i32, wait: Wait, left: Duration) {
        let (at, unit) = match wait.limit {
            Limit::RestAt(at) if wait.is_habit => (at, 1),
            Limit::MicrosAt(at) => (at, 1000),
            _ => return,
        };
        if self.next.rests.len() < MOST_RESTS
            && let Ok(memory) = File::options().write(true).open(format!("/proc/{tid}/mem"))
        {
            self.next.rests.push(Rest { memory, at, left, unit });
        }
    }

    /// How long a wait will be yet.
    fn left(&self, pid: i32, tid: i32, wait: Wait) -> Option<Duration> {
        let memory = |at: u64, unit: u32| {
            let mut bytes = [0; 16];
            File::open(format!("/proc/{tid}/mem")).ok()?.read_exact_at(&mut bytes, at).ok()?;
            time_of(bytes, unit)
        };
        match wait.limit {
            Limit::Whole(whole) => Some(since_its_beginning(pid, whole)),
            Limit::WholeAt(at) => Some(since_its_beginning(pid, memory(at, 1)?)),
            Limit::RestAt(at) => memory(at, 1),
            Limit::MicrosAt(at) => memory(at, 1000),
            Limit::MomentAt(at, clock) => {
                let moment = memory(at, 1)?;
                let now = now(clock) + offset_of(&self.offsets, clock);
                let left = moment.as_nanos().min(i64::MAX as u128) as i128 - now;
                Some(Duration::from_nanos(u64::try_from(left).unwrap_or(0)))
            }
        }
    }
}

/// How long a wait of a process will be at least: it has begun with the process, or later. Where that cannot be it, it may
/// just have begun.
fn since_its_beginning(pid: i32, whole: Duration) -> Duration {
    let age = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let ticks = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse::<u64>().ok()?;
        let began = Duration::from_millis(ticks.checked_mul(1000)? / rustix::param::clock_ticks_per_second());
        let now = Duration::from_nanos(u64::try_from(now(Clock::Boottime)).ok()?);
        Some(now.saturating_sub(began))
    };
    match age() {
        Some(age) if age < whole => whole - age,
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Child, Command},
        thread::sleep,
    };

    use super::*;

    /// A process that sleeps, and has begun to.
    fn sleeper(seconds: &str) -> Child {
        let child = Command::new("sleep").arg(seconds).spawn().unwrap();
        let path = format!("/proc/{}/syscall", child.id());
        let deadline = Instant::now() + Duration::from_secs(10);
        let sleeps = || {
            let call = Call::parse(&fs::read_to_string(&path).unwrap_or_default())?;
            wait_of(&call).filter(|wait| !wait.is_habit)
        };
        while sleeps().is_none() {
            assert!(Instant::now() < deadline, "it does not sleep");
            sleep(Duration::from_millis(1));
        }
        child
    }

    #[test]
    fn the_first_of_all_sleeps_is_found() {
        let mut children = ["3000", "500", "7000"].map(sleeper);
        let pids = children.iter().map(|child| child.id() as i32).collect();
        let me = std::process::id() as i32;
        let left = Timers::default().earliest(&pids, me).unwrap();
        assert!(left > Duration::from_secs(480) && left <= Duration::from_secs(500), "{left:?}");
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(Timers::default().earliest(&pids, me), None, "they have ended");
    }
}
