//! `state.json`: what a supervisor says about its tenant while it runs, and how it ended.
//!
//! The supervisor is its only writer. A reader must hold it against the world with
//! [`ProcessRef::is_alive`]: a supervisor killed with SIGKILL leaves its last words behind.

use std::{fmt, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    files::{
        file_error::FileError,
        record::{self, Durability},
    },
    model::{ids::Digest, name::TenantName, park::WakeReason},
};

/// A process named so that a reused pid is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRef {
    /// Process id in the host's pid namespace.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks between boot and the process's start, see proc(5).
    pub start_ticks: u64,
}

impl ProcessRef {
    /// A reference to a process that runs now.
    ///
    /// # Errors
    /// `NotFound` when there is no such process, `InvalidData` when `/proc` has another form.
    pub fn of(pid: i32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The second field is a file name in parentheses and may itself hold spaces and parentheses.
        let start_ticks = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19))
            .and_then(|field| field.parse().ok())
            .ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { pid, start_ticks })
    }

    /// Whether the very process still exists (it may be a zombie). One that cannot be looked at is taken for alive: what
    /// is taken for dead is swept.
    pub fn is_alive(&self) -> bool {
        match Self::of(self.pid) {
            Ok(now) => now == *self,
            // The second where it ends while its file is read.
            Err(error) => {
                error.kind() != io::ErrorKind::NotFound && error.raw_os_error() != Some(libc::ESRCH)
            }
        }
    }
}

/// What a supervised tenant does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It waits for its turn to boot; nothing of it is made yet.
    Queued,
    /// The plan is being applied.
    Starting,
    /// init runs and has not reported ready.
    Booting,
    /// init reported ready (or was executed, for an init that does not report).
    Running,
    /// It is idle, and its processes are frozen until it is needed.
    Parked,
    /// init was asked to power off.
    Stopping,
    /// init ended and everything was taken down, `exit` says how; or it was stopped before there was an init.
    Stopped,
    /// The start failed, or the one program of an application did; `failure` says why, and `exit` how it
    /// ended if it had begun.
    Failed,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Booting => "booting",
            Self::Running => "running",
            Self::Parked => "parked",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        })
    }
}

impl Phase {
    /// Whether the supervisor is done.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed)
    }
}

/// How init ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    /// It called exit with this status, 0 to 255.
    Code(i32),
    /// It powered off or halted.
    Poweroff,
    /// This signal killed it.
    Signal(i32),
}

impl Exit {
    /// The code that stands for it, as in a shell: 128 and the number of the signal that killed it.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Poweroff => 0,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// A tenant that is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedState {
    /// Since when, milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// When it has to run for a moment, because something is due in it, the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
    /// Whether it is stopped until then, and not only frozen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
}

/// A tenant that was parked and woke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Woken {
    /// When, milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Why.
    pub why: WakeReason,
}

/// Why a start failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The whole error, causes joined by `: `.
    pub message: String,
    /// The remedy, if one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The last console lines, escaped, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub console: Vec<String>,
}

