//! Whose turn it is to boot: many tenants that are started at once, with the host or by hand, boot a few at a
//! time.
//!
//! ```text
//! /run/tenantry/turns/PPPP-NAME.waiting     PPPP is 1000 less its priority: the first name is next
//! /run/tenantry/turns/PPPP-NAME.booting     until it is ready, or has had its turn for long enough
//! ```
//!
//! A file counts while the supervisor that made it holds its lock, see flock(2). So one that is killed holds
//! nobody up, there is no server to ask, and nobody hands out turns. See `docs/adr/0016-turns-to-boot.md`.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

use super::notify::extension;
use crate::{
    config,
    files::layout::Layout,
    kernel::KernelError,
    model::name::TenantName,
    supervisor::{RunError, Supervisor, run::events::Woken},
};

/// A tenant that boots for longer no longer keeps others from booting.
const LONGEST: Duration = Duration::from_secs(90);
/// Pressure is measured over at least this long, and at most [`STALE`].
const MEASURE: Duration = Duration::from_millis(50);
/// An older look at the pressure says nothing about now.
const STALE: Duration = Duration::from_secs(2);
/// Share of the time that tasks may have to wait for CPU or disks where more tenants boot than there are CPUs.
const BUSY: f64 = 0.4;
/// With so many tenants that boot for each CPU pressure is not asked any more.
const MOST_PER_CPU: usize = 8;
/// The same where the kernel does not measure pressure.
const BLIND_PER_CPU: usize = 2;
/// So many of those in front are looked at, whether they still live.
const FRONT: usize = 8;
/// How often the unit manager hears of a wait, and how long it may then take until it hears again.
const TELL: Duration = Duration::from_secs(5);
const EXTENSION: Duration = Duration::from_secs(60);
/// hostd waits no longer than this for one that it started itself.
const LONGEST_WAIT_STANDALONE: Duration = Duration::from_secs(60);

/// What is to be known for a decision.
#[derive(Clone, Copy, Debug)]
struct Scene {
    /// CPUs of the host.
    cpus: usize,
    /// Tenants that boot.
    booting: usize,
    /// Tenants that wait and come first.
    before: usize,
    /// Share of the time that something waited for CPU or disks lately; none where it is not measured.
    pressure: Option<f64>,
}

/// What a tenant does that wants to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// It boots.
    Go,
    /// It looks again after this long.
    Wait(Duration),
}

