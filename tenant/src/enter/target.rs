//! The running tenant that a process joins.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    os::fd::{BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::sched::CloneFlags;
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::ceiling::Ceiling;
use crate::{files::state::ProcessRef, kernel::raw, model::facts::CgroupFacts};

/// Every kind of namespace by its name in `/proc/PID/ns`. A kernel may lack one; there is no file for it then.
const NAMESPACES: [(&str, CloneFlags); 8] = [
    ("user", CloneFlags::CLONE_NEWUSER),
    ("mnt", CloneFlags::CLONE_NEWNS),
    ("pid", CloneFlags::CLONE_NEWPID),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("net", CloneFlags::CLONE_NEWNET),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("time", CloneFlags::from_bits_retain(raw::CLONE_NEWTIME)),
];

/// A tenant's init, held so that a reused pid is never mistaken for it, its cgroups, namespaces and powers.
#[derive(Debug)]
pub struct Target {
    pub(super) pidfd: OwnedFd,
    /// Init's cgroup v2 directory; none when the caller is in it already.
    pub(super) cgroup: Option<OwnedFd>,
    /// Its cgroup v1 directories that are not the caller's.
    pub(super) v1: Vec<PathBuf>,
    /// The kinds of namespaces it is in.
    pub(super) namespaces: CloneFlags,
    pub(super) ceiling: Ceiling,
}

impl Target {
    /// The tenant of an init that may have ended meanwhile.
    ///
    /// # Errors
    /// `NotFound` when it has ended.
    pub fn of(init: ProcessRef, cgroups: &CgroupFacts) -> io::Result<Self> {
        let pid = Pid::from_raw(init.pid).ok_or(io::ErrorKind::NotFound)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| io::ErrorKind::NotFound)?;
        let look = || Ok((Membership::read(init.pid)?, namespaces(init.pid)?, Ceiling::of(init.pid)?));
        let seen: io::Result<_> = look();
        // Held first, looked at then, compared last: if it is the right process now, all of that was of it.
        if !init.is_alive() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (theirs, namespaces, ceiling) = seen?;
        let cgroup = match (&cgroups.v2_mount, theirs.v2) {
            (Some(mount), Some(path)) => Some(open_dir(&below(mount, &path))?),
            _ => None,
        };
        let v1 = theirs.v1.into_iter().filter_map(|(controller, path)| {
            let own = cgroups.v1.get(&controller)?;
            let mount = mount_of(own, &Membership::own(&controller)?)?;
            let theirs = below(&mount, &path);
            (theirs != *own).then_some(theirs)
        });
        Ok(Self { pidfd, cgroup, v1: v1.collect(), namespaces, ceiling })
    }

    /// The tenant of a child of the caller, who shares its cgroup v1 directories.
    ///
    /// # Errors
    /// A cgroup that cannot be opened.
    pub fn of_child(pid: i32, pidfd: BorrowedFd<'_>, v2_mount: &Path) -> io::Result<Self> {
        let path = Membership::read(pid)?.v2.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            pidfd: pidfd.try_clone_to_owned()?,
            cgroup: Some(open_dir(&below(v2_mount, &path))?),
            v1: Vec::new(),
            namespaces: namespaces(pid)?,
            ceiling: Ceiling::of(pid)?,
        })
    }

    /// Moves the calling process into the cgroup v1 directories of init. It has a single thread, and for
    /// one `tasks` takes no lock that has to wait.
    pub(super) fn enter_v1(&self) -> io::Result<()> {
        for dir in &self.v1 {
            File::options().write(true).open(dir.join("tasks"))?.write_all(b"0")?;
        }
        Ok(())
    }
}

fn namespaces(pid: i32) -> io::Result<CloneFlags> {
    let names = fs::read_dir(format!("/proc/{pid}/ns"))?.map(|entry| Ok(entry?.file_name()));
    Ok(kinds(&names.collect::<io::Result<Vec<_>>>()?))
}

/// The kinds of namespaces that the files of a directory `/proc/PID/ns` stand for. A kind that the kernel does
/// not have must not be asked for: setns(2) refuses it.
fn kinds(names: &[OsString]) -> CloneFlags {
    let is_there = |name: &&str| names.iter().any(|there| there == name);
    NAMESPACES.into_iter().filter(|(name, _)| is_there(name)).map(|(_, flag)| flag).collect()
}

fn below(mount: &Path, path: &str) -> PathBuf {
    mount.join(path.trim_start_matches('/'))
}

/// The mount point of which `dir` is the directory `path`.
fn mount_of(dir: &Path, path: &str) -> Option<PathBuf> {
    let depth = Path::new(path.trim_start_matches('/')).components().count();
    dir.ancestors().nth(depth).map(Path::to_owned)
}

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// `/proc/PID/cgroup`, see cgroups(7).
#[derive(Debug, Default, PartialEq, Eq)]
struct Membership {
    v2: Option<String>,
    v1: Vec<(String, String)>,
}

impl Membership {
    fn read(pid: i32) -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string(format!("/proc/{pid}/cgroup"))?))
    }

    fn own(controller: &str) -> Option<String> {
        let own = Self::parse(&fs::read_to_string("/proc/self/cgroup").ok()?);
        own.v1.into_iter().find(|(name, _)| name == controller).map(|(_, path)| path)
    }

    fn parse(text: &str) -> Self {
        let mut membership = Self::default();
        for line in text.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            if controllers.is_empty() {
                membership.v2 = Some(path.to_owned());
            }
            for controller in controllers.split(',').filter(|name| !name.is_empty()) {
                if !controller.starts_with("name=") {
                    membership.v1.push((controller.to_owned(), path.to_owned()));
                }
            }
        }
        membership
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroups_of_a_process_are_read_in_both_versions() {
        let text = "4:memory:/t/alice\n2:cpu,cpuacct:/t\n1:name=systemd:/x\n0::/t/alice/payload/init.scope\n";
        let membership = Membership::parse(text);
        assert_eq!(membership.v2.as_deref(), Some("/t/alice/payload/init.scope"));
        let v1 = [("memory", "/t/alice"), ("cpu", "/t"), ("cpuacct", "/t")];
        assert_eq!(membership.v1, v1.map(|(name, path)| (name.to_owned(), path.to_owned())));
    }

    #[test]
    fn a_namespace_that_the_kernel_has_not_is_not_asked_for() {
        let all: Vec<OsString> = NAMESPACES.iter().map(|(name, _)| (*name).into()).collect();
        assert_eq!(namespaces(std::process::id() as i32).unwrap(), kinds(&all), "this kernel has every kind");
        let without_time = kinds(&all[..7]);
        assert_eq!(kinds(&all) - without_time, CloneFlags::from_bits_retain(raw::CLONE_NEWTIME));
        assert!(without_time.contains(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWCGROUP));
        let later = [&all[..7], &["pid_for_children".into(), "new".into()]].concat();
        assert_eq!(kinds(&later), without_time);
    }

    #[test]
    fn a_mount_point_is_found_from_a_directory_below_it() {
        let mount = mount_of(Path::new("/sys/fs/cgroup/memory/a/b"), "/a/b");
        assert_eq!(mount.as_deref(), Some(Path::new("/sys/fs/cgroup/memory")));
        assert_eq!(mount_of(Path::new("/mnt"), "/").as_deref(), Some(Path::new("/mnt")));
    }
}
