//! What the demo made, so that `--down` removes that and nothing else.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

/// Directories that the demo makes where they are missing, and then owns whole.
const OWNED: [&str; 5] =
    ["etc/tenantry", "run/tenantry", "var/cache/tenantry", "var/lib/tenantry", "var/log/tenantry"];
/// See `Documentation/networking/ip-sysctl.rst`.
const IPV6_FORWARDING: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
const FILE: &str = "var/lib/tenantry/demo.json";

/// The record, kept in [`FILE`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    /// Directories that were not there before.
    directories: Vec<PathBuf>,
    /// Whether the image was built.
    pub(super) image: bool,
    /// The hostd that was started.
    pub(super) hostd: Option<Process>,
    /// The tenants that were created.
    pub(super) tenants: Vec<String>,
    /// Whether this host forwarded no IPv6; a tenant with a routed link turns that on.
    #[serde(default)]
    pub(super) kept_ipv6: bool,
}

/// A process, named so that a reused id is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pid: u32,
    start_ticks: u64,
}

impl Process {
    /// The process with this id, if it runs.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields = stat.rsplit_once(')')?.1;
        let mut fields = fields.split_ascii_whitespace();
        if fields.next()? == "Z" {
            return None;
        }
        Some(Self { pid, start_ticks: fields.nth(18)?.parse().ok()? })
    }

    /// Asks it to end and waits until it has.
    pub(super) fn end(self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        if Self::of(self.pid) == Some(self) {
            kill(Pid::from_raw(self.pid.try_into()?), Signal::SIGTERM).context("cannot end hostd")?;
        }
        while Self::of(self.pid) == Some(self) {
            if Instant::now() > deadline {
                bail!("hostd (process {}) does not end", self.pid);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Record {
    /// The record below a root; an empty one where there is none.
    pub(super) fn load(root: &Path) -> Result<Self> {
        match fs::read_to_string(root.join(FILE)) {
            Ok(text) => serde_json::from_str(&text).context("the record of the demo is malformed"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context("cannot read the record of the demo"),
        }
    }

    /// Whether there is nothing to remove.
    pub(super) fn is_empty(&self) -> bool {
        self.directories.is_empty() && !self.image && self.hostd.is_none() && self.tenants.is_empty()
    }

    /// Notes which directories are not there yet, and whether the host forwards IPv6.
    pub(super) fn note_host(&mut self, root: &Path) -> Result<()> {
        let missing = OWNED.map(|dir| root.join(dir)).into_iter().filter(|dir| !dir.exists());
        let missing: Vec<PathBuf> = missing.collect();
        let keeps_ipv6 = fs::read_to_string(IPV6_FORWARDING).is_ok_and(|value| value.trim() == "0");
        self.change(root, |record| {
            record.kept_ipv6 |= keeps_ipv6;
            for dir in missing {
                if !record.directories.contains(&dir) {
                    record.directories.push(dir);
                }
            }
        })
    }

    /// Turns the forwarding of IPv6 off again if it was off before.
    pub(super) fn restore_ipv6(&self) -> Result<()> {
        if !self.kept_ipv6 {
            return Ok(());
        }
        fs::write(IPV6_FORWARDING, "0").with_context(|| format!("cannot write {IPV6_FORWARDING}"))
    }

    /// Changes the record, on disk before anything else happens.
    pub(super) fn change(&mut self, root: &Path, change: impl FnOnce(&mut Self)) -> Result<()> {
        change(self);
        let path = root.join(FILE);
        fs::create_dir_all(path.parent().expect("the record lies in a directory"))?;
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_string_pretty(self)?)?;
        fs::rename(&new, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes the directories that were not there before, and the record.
    pub(super) fn remove_directories(self, root: &Path) -> Result<()> {
        fs::remove_file(root.join(FILE)).context("cannot remove the record of the demo")?;
        for dir in &self.directories {
            if dir.exists() {
                fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
            }
        }
        if root != Path::new("/") {
            // Parents of what was made; those that hold something else stay.
            for dir in ["var/cache", "var/lib", "var/log", "var", "etc", "run", ""] {
                drop(fs::remove_dir(root.join(dir)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_made_is_removed() {
        let dir = std::env::temp_dir().join(format!("tenantry-demo-{}", std::process::id()));
        fs::create_dir_all(dir.join("etc/tenantry")).unwrap();
        let mut record = Record::load(&dir).unwrap();
        assert!(record.is_empty());
        record.note_host(&dir).unwrap();
        fs::create_dir_all(dir.join("run/tenantry/tenants")).unwrap();
        // A second run must not take what the first one made for something foreign.
        let mut record = Record::load(&dir).unwrap();
        record.note_host(&dir).unwrap();
        record.remove_directories(&dir).unwrap();
        assert!(dir.join("etc/tenantry").exists());
        assert!(!dir.join("run").exists());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_process_is_told_from_its_successor() {
        let own = Process::of(std::process::id()).unwrap();
        assert_eq!(Process::of(own.pid), Some(own));
        assert_eq!(Process::of(u32::MAX), None);
    }
}
