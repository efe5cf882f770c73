//! Whose turn it is to boot: many tenants that are started at once, with the host or by hand, boot a few at a
//! time.
//!
//! ```text
//! /run/tenantry/turns/PPPP-NAME.waiting     PPPP is 1000 less its priority: the first name is next
//! /run/tenantry/turns/PPPP-NAME.booting     until it is ready, or has had its turn for long enough
//! ```
//!
//! A file counts while the supervisor that made it holds its lock, see flock(2). So one that is killed holds
//! no process up, there is no server to ask, and no process hands out turns. See `docs/adr/0016-turns-to-boot.md`.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

use crate::{files::layout::Layout, kernel::KernelError, model::name::TenantName};

/// A tenant that boots for longer no longer keeps others from booting.
const LONGEST: Duration = Duration::from_secs(90);
/// Pressure is measured over at least this long, and at most [`STALE`].
const MEASURE: Duration = Duration::from_millis(50);
/// An older look at the pressure says nothing about now.
pub(super) const STALE: Duration = Duration::from_secs(2);
/// Share of the time that tasks may have to wait for CPU or disks where more tenants boot than there are CPUs.
const BUSY: f64 = 0.4;
/// With so many tenants that boot for each CPU pressure is not asked any more.
const MOST_PER_CPU: usize = 8;
/// The same where the kernel does not measure pressure.
const BLIND_PER_CPU: usize = 2;
/// So many of those in front are looked at, whether they still live.
const FRONT: usize = 8;

/// What is to be known for a decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueState {
    /// CPUs of the host.
    pub(super) cpus: usize,
    /// Tenants that boot.
    pub(super) booting: usize,
    /// Tenants that wait and come first.
    pub(super) before: usize,
    /// Share of the time that something waited for CPU or disks lately; none where it is not measured.
    pub(super) pressure: Option<f64>,
}

/// What a tenant does that wants to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It boots.
    Go,
    /// It looks again after this long.
    Wait(Duration),
}

/// As many boot as there are CPUs; more while the host has time for them, one after the other.
pub(super) fn decide(state: QueueState) -> Decision {
    let QueueState { cpus, booting, before, pressure } = state;
    let ahead = booting + before;
    let has_room = match pressure {
        _ if ahead < cpus => true,
        // One at a time: the others' load shows in the next measurement.
        Some(pressure) => before == 0 && booting < MOST_PER_CPU * cpus && pressure < BUSY,
        None => ahead < BLIND_PER_CPU * cpus,
    };
    if has_room {
        return Decision::Go;
    }
    // Who is far behind looks seldom: a thousand that wait cost next to nothing.
    let again = Duration::from_millis((before * 10 / cpus) as u64);
    Decision::Wait(again.clamp(MEASURE, Duration::from_secs(5)))
}

/// What `/proc/pressure/{cpu,io}` have counted, see `Documentation/accounting/psi.rst`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pressure {
    pub(super) at: Instant,
    cpu_us: u64,
    io_us: u64,
}

impl Pressure {
    /// None where the kernel does not measure it.
    pub(super) fn now() -> Option<Self> {
        let total = |of: &str| some_total(&fs::read_to_string(Path::new("/proc/pressure").join(of)).ok()?);
        Some(Self { at: Instant::now(), cpu_us: total("cpu")?, io_us: total("io")? })
    }

    /// The greater share of the time between two looks, 0 to 1.
    pub(super) fn since(&self, before: &Self) -> f64 {
        let took = (self.at - before.at).as_micros().max(1) as f64;
        let stalled =
            (self.cpu_us.saturating_sub(before.cpu_us)).max(self.io_us.saturating_sub(before.io_us));
        (stalled as f64 / took).min(1.0)
    }
}

/// The microseconds in `some … total=N`.
fn some_total(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    line.rsplit_once("total=")?.1.trim().parse().ok()
}

/// A place in the queue, and then the turn itself; given up when dropped.
#[derive(Debug)]
pub(in crate::supervisor) struct Turn {
    pub(super) path: PathBuf,
    _lock: File,
    /// When others are no longer held up.
    until: Instant,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // A file that stays counts no more, for its lock goes; the next one who looks takes it away.
        if let Err(error) = remove(&self.path) {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Opens a file of the queue and takes its lock; none if another process holds it, or has removed it meanwhile.
fn take(path: &Path, create: bool) -> io::Result<Option<File>> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(create)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => {
            // One that no process can lock is of no use, and was made for nothing.
            if create {
                remove(path)?;
            }
            return Err(error.into());
        }
    }
    let is_same = fs::symlink_metadata(path).is_ok_and(|there| {
        file.metadata().is_ok_and(|mine| (mine.dev(), mine.ino()) == (there.dev(), there.ino()))
    });
    Ok(is_same.then_some(file))
}

