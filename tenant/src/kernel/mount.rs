//! Detached mounts: made, filled and sealed by file descriptor, never in the host's mount namespace.
//!
//! See fsopen(2), fsconfig(2), fsmount(2), open_tree(2), mount_setattr(2) and
//! `Documentation/filesystems/overlayfs.rst`.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags, fstat, openat},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_fd,
        fsconfig_set_string, fsmount, fsopen, open_tree,
    },
};

use super::{
    Access, Entry, KernelError, Node, OwnFilesystem, Result, Shape, TmpfsUse, Top, Upper, openat2, raw,
    source,
};

/// A tmpfs has an inode for every 4 KiB of its size, at least this many.
const MIN_INODES: u64 = 4096;

/// What overlayfs does on behalf of its tenant in the upper directory needs these and no more. Without
/// SYS_RESOURCE the tenant can use neither reserved blocks nor pass a quota.
const MOUNTER_CAPABILITIES: [Capability; 8] = [
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_MKNOD,
    Capability::CAP_SETFCAP,
];

/// Runs `work` with another filesystem uid and gid: files made meanwhile, and everything an overlay
/// mounted meanwhile makes later, belong to it.
pub(crate) fn as_owner<T>(owner: u32, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = caps::read(None, CapSet::Effective).map_err(io::Error::other)?;
    let (uid, gid) = (setfsuid(Uid::from_raw(owner)), setfsgid(Gid::from_raw(owner)));
    // Leaving uid 0 has dropped the filesystem capabilities from the effective set.
    let wanted: CapsHashSet = MOUNTER_CAPABILITIES.into_iter().collect();
    let result = caps::set(None, CapSet::Effective, &wanted).map_err(io::Error::other).and_then(|()| work());
    setfsuid(uid);
    setfsgid(gid);
    caps::set(None, CapSet::Effective, &before).map_err(io::Error::other)?;
    result
}

fn new_filesystem(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    create(context, attributes)
}

pub(crate) fn create(context: OwnedFd, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    fsconfig_create(context.as_fd()).map_err(|error| explain(&context, error))?;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// The kernel's own words, which fsopen(2) contexts keep as a log, in place of a bare EINVAL.
fn explain(context: &OwnedFd, error: rustix::io::Errno) -> io::Error {
    let mut message = [0; 256];
    match rustix::io::read(context, &mut message) {
        Ok(length) => {
            let text = String::from_utf8_lossy(&message[..length]);
            io::Error::other(format!("{} ({error})", text.trim().trim_start_matches("e ")))
        }
        Err(_) => error.into(),
    }
}

/// A filesystem that belongs to the namespaces of its caller, init.
pub(super) fn own_filesystem(own: &OwnFilesystem) -> Result<OwnedFd> {
    let base = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let sealed = base | MountAttrFlags::MOUNT_ATTR_NODEV;
    let (kind, made) = match own {
        OwnFilesystem::Devpts { max } => {
            let max = max.to_string();
            let options = [("gid", "5"), ("mode", "620"), ("ptmxmode", "666"), ("max", &max)];
            ("devpts", new_filesystem("devpts", &options, base))
        }
        OwnFilesystem::Proc => ("proc", new_filesystem("proc", &[], sealed)),
        OwnFilesystem::Sysfs => {
            ("sysfs", new_filesystem("sysfs", &[], sealed | MountAttrFlags::MOUNT_ATTR_RDONLY))
        }
        OwnFilesystem::Cgroup => ("cgroup2", new_filesystem("cgroup2", &[], sealed)),
    };
    made.map_err(|error| KernelError::new("mount", kind, error))
}

/// Of a directory of Tenantry's own. Links lead to it only where root has put them.
pub(crate) fn tree_clone(path: &Path, user: &OwnedFd, access: Access) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty())
        .map_err(io::Error::from)
        .and_then(|dir| clone_shifted(&dir, user, access, raw::MOUNT_ATTR_NODEV))
        .map_err(|error| explain_clone(path, error))
}

pub(crate) fn bind_clone(path: &Path, user: &OwnedFd, access: Access) -> Result<OwnedFd> {
    let dir = source::open(path, access).map_err(|error| KernelError::new("bind", path.display(), error))?;
    clone_shifted(&dir, user, access, raw::MOUNT_ATTR_NODEV | raw::MOUNT_ATTR_NOSUID)
        .map_err(|error| explain_clone(path, error))
}

