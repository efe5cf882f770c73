//! Attributes of mounts, see mount_setattr(2).

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// `MOUNT_ATTR_RDONLY`.
pub const MOUNT_ATTR_RDONLY: u64 = 0x1;

/// `MOUNT_ATTR_NOSUID`.
pub const MOUNT_ATTR_NOSUID: u64 = 0x2;

/// `MOUNT_ATTR_NODEV`.
pub const MOUNT_ATTR_NODEV: u64 = 0x4;

/// `MOUNT_ATTR_NOEXEC`.
pub const MOUNT_ATTR_NOEXEC: u64 = 0x8;

const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;

/// mount_setattr(2) on a mount and all below it: attributes to set, propagation (`MS_SHARED`,
/// `MS_PRIVATE`, 0 for as it is), and the user namespace whose map it gets.
///
/// # Errors
/// The kernel's; `EINVAL` for an idmap means that the filesystem cannot carry one.
pub fn mount_setattr(
    mount: BorrowedFd<'_>,
    set: u64,
    propagation: u64,
    idmap: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attr = MountAttr { set, clear: 0, propagation, user_namespace: 0 };
    if let Some(user) = idmap {
        attr.set |= MOUNT_ATTR_IDMAP;
        attr.user_namespace = user.as_raw_fd() as u64;
    }
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is a NUL-terminated literal, `attr` has the size given, both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
