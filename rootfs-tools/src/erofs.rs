//! A version as one erofs file.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::{
    explain::{Explain, Outcome},
    tool::{MKFS_EROFS, ToolError},
};

/// An erofs file that cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum ErofsError {
    /// mkfs.erofs failed.
    #[error("cannot make the erofs file {path:?}")]
    Make {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: ToolError,
    },
    /// The tree could not be taken away after it went into the file.
    #[error("cannot clean up {path:?}")]
    Clean {
        /// The tree.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The kernel does not mount it.
    #[error("cannot mount the erofs file {path:?}")]
    Mount {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Explain for ErofsError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Make { source, .. } => source.help(),
            Self::Mount { .. } => Some(
                "it needs Linux 6.12 with CONFIG_EROFS_FS_BACKED_BY_FILE; publish as --format tree"
                    .to_owned(),
            ),
            Self::Clean { .. } => None,
        }
    }

    fn outcome(&self) -> Outcome {
        Outcome::Failed
    }
}

/// Packs `tree` into the file `image` and removes the tree.
///
/// # Errors
/// [`ErofsError`].
pub fn pack(tree: &Path, image: &Path) -> Result<(), ErofsError> {
    // Uncompressed: the page cache holds the pages either way, and a fault needs no CPU.
    let args = [image.as_os_str(), tree.as_os_str()];
    MKFS_EROFS.run(args, |_| {}).map_err(|source| ErofsError::Make { path: image.to_owned(), source })?;
    let clean = || {
        File::open(image)?.sync_all()?;
        fs::remove_dir_all(tree)
    };
    clean().map_err(|source| ErofsError::Clean { path: tree.to_owned(), source })
}

/// An erofs file mounted nowhere: it is reached through a descriptor and gone with it.
#[derive(Debug)]
pub struct Mounted {
    fd: OwnedFd,
}

impl Mounted {
    /// Mounts `image` read-only, by fsopen(2) and fsmount(2), without attaching it to any directory.
    ///
    /// # Errors
    /// [`ErofsError::Mount`]; before Linux 6.12 the kernel wants a block device.
    pub fn open(image: &Path) -> Result<Self, ErofsError> {
        let mount = || -> rustix::io::Result<OwnedFd> {
            let fs = rustix::mount::fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
            rustix::mount::fsconfig_set_string(&fs, "source", image)?;
            rustix::mount::fsconfig_set_flag(&fs, "ro")?;
            rustix::mount::fsconfig_create(&fs)?;
            let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
                | MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NODEV
                | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        };
        let fd =
            mount().map_err(|errno| ErofsError::Mount { path: image.to_owned(), source: errno.into() })?;
        Ok(Self { fd })
    }

    /// A path to its root, valid in this process as long as `self` lives.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/", self.fd.as_raw_fd()))
    }
}