/// The contents of `state.json`. Keys that are not known are skipped: the supervisor may be of a newer release than its
/// reader, and which process has the tenant must be known all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// Version of this format, now 1.
    pub format_version: u32,
    /// What the tenant does.
    pub phase: Phase,
    /// The supervisor.
    pub supervisor: ProcessRef,
    /// The tenant's init, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<ProcessRef>,
    /// The version it has: the one that it booted, or that it was given since; absent before its first plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// All versions that it has had since it booted, the present one too, where it was given another one meanwhile:
    /// processes, and the lower layers of `/etc` and `/var`, are still of the earlier ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<Digest>,
    /// How often init was started by this supervisor: 1 plus the reboots from inside, 0 before the first boot.
    pub boots: u32,
    /// When the present boot, or the wait for it, began, milliseconds since 1970 UTC.
    pub started_ms: u64,
    /// From the beginning of the boot until init was executed, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec_us: Option<u64>,
    /// From the beginning of the boot until init was ready, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_us: Option<u64>,
    /// The cgroup v2 directory of the unit; the payload is below it.
    pub cgroup: String,
    /// The last `STATUS=` that init sent, at most 256 bytes, control characters removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// How many of its processes the kernel has killed since this boot because its memory was used up; absent
    /// where it has killed none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
    /// Whether it is parked when it is idle.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parks: bool,
    /// In the phase `parked`: since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<ParkedState>,
    /// What woke it last in this boot, if it has been parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub woken: Option<Woken>,
    /// How init ended, in the phases `stopped` and `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Why it was killed: it did not end when it was asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed: Option<String>,
    /// Why the start, or the program, failed, in the phase `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl RunState {
    /// The format this release reads and writes.
    pub const FORMAT_VERSION: u32 = 1;

    /// Reads `state.json`; none when there is no such file.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(path: &Path) -> Result<Option<Self>, FileError> {
        match record::read(path) {
            // A file this release cannot parse says nothing about a process of this release.
            Ok(text) => Ok(serde_json::from_str(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a supervisor says before it has planned anything: that this process has the tenant. `cgroup` is
    /// the unit's, `started_ms` as in the field.
    pub fn queued(supervisor: ProcessRef, cgroup: &Path, started_ms: u64) -> Self {
        Self {
            format_version: Self::FORMAT_VERSION,
            phase: Phase::Queued,
            supervisor,
            init: None,
            digest: None,
            versions: Vec::new(),
            boots: 0,
            started_ms,
            exec_us: None,
            ready_us: None,
            cgroup: cgroup.display().to_string(),
            status: None,
            oom_kills: None,
            parks: false,
            parked: None,
            woken: None,
            exit: None,
            killed: None,
            failure: None,
        }
    }

    /// Replaces `state.json`.
    ///
    /// # Errors
    /// What [`record::write`] says.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        let text = serde_json::to_vec(self).expect("a state has only types that JSON can hold");
        record::write(path, &text, Durability::Volatile)
    }

    /// The version that it booted.
    pub fn booted(&self) -> Option<Digest> {
        self.versions.first().copied().or(self.digest)
    }

    /// The versions that are in use by this boot.
    pub fn in_use(&self) -> impl Iterator<Item = Digest> {
        let others = self.versions.iter().copied().filter(|version| Some(*version) != self.digest);
        self.digest.into_iter().chain(others)
    }

    /// Whether the tenant is parked and stopped: it boots when it is needed, as a restart would.
    pub fn is_away(&self) -> bool {
        self.phase == Phase::Parked && self.parked.is_some_and(|parked| parked.stopped)
    }

    /// Whether the supervisor that wrote this still supervises.
    pub fn is_supervised(&self) -> bool {
        !self.phase.is_final() && self.supervisor.is_alive()
    }
}

/// Whether a tenant has a supervisor.
pub fn is_supervised(runtimes: &Path, name: &TenantName) -> bool {
    let state = RunState::read(&runtimes.join(name.as_str()).join("state.json")).ok().flatten();
    state.is_some_and(|state| state.is_supervised())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_reference_tells_a_reused_pid() {
        let me = ProcessRef::of(std::process::id() as i32).unwrap();
        assert!(me.is_alive());
        assert!(!ProcessRef { start_ticks: me.start_ticks + 1, ..me }.is_alive());
    }

    #[test]
    fn what_a_supervisor_of_a_newer_release_says_besides_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        let me = ProcessRef::of(std::process::id() as i32).unwrap();
        let state = RunState::queued(me, Path::new("/sys/fs/cgroup/x"), 1);
        let mut newer = serde_json::to_value(&state).unwrap();
        newer["weather"] = "fair".into();
        newer["supervisor"]["weather"] = "fair".into();
        fs::write(&path, newer.to_string()).unwrap();
        assert_eq!(RunState::read(&path).unwrap(), Some(state));
    }
}
