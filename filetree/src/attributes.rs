//! Owners, modes, times and extended attributes.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    path::PathBuf,
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};

use crate::Dir;

/// Largest list of names, and largest attribute, bytes: `XATTR_LIST_MAX` and `XATTR_SIZE_MAX` of linux/limits.h.
const MAX: usize = 64 << 10;

/// Which extended attributes go along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// None: what is unpacked by someone who may not set them.
    Nothing,
    /// What belongs to the files: `user.*`, access control lists, capabilities.
    Own,
    /// Also what makes them an upper layer of an overlay over the same files beneath, wherever these lie.
    Layer,
    /// Also which of the files beneath each was copied from: on the same host.
    LayerHere,
}

/// What overlayfs says of a file, wherever the layers beneath lie.
const LAYER: [&[u8]; 3] = [b"opaque", b"redirect", b"metacopy"];
/// What it says that is only true of these very layers.
const HERE: [&[u8]; 2] = [b"origin", b"impure"];

impl Keep {
    /// Whether an attribute goes along. What security modules note does not: it is of this host's policy.
    pub(crate) fn has(self, name: &[u8]) -> bool {
        if self == Self::Nothing {
            return false;
        }
        if let Some(word) = name.strip_prefix(b"trusted.overlay.") {
            return match self {
                Self::Nothing | Self::Own => false,
                Self::Layer => LAYER.contains(&word),
                Self::LayerHere => LAYER.contains(&word) || HERE.contains(&word),
            };
        }
        match name {
            b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default" => true,
            _ => name.starts_with(b"user.") && !name.starts_with(b"user.overlay."),
        }
    }
}

impl Keep {
    /// Whether an entry that is no directory goes along: files, links and FIFOs do, and of an upper layer the nodes that
    /// mark removed files.
    pub(crate) fn takes(self, stat: &Stat) -> bool {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Symlink | FileType::Fifo => true,
            FileType::CharacterDevice => stat.st_rdev == 0 && matches!(self, Self::Layer | Self::LayerHere),
            _ => false,
        }
    }
}

/// The file that a descriptor stands for, also one that was opened with `O_PATH`.
fn path(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Attributes of an open file that go along.
pub(crate) fn read(fd: impl AsFd, keep: Keep) -> io::Result<Vec<(CString, Vec<u8>)>> {
    let fd = fd.as_fd();
    let mut names = [0_u8; 4096];
    let names = match rustix::fs::flistxattr(fd, &mut names[..]) {
        Ok(length) => names[..length].to_vec(),
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {
            let mut names = vec![0_u8; MAX];
            let length = rustix::fs::flistxattr(fd, &mut names[..])?;
            names.truncate(length);
            names
        }
        Err(errno) => return Err(errno.into()),
    };
    let mut kept = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty() && keep.has(name)) {
        let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut value = vec![0_u8; MAX];
        match rustix::fs::fgetxattr(fd, &name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                value.shrink_to_fit();
                kept.push((name, value));
            }
            // Taken away meanwhile.
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(kept)
}

/// Sets attributes of an open file.
pub(crate) fn write(fd: impl AsFd, attributes: &[(CString, Vec<u8>)]) -> io::Result<()> {
    let set = |(name, value): &(CString, Vec<u8>)| {
        Ok(rustix::fs::fsetxattr(&fd, name.as_c_str(), value, XattrFlags::empty())?)
    };
    attributes.iter().try_for_each(set)
}

pub(crate) fn owner(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

pub(crate) fn times(stat: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.try_into().unwrap_or(0),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Owner, mode, attributes and times of an open file.
pub(crate) fn describe(
    fd: impl AsFd,
    (uid, gid): (Uid, Gid),
    mode: u32,
    attributes: &[(CString, Vec<u8>)],
    times: Option<&Timestamps>,
) -> io::Result<()> {
    // chown(2) takes setuid bits and file capabilities away, so it comes first; an access control list changes the mode.
    rustix::fs::fchown(&fd, Some(uid), Some(gid))?;
    write(&fd, attributes)?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode & 0o7777))?;
    times.map_or(Ok(()), |times| Ok(rustix::fs::futimens(&fd, times)?))
}

/// Owner, mode and time of an entry that is no regular file and no directory.
pub(crate) fn describe_at(
    dir: &Dir,
    name: &CStr,
    kind: FileType,
    (uid, gid): (Uid, Gid),
    mode: u32,
    times: &Timestamps,
) -> io::Result<()> {
    let follow = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), follow)?;
    if kind != FileType::Symlink {
        // By its own descriptor: fchmodat(2) would follow what takes its place.
        let entry = dir.entry(name)?;
        rustix::fs::chmod(path(entry.as_fd()), Mode::from_raw_mode(mode & 0o7777))?;
    }
    Ok(rustix::fs::utimensat(dir, name, times, follow)?)
}

/// Gives an open file the owner, mode and extended attributes of another.
///
/// # Errors
/// Those of the system calls involved.
pub fn copy_attributes(from: impl AsFd, to: impl AsFd, keep: Keep) -> io::Result<()> {
    let stat = rustix::fs::fstat(&from)?;
    describe(to, owner(&stat), stat.st_mode, &read(from, keep)?, None)
}

/// The parts of a file that are no holes: the offset and length of each.
///
/// # Errors
/// Those of lseek(2); `InvalidData` where there are more than `most`.
pub(crate) fn extents(file: &File, size: u64, most: usize) -> io::Result<Vec<(u64, u64)>> {
    use rustix::fs::{SeekFrom, seek};
    let mut found = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // A hole to the end.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => return Ok(vec![(0, size)]),
            Err(errno) => return Err(errno.into()),
        };
        let end = seek(file, SeekFrom::Hole(start))?.min(size);
        if start >= size || end <= start {
            break;
        }
        if found.len() == most {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {most} holes")));
        }
        found.push((start, end - start));
        at = end;
    }
    seek(file, SeekFrom::Start(0))?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_along_is_the_files_own() {
        for (name, own, layer, here) in [
            (&b"user.mine"[..], true, true, true),
            (b"security.capability", true, true, true),
            (b"system.posix_acl_access", true, true, true),
            (b"trusted.overlay.opaque", false, true, true),
            (b"trusted.overlay.redirect", false, true, true),
            (b"trusted.overlay.origin", false, false, true),
            (b"trusted.other", false, false, false),
            (b"user.overlay.opaque", false, false, false),
            (b"security.selinux", false, false, false),
            (b"security.ima", false, false, false),
        ] {
            let kept = [Keep::Own, Keep::Layer, Keep::LayerHere].map(|keep| keep.has(name));
            assert_eq!(kept, [own, layer, here], "{}", String::from_utf8_lossy(name));
        }
    }
}
