//! Where the cgroups of a tenant's unit are, and how they come and go.
//!
//! ```text
//! v2   BASE/INSTANCE/NAME/{supervisor,payload}     the processes, freezing and killing
//! v1   OWN/INSTANCE/NAME for each controller        limits, on a host whose controllers are v1
//! ```
//!
//! BASE is the root of the v2 hierarchy where hostd was started in it, else hostd's own cgroup; OWN is
//! hostd's own cgroup of each v1 controller.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tenant::{Layout, TenantName, model::facts::CgroupFacts};
use wire::UnitCgroups;

/// v1 controllers that a unit gets a directory of, where the host has them.
const V1: [&str; 5] = ["memory", "pids", "cpu", "cpuacct", "blkio"];
/// v2 controllers that are passed down to units, where the host has them.
const V2: [&str; 4] = ["cpu", "memory", "pids", "io"];
/// How long a directory may stay busy after its last process has gone.
const BUSY_DEADLINE: Duration = Duration::from_secs(2);

/// The directories below which every unit has its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroups {
    v2: PathBuf,
    v2_own: PathBuf,
    v2_is_root: bool,
    v2_controllers: BTreeSet<String>,
    v1: BTreeMap<String, PathBuf>,
}

/// A cgroup that cannot be made, entered or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} cgroup {path:?}")]
pub struct CgroupError {
    verb: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// No cgroup v2 hierarchy is mounted.
#[derive(Debug, thiserror::Error)]
#[error("the cgroup v2 hierarchy is not mounted on this host")]
pub struct NoCgroup2;

impl Cgroups {
    /// Computes the directories; makes nothing.
    ///
    /// # Errors
    /// [`NoCgroup2`].
    pub fn of(facts: &CgroupFacts, layout: &Layout) -> Result<Self, NoCgroup2> {
        let mount = facts.v2_mount.as_deref().ok_or(NoCgroup2)?;
        let instance = layout.instance();
        let v1 = V1
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), facts.v1.get(*name)?.join(&instance))))
            .collect();
        let v2_controllers =
            V2.iter().filter(|name| facts.v2_controllers.contains(**name)).map(|n| (*n).to_owned()).collect();
        // "MOUNT/" and "MOUNT" are the same directory, and Path compares them as such.
        let v2_is_root = facts.v2_own.components().eq(mount.components());
        Ok(Self {
            v2: facts.v2_own.join(&instance),
            v2_own: facts.v2_own.clone(),
            v2_is_root,
            v2_controllers,
            v1,
        })
    }

    /// The directories of one unit.
    pub fn unit(&self, name: &TenantName) -> UnitCgroups {
        UnitCgroups {
            v2: self.v2.join(name.as_str()),
            v2_controllers: self.v2_controllers.clone(),
            v1: self.v1.iter().map(|(c, dir)| (c.clone(), dir.join(name.as_str()))).collect(),
        }
    }

    /// The controllers that units have, by their names in cgroup v2.
    pub fn controllers(&self) -> BTreeSet<&str> {
        let v1 = self.v1.keys().map(|name| if name == "blkio" { "io" } else { name });
        self.v2_controllers.iter().map(String::as_str).chain(v1).collect()
    }

    /// Makes the common directories and passes the v2 controllers down to units.
    ///
    /// Controllers that this cgroup cannot pass down (because processes other than hostd sit in it) are
    /// left out, so that a limit that needs them is refused later.
    ///
    /// # Errors
    /// A directory cannot be made.
    pub fn prepare(&mut self) -> Result<(), CgroupError> {
        for dir in self.v1.values().chain([&self.v2]) {
            make(dir)?;
        }
        if self.v2_controllers.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.pass_down() {
            log::warn!("cannot delegate the controllers of {}: {error}", self.v2_own.display());
            self.v2_controllers.clear();
        }
        Ok(())
    }

    fn pass_down(&self) -> io::Result<()> {
        if !self.v2_is_root {
            // A cgroup other than the root that passes controllers down holds no processes itself.
            let leaf = self.v2_own.join(format!("{}-hostd", self.instance()));
            fs::create_dir_all(&leaf)?;
            fs::write(leaf.join("cgroup.procs"), std::process::id().to_string())?;
        }
        let all: Vec<_> = self.v2_controllers.iter().map(|name| format!("+{name}")).collect();
        for dir in [&self.v2_own, &self.v2] {
            fs::write(dir.join("cgroup.subtree_control"), all.join(" "))?;
        }
        Ok(())
    }

    fn instance(&self) -> String {
        self.v2.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Names of the units that have a v2 directory.
    pub fn existing(&self) -> Vec<TenantName> {
        let Ok(entries) = fs::read_dir(&self.v2) else { return Vec::new() };
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
    }

    /// Removes the common directories, as far as they are empty.
    pub fn remove_empty(&self) {
        for dir in self.v1.values().chain([&self.v2]) {
            // One that is in use stays, and that is fine.
            let _ = fs::remove_dir(dir);
        }
    }
}

