//! cgroup v2 directories, see `Documentation/admin-guide/cgroup-v2.rst`.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    os::unix::fs::chown,
    path::Path,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{KernelError, Result};

/// How long killed processes may take to go: one in an uninterruptible sleep cannot be hurried.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// How long to wait for word of a change before looking again: the kernel tells at most every 10 ms, and does
/// not wake anybody for a cgroup that another process removes in the meantime.
const LOOK_AGAIN: Duration = Duration::from_millis(4);
/// How long a cgroup may stay busy after its last process has gone.
const REMOVE_DEADLINE: Duration = Duration::from_secs(2);

/// Where the kernel lists the files of a delegated cgroup that its new owner writes to, see cgroups(7).
const DELEGATE: &str = "/sys/kernel/cgroup/delegate";
/// Those that every kernel has.
const DELEGATED: &str = "cgroup.procs cgroup.threads cgroup.subtree_control memory.oom.group";

fn is_missing(error: &io::Error) -> bool {
    // A file of a cgroup that is removed while it is open gives ENODEV.
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

pub(super) fn create(dir: &Path) -> Result<()> {
    match fs::create_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(KernelError::new("create cgroup", dir.display(), error))
        }
        _ => Ok(()),
    }
}

pub(super) fn set(dir: &Path, file: &str, value: &str) -> Result<()> {
    let path = dir.join(file);
    fs::write(&path, value)
        .map_err(|error| KernelError::new(format!("write {value:?} to"), path.display(), error))
}

/// See "Top-down Constraint" and "No Internal Process Constraint" in the kernel's
/// `Documentation/admin-guide/cgroup-v2.rst`.
pub(super) fn hand_down(dir: &Path, controllers: &[&str]) -> Result<()> {
    let path = dir.join("cgroup.controllers");
    let there = fs::read_to_string(&path).map_err(|error| KernelError::new("read", path.display(), error))?;
    let there: Vec<&str> = there.split_ascii_whitespace().collect();
    let wanted: Vec<String> = controllers
        .iter()
        .filter(|wanted| there.contains(wanted))
        .map(|wanted| format!("+{wanted}"))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    match set(dir, "cgroup.subtree_control", &wanted.join(" ")) {
        Err(error) if error.source.raw_os_error() == Some(libc::EBUSY) => {
            log::warn!(
                "the tenant has no cgroup controllers: there are other processes in {}",
                dir.display()
            );
            Ok(())
        }
        result => result,
    }
}

pub(super) fn delegate(dir: &Path, owner: u32) -> Result<()> {
    let give = |path: &Path| chown(path, Some(owner), Some(owner));
    give(dir).map_err(|error| KernelError::new("delegate cgroup", dir.display(), error))?;
    let files = fs::read_to_string(DELEGATE).unwrap_or_else(|_| DELEGATED.to_owned());
    for file in files.split_ascii_whitespace() {
        let path = dir.join(file);
        match give(&path) {
            Err(error) if !is_missing(&error) => {
                return Err(KernelError::new("delegate", path.display(), error));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn enter(dir: &Path) -> Result<()> {
    let inside = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let me = std::process::id().to_string();
    if inside.lines().any(|pid| pid == me) {
        return Ok(());
    }
    set(dir, "cgroup.procs", &me)
}

/// Through `tasks` and as `0`: a single thread that moves itself need not wait, unlike any process that
/// goes through `cgroup.procs`, for a lock that costs an RCU grace period (10 to 20 ms).
pub(super) fn enter_v1(dir: &Path) -> Result<()> {
    set(dir, "tasks", "0")
}

/// Waits until the `cgroup.events` of a cgroup say what is waited for; false when they do not in time.
///
/// # Errors
/// It is gone.
pub fn wait_for_events(dir: &Path, is_so: impl Fn(&str) -> bool, patience: Duration) -> io::Result<bool> {
    let mut events = File::open(dir.join("cgroup.events"))?;
    let deadline = Instant::now() + patience;
    loop {
        let mut text = String::new();
        // What changes after this is told.
        events.rewind()?;
        events.read_to_string(&mut text)?;
        if is_so(&text) {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = Timespec::try_from(left.min(LOOK_AGAIN)).map_err(|_| io::ErrorKind::InvalidInput)?;
        poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout))?;
    }
}

pub(super) fn kill(dir: &Path) -> Result<()> {
    let kill = || {
        fs::write(dir.join("cgroup.kill"), "1")?;
        let is_empty = |events: &str| !events.lines().any(|line| line == "populated 1");
        match wait_for_events(dir, is_empty, KILL_DEADLINE)? {
            true => Ok(()),
            false => Err(io::ErrorKind::TimedOut.into()),
        }
    };
    match kill() {
        Err(error) if !is_missing(&error) => Err(KernelError::new("kill cgroup", dir.display(), error)),
        _ => Ok(()),
    }
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    let deadline = Instant::now() + REMOVE_DEADLINE;
    loop {
        match fs::remove_dir(dir) {
            // The last zombie leaves its cgroup a moment after it was reaped.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

pub(super) fn remove(dir: &Path) -> Result<()> {
    match remove_tree(dir) {
        Err(error) if !is_missing(&error) => Err(KernelError::new("remove cgroup", dir.display(), error)),
        _ => Ok(()),
    }
}
