//! How much a tenant may store: a project quota of the filesystem that the state directory is on, see quota(5).
//!
//! | filesystem | what a tenant's directory is | `disk_max` | `inodes_max` |
//! |---|---|---|---|
//! | ext4 with `project,quota`, xfs, mounted with `prjquota` | a project, numbered like its first uid | project quota | project quota |
//! | btrfs with quotas turned on | a subvolume | limit of its qgroup | – |
//! | any other | a directory | – | – |
//!
//! A directory is made as one of these whether there is a limit or not, so that a limit can come later.

use std::{
    fs::{self, DirBuilder},
    io,
    os::{fd::AsFd as _, unix::fs::DirBuilderExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use filetree::{Dir, Reach, each_file};
use rustix::io::Errno;
use tenant::{
    files::record,
    kernel::raw::{self, ProjectQuota},
    model::limits::{ByteSize, DiskLimits},
};
use wire::DiskUsage;

/// `BTRFS_SUPER_MAGIC` of linux/magic.h.
const BTRFS: u64 = 0x9123_683e;

/// Why a limit on what is stored cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum QuotaError {
    /// The filesystem does not do it.
    #[error("cannot enforce {key}: {dir:?} is {reason}")]
    Unenforceable {
        /// The key.
        key: &'static str,
        /// The directory.
        dir: PathBuf,
        /// What it lies on.
        reason: &'static str,
        /// The remedy.
        help: &'static str,
    },
    /// What a tenant has stored is to be counted first.
    #[error("the tenant is running, and its disk usage has not been counted yet")]
    Running,
    /// The kernel, or btrfs(8), refused.
    #[error("cannot {verb} {dir:?}")]
    Io {
        /// What was to be done.
        verb: &'static str,
        /// The directory.
        dir: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl QuotaError {
    /// The remedy.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Unenforceable { help, .. } => help,
            Self::Running => "stop the tenant first, then set the limit",
            Self::Io { .. } => "see quota(5), and for btrfs btrfs-quota(8)",
        }
    }
}

fn is_btrfs(dir: &Path) -> bool {
    rustix::fs::statfs(dir).is_ok_and(|stat| stat.f_type as u64 == BTRFS)
}

/// Runs btrfs(8).
fn btrfs(args: &[&str], dir: &Path) -> io::Result<()> {
    let output = Command::new("btrfs").args(args).arg(dir).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")))
}

/// Makes the directory of a tenant, in a form that what is stored below it can be counted, where there is one.
///
/// # Errors
/// Those of mkdir(2) and open(2); the directory is not there then.
pub fn make_dir(dir: &Path, project: u32) -> io::Result<()> {
    let parent = dir.parent().unwrap_or(Path::new("/"));
    // Without btrfs(8) it is a directory like any other, and a limit is refused later.
    if !(is_btrfs(parent) && btrfs(&["--quiet", "subvolume", "create"], dir).is_ok()) {
        DirBuilder::new().mode(0o700).create(dir)?;
    }
    let settle = || -> io::Result<()> {
        fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        // Where this is refused there are no projects.
        let _ = raw::set_project(record::open_dir(dir)?.as_fd(), project, true);
        Ok(())
    };
    settle().inspect_err(|_| drop(fs::remove_dir(dir)))
}

/// Makes limits hold for what is below a tenant's directory.
///
/// # Errors
/// See [`QuotaError`]; nothing is changed then.
pub fn enforce(dir: &Path, project: u32, limits: &DiskLimits, is_running: bool) -> Result<(), QuotaError> {
    if is_btrfs(dir) {
        return enforce_qgroup(dir, limits);
    }
    let io = |verb| move |source| QuotaError::Io { verb, dir: dir.to_owned(), source };
    let file = record::open_dir(dir).map_err(io("open"))?;
    let quota = ProjectQuota {
        max_kib: limits.max.map_or(0, |ByteSize(bytes)| bytes.div_ceil(1024)),
        max_inodes: limits.inodes.unwrap_or(0),
        ..ProjectQuota::default()
    };
    if !limits.is_any() {
        // Nothing to be lifted where nothing can be limited.
        let _ = raw::set_project_quota(file.as_fd(), project, quota);
        return Ok(());
    }
    let key = if limits.max.is_some() { "disk_max" } else { "inodes_max" };
    let refuse = |_| QuotaError::Unenforceable {
        key,
        dir: tenants(dir),
        reason: "on a filesystem without project quotas",
        help: "move it to ext4 (mkfs -O quota,project) or xfs, mounted with prjquota, or to btrfs with quotas \
               enabled",
    };
    raw::project_quota(file.as_fd(), project).map(drop).or_else(absent_is_fine).map_err(refuse)?;
    if raw::project(file.as_fd()).map_err(refuse)? != project {
        if is_running {
            return Err(QuotaError::Running);
        }
        assign(&Dir::new(file.into(), Reach::Beneath), project).map_err(io("count the usage below"))?;
    }
    raw::set_project_quota(record::open_dir(dir).map_err(io("open"))?.as_fd(), project, quota)
        .map_err(io("limit the usage below"))
}

/// What the admin knows: a tenant that is being made has another directory than later.
fn tenants(dir: &Path) -> PathBuf {
    dir.parent().unwrap_or(dir).to_owned()
}

/// Nothing has been counted for a project that xfs has never seen.
fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) { Ok(()) } else { Err(error) }
}