fn clone_shifted(dir: &OwnedFd, user: &OwnedFd, access: Access, attributes: u64) -> io::Result<OwnedFd> {
    let tree = clone_mount(dir)?;
    let read_only = if access == Access::ReadOnly { raw::MOUNT_ATTR_RDONLY } else { 0 };
    raw::mount_setattr(tree.as_fd(), attributes | read_only, libc::MS_PRIVATE, Some(user.as_fd()))?;
    Ok(tree)
}

pub(super) fn clone_mount(at: &OwnedFd) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(at, "", flags)?)
}

fn explain_clone(path: &Path, error: io::Error) -> KernelError {
    match error.raw_os_error() {
        Some(libc::EINVAL) => {
            let cause = io::Error::other("its filesystem does not support idmapped mounts");
            KernelError::new("idmap", path.display(), cause)
        }
        _ => KernelError::new("clone the mount at", path.display(), error),
    }
}

fn open_dir(tree: BorrowedFd<'_>, dir: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(tree, dir, flags, Mode::empty(), resolve)?)
}

pub(crate) fn tree_subdir(tree: &OwnedFd, dir: &str) -> Result<OwnedFd> {
    open_dir(tree.as_fd(), dir)
        .and_then(|dir| clone_mount(&dir))
        .map_err(|error| KernelError::new("clone directory", dir, error))
}

pub(crate) fn tree_path(tree: &OwnedFd, path: &str) -> Result<(OwnedFd, Shape)> {
    let clone = || -> io::Result<(OwnedFd, Shape)> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let found = openat2(tree, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
        let shape = match FileType::from_raw_mode(fstat(&found)?.st_mode) {
            FileType::Directory => Shape::Dir,
            FileType::RegularFile => Shape::File,
            _ => return Err(io::Error::other("it is neither a directory nor a regular file")),
        };
        Ok((clone_mount(&found)?, shape))
    };
    clone().map_err(|error| KernelError::new("find", format!("/{path}"), error))
}

/// An open layer and the option that hands it to overlayfs.
struct Layer(&'static str, OwnedFd);

/// Hands the layers over by descriptor (Linux 6.13), or as paths that lead through `/proc/self/fd`.
fn set_layers(context: BorrowedFd<'_>, layers: &[Layer]) -> io::Result<()> {
    let Some(Layer(option, first)) = layers.first() else { return Ok(()) };
    if fsconfig_set_fd(context, *option, first).is_ok() {
        for Layer(option, layer) in &layers[1..] {
            fsconfig_set_fd(context, *option, layer)?;
        }
        return Ok(());
    }
    let path = |layer: &OwnedFd| format!("/proc/self/fd/{}", layer.as_raw_fd());
    let lowers = layers.iter().filter(|layer| layer.0 == "lowerdir+");
    let lowers: Vec<String> = lowers.map(|layer| path(&layer.1)).collect();
    fsconfig_set_string(context, "lowerdir", lowers.join(":"))?;
    for Layer(option, layer) in layers.iter().filter(|layer| layer.0 != "lowerdir+") {
        fsconfig_set_string(context, *option, path(layer))?;
    }
    Ok(())
}

pub(crate) fn overlay(
    lower: &OwnedFd,
    dir: Option<&str>,
    top: Top<'_, OwnedFd>,
    owner: u32,
    source: &str,
) -> Result<OwnedFd> {
    let object = dir.unwrap_or("/");
    let mount = || -> io::Result<OwnedFd> {
        let lower = open_dir(lower.as_fd(), dir.unwrap_or("."))?;
        let mut layers = Vec::new();
        let is_writable = matches!(top, Top::Upper(_));
        match &top {
            // The image's is the first, from which the root of the overlay has its times: by the time of /usr a system
            // knows whether its base is another one, see ConditionNeedsUpdate= of systemd.unit(5).
            Top::Empty(empty) => {
                layers.push(Layer("lowerdir+", lower));
                layers.push(Layer("lowerdir+", open_dir(empty.as_fd(), ".")?));
            }
            Top::Upper(Upper { tree, store }) => {
                layers.push(Layer("upperdir", open_dir(tree.as_fd(), &format!("{store}/upper"))?));
                layers.push(Layer("workdir", open_dir(tree.as_fd(), &format!("{store}/work"))?));
                layers.push(Layer("lowerdir+", lower));
            }
        }
        let mut attributes = MountAttrFlags::MOUNT_ATTR_NODEV;
        if !is_writable {
            attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
        }
        let tree = as_owner(owner, || {
            let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_set_string(context.as_fd(), "source", source)?;
            set_layers(context.as_fd(), &layers)?;
            if is_writable {
                // Without it rename(2) of a directory of the image fails with EXDEV.
                fsconfig_set_string(context.as_fd(), "redirect_dir", "on")?;
            }
            create(context, attributes)
        })?;
        let stat = rustix::fs::fstatvfs(&tree)?;
        if is_writable && stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
            // overlayfs could not make a directory of its own, and does not say why. The figures are those of the disk.
            if stat.f_bavail == 0 || stat.f_favail == 0 {
                return Err(rustix::io::Errno::NOSPC.into());
            }
            let cause = "overlayfs fell back to read-only: the tenant cannot write to the upper directory";
            return Err(io::Error::other(cause));
        }
        Ok(tree)
    };
    mount().map_err(|error| KernelError::new("mount overlay over", object, error))
}

