//! erofs images: mounted once for all tenants, through dm-verity where an image was published with a hash tree.
//!
//! A block of such an image that is not what it was published as is an I/O error for a process that reads it, never wrong
//! data. The device goes with its last mount, so nothing has to be taken away after a crash.
//!
//! See `Documentation/filesystems/erofs.rst`, `Documentation/admin-guide/device-mapper/verity.rst`, veritysetup(8).

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FlockOperation, flock},
    io::Errno,
    mount::{
        FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_set_flag, fsconfig_set_string, fsopen,
        move_mount,
    },
};

pub use super::image_error::ImageError;
use super::{Cause, KernelError, Result, mount::create, program, program::Running};
use crate::model::image::{ErofsImage, HashTree, ImageSource};

/// What a part of a request returns.
type Outcome<T> = std::result::Result<T, Cause>;

/// Where device-mapper has its devices, and the kernel all that are block devices.
const DEVICES: &str = "/dev/mapper";
const BLOCK_DEVICES: &str = "/sys/block";

/// Mounts an image at a directory unless it is mounted there already.
pub(super) fn mount(image: &ErofsImage, at: &Path) -> Result<()> {
    let mount = || -> Outcome<()> {
        fs::create_dir_all(at)?;
        let lock = File::create(at.with_extension("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        if is_mount_point(at)? {
            return Ok(());
        }
        let tree = detached(image)?;
        Ok(move_mount(&tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
    };
    mount().map_err(|error| KernelError::new("mount image", image.file.display(), error))
}

fn is_mount_point(dir: &Path) -> io::Result<bool> {
    let here = rustix::fs::stat(dir)?;
    let above = rustix::fs::stat(dir.parent().unwrap_or(dir))?;
    Ok(here.st_dev != above.st_dev)
}

/// The files of a version, however it is stored, for as long as this lives.
#[derive(Debug)]
pub enum Contents {
    /// A directory.
    Tree(PathBuf),
    /// An erofs image that is mounted nowhere: it is reached by the descriptor, and gone with it.
    Mounted(OwnedFd),
}

impl Contents {
    /// Opens them; an erofs image is mounted for this process alone.
    ///
    /// # Errors
    /// The image cannot be mounted, see [`ImageError::of`]. Before Linux 6.12 the kernel mounts no plain file.
    pub fn open(source: &ImageSource) -> Result<Self> {
        match source {
            ImageSource::Tree(tree) => Ok(Self::Tree(tree.clone())),
            ImageSource::Erofs { image, .. } => detached(image)
                .map(Self::Mounted)
                .map_err(|error| KernelError::new("mount image", image.file.display(), error)),
        }
    }

    /// A path to their root, valid in this process as long as `self` lives.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Tree(path) => path.clone(),
            Self::Mounted(fd) => PathBuf::from(format!("/proc/self/fd/{}/", fd.as_raw_fd())),
        }
    }
}

/// Mounts an image without attaching it to any directory.
fn detached(image: &ErofsImage) -> Outcome<OwnedFd> {
    let Some(tree) = &image.verity else { return filesystem(&image.file) };
    // Any other process that sets this device up, or mounts it, waits: it must not go in between.
    let lock = File::open(&tree.file)?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let device = Device::of(&image.file, tree)?;
    if device.exists()?
        && let Ok(mounted) = device.mount()
    {
        return Ok(mounted);
    }
    // There was none, or it went with its last mount in just this moment.
    device.open()?;
    device.mount()
}

fn filesystem(source: &Path) -> Outcome<OwnedFd> {
    mount_erofs(source).map_err(|error| match Errno::from_io_error(&error) {
        // What the disk, a hash tree, and erofs itself say of blocks that are not what they should be.
        Some(Errno::IO | Errno::UCLEAN) => ImageError::Damaged(error.to_string()).into(),
        Some(Errno::NOTBLK) => ImageError::NoFile.into(),
        _ => error.into(),
    })
}

fn mount_erofs(source: &Path) -> io::Result<OwnedFd> {
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "source", source)?;
    fsconfig_set_flag(context.as_fd(), "ro")?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    create(context, attributes)
}

/// The block device through which an image is read: one for all mounts of it, which so share their page cache.
struct Device<'a> {
    file: &'a Path,
    tree: &'a HashTree,
    name: String,
}

impl<'a> Device<'a> {
    fn of(file: &'a Path, tree: &'a HashTree) -> io::Result<Self> {
        // Another state directory may have the same image, on a disk of its own.
        let (device, inode) = fs::metadata(file).map(|data| (data.dev(), data.ino()))?;
        let name = format!("tenantry-{}-{device:x}-{inode:x}", tree.root_hash.short());
        Ok(Self { file, tree, name })
    }

    fn path(&self) -> PathBuf {
        Path::new(DEVICES).join(&self.name)
    }

    /// Asked of the kernel: a node in `/dev` may be there for longer.
    fn exists(&self) -> io::Result<bool> {
        for entry in fs::read_dir(BLOCK_DEVICES)? {
            let name = fs::read_to_string(entry?.path().join("dm/name"));
            if name.is_ok_and(|name| name.trim_end() == self.name) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn open(&self) -> Outcome<()> {
        let (file, tree) = (self.file.as_os_str(), self.tree.file.as_os_str());
        let root_hash = self.tree.root_hash.hex();
        veritysetup(["open".as_ref(), file, self.name.as_ref(), tree, root_hash.as_ref()]).map(drop)
    }

    /// Mounts it; from then on it goes with its last mount.
    fn mount(&self) -> Outcome<OwnedFd> {
        let mounted = filesystem(&self.path());
        let closed = veritysetup(["close".as_ref(), "--deferred".as_ref(), self.name.as_ref()]);
        // What could not be mounted may be gone already.
        let mounted = mounted?;
        closed.map(|_| mounted)
    }
}

/// Whether a damaged block of an image has been read since it was mounted; none where it is not mounted, or nothing
/// checks its blocks.
///
/// # Errors
/// Device mapper or veritysetup(8) does not tell.
pub fn is_damaged(image: &ErofsImage) -> Result<Option<bool>> {
    let ask = || -> Outcome<Option<bool>> {
        let Some(tree) = &image.verity else { return Ok(None) };
        let device = Device::of(&image.file, tree)?;
        if !device.exists()? {
            return Ok(None);
        }
        let said = veritysetup(["status".as_ref(), device.name.as_ref()])?;
        let status = said.lines().find_map(|line| line.trim().strip_prefix("status:"));
        Ok(status.map(|status| status.trim().starts_with("corrupted")))
    };
    ask().map_err(|error| KernelError::new("query the state of image", image.file.display(), error))
}

/// Runs it; what it says.
fn veritysetup<const N: usize>(args: [&std::ffi::OsStr; N]) -> Outcome<String> {
    let program = program::find("veritysetup").ok_or(ImageError::NotInstalled)?;
    let done = Running::start(&program, args, &[])?.finish()?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    Err(ImageError::Said(done.complaint().to_owned()).into())
}
