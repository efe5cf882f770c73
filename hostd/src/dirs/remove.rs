//! Takes a tenant's directories away, whatever the tenant put into them.
//!
//! The walk goes from open directory to open directory with openat2(2) (`RESOLVE_BENEATH`,
//! `RESOLVE_NO_XDEV`, `RESOLVE_NO_MAGICLINKS`, `RESOLVE_NO_SYMLINKS`): a link, a FIFO or a mount in the
//! way is removed or reported, never entered. Depth costs neither stack nor descriptors: what lies
//! deeper than [`LEVELS`] is moved up to the top first. The walk can stop at any entry and go on later, because
//! how long it takes is the tenant's choice.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

use filetree::Reach;
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};

/// Directories that are open at once.
const LEVELS: usize = 32;
/// So many entries are removed between two looks at the clock.
const STRIDE: u32 = 64;

fn open(parent: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(filetree::openat2(parent, name, flags, Mode::empty(), Reach::Beneath.resolve())?)
}

/// What is in a directory, from its beginning.
fn entries(dir: &OwnedFd) -> Result<Dir, Errno> {
    let mut entries = Dir::new(rustix::io::dup(dir)?)?;
    entries.rewind();
    Ok(entries)
}

/// Removes the file or the whole directory `name` in `parent`; nothing there is fine.
///
/// # Errors
/// The first entry that cannot be removed, with its path below `parent`; `CrossesDevices` for a mount point.
pub(crate) fn remove_all(parent: impl AsFd, name: &CStr) -> io::Result<()> {
    let mut removal = Removal::new(parent.as_fd().try_clone_to_owned()?, name, &[]);
    while !removal.advance(None)? {}
    Ok(())
}

struct Level {
    name: CString,
    dir: OwnedFd,
}

/// A removal that is done piece by piece.
pub(crate) struct Removal {
    parent: OwnedFd,
    name: CString,
    /// Files directly below that go last, after everything else is gone from the disk.
    last: Vec<CString>,
    top: Option<OwnedFd>,
    levels: Vec<Level>,
    /// What was moved up is in the top directory again, so that is walked until it is empty.
    moved: u64,
    moved_before: u64,
}

/// How far a look at one directory got.
enum Swept {
    /// There is nothing in it any more.
    Empty,
    /// This directory in it has to be entered.
    Enter(CString),
    /// The time is up.
    Pause,
}

impl Removal {
    /// The removal of `name` in `parent`. Of a directory the files in `last` go last: when they do, fsync(2) has
    /// seen to it that nothing else comes back by a power cut.
    pub(crate) fn new(parent: OwnedFd, name: &CStr, last: &[&CStr]) -> Self {
        Self {
            parent,
            name: name.to_owned(),
            last: last.iter().map(|name| (*name).to_owned()).collect(),
            top: None,
            levels: Vec::new(),
            moved: 0,
            moved_before: 0,
        }
    }

