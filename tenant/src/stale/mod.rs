//! Which processes of a running tenant run code of a version that is not its present one.
//!
//! A process is stale if its program, a file that it has in memory as code, or the script that it interprets is a file of
//! an earlier version, and the present version has another file at that path. Files are told apart by inode, through the
//! overlay: neither by name nor by time. What a tenant can choose (names, what it mounts, what a filesystem of its own
//! answers) decides nothing and is never waited for: its files are looked at by `O_PATH` alone.
//!
//! | file | what it handles |
//! |---|---|
//! | `id` | by what a file is known through an overlay |
//! | `version`, `comparison` | the files of versions, and of which one a file is |
//! | `origin` | the file of a version that a tenant's own was copied from |
//! | `proc`, `script` | what `/proc` says; which script an interpreter is running; both pure |
//! | `process` | one process |
//! | `unit` | what it belongs to in its tenant, and the remedy; pure |

mod comparison;
mod id;
mod origin;
mod proc;
mod process;
mod script;
mod unit;
mod version;

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

pub use comparison::Versions;
pub use origin::Origin;
pub use process::{Role, StaleFile, StaleProcess};
pub use unit::{Group, Holder, Remedy, groups};

use self::process::Reader;
use crate::{
    files::{layout::Layout, state::ProcessRef},
    model::allocation::Pinned,
};

/// A running tenant that is looked at.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its init.
    pub init: ProcessRef,
    /// The cgroup v2 directory in which its own cgroups begin.
    pub payload: PathBuf,
    /// The version that its directories show.
    pub present: Pinned,
    /// Those that its processes may have from before, the latest first.
    pub earlier: Vec<Pinned>,
}

/// What a look has found.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Whether its init gives each service a unit: systemd does.
    pub has_units: bool,
    /// The stale processes, by their ids inside.
    pub processes: Vec<StaleProcess>,
}

/// Most processes that are looked at in one tenant.
const MOST: usize = 65_536;

/// Looks at every process of a tenant. `versions` may be used for several looks at about the same time.
///
/// # Errors
/// `NotFound` when its init has ended meanwhile; a version that cannot be read.
pub fn look(layout: &Layout, subject: &Subject, versions: &Versions) -> io::Result<Look> {
    // It has had one version only: there is nothing that a process could have from before.
    if subject.earlier.is_empty() {
        return Ok(Look::default());
    }
    let mounts = fs::read(format!("/proc/{}/mountinfo", subject.init.pid))?;
    let overlays = proc::top_overlays(&mounts);
    let mut tops: Vec<PathBuf> = overlays
        .iter()
        .filter(|top| top.is_read_only && top.at != Path::new("/"))
        .map(|top| top.at.clone())
        .collect();
    tops.sort();
    tops.dedup();
    let comparison = versions.compare(layout, &subject.present, &subject.earlier, tops)?;
    let present: HashSet<_> = overlays.iter().map(|top| top.device).collect();
    let mut reader = Reader::new(&comparison, present);
    let mut processes = Vec::new();
    let mut has_units = false;
    for (pid, cgroup) in pids(&subject.payload) {
        has_units |= pid == subject.init.pid as u32 && cgroup == Path::new("init.scope");
        // One that has ended meanwhile is none.
        processes.extend(reader.read(pid, &cgroup)?);
    }
    if !subject.init.is_alive() {
        return Err(io::ErrorKind::NotFound.into());
    }
    processes.sort_by_key(|process| process.inside);
    Ok(Look { has_units, processes })
}

/// The processes in a cgroup and below it, each with its cgroup as seen from the first.
fn pids(payload: &Path) -> Vec<(u32, PathBuf)> {
    let mut found = Vec::new();
    collect(payload, Path::new(""), &mut found);
    found
}

fn collect(payload: &Path, cgroup: &Path, found: &mut Vec<(u32, PathBuf)>) {
    let dir = payload.join(cgroup);
    let listed = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let ids = listed.lines().filter_map(|line| line.parse::<u32>().ok());
    found.extend(ids.map(|pid| (pid, cgroup.to_owned())).take(MOST.saturating_sub(found.len())));
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        collect(payload, &cgroup.join(entry.file_name()), found);
    }
}