pub(crate) fn tmpfs(usage: TmpfsUse, size: u64, mode: u32, owner: u32) -> io::Result<OwnedFd> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | match usage {
            TmpfsUse::Files => MountAttrFlags::MOUNT_ATTR_NODEV,
            TmpfsUse::Devices => MountAttrFlags::MOUNT_ATTR_NOEXEC,
        };
    let inodes = (size / 4096).max(MIN_INODES).to_string();
    let (size, mode, owner) = (size.to_string(), format!("{mode:o}"), owner.to_string());
    let options = [
        ("source", "tmpfs"),
        ("size", &size),
        ("nr_inodes", &inodes),
        ("mode", &mode),
        ("uid", &owner),
        ("gid", &owner),
    ];
    new_filesystem("tmpfs", &options, attributes)
}

pub(crate) fn tmpfs_entry(tree: &OwnedFd, path: &str, entry: Entry<'_>, owner: u32) -> Result<()> {
    let make = || -> io::Result<()> {
        let umask = rustix::process::umask(Mode::empty());
        let made = match entry {
            Entry::Dir(mode) => rustix::fs::mkdirat(tree, path, Mode::from_raw_mode(mode)),
            Entry::Link(target) => rustix::fs::symlinkat(target, tree, path),
            Entry::File => {
                let mode = Mode::from_raw_mode(0o444);
                rustix::fs::mknodat(tree, path, FileType::RegularFile, mode, 0)
            }
            Entry::Device(major, minor) => {
                let device = rustix::fs::makedev(major, minor);
                let mode = Mode::from_raw_mode(0o666);
                rustix::fs::mknodat(tree, path, FileType::CharacterDevice, mode, device)
            }
            Entry::Secret(contents) => secret(tree, path, contents),
            Entry::Inaccessible(Node::Dir) => rustix::fs::mkdirat(tree, path, Mode::empty()),
            Entry::Inaccessible(node) => {
                rustix::fs::mknodat(tree, path, file_type(node), Mode::empty(), rustix::fs::makedev(0, 0))
            }
        };
        rustix::process::umask(umask);
        made?;
        let (uid, gid) = (rustix::fs::Uid::from_raw(owner), rustix::fs::Gid::from_raw(owner));
        Ok(rustix::fs::chownat(tree, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
    };
    make().map_err(|error| KernelError::new("make", path, error))
}

fn secret(tree: &OwnedFd, path: &str, contents: &[u8]) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(tree, path, flags, Mode::RUSR)?;
    let mut rest = contents;
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(&file, rest)?..];
    }
    Ok(())
}

fn file_type(node: Node) -> FileType {
    match node {
        Node::File => FileType::RegularFile,
        Node::Dir => FileType::Directory,
        Node::Fifo => FileType::Fifo,
        Node::Socket => FileType::Socket,
        Node::Character => FileType::CharacterDevice,
        Node::Block => FileType::BlockDevice,
    }
}

pub(crate) fn seal(tree: &OwnedFd) -> Result<()> {
    raw::mount_setattr(tree.as_fd(), raw::MOUNT_ATTR_RDONLY, 0, None)
        .map_err(|error| KernelError::new("make read-only", "the root", error))
}
