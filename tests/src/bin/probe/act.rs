//! Things that are done until somebody ends them.

use std::{
    fs, io,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};
use serde_json::json;

use super::words::say;

/// Holds an exclusive flock(2) on a file until it is killed.
pub(super) fn lock(path: &str) -> io::Result<()> {
    let file = fs::File::open(path)?;
    let _held = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
    say("locked")?;
    wait_for_end()
}

/// Whether some process holds such a lock.
pub(super) fn try_lock(path: &str) -> io::Result<()> {
    let free = Flock::lock(fs::File::open(path)?, FlockArg::LockExclusiveNonblock).is_ok();
    say(if free { "free" } else { "taken" })
}

/// Prints `event` for every time somebody opens or reads the file.
pub(super) fn watch(path: &str) -> io::Result<()> {
    let inotify = Inotify::init(InitFlags::empty())?;
    inotify.add_watch(path, AddWatchFlags::IN_OPEN | AddWatchFlags::IN_ACCESS)?;
    say("watching")?;
    loop {
        for _ in inotify.read_events()? {
            say("event")?;
        }
    }
}

/// Touches this many MiB of memory, one by one.
pub(super) fn eat(count: usize) -> io::Result<()> {
    let mut eaten = Vec::new();
    for number in 1..=count {
        eaten.push(vec![1_u8; 1 << 20]);
        say(&format!("{number}"))?;
    }
    drop(std::hint::black_box(eaten));
    Ok(())
}

/// Starts up to this many threads that do nothing, and prints how many there were.
pub(super) fn fork(count: usize) -> io::Result<()> {
    let started = (0..count).take_while(|_| {
        let quiet = || loop {
            thread::park();
        };
        thread::Builder::new().stack_size(65_536).spawn(quiet).is_ok()
    });
    say(&started.count().to_string())
}

/// A fork bomb: starts itself twice, again and again, until it is killed.
pub(super) fn breed() -> io::Result<()> {
    loop {
        // Where there may be no more processes, trying goes on: that is what the bomb is.
        for _ in 0..2 {
            drop(Command::new("/proc/self/exe").arg("breed").spawn());
        }
    }
}

/// Starts a program that ends at once, so many times one after the other; how long that took.
pub(super) fn spawns(count: usize) -> io::Result<()> {
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        Command::new("/proc/self/exe").arg("spawned").stderr(Stdio::null()).status()?;
        took.push(u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    took.sort_unstable();
    let part = |percent: usize| took.get(count.saturating_sub(1) * percent / 100);
    say(&json!({ "p50_us": part(50), "p99_us": part(99) }).to_string())
}

/// Opens up to this many pseudoterminals at once; how many there were, and the error of the next one.
pub(super) fn ptys(count: usize) -> io::Result<()> {
    let mut held = Vec::new();
    let mut then = None;
    while held.len() < count {
        match nix::pty::posix_openpt(nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_NOCTTY) {
            Ok(master) => held.push(master),
            Err(errno) => {
                then = Some(format!("{errno:?}"));
                break;
            }
        }
    }
    say(&json!({ "opened": held.len(), "then": then }).to_string())
}

/// Counts aloud, one number every so many milliseconds.
pub(super) fn tick(milliseconds: u64) -> io::Result<()> {
    let mut count = 0_u64;
    loop {
        thread::sleep(Duration::from_millis(milliseconds));
        count += 1;
        say(&count.to_string())?;
    }
}

/// Sends a message to whoever this process reports to, see sd_notify(3): words become lines.
pub(super) fn notify(message: &str) -> io::Result<()> {
    let socket = std::env::var_os("NOTIFY_SOCKET").ok_or(io::ErrorKind::NotFound)?;
    let lines = message.replace(' ', "\n");
    std::os::unix::net::UnixDatagram::unbound()?.send_to(lines.as_bytes(), socket).map(drop)
}

/// Does nothing until it is killed.
pub(super) fn pause() -> io::Result<()> {
    wait_for_end()
}

fn wait_for_end() -> ! {
    loop {
        thread::park();
    }
}