fn enforce_qgroup(dir: &Path, limits: &DiskLimits) -> Result<(), QuotaError> {
    if limits.inodes.is_some() {
        return Err(QuotaError::Unenforceable {
            key: "inodes_max",
            dir: tenants(dir),
            reason: "on btrfs, which cannot limit inodes",
            help: "use only disk_max, or move the state directory to ext4 or xfs with project quotas",
        });
    }
    let size = limits.max.map_or("none".to_owned(), |ByteSize(bytes)| bytes.to_string());
    match btrfs(&["qgroup", "limit", &size], dir) {
        // Nothing to be lifted where nothing can be limited.
        Err(_) if limits.max.is_none() => Ok(()),
        Err(source) => Err(QuotaError::Io { verb: "limit with a qgroup", dir: dir.to_owned(), source }),
        Ok(()) => Ok(()),
    }
}

/// Forgets the limits of a tenant that is removed, so that no other process gets them with its number.
pub fn release(dir: &Path, project: u32) {
    if let Ok(file) = record::open_dir(dir) {
        // A filesystem that has none has nothing to forget.
        let _ = raw::set_project_quota(file.as_fd(), project, ProjectQuota::default());
    }
}

/// What is stored below a tenant's directory; none where the filesystem does not count it.
pub fn usage(dir: &Path, project: u32) -> Option<DiskUsage> {
    let file = record::open_dir(dir).ok()?;
    if raw::project(file.as_fd()).ok()? != project {
        return None;
    }
    let quota = raw::project_quota(file.as_fd(), project).ok()?;
    let limit = |value: u64| Some(value).filter(|value| *value > 0);
    Some(DiskUsage {
        used_bytes: quota.used,
        inodes: quota.inodes,
        max_bytes: limit(quota.max_kib).map(|kib| kib * 1024),
        max_inodes: limit(quota.max_inodes),
        measured_sec_ago: None,
        is_partial: false,
    })
}

/// Puts everything below a directory into a project. A directory comes before what is in it: what is made
/// meanwhile inherits.
///
/// Only directories and regular files can be opened for it; the others have no blocks of their own.
fn assign(dir: &Dir, project: u32) -> io::Result<()> {
    Ok(each_file(dir, &mut |file, is_directory| raw::set_project(file, project, is_directory))?)
}

/// Puts a directory that was filled before it was a tenant's into that tenant's project, where there are projects.
///
/// # Errors
/// A file in it cannot be put there.
pub fn adopt(dir: &Path, project: u32) -> Result<(), QuotaError> {
    let io = |verb| move |source| QuotaError::Io { verb, dir: dir.to_owned(), source };
    let top = Dir::open(dir).map_err(io("open"))?;
    if raw::set_project(top.as_fd(), project, true).is_err() {
        return Ok(());
    }
    assign(&top, project).map_err(io("count the usage below"))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Mode, OFlags};

    use super::*;

    const OPEN: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

    #[test]
    fn a_tree_as_wide_and_deep_as_a_tenant_likes_needs_few_descriptors() {
        let top = tempfile::tempdir().unwrap();
        for number in 0..3000 {
            fs::create_dir(top.path().join(number.to_string())).unwrap();
        }
        fs::write(top.path().join("7/file"), "").unwrap();
        std::os::unix::fs::symlink("/", top.path().join("link")).unwrap();
        let mut deep = record::open_dir(top.path()).unwrap();
        for _ in 0..1000 {
            rustix::fs::mkdirat(&deep, "deep", Mode::from_raw_mode(0o700)).unwrap();
            deep = rustix::fs::openat(&deep, "deep", OPEN, Mode::empty()).unwrap().into();
        }
        let (mut dirs, mut files, mut highest) = (0, 0, 0);
        each_file(&Dir::open(top.path()).unwrap(), &mut |file, is_directory| {
            if is_directory {
                dirs += 1
            } else {
                files += 1
            };
            highest = highest.max(std::os::fd::AsRawFd::as_raw_fd(&file));
            Ok(())
        })
        .unwrap();
        assert_eq!((dirs, files), (4001, 1));
        // Other tests have files open, too, but not as many as there are directories.
        assert!(highest < 1500, "descriptor {highest}");
    }
}
