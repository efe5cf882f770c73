//! What a file is besides its bytes: project and quota, and fs-verity.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// `struct fsxattr` of linux/fs.h.
#[repr(C)]
#[derive(Default)]
struct FsXattr {
    flags: u32,
    extsize: u32,
    nextents: u32,
    projid: u32,
    cowextsize: u32,
    pad: [u8; 8],
}

/// `FS_IOC_FSGETXATTR` and `FS_IOC_FSSETXATTR`: `_IOR('X', 31, struct fsxattr)` and `_IOW('X', 32, …)`.
const FS_IOC_FSGETXATTR: u64 = 0x801c_581f;
const FS_IOC_FSSETXATTR: u64 = 0x401c_5820;
/// What is made in the directory belongs to its project.
const FS_XFLAG_PROJINHERIT: u32 = 0x200;

/// The project of a file, 0 for none; see ioctl_xfs_fsgetxattr(2), which other filesystems have as well.
///
/// # Errors
/// The kernel's; `ENOTTY` and `EOPNOTSUPP` on filesystems without projects.
pub fn project(file: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(fs_xattr(file)?.projid)
}

fn fs_xattr(file: BorrowedFd<'_>) -> io::Result<FsXattr> {
    let mut attributes = FsXattr::default();
    // SAFETY: the request writes one struct fsxattr, which `attributes` has the layout and size of.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FSGETXATTR, &raw mut attributes) };
    if result == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
}

/// Puts a file into a project; a directory hands it on to what is made in it from now on.
///
/// # Errors
/// The kernel's; `EOPNOTSUPP`, `EINVAL` or `ENOTTY` on filesystems without projects.
pub fn set_project(file: BorrowedFd<'_>, project: u32, is_directory: bool) -> io::Result<()> {
    let mut attributes = fs_xattr(file)?;
    attributes.projid = project;
    if is_directory {
        attributes.flags |= FS_XFLAG_PROJINHERIT;
    }
    // SAFETY: the request reads one struct fsxattr, which `attributes` has the layout and size of.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FSSETXATTR, &raw const attributes) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What a project may have and has; see quotactl_fd in quotactl(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProjectQuota {
    /// Most KiB, 0 for any number.
    pub max_kib: u64,
    /// Most inodes, 0 for any number.
    pub max_inodes: u64,
    /// Bytes in use.
    pub used: u64,
    /// Inodes in use.
    pub inodes: u64,
}

/// `PRJQUOTA` of linux/quota.h.
const PRJQUOTA: i32 = 2;

fn quotactl(file: BorrowedFd<'_>, command: i32, project: u32, quota: &mut libc::dqblk) -> io::Result<()> {
    // SAFETY: both commands used here read or write one struct dqblk, which `quota` is.
    let result = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            file.as_raw_fd(),
            (command << 8) | PRJQUOTA,
            project,
            std::ptr::from_mut(quota),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn no_quota() -> libc::dqblk {
    // SAFETY: it has only integers, for which zeroes are a value.
    unsafe { std::mem::zeroed() }
}

/// Sets the limits of a project, on the filesystem that `file` is on; what is in use is not looked at.
///
/// # Errors
/// The kernel's; `ESRCH` where project quotas are not turned on, `ENOSYS` where it has none.
pub fn set_project_quota(file: BorrowedFd<'_>, project: u32, limits: ProjectQuota) -> io::Result<()> {
    let mut quota = no_quota();
    quota.dqb_bhardlimit = limits.max_kib;
    quota.dqb_ihardlimit = limits.max_inodes;
    quota.dqb_valid = libc::QIF_BLIMITS | libc::QIF_ILIMITS;
    quotactl(file, libc::Q_SETQUOTA, project, &mut quota)
}

/// The limits and the use of a project, on the filesystem that `file` is on.
///
/// # Errors
/// As [`set_project_quota`].
pub fn project_quota(file: BorrowedFd<'_>, project: u32) -> io::Result<ProjectQuota> {
    let mut quota = no_quota();
    quotactl(file, libc::Q_GETQUOTA, project, &mut quota)?;
    Ok(ProjectQuota {
        max_kib: quota.dqb_bhardlimit,
        max_inodes: quota.dqb_ihardlimit,
        used: quota.dqb_curspace,
        inodes: quota.dqb_curinodes,
    })
}

/// `struct fsverity_enable_arg` of linux/fsverity.h.
#[repr(C)]
#[derive(Default)]
struct EnableVerity {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt: u64,
    signature_size: u32,
    reserved: u32,
    signature: u64,
    more: [u64; 11],
}

/// `struct fsverity_digest` of linux/fsverity.h, with room for a SHA-256.
#[repr(C)]
#[derive(Default)]
struct VerityDigest {
    algorithm: u16,
    size: u16,
    digest: [u8; 32],
}

/// `FS_IOC_ENABLE_VERITY` and `FS_IOC_MEASURE_VERITY`: `_IOW('f', 133, struct fsverity_enable_arg)` and
/// `_IOWR('f', 134, struct fsverity_digest)`, of which the digest itself is no part.
const FS_IOC_ENABLE_VERITY: u64 = 0x4080_6685;
const FS_IOC_MEASURE_VERITY: u64 = 0xc004_6686;
const FS_VERITY_HASH_ALG_SHA256: u32 = 1;
/// Bytes of a block that is read and checked as one.
const VERITY_BLOCK: u32 = 4096;

/// Makes a file read-only for ever, every block checked against a tree of SHA-256 when it is read from the disk;
/// see `Documentation/filesystems/fsverity.rst`. `file` must be open for reading, and no process may have it open
/// for writing. A file that is protected already is left as it is.
///
/// # Errors
/// The kernel's: `EOPNOTSUPP` where the filesystem has not been made for it, `ENOTTY` where filesystem or kernel
/// knows nothing of it.
pub fn enable_verity(file: BorrowedFd<'_>) -> io::Result<()> {
    let wanted = EnableVerity {
        version: 1,
        hash_algorithm: FS_VERITY_HASH_ALG_SHA256,
        block_size: VERITY_BLOCK,
        ..EnableVerity::default()
    };
    // SAFETY: the request reads one struct fsverity_enable_arg, which `wanted` has the layout and size of; salt and
    // signature are empty, so their addresses are not looked at.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_ENABLE_VERITY, &raw const wanted) };
    let error = io::Error::last_os_error();
    if result == 0 || error.raw_os_error() == Some(libc::EEXIST) { Ok(()) } else { Err(error) }
}

/// The SHA-256 that a file is protected by; none where it is not. No content is read.
///
/// # Errors
/// The kernel's; `EOVERFLOW` for a file that is protected by another, longer digest.
pub fn verity_digest(file: BorrowedFd<'_>) -> io::Result<Option<[u8; 32]>> {
    let mut found = VerityDigest { size: 32, ..VerityDigest::default() };
    // SAFETY: the request writes at most a header and `size` bytes, which `found` has the layout and room of.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_MEASURE_VERITY, &raw mut found) };
    if result == 0 {
        return Ok(Some(found.digest));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENODATA | libc::ENOTTY | libc::EOPNOTSUPP) => Ok(None),
        _ => Err(error),
    }
}