fn make(dir: &Path) -> Result<(), CgroupError> {
    fs::create_dir_all(dir).map_err(|source| CgroupError { verb: "make", path: dir.to_owned(), source })
}

/// Makes them; those that exist are fine.
///
/// # Errors
/// The first that cannot be made.
pub fn make_unit(unit: &UnitCgroups) -> Result<(), CgroupError> {
    unit.v1.values().try_for_each(|dir| make(dir))?;
    // A process that is born into a cgroup whose processes were once killed is killed by Linux: `kill_seq` in the
    // kernel's cgroup.c is compared with that of its parent's.
    let supervisor = unit.supervisor();
    match fs::remove_dir(&supervisor) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(CgroupError { verb: "replace", path: supervisor, source });
        }
        _ => {}
    }
    make(&supervisor)
}

/// Freezes or thaws the tenant's processes, see `cgroup.freeze` in cgroups(7).
///
/// # Errors
/// The file cannot be written.
pub fn freeze(unit: &UnitCgroups, on: bool) -> Result<(), CgroupError> {
    let verb = if on { "freeze" } else { "thaw" };
    fs::write(unit.freeze_file(), if on { "1" } else { "0" }).map_err(|source| CgroupError {
        verb,
        path: unit.payload(),
        source,
    })
}

/// Removes the v1 directories; the v2 one goes through the kernel interface of `tenant`.
///
/// # Errors
/// The first directory that stays busy.
pub fn remove_v1(unit: &UnitCgroups) -> Result<(), CgroupError> {
    let mut first = None;
    for dir in unit.v1.values() {
        // What failed for lack of a descriptor or of memory may not the next time.
        if let Err(source) = remove_tree(dir).or_else(|_| remove_tree(dir)) {
            first.get_or_insert(CgroupError { verb: "remove", path: dir.clone(), source });
        }
    }
    first.map_or(Ok(()), Err)
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    let deadline = Instant::now() + BUSY_DEADLINE;
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // The last zombie leaves its cgroup a moment after it was reaped.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(own: &str, controllers: &[&str]) -> CgroupFacts {
        CgroupFacts {
            v2_mount: Some("/sys/fs/cgroup/unified".into()),
            v2_own: own.into(),
            v2_controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
            v1: BTreeMap::from([
                ("memory".to_owned(), "/sys/fs/cgroup/memory/job/7".into()),
                ("cpuset".to_owned(), "/sys/fs/cgroup/cpuset".into()),
                ("freezer".to_owned(), "/sys/fs/cgroup/freezer".into()),
            ]),
        }
    }

    #[test]
    fn units_lie_below_the_cgroups_that_hostd_was_started_in() {
        let layout = Layout::default();
        let alice = "alice".parse().unwrap();
        let root = Cgroups::of(&facts("/sys/fs/cgroup/unified/", &["hugetlb"]), &layout).unwrap();
        assert!(root.v2_is_root);
        let unit = root.unit(&alice);
        assert_eq!(unit.v2, Path::new("/sys/fs/cgroup/unified/tenantry/alice"));
        assert_eq!(unit.v1["memory"], Path::new("/sys/fs/cgroup/memory/job/7/tenantry/alice"));
        assert_eq!(unit.v1.len(), 1, "cpuset and freezer are not for units");
        assert!(unit.v2_controllers.is_empty());

        let below = Cgroups::of(&facts("/sys/fs/cgroup/unified/host.service", &["memory"]), &layout).unwrap();
        assert!(!below.v2_is_root);
        assert_eq!(below.unit(&alice).v2, Path::new("/sys/fs/cgroup/unified/host.service/tenantry/alice"));
        assert!(below.unit(&alice).v2_controllers.contains("memory"));
    }

    #[test]
    fn two_roots_on_one_machine_do_not_meet() {
        let alice = "alice".parse().unwrap();
        let facts = facts("/sys/fs/cgroup/unified", &[]);
        let one = Cgroups::of(&facts, &Layout::new("/srv/one")).unwrap().unit(&alice);
        let two = Cgroups::of(&facts, &Layout::new("/srv/two")).unwrap().unit(&alice);
        assert_ne!(one.v2, two.v2);
        assert_ne!(one.v1, two.v1);
    }

    #[test]
    fn a_host_without_cgroup_v2_is_refused() {
        assert!(Cgroups::of(&CgroupFacts::default(), &Layout::default()).is_err());
    }
}
