//! What every contestant can do, and the clock they share.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, bail};

/// A way to run Debian systems over one image tree. `boot` and `stop` are called from several threads.
pub(crate) trait Contestant: Sync {
    /// Who it is: `LXC`, `systemd-nspawn`, `Tenantry`.
    fn who(&self) -> &'static str;
    /// Which image it boots: `stock` or `tuned`.
    fn image(&self) -> &str;
    /// Prepares a system that has never booted.
    fn make(&self, name: &str) -> Result<()>;
    /// Boots it; the time until its systemd reports that the boot is finished (`READY=1` of
    /// sd_notify(3), sent when no job is left).
    fn boot(&self, name: &str) -> Result<Duration>;
    /// Shuts it down in order; the time until it is gone.
    fn stop(&self, name: &str) -> Result<Duration>;
    /// Removes what `make` prepared.
    fn remove(&self, name: &str) -> Result<()>;
    /// Ends whatever still runs, after a failure.
    fn clear(&self);
    /// Runs `/bin/true` in place of init; the time from the command until it returns.
    fn run_true(&self, name: &str) -> Result<Duration>;
    /// Runs `/bin/date +%s%N` in place of init; the time from the command until the time it printed.
    fn run_date(&self, name: &str) -> Result<Duration>;
    /// The host's process beside a running system.
    fn supervisor(&self, name: &str) -> Result<u32>;
}

/// A socket for sd_notify(3).
pub(crate) struct Ready {
    socket: UnixDatagram,
}

impl Ready {
    /// Binds it, replacing what an earlier boot left.
    pub(crate) fn bind(path: &Path) -> Result<Self> {
        drop(fs::remove_file(path));
        let socket = UnixDatagram::bind(path).with_context(|| format!("cannot bind {}", path.display()))?;
        socket.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(Self { socket })
    }

    /// Waits for `READY=1`.
    pub(crate) fn wait(&self) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let count = self.socket.recv(&mut buffer).context("the system never got ready")?;
            if buffer[..count].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                return Ok(());
            }
        }
    }
}

/// Does something while this process is in a cgroup of its own, which is removed afterwards.
pub(crate) fn in_cgroup<T>(name: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let top = Path::new("/sys/fs/cgroup");
    let dir = top.join(name);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    fs::write(dir.join("cgroup.procs"), "0").context("cannot enter a cgroup")?;
    let done = act();
    fs::write(top.join("cgroup.procs"), "0").context("cannot leave a cgroup")?;
    remove_cgroups(&dir);
    done
}

/// Removes a cgroup with all below it, as far as they are empty.
pub(crate) fn remove_cgroups(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path());
        }
    }
    drop(fs::remove_dir(dir));
}

/// Runs a command to its end in silence; the time it took.
pub(crate) fn timed(mut command: Command) -> Result<Duration> {
    let begin = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let took = begin.elapsed();
    if !output.status.success() {
        let program = command.get_program().display();
        bail!("{program} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(took)
}

/// Runs a command that prints what `/bin/date +%s%N` said inside; how long after its begin that was.
pub(crate) fn until_date(mut command: Command) -> Result<Duration> {
    let begin = SystemTime::now();
    let output = command.stdin(Stdio::null()).output()?;
    since(begin, &String::from_utf8_lossy(&output.stdout))
}

/// How long after `begin` the nanoseconds since 1970 are that a text ends with.
pub(crate) fn since(begin: SystemTime, text: &str) -> Result<Duration> {
    let digits = text.trim_end().rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    let printed = Duration::from_nanos(digits.parse().with_context(|| format!("no time in {text:?}"))?);
    printed.checked_sub(begin.duration_since(SystemTime::UNIX_EPOCH)?).context("it ran before it was started")
}

/// Waits for a child, at most `limit`; then kills it and fails.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("process {} did not end within {limit:?}", child.id());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
