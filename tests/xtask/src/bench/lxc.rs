//! LXC: an overlay over the tree, no user namespace, an empty network namespace.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result};

use super::contestant::{Contestant, Ready, since, timed};
use crate::sh;

pub(super) struct Lxc {
    image: String,
    tree: PathBuf,
    dir: PathBuf,
}

impl Lxc {
    pub(super) fn new(image: &str, tree: &Path, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self { image: image.to_owned(), tree: tree.to_owned(), dir: dir.to_owned() })
    }

    fn command(&self, program: &str, name: &str) -> Command {
        let mut command = sh::command(program, &[]);
        command.arg("-P").arg(&self.dir).args(["-n", name]);
        command
    }

    fn config(&self, name: &str) -> String {
        let dir = self.dir.join(name);
        let (tree, dir) = (self.tree.display(), dir.display());
        format!(
            "lxc.uts.name = {name}\n\
             lxc.rootfs.path = overlay:{tree}:{dir}/upper\n\
             lxc.net.0.type = empty\n\
             lxc.tty.max = 0\n\
             lxc.pty.max = 64\n\
             lxc.mount.auto = proc:mixed sys:mixed cgroup:mixed\n\
             lxc.mount.entry = {dir}/notify notify none bind,create=dir 0 0\n\
             lxc.environment = NOTIFY_SOCKET=/notify/socket\n\
             lxc.apparmor.profile = unconfined\n\
             lxc.cap.drop = sys_module sys_rawio mac_admin mac_override sys_time\n\
             lxc.signal.halt = SIGRTMIN+3\n\
             lxc.init.cmd = /sbin/init\n"
        )
    }
}

impl Contestant for Lxc {
    fn who(&self) -> &'static str {
        "LXC"
    }

    fn image(&self) -> &str {
        &self.image
    }

    fn make(&self, name: &str) -> Result<()> {
        let dir = self.dir.join(name);
        for part in ["rootfs", "upper", "notify"] {
            fs::create_dir_all(dir.join(part))?;
        }
        Ok(fs::write(dir.join("config"), self.config(name))?)
    }

    fn boot(&self, name: &str) -> Result<Duration> {
        let ready = Ready::bind(&self.dir.join(name).join("notify/socket"))?;
        let begin = Instant::now();
        let mut start = self.command("lxc-start", name);
        start.arg("-d");
        timed(start)?;
        ready.wait().with_context(|| format!("LXC {name}"))?;
        Ok(begin.elapsed())
    }

    fn stop(&self, name: &str) -> Result<Duration> {
        let mut stop = self.command("lxc-stop", name);
        stop.args(["-t", "30"]);
        timed(stop)
    }

    fn remove(&self, name: &str) -> Result<()> {
        fs::remove_dir_all(self.dir.join(name)).with_context(|| format!("cannot remove {name}"))
    }

    fn clear(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let mut stop = self.command("lxc-stop", &entry.file_name().to_string_lossy());
            stop.arg("-k");
            // One that does not run is as good as stopped.
            drop(timed(stop));
        }
    }

    fn run_true(&self, name: &str) -> Result<Duration> {
        let mut start = self.command("lxc-start", name);
        start.args(["-F", "--", "/bin/true"]);
        timed(start)
    }

    fn run_date(&self, name: &str) -> Result<Duration> {
        let mut start = self.command("lxc-start", name);
        // Without a terminal lxc-start drops what its system prints.
        start.args(["-F", "--", "/bin/sh", "-c", "exec /bin/date +%s%N > /notify/time"]);
        let begin = SystemTime::now();
        timed(start)?;
        since(begin, &fs::read_to_string(self.dir.join(name).join("notify/time"))?)
    }

    fn supervisor(&self, name: &str) -> Result<u32> {
        let mut info = self.command("lxc-info", name);
        info.args(["-p", "-H"]);
        let init: u32 = sh::read(info)?.trim().parse().context("lxc-info prints no process id")?;
        let status = fs::read_to_string(format!("/proc/{init}/status"))?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        parent.and_then(|pid| pid.trim().parse().ok()).context("init has no parent")
    }
}
