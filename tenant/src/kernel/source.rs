//! Directories of the host that tenants are given.

use std::{
    io,
    os::{fd::OwnedFd, unix::ffi::OsStringExt as _},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, StatVfsMountFlags, fstat, fstatvfs, openat, readlinkat},
    io::Errno,
};

use super::Access;

/// Why a directory of the host cannot be given to a tenant.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It is not there.
    #[error("{path:?} does not exist")]
    Missing {
        /// What is missing first.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("{path:?} is not a directory")]
    NotDirectory {
        /// What it is.
        path: PathBuf,
    },
    /// A link is on the way: a process that may write where it lies, perhaps a tenant, says where it leads.
    #[error("{link:?} is a symbolic link to {target:?}, and links are not followed")]
    Link {
        /// The link.
        link: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// Root of the tenant is root of what it writes there, and users of the host could execute it.
    #[error(
        "{path:?} would be writable, and the tenant's root could create set-user-ID programs there for users of \
         the host"
    )]
    Exposed {
        /// The directory.
        path: PathBuf,
    },
    /// The kernel refuses.
    #[error("cannot open {path:?}")]
    Open {
        /// What was to be opened.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl SourceError {
    /// The remedy.
    pub fn help(&self) -> String {
        match self {
            Self::Missing { path } => {
                format!("create it, or correct the [dirs] table: mkdir -p {}", path.display())
            }
            Self::NotDirectory { .. } => "only directories can be bound; correct the [dirs] table".to_owned(),
            Self::Link { .. } => {
                "use the path without links in the [dirs] table: readlink -f PATH".to_owned()
            }
            Self::Exposed { path } => format!(
                "move it below a directory that is owned by root with mode 0700, or mount it nosuid: mount --bind {0} \
                 {0} && mount -o remount,bind,nosuid {0}",
                path.display()
            ),
            Self::Open { .. } => "correct the [dirs] table: tenantctl edit NAME".to_owned(),
        }
    }
}

/// Whose directories are meant. A service of its own has mounts of its own: other flags, and directories that no other
/// process has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Those that this process sees.
    #[default]
    Own,
    /// Those that the process of this number sees, see proc_pid_root(5). It takes `CAP_SYS_PTRACE` over it.
    Process(u32),
}

impl View {
    /// Where the view begins.
    fn root(self) -> PathBuf {
        match self {
            Self::Own => PathBuf::from("/"),
            Self::Process(pid) => PathBuf::from(format!("/proc/{pid}/root")),
        }
    }
}

/// [`open_in`] what this process sees.
///
/// # Errors
/// See [`SourceError`].
pub fn open(source: &Path, access: Access) -> Result<OwnedFd, SourceError> {
    open_in(View::Own, source, access)
}

/// Opens a directory of the host, by its absolute and normalized path, for a tenant that has this access to it. No
/// link is followed. One that can be written must lie below a directory that only root can enter, or on a mount
/// where set-user-ID programs and file capabilities do not count (`nosuid`): root of the tenant is root of the files
/// it makes there.
///
/// # Errors
/// See [`SourceError`].
pub fn open_in(view: View, source: &Path, access: Access) -> Result<OwnedFd, SourceError> {
    let mut path = PathBuf::from("/");
    let failed =
        |path: &Path, error: Errno| SourceError::Open { path: path.to_owned(), source: error.into() };
    let top = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let flags = top | OFlags::NOFOLLOW;
    // The root of a process is a link of the kernel's own, which leads into the process's mount namespace.
    let mut dir =
        openat(CWD, view.root(), top, Mode::empty()).map_err(|error| failed(&view.root(), error))?;
    let mut is_sheltered = false;
    for component in source.components() {
        let Component::Normal(name) = component else { continue };
        // Of those above it. Its own mode is the tenant's to change.
        is_sheltered |= is_roots_alone(&dir).map_err(|error| failed(&path, error))?;
        path.push(name);
        dir = openat(&dir, name, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => SourceError::Missing { path: path.clone() },
            Errno::NOTDIR | Errno::LOOP => match readlinkat(&dir, name, Vec::new()) {
                Ok(target) => SourceError::Link {
                    link: path.clone(),
                    target: std::ffi::OsString::from_vec(target.into_bytes()).into(),
                },
                Err(_) => SourceError::NotDirectory { path: path.clone() },
            },
            error => failed(&path, error),
        })?;
    }
    if access == Access::ReadWrite && !is_sheltered {
        let mount = fstatvfs(&dir).map_err(|error| failed(&path, error))?;
        if !mount.f_flag.contains(StatVfsMountFlags::NOSUID) {
            return Err(SourceError::Exposed { path });
        }
    }
    Ok(dir)
}