/// Whether a process that made a file of the queue still lives; the file of one who does not is removed.
fn is_alive(path: &Path) -> bool {
    match take(path, false) {
        Ok(Some(_lock)) => {
            // Where it stays, the next one who looks tries again.
            let _ = remove(path);
            false
        }
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Those that boot and those that wait before `own`, by their files.
pub(super) fn look(dir: &Path, own: &Path) -> io::Result<(usize, usize)> {
    let own = own.file_name().unwrap_or_default();
    let mut booting = 0;
    let mut waiting = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.ends_with(b".booting") {
            booting += usize::from(is_alive(&dir.join(&name)));
        } else if bytes.ends_with(b".waiting") && *name < *own {
            waiting.push(name);
        }
    }
    // The dead come to the front sooner or later; those of tenants that never start again go by `forget`.
    waiting.sort_unstable();
    let dead = waiting.iter().take(FRONT).filter(|name| !is_alive(&dir.join(name))).count();
    Ok((booting, waiting.len() - dead))
}

impl Turn {
    pub(super) fn queue(dir: &Path, name: &TenantName, priority: u16) -> io::Result<Self> {
        if !dir.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let path = dir.join(format!("{:04}-{name}.waiting", 1000 - priority.min(1000)));
        // A process that finds a dead one's file takes it away: another one then has to be made.
        for _ in 0..10 {
            if let Some(lock) = take(&path, true)? {
                return Ok(Self { path, _lock: lock, until: Instant::now() });
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// It boots now.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        let booting = self.path.with_extension("booting");
        fs::rename(&self.path, &booting)?;
        self.path = booting;
        self.until = Instant::now() + LONGEST;
        Ok(())
    }

    /// When it is over, ready or not.
    pub(in crate::supervisor) fn until(&self) -> Instant {
        self.until
    }
}

/// Takes away what a supervisor that has ended left in the queue.
///
/// # Errors
/// A file that cannot be removed.
pub(in crate::supervisor) fn forget(layout: &Layout, name: &TenantName) -> Result<(), KernelError> {
    for path in left(layout, name) {
        remove(&path).map_err(|error| KernelError::new("remove", path.display(), error))?;
    }
    Ok(())
}

/// The files of a tenant in the queue that no process holds.
pub(in crate::supervisor) fn left(layout: &Layout, name: &TenantName) -> Vec<PathBuf> {
    let entries = fs::read_dir(layout.turns()).into_iter().flatten().flatten();
    let own = entries.map(|entry| entry.path()).filter(|path| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        stem.split_once('-').is_some_and(|(_, of)| of == name.as_str())
    });
    // One that cannot be opened or locked is not in use to say.
    own.filter(|path| matches!(take(path, false), Ok(Some(_)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(booting: usize, before: usize, pressure: Option<f64>) -> QueueState {
        QueueState { cpus: 2, booting, before, pressure }
    }

    #[test]
    fn as_many_boot_as_there_are_cpus_and_more_while_the_host_has_time() {
        assert_eq!(decide(state(0, 0, None)), Decision::Go);
        assert_eq!(decide(state(1, 0, Some(1.0))), Decision::Go);
        assert_eq!(decide(state(0, 1, Some(1.0))), Decision::Go);
        // Beyond that by pressure, the first one alone.
        assert_eq!(decide(state(2, 0, Some(0.1))), Decision::Go);
        assert_eq!(decide(state(15, 0, Some(0.1))), Decision::Go);
        for waits in [state(2, 0, Some(0.9)), state(2, 1, Some(0.0)), state(16, 0, Some(0.0))] {
            assert_eq!(decide(waits), Decision::Wait(MEASURE), "{waits:?}");
        }
        // Without pressure by their number.
        assert_eq!(decide(state(3, 0, None)), Decision::Go);
        assert_eq!(decide(state(3, 1, None)), Decision::Wait(MEASURE));
    }

    #[test]
    fn who_is_far_behind_looks_seldom() {
        assert_eq!(decide(state(2, 100, None)), Decision::Wait(Duration::from_millis(500)));
        assert_eq!(decide(state(2, 5000, None)), Decision::Wait(Duration::from_secs(5)));
    }

    #[test]
    fn pressure_is_the_share_of_the_time_between_two_looks() {
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234\nfull avg10=0.00 total=7\n";
        assert_eq!(some_total(text), Some(1234));
        assert_eq!(some_total("full total=1"), None);
        let at = Instant::now();
        let before = Pressure { at, cpu_us: 1000, io_us: 0 };
        let after = Pressure { at: at + Duration::from_millis(100), cpu_us: 2000, io_us: 50_000 };
        assert!((after.since(&before) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn the_queue_is_ordered_by_priority_then_name_and_skips_dead_entries() {
        let dir = tempfile::tempdir().unwrap();
        let turns = dir.path().join("turns");
        let queue = |name: &str, priority| Turn::queue(&turns, &name.parse().unwrap(), priority).unwrap();
        let (mut router, alice, bob) = (queue("router", 900), queue("alice", 500), queue("bob", 500));
        assert_eq!(look(&turns, &bob.path).unwrap(), (0, 2));
        assert_eq!(look(&turns, &alice.path).unwrap(), (0, 1));
        router.begin().unwrap();
        assert_eq!(look(&turns, &bob.path).unwrap(), (1, 1));
        drop(router);
        assert_eq!(look(&turns, &bob.path).unwrap(), (0, 1));
        // Killed ones: their files are there, no process holds their locks.
        fs::write(turns.join("0000-dead.booting"), "").unwrap();
        fs::write(turns.join("0000-gone.waiting"), "").unwrap();
        assert_eq!(look(&turns, &bob.path).unwrap(), (0, 1), "alice lives");
        // A dead one's file is no obstacle to its next supervisor.
        fs::write(turns.join("0500-carol.waiting"), "").unwrap();
        drop((queue("carol", 500), alice, bob));
        assert_eq!(fs::read_dir(&turns).unwrap().count(), 0);
    }

    #[test]
    fn a_dead_one_is_forgotten_by_its_name_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let name: TenantName = "bob".parse().unwrap();
        let living = Turn::queue(&layout.turns(), &name, 500).unwrap();
        for dead in ["0100-bob.booting", "0900-bob.waiting", "0500-bo.waiting", "0500-a-bob.waiting"] {
            fs::write(layout.turns().join(dead), "").unwrap();
        }
        forget(&layout, &name).unwrap();
        let mut there: Vec<_> =
            fs::read_dir(layout.turns()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        there.sort();
        assert_eq!(there, ["0500-a-bob.waiting", "0500-bo.waiting", "0500-bob.waiting"]);
        drop(living);
        assert!(left(&layout, &name).is_empty());
    }
}
