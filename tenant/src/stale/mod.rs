//! Which processes of a running tenant run code of a version that is not its present one.
//!
//! A process is stale if its program, a file that it has in memory as code, or the script that it interprets is a file of
//! an earlier version, and the present version has another file at that path. Files are told apart by inode, through the
//! overlay: neither by name nor by time. Where two versions share no inodes, the inventories say what did not change. What a tenant can choose (names, what it mounts, what a filesystem of its own
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
pub use version::{Sums, SumsOf};

use self::process::Reader;
use crate::{
    files::{layout::Layout, processes, state::ProcessRef},
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
pub fn look(layout: &Layout, subject: &Subject, versions: &Versions, sums_of: SumsOf) -> io::Result<Look> {
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
    let comparison = versions.compare(layout, &subject.present, &subject.earlier, tops, sums_of)?;
    let present: HashSet<_> = overlays.iter().map(|top| top.device).collect();
    let mut reader = Reader::new(&comparison, present);
    let mut stale = Vec::new();
    let mut has_units = false;
    for (pid, cgroup) in processes::in_cgroup(&subject.payload).take(MOST) {
        has_units |= pid == subject.init.pid as u32 && cgroup == Path::new("init.scope");
        // One that has ended meanwhile is none.
        stale.extend(reader.read(pid, &cgroup)?);
    }
    if !subject.init.is_alive() {
        return Err(io::ErrorKind::NotFound.into());
    }
    stale.sort_by_key(|process| process.inside);
    Ok(Look { has_units, processes: stale })
}
