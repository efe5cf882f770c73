//! The directories between a top and where a walk is. A tree may be deeper than a process may have files open: few of
//! them are, and the others are opened again on the way back, from the top, if they are still the same.

use std::{
    ffi::{CStr, CString},
    io,
    path::PathBuf,
};

use rustix::fs::{Stat, fstat};

use crate::Dir;

/// So many of the deepest are open.
const OPEN: usize = 32;
/// Most levels: a tree that is deeper is nobody's work.
pub(crate) const MAX_DEPTH: usize = 20_000;

#[derive(Debug)]
struct Level {
    name: CString,
    id: (u64, u64),
    dir: Option<Dir>,
    is_followed: bool,
}

/// Open directories from a top to the present one.
#[derive(Debug)]
pub(crate) struct Chain {
    top: Dir,
    levels: Vec<Level>,
}

fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl Chain {
    pub(crate) fn new(top: Dir) -> Self {
        Self { top, levels: Vec::new() }
    }

    /// Where it begins.
    pub(crate) fn top(&self) -> &Dir {
        &self.top
    }

    /// Names from the top to the present one.
    pub(crate) fn names(&self) -> impl Iterator<Item = &CStr> {
        self.levels.iter().map(|level| &*level.name)
    }

    /// The path of the present one below the top.
    pub(crate) fn path(&self) -> PathBuf {
        use std::os::unix::ffi::OsStrExt as _;
        self.names().map(|name| std::ffi::OsStr::from_bytes(name.to_bytes())).collect()
    }

    /// The present directory.
    ///
    /// # Errors
    /// One on the way was exchanged meanwhile, or is gone.
    pub(crate) fn here(&mut self) -> io::Result<&Dir> {
        if self.levels.last().is_some_and(|level| level.dir.is_none()) {
            self.reopen()?;
        }
        Ok(self.levels.last().and_then(|level| level.dir.as_ref()).unwrap_or(&self.top))
    }

    /// Opens the deepest levels again.
    fn reopen(&mut self) -> io::Result<()> {
        let first = self.levels.len().saturating_sub(OPEN);
        let mut dir = self.top.try_clone()?;
        for (number, level) in self.levels.iter_mut().enumerate() {
            let next = if level.is_followed { dir.dir_or_link(&level.name) } else { dir.dir(&level.name) }?;
            if id(&fstat(&next)?) != level.id {
                return Err(io::Error::other("it was exchanged while it was read"));
            }
            dir = next;
            if number >= first {
                level.dir = Some(dir.try_clone()?);
            }
        }
        Ok(())
    }

    /// Goes down.
    ///
    /// # Errors
    /// It is no directory, or too deep.
    pub(crate) fn enter(&mut self, name: &CStr) -> io::Result<Stat> {
        let dir = self.here()?.dir(name)?;
        self.push(name, dir, false)
    }

    /// Goes down, over a link where the reach allows that.
    ///
    /// # Errors
    /// As [`Chain::enter`].
    pub(crate) fn follow(&mut self, name: &CStr) -> io::Result<Stat> {
        let dir = self.here()?.dir_or_link(name)?;
        self.push(name, dir, true)
    }

    fn push(&mut self, name: &CStr, dir: Dir, is_followed: bool) -> io::Result<Stat> {
        if self.levels.len() >= MAX_DEPTH {
            return Err(io::Error::other(format!("it is more than {MAX_DEPTH} directories deep")));
        }
        let stat = fstat(&dir)?;
        if let Some(far) = self.levels.len().checked_sub(OPEN) {
            self.levels[far].dir = None;
        }
        self.levels.push(Level { name: name.to_owned(), id: id(&stat), dir: Some(dir), is_followed });
        Ok(stat)
    }

    /// Goes up.
    pub(crate) fn leave(&mut self) -> Option<CString> {
        self.levels.pop().map(|level| level.name)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_deep_way_is_gone_down_and_up_again_with_few_files_open() {
        let dir = tempfile::tempdir().unwrap();
        let mut chain = Chain::new(Dir::open(dir.path()).unwrap());
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        for _ in 0..2000 {
            chain.here().unwrap().make_dir(c"d").unwrap();
            chain.enter(c"d").unwrap();
        }
        assert!(open() < before + 3 * OPEN, "{} files are open", open() - before);
        for _ in 0..2000 {
            assert_eq!(chain.leave().as_deref(), Some(c"d"));
            assert!(chain.here().unwrap().remove_dir(c"d").unwrap());
        }
        assert_eq!(chain.leave(), None);
    }

    #[test]
    fn a_directory_that_was_exchanged_meanwhile_is_not_gone_back_to() {
        let dir = tempfile::tempdir().unwrap();
        let mut chain = Chain::new(Dir::open(dir.path()).unwrap());
        for _ in 0..=OPEN {
            chain.here().unwrap().make_dir(c"d").unwrap();
            chain.enter(c"d").unwrap();
        }
        fs::rename(dir.path().join("d"), dir.path().join("old")).unwrap();
        fs::create_dir_all(dir.path().join("d")).unwrap();
        for _ in 0..OPEN {
            chain.leave();
        }
        assert!(chain.here().is_err());
    }
}