/// Whether only root can reach what is in a directory.
fn is_roots_alone(dir: &OwnedFd) -> Result<bool, Errno> {
    const SEARCH_BY_OTHERS: u32 = 0o011;
    let stat = fstat(dir)?;
    Ok(stat.st_uid == 0 && stat.st_mode & SEARCH_BY_OTHERS == 0)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, DirBuilder},
        os::unix::fs::{DirBuilderExt as _, symlink},
    };

    use tenantry_tests::Elsewhere;

    use super::*;

    #[test]
    fn no_link_is_followed_and_what_is_wrong_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("real/in")).unwrap();
        fs::write(top.join("file"), "").unwrap();
        symlink("real", top.join("link")).unwrap();
        assert!(open(&top.join("real/in"), Access::ReadOnly).is_ok());
        for (path, text) in [
            ("link/in", "is a symbolic link to \"real\""),
            ("link", "is a symbolic link to \"real\""),
            ("file", "is not a directory"),
            ("file/in", "is not a directory"),
            ("real/absent/in", "real/absent\" does not exist"),
        ] {
            let error = open(&top.join(path), Access::ReadOnly).unwrap_err();
            assert!(error.to_string().contains(text), "{path}: {error}");
        }
    }

    #[test]
    fn what_another_process_sees_is_judged_by_its_own_mounts() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        for dir in ["plain", "quiet", "over"] {
            fs::create_dir(top.join(dir)).unwrap();
        }
        let elsewhere = Elsewhere::with_mounts(&format!(
            "cd {}; mount -t tmpfs -o mode=755 none plain; mount -t tmpfs -o mode=755,nosuid none quiet\n\
             mount -t tmpfs -o mode=755 none over; mkdir over/in; ln -s in over/link",
            top.display()
        ));
        let view = View::Process(elsewhere.id());
        let look = |path: &str, access| open_in(view, &top.join(path), access);
        assert!(look("over/in", Access::ReadOnly).is_ok());
        assert!(open(&top.join("over/in"), Access::ReadOnly).is_err(), "it is not there for this process");
        let error = look("over/link", Access::ReadOnly).unwrap_err();
        assert!(matches!(error, SourceError::Link { .. }), "{error}");
        assert!(look("quiet", Access::ReadWrite).is_ok());
        // Unless a process keeps the whole directory for temporary files from other users.
        if open(&top, Access::ReadOnly).is_ok() && !is_below_a_closed_one(&top) {
            let error = look("plain", Access::ReadWrite).unwrap_err();
            assert!(matches!(error, SourceError::Exposed { .. }), "{error}");
            assert!(!error.to_string().contains("/proc/"), "{error}");
        }
    }

    fn is_below_a_closed_one(dir: &Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        dir.ancestors().any(|above| fs::metadata(above).unwrap().mode() & 0o011 == 0)
    }

    #[test]
    fn what_is_writable_must_be_out_of_reach_of_users() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        // Not where tests are usually: a directory for temporary files may be nosuid.
        let top = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let top = top.path().canonicalize().unwrap();
        let make = |path: &str, mode| DirBuilder::new().mode(mode).create(top.join(path)).unwrap();
        fs::set_permissions(&top, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        make("closed", 0o700);
        make("closed/in", 0o755);
        make("group", 0o710);
        make("group/in", 0o755);
        if open(&top.join("group/in"), Access::ReadWrite).is_ok() {
            // A process keeps the whole work tree from other users.
            return;
        }
        assert!(open(&top.join("closed/in"), Access::ReadWrite).is_ok());
        assert!(open(&top.join("group/in"), Access::ReadOnly).is_ok());
        for path in ["closed", "group/in"] {
            let error = open(&top.join(path), Access::ReadWrite).unwrap_err();
            assert!(matches!(error, SourceError::Exposed { .. }), "{path}: {error}");
        }
    }
}