    /// Goes on until `until` has come, or to the end; whether nothing is left.
    ///
    /// # Errors
    /// As [`remove_all`]; it can be tried again.
    pub(crate) fn advance(&mut self, until: Option<Instant>) -> io::Result<bool> {
        if self.top.is_none() {
            match rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => return Ok(true),
                Err(Errno::ISDIR) => {}
                Err(errno) => return Err(self.failed(None, errno.into())),
            }
            let top = open(&self.parent, &self.name).map_err(|error| self.failed(None, error))?;
            self.top = Some(top);
        }
        let mut clock = Clock { until, left: STRIDE };
        while !self.pass(&mut clock)? {
            if clock.is_over() {
                return Ok(false);
            }
        }
        self.finish()?;
        Ok(true)
    }

    /// What lies at this place, seen from the directory in which the removal began.
    fn failed(&self, entry: Option<&CStr>, error: io::Error) -> io::Error {
        let names = [self.name.as_c_str()].into_iter().chain(self.levels.iter().map(|level| &*level.name));
        let path: Vec<_> = names.chain(entry).map(CStr::to_string_lossy).collect();
        let mut path = path.join("/");
        if let Some((end, _)) = path.char_indices().nth(400) {
            path.truncate(end);
            path.push('…');
        }
        io::Error::new(error.kind(), Stuck { path, source: error })
    }

    /// One step of the walk; whether the top directory is empty, but for what goes last.
    fn pass(&mut self, clock: &mut Clock) -> io::Result<bool> {
        match self.sweep(clock)? {
            Swept::Pause => Ok(false),
            Swept::Enter(name) => {
                let dir = open(self.here(), &name).map_err(|error| self.failed(Some(&name), error))?;
                self.levels.push(Level { name, dir });
                Ok(false)
            }
            Swept::Empty => {
                let Some(done) = self.levels.pop() else {
                    let is_over = self.moved == self.moved_before;
                    self.moved_before = self.moved;
                    return Ok(is_over);
                };
                match rustix::fs::unlinkat(self.here(), &done.name, AtFlags::REMOVEDIR) {
                    // A directory read while it is emptied may hide an entry: it is read again.
                    Err(Errno::NOTEMPTY) => self.levels.push(done),
                    Err(errno) => return Err(self.failed(Some(&done.name), errno.into())),
                    Ok(()) => {}
                }
                Ok(false)
            }
        }
    }

    /// The directory that the walk is in.
    fn here(&self) -> &OwnedFd {
        self.levels.last().map_or_else(|| self.top(), |level| &level.dir)
    }

    fn top(&self) -> &OwnedFd {
        self.top.as_ref().unwrap_or(&self.parent)
    }

    /// Unlinks what is no directory in the present one and returns the first directory that has to be entered.
    /// Directories of the deepest level are moved to the top instead.
    fn sweep(&mut self, clock: &mut Clock) -> io::Result<Swept> {
        let (deepest, at_top) = (self.levels.len() >= LEVELS, self.levels.is_empty());
        for entry in entries(self.here()).map_err(|errno| self.failed(None, errno.into()))? {
            let entry = entry.map_err(|errno| self.failed(None, errno.into()))?;
            let name = entry.file_name();
            let goes_last = at_top && self.last.iter().any(|last| **last == *name);
            if matches!(name.to_bytes(), b"." | b"..") || goes_last {
                continue;
            }
            if clock.tick() {
                return Ok(Swept::Pause);
            }
            let failed = |errno: Errno| self.failed(Some(name), errno.into());
            if entry.file_type() != FileType::Directory {
                match rustix::fs::unlinkat(self.here(), name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => continue,
                    Err(Errno::ISDIR) => {}
                    Err(errno) => return Err(failed(errno)),
                }
            }
            match rustix::fs::unlinkat(self.here(), name, AtFlags::REMOVEDIR) {
                Ok(()) => continue,
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(Errno::BUSY) => return Err(failed(Errno::XDEV)),
                Err(errno) => return Err(failed(errno)),
            }
            if !deepest {
                return Ok(Swept::Enter(name.to_owned()));
            }
            self.moved = move_up(self.here(), name, self.top(), self.moved).map_err(failed)?;
        }
        Ok(Swept::Empty)
    }

    fn finish(&self) -> io::Result<()> {
        let failed = |errno: Errno| self.failed(None, errno.into());
        if !self.last.is_empty() {
            rustix::fs::fsync(self.top()).map_err(failed)?;
        }
        for name in &self.last {
            match rustix::fs::unlinkat(self.top(), name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                // Not what it should be.
                Err(_) => remove_all(self.top(), name)?,
            }
        }
        rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR).map_err(failed)
    }
}

/// Moves a directory up to the top, under a name of its own; returns how many were.
fn move_up(dir: &OwnedFd, name: &CStr, top: &OwnedFd, mut moved: u64) -> Result<u64, Errno> {
    loop {
        moved += 1;
        let up = format!(".moved-{moved}");
        match rustix::fs::renameat_with(dir, name, top, &up, rustix::fs::RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(moved),
            // The tenant may have a name of that kind itself.
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// An entry that stays.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
struct Stuck {
    path: String,
    source: io::Error,
}

/// When to pause.
struct Clock {
    until: Option<Instant>,
    left: u32,
}

impl Clock {
    /// One more entry; whether to pause before it.
    fn tick(&mut self) -> bool {
        self.left -= 1;
        if self.left > 0 {
            return false;
        }
        self.left = STRIDE;
        self.is_over()
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        os::unix::fs::symlink,
    };

    use super::*;

    #[test]
    fn hostile_contents_go_and_what_they_point_at_stays() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("file"), "host").unwrap();
        let base = tempfile::tempdir().unwrap();
        let tree = base.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        symlink(outside.path(), tree.join("a/link")).unwrap();
        symlink("/", tree.join("root")).unwrap();
        symlink("loop", tree.join("loop")).unwrap();
        fs::hard_link(outside.path().join("file"), tree.join("hard")).unwrap();
        fs::write(tree.join("x".repeat(255)), "long").unwrap();
        fs::create_dir(tree.join("y".repeat(255))).unwrap();
        fs::create_dir_all(tree.join(".moved-1/z")).unwrap();
        let fifo = rustix::fs::mknodat(
            File::open(&tree).unwrap(),
            "fifo",
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        );
        fifo.unwrap();
        remove_all(File::open(base.path()).unwrap(), c"tree").unwrap();
        assert!(!tree.exists());
        assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "host");
        remove_all(File::open(base.path()).unwrap(), c"tree").unwrap();
    }

    #[test]
    fn ten_thousand_levels_are_removed_with_few_descriptors() {
        let base = tempfile::tempdir().unwrap();
        let parent: OwnedFd = File::open(base.path()).unwrap().into();
        let name = CString::new("d".repeat(255)).unwrap();
        let mut here = parent.try_clone().unwrap();
        for _ in 0..10_000 {
            rustix::fs::mkdirat(&here, &name, Mode::from_raw_mode(0o700)).unwrap();
            here = open(&here, &name).unwrap();
        }
        drop(here);
        remove_all(&parent, &name).unwrap();
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }
}
