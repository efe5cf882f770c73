//! Where an entry goes.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

use crate::{archive::Reason, tree::MAX_DEPTH};

/// Longest path of an entry, bytes: with the staging directory's it stays below PATH_MAX.
const MAX_PATH: usize = 3 << 10;

/// The path of an entry below the root: `/` and `.` are taken off, `..` is refused.
pub(super) fn relative(path: &OsStr) -> Result<PathBuf, Reason> {
    if path.is_empty() || path.len() > MAX_PATH || path.as_bytes().contains(&0) {
        return Err(Reason::Name);
    }
    let mut relative = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) if name.len() <= 255 => relative.push(name),
            Component::Normal(_) => return Err(Reason::LongName),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(Reason::ParentDir),
        }
    }
    if relative.components().count() > MAX_DEPTH {
        return Err(Reason::TooDeep);
    }
    Ok(relative)
}
