//! Mounts of a tenant that is running, in its own mount namespace.
//!
//! A tenant can bend every path and mount what it likes. So a mount is named by its number and its place, and is left
//! alone where another one is there by now.

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, openat, statx},
    mount::{OpenTreeFlags, UnmountFlags, open_tree, unmount},
    process::fchdir,
};

use super::{KernelError, MountEntry, Result, apart::apart, openat2};

/// The mounts that a process sees below its root.
pub(super) fn mounts(pid: i32) -> Result<Vec<MountEntry>> {
    let path = format!("/proc/{pid}/mountinfo");
    // Names need not be UTF-8.
    let text = std::fs::read(&path).map_err(|error| KernelError::new("read", path, error))?;
    Ok(String::from_utf8_lossy(&text).lines().filter_map(entry).collect())
}

/// A line of proc_pid_mountinfo(5).
fn entry(line: &str) -> Option<MountEntry> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut mount = mount.split(' ');
    let (id, parent) = (mount.next()?.parse().ok()?, mount.next()?.parse().ok()?);
    let at = unescape(mount.nth(2)?).trim_start_matches('/').to_owned();
    let mut filesystem = filesystem.split(' ');
    let (kind, source) = (filesystem.next()?.to_owned(), unescape(filesystem.next()?));
    Some(MountEntry { id, parent, at, kind, source })
}

/// Blanks, backslashes and what ends a line are three octal digits.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escaped)) = rest.split_once('\\') {
        plain.push_str(before);
        let digits = escaped.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match digits {
            Some(byte) => {
                plain.push(byte.into());
                rest = &escaped[3..];
            }
            None => {
                plain.push('\\');
                rest = escaped;
            }
        }
    }
    plain + rest
}

/// A detached copy of a mount and of all below it.
pub(super) fn copy(pid: i32, mount: &MountEntry) -> Result<OwnedFd> {
    at(pid, mount, |place, _, _| {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE;
        Ok(open_tree(place, "", flags)?)
    })
    .map_err(|error| KernelError::new("copy the mount at", format!("/{}", mount.at), error))
}

/// Detaches a mount, see `MNT_DETACH` in umount(2).
pub(super) fn detach(pid: i32, mount: &MountEntry) -> Result<()> {
    at(pid, mount, |place, parent, name| {
        drop(place);
        fchdir(parent)?;
        Ok(unmount(name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
    })
    .map_err(|error| KernelError::new("detach the mount at", format!("/{}", mount.at), error))
}

/// Does something with a mount, in the mount namespace of a process: on a thread that ends with it. It is given the
/// mount, the directory that it is in, and its name there.
fn at<T: Send>(
    pid: i32,
    mount: &MountEntry,
    work: impl FnOnce(OwnedFd, BorrowedFd<'_>, &str) -> io::Result<T> + Send,
) -> io::Result<T> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = openat(CWD, format!("/proc/{pid}/root"), flags | OFlags::DIRECTORY, Mode::empty())?;
    let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
    apart(|| {
        // A root directory of its own, which setns(2) sets.
        unshare(CloneFlags::CLONE_FS)?;
        setns(&namespace, CloneFlags::CLONE_NEWNS)?;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let (parent, name) = mount.at.rsplit_once('/').unwrap_or((".", &mount.at));
        let parent = openat2(&root, parent, flags | OFlags::DIRECTORY, Mode::empty(), resolve)?;
        let place = openat2(&parent, name, flags | OFlags::NOFOLLOW, Mode::empty(), resolve)?;
        let found = statx(&place, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
        if found.stx_mnt_id != mount.id {
            return Err(io::Error::other("the tenant has mounted something else there in the meantime"));
        }
        work(place, parent.as_fd(), name)
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read() {
        let line =
            "82 70 0:46 / /usr/local ro,nodev shared:9 master:8 - overlay debian@0123456789ab ro,lowerdir=x";
        let entry = entry(line).unwrap();
        assert_eq!((entry.id, entry.parent), (82, 70));
        assert_eq!(
            (&*entry.at, &*entry.kind, &*entry.source),
            ("usr/local", "overlay", "debian@0123456789ab")
        );
        let odd = super::entry(r"1 0 0:1 / /a\040b\134c rw - tmpfs none rw").unwrap();
        assert_eq!(odd.at, r"a b\c");
        assert!(super::entry("nonsense").is_none());
        assert_eq!(super::entry("1 0 0:1 / / rw - tmpfs tmpfs rw").unwrap().at, "");
    }

    #[test]
    fn the_mounts_of_this_process_are_found() {
        let own = mounts(std::process::id() as i32).unwrap();
        assert!(own.iter().any(|mount| mount.at == "proc" && mount.kind == "proc"), "{own:?}");
    }
}
