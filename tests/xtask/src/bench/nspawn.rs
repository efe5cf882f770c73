//! systemd-nspawn with `--volatile=overlay`: no user namespace, an empty network namespace.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::contestant::{Contestant, Ready, in_cgroup, remove_cgroups, timed, until_date, wait};
use crate::sh;

pub(super) struct Nspawn {
    image: String,
    tree: PathBuf,
    dir: PathBuf,
    running: Mutex<BTreeMap<String, Child>>,
}

/// Where its cgroups go: the machine has no slice for them.
const CGROUP: &str = "/sys/fs/cgroup/bench-nspawn";

impl Nspawn {
    pub(super) fn new(image: &str, tree: &Path, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let (image, tree, dir) = (image.to_owned(), tree.to_owned(), dir.to_owned());
        Ok(Self { image, tree, dir, running: Mutex::default() })
    }

    /// A shell moves itself into the container's cgroup and becomes systemd-nspawn.
    fn command(&self, name: &str) -> Command {
        let dir = format!("{CGROUP}/{name}");
        let script = format!("mkdir -p {dir} && echo 0 > {dir}/cgroup.procs && exec \"$@\"");
        self.arguments(sh::command("sh", &["-c", &script, "sh", "systemd-nspawn"]), name)
    }

    fn arguments(&self, mut command: Command, name: &str) -> Command {
        command
            .arg("--quiet")
            .arg("--directory")
            .arg(&self.tree)
            .args(["--machine", name, "--volatile=overlay", "--register=no", "--keep-unit"])
            .args(["--private-network", "--console=pipe", "--kill-signal=SIGRTMIN+3"])
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .env("SYSTEMD_NSPAWN_LOCK", "0");
        command
    }

    fn remove_cgroup(name: &str) {
        let dir = Path::new(CGROUP).join(name);
        remove_cgroups(&dir);
        drop(fs::remove_dir(CGROUP));
    }
}

impl Contestant for Nspawn {
    fn who(&self) -> &'static str {
        "systemd-nspawn"
    }

    fn image(&self) -> &str {
        &self.image
    }

    fn make(&self, _name: &str) -> Result<()> {
        Ok(())
    }

    fn boot(&self, name: &str) -> Result<Duration> {
        let path = self.dir.join(name);
        let ready = Ready::bind(&path)?;
        let begin = Instant::now();
        let child = self
            .command(name)
            .args(["--notify-ready=yes", "--boot"])
            .env("NOTIFY_SOCKET", &path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let old = self.running.lock().expect("no thread panics").insert(name.to_owned(), child);
        debug_assert!(old.is_none());
        ready.wait().with_context(|| format!("systemd-nspawn {name}"))?;
        Ok(begin.elapsed())
    }

    fn stop(&self, name: &str) -> Result<Duration> {
        let child = self.running.lock().expect("no thread panics").remove(name);
        let mut child = child.with_context(|| format!("{name} is not running"))?;
        let begin = Instant::now();
        kill(Pid::from_raw(child.id().try_into()?), Signal::SIGTERM)?;
        wait(&mut child, Duration::from_secs(60))?;
        let took = begin.elapsed();
        Self::remove_cgroup(name);
        Ok(took)
    }

    fn remove(&self, name: &str) -> Result<()> {
        Self::remove_cgroup(name);
        Ok(())
    }

    fn clear(&self) {
        let running = std::mem::take(&mut *self.running.lock().expect("no thread panics"));
        for (name, mut child) in running {
            // SIGTERM twice is its immediate end.
            for _ in 0..2 {
                let pid = Pid::from_raw(child.id().try_into().expect("a process id is positive"));
                let _gone_already = kill(pid, Signal::SIGTERM);
            }
            drop(wait(&mut child, Duration::from_secs(20)));
            Self::remove_cgroup(&name);
        }
    }

    fn run_true(&self, name: &str) -> Result<Duration> {
        let mut command = self.arguments(Command::new("systemd-nspawn"), name);
        command.arg("/bin/true");
        in_cgroup(&format!("bench-nspawn/{name}"), || timed(command))
    }

    fn run_date(&self, name: &str) -> Result<Duration> {
        let mut command = self.arguments(Command::new("systemd-nspawn"), name);
        command.args(["/bin/sh", "-c", "exec /bin/date +%s%N"]);
        in_cgroup(&format!("bench-nspawn/{name}"), || until_date(command))
    }

    fn supervisor(&self, name: &str) -> Result<u32> {
        let running = self.running.lock().expect("no thread panics");
        Ok(running.get(name).with_context(|| format!("{name} is not running"))?.id())
    }
}