/// As many boot as there are CPUs; more while the host has time for them, one after the other.
fn decide(scene: Scene) -> Decision {
    let Scene { cpus, booting, before, pressure } = scene;
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
struct Pressure {
    at: Instant,
    cpu_us: u64,
    io_us: u64,
}

impl Pressure {
    /// None where the kernel does not measure it.
    fn now() -> Option<Self> {
        let total = |of: &str| some_total(&fs::read_to_string(Path::new("/proc/pressure").join(of)).ok()?);
        Some(Self { at: Instant::now(), cpu_us: total("cpu")?, io_us: total("io")? })
    }

    /// The greater share of the time between two looks, 0 to 1.
    fn since(&self, before: &Self) -> f64 {
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
    path: PathBuf,
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

/// Opens a file of the queue and takes its lock; none if somebody else holds it, or has removed it meanwhile.
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
            // One that nobody can lock is of no use, and was made for nothing.
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

/// Whether whoever made a file of the queue still lives; the file of one who does not is removed.
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
fn look(dir: &Path, own: &Path) -> io::Result<(usize, usize)> {
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
    fn queue(dir: &Path, name: &TenantName, priority: u16) -> io::Result<Self> {
        if !dir.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let path = dir.join(format!("{:04}-{name}.waiting", 1000 - priority.min(1000)));
        // Whoever finds a dead one's file takes it away: another one then has to be made.
        for _ in 0..10 {
            if let Some(lock) = take(&path, true)? {
                return Ok(Self { path, _lock: lock, until: Instant::now() });
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// It boots now.
    fn begin(&mut self) -> io::Result<()> {
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

/// The files of a tenant in the queue that nobody holds.
pub(in crate::supervisor) fn left(layout: &Layout, name: &TenantName) -> Vec<PathBuf> {
    let entries = fs::read_dir(layout.turns()).into_iter().flatten().flatten();
    let own = entries.map(|entry| entry.path()).filter(|path| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        stem.split_once('-').is_some_and(|(_, of)| of == name.as_str())
    });
    // One that cannot be opened or locked is nobody's to say.
    own.filter(|path| matches!(take(path, false), Ok(Some(_)))).collect()
}

impl Supervisor {
    /// Waits until it is this tenant's turn to boot. False when it is to be stopped instead. What goes wrong
    /// with the queue keeps no tenant from booting.
    pub(in crate::supervisor) fn take_turn(&mut self) -> Result<bool, RunError> {
        let dir = self.layout.turns();
        // A file that makes no sense is told of when it is planned.
        let priority = match &self.sources {
            Some(sources) => sources.start_priority(),
            None => config::defaults().start_priority.unwrap_or_default(),
        };
        let turn = match Turn::queue(&dir, &self.name, priority) {
            Ok(turn) => turn,
            Err(error) => return Ok(self.boot_out_of_turn(&error)),
        };
        self.wait_for_turn(&dir, turn)
    }

    fn boot_out_of_turn(&self, error: &io::Error) -> bool {
        log::warn!("cannot use the boot queue, so tenant {:?} boots at once: {error}", self.name.as_str());
        true
    }

    fn wait_for_turn(&mut self, dir: &Path, mut turn: Turn) -> Result<bool, RunError> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let (began, mut told, mut last) = (Instant::now(), None::<Instant>, None::<Pressure>);
        loop {
            let now = Instant::now();
            let (booting, before) = match look(dir, &turn.path) {
                Ok(found) => found,
                Err(error) => return Ok(self.boot_out_of_turn(&error)),
            };
            // The pressure matters to the first one only.
            let measured = (before == 0 && booting >= cpus).then(Pressure::now).flatten();
            let known = last.filter(|last| now - last.at < STALE);
            let pressure = measured.map(|now| known.map_or(1.0, |last| now.since(&last)));
            last = measured;
            let patience_is_over = self.is_standalone && now - began > LONGEST_WAIT_STANDALONE;
            match decide(Scene { cpus, booting, before, pressure }) {
                Decision::Wait(again) if !patience_is_over => {
                    if told.is_none_or(|told| now - told >= TELL) {
                        told = Some(now);
                        let ahead = booting + before;
                        self.manager.tell(&format!(
                            "STATUS=Waiting to boot: {ahead} tenants ahead\n{}",
                            extension(EXTENSION)
                        ));
                        let reason =
                            format!("tenant {} is waiting to boot: {ahead} tenants ahead", self.name);
                        self.consoles.wait_for_turn(reason);
                    }
                    if self.pause(None, now + again)? == Woken::Stop {
                        return Ok(false);
                    }
                }
                Decision::Go | Decision::Wait(_) => {
                    match turn.begin() {
                        Ok(()) => self.turn = Some(turn),
                        Err(error) => {
                            log::warn!("cannot mark this tenant as booting in the boot queue: {error}")
                        }
                    }
                    return Ok(true);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(booting: usize, before: usize, pressure: Option<f64>) -> Scene {
        Scene { cpus: 2, booting, before, pressure }
    }

    #[test]
    fn as_many_boot_as_there_are_cpus_and_more_while_the_host_has_time() {
        assert_eq!(decide(scene(0, 0, None)), Decision::Go);
        assert_eq!(decide(scene(1, 0, Some(1.0))), Decision::Go);
        assert_eq!(decide(scene(0, 1, Some(1.0))), Decision::Go);
        // Beyond that by pressure, the first one alone.
        assert_eq!(decide(scene(2, 0, Some(0.1))), Decision::Go);
        assert_eq!(decide(scene(15, 0, Some(0.1))), Decision::Go);
        for waits in [scene(2, 0, Some(0.9)), scene(2, 1, Some(0.0)), scene(16, 0, Some(0.0))] {
            assert_eq!(decide(waits), Decision::Wait(MEASURE), "{waits:?}");
        }
        // Without pressure by their number.
        assert_eq!(decide(scene(3, 0, None)), Decision::Go);
        assert_eq!(decide(scene(3, 1, None)), Decision::Wait(MEASURE));
    }

    #[test]
    fn who_is_far_behind_looks_seldom() {
        assert_eq!(decide(scene(2, 100, None)), Decision::Wait(Duration::from_millis(500)));
        assert_eq!(decide(scene(2, 5000, None)), Decision::Wait(Duration::from_secs(5)));
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
    fn the_queue_is_ordered_by_priority_then_name_and_the_dead_hold_nobody_up() {
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
        // Killed ones: their files are there, nobody holds their locks.
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
