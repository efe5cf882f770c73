//! Layers of an image: what a later one takes away of those before it.
//!
//! `.wh.NAME` removes NAME, `.wh..wh..opq` removes all that its directory has of the layers before: "Layer Filesystem
//! Changeset" of the OCI's image specification. Both are about earlier layers only, wherever in their own they are.

use std::{
    collections::HashSet,
    ffi::OsStr,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use filetree::archive::Reason;
use rustix::{
    fs::{AtFlags, FileType},
    io::Errno,
};

use crate::rootdir::{RootDir, remove_at};

/// What marks removed files.
pub(crate) const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// An entry of a layer that is no file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// What is at this path is gone.
    Removed(PathBuf),
    /// What is in this directory is gone.
    Emptied(PathBuf),
    /// Bookkeeping of the program that made the layer.
    Other,
}

impl Mark {
    /// What an entry marks, if it is a mark.
    ///
    /// # Errors
    /// [`Reason::Whiteout`] for a mark that names nothing, or the directory itself or its parent.
    pub(super) fn of(path: &Path) -> Result<Option<Self>, Reason> {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let Some(hidden) = name.strip_prefix(WHITEOUT.as_bytes()) else { return Ok(None) };
        let dir = path.parent().unwrap_or(Path::new(""));
        Ok(Some(match hidden {
            b"" | b"." | b".." => return Err(Reason::Whiteout),
            _ if name == OPAQUE.as_bytes() => Self::Emptied(dir.to_owned()),
            hidden if hidden.starts_with(WHITEOUT.as_bytes()) => Self::Other,
            hidden => Self::Removed(dir.join(OsStr::from_bytes(hidden))),
        }))
    }

    /// Takes away what it marks, except what the layer itself has `added`.
    pub(super) fn apply(&self, root: &RootDir, added: &HashSet<PathBuf>) -> io::Result<()> {
        match self {
            Self::Other => Ok(()),
            Self::Removed(path) if added.contains(path) => empty(root, path, added),
            Self::Removed(path) => root.remove(path).map(|_| ()),
            Self::Emptied(dir) => empty(root, dir, added),
        }
    }
}

/// Removes what is in a directory; what is not a directory stays.
fn empty(root: &RootDir, dir: &Path, added: &HashSet<PathBuf>) -> io::Result<()> {
    let is_dir = |path: &Path| -> io::Result<bool> {
        let stat = if path.as_os_str().is_empty() { return Ok(true) } else { root.stat(path)? };
        Ok(stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
    };
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        if !is_dir(&dir)? {
            continue;
        }
        for name in root.list(&dir)? {
            let path = dir.join(name);
            match added.contains(&path) {
                true => pending.push(path),
                false => drop(root.remove(&path)?),
            }
        }
    }
    Ok(())
}

/// Removes whatever is at a place, a directory with all that is in it.
pub(super) fn clear(parent: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    match remove_at(parent, name) {
        Ok(_) => Ok(()),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    }
}

/// Takes the attributes of a directory away that an earlier layer gave it.
pub(super) fn plain(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(());
    }
    let path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name);
    for attribute in xattr::list(&path)? {
        match xattr::remove(&path, &attribute) {
            Err(error) if error.raw_os_error() == Some(Errno::NODATA.raw_os_error()) => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_name_what_they_hide() {
        let mark = |path: &str| Mark::of(Path::new(path));
        assert_eq!(mark("a/b"), Ok(None));
        assert_eq!(mark("a/.wh.b"), Ok(Some(Mark::Removed("a/b".into()))));
        assert_eq!(mark(".wh.b"), Ok(Some(Mark::Removed("b".into()))));
        assert_eq!(mark("a/.wh..wh..opq"), Ok(Some(Mark::Emptied("a".into()))));
        assert_eq!(mark(".wh..wh..opq"), Ok(Some(Mark::Emptied("".into()))));
        assert_eq!(mark("a/.wh..wh.plnk"), Ok(Some(Mark::Other)));
        // It would remove the directory that it is in, or the one above.
        for hostile in ["a/.wh.", "a/.wh..", "a/.wh..."] {
            assert_eq!(mark(hostile), Err(Reason::Whiteout), "{hostile}");
        }
    }
}
