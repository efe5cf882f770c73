//! Every entry of a tree, once: in each directory first what is none, then the directories.

use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, Stat, fstat, fstatfs},
    io::Errno,
};

use crate::{Dir, Reach, TreeError, chain::Chain};

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries: files, directories, links, nodes.
    pub entries: u64,
    /// Bytes of files, holes not counted.
    pub bytes: u64,
    /// Entries that cannot go along (sockets, devices), or were gone when they were to be read.
    pub left_out: u64,
}

/// What is told each file: its descriptor, and whether it is a directory.
pub type Tell<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, bool) -> io::Result<()>;

/// Tells every directory and every regular file of a tree, each directory before what is in it.
///
/// # Errors
/// The first that cannot be opened, or what `tell` says.
pub fn each_file(top: &Dir, tell: Tell<'_>) -> Result<(), TreeError> {
    walk(top, &mut EachFile(tell))
}

struct EachFile<'a>(Tell<'a>);

impl Visit for EachFile<'_> {
    fn enter(&mut self, dir: &Dir, _: Option<&CStr>, at: &Path, _: &Stat) -> Result<Down, TreeError> {
        (self.0)(dir.as_fd(), true).map_err(TreeError::when("change", at))?;
        Ok(Down::Walk)
    }

    fn entry(&mut self, parent: &Dir, name: &CStr, at: &Path, stat: &Stat) -> Result<(), TreeError> {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        match parent.file(name) {
            Ok(file) => (self.0)(file.as_fd(), false).map_err(TreeError::when("change", at)),
            Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            Err(error) => Err(TreeError::new("open", at, error)),
        }
    }

    fn leave(&mut self, _: &Dir, _: &Path) -> Result<(), TreeError> {
        Ok(())
    }
}

/// Who watches: told after each entry, and within large files; an error ends what is being done.
pub type Watch<'a> = &'a mut dyn FnMut(&Tally) -> io::Result<()>;

/// What is done with the entries of a tree.
pub(crate) trait Visit {
    /// A directory, before what is in it. `name` is none for the top.
    fn enter(&mut self, dir: &Dir, name: Option<&CStr>, at: &Path, stat: &Stat) -> Result<Down, TreeError>;
    /// An entry that is no directory.
    fn entry(&mut self, parent: &Dir, name: &CStr, at: &Path, stat: &Stat) -> Result<(), TreeError>;
    /// A directory, after what is in it.
    fn leave(&mut self, dir: &Dir, at: &Path) -> Result<(), TreeError>;
}

/// Whether a directory is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Down {
    /// It is.
    Walk,
    /// What is in it does not go along.
    Pass,
}

/// Magic numbers of filesystems that hold nothing but what the kernel says: of linux/magic.h.
const KERNELS: [u64; 12] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x1cd1,      // devpts
    0x1980_0202, // mqueue
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0xcafe_4a11, // bpf
    0x6265_6570, // configfs
    0x6573_5543, // fusectl
    0x4249_4e4d, // binfmt_misc
];

/// Whether what is in a directory belongs to the kernel.
fn is_kernels(dir: &Dir) -> io::Result<bool> {
    Ok(KERNELS.contains(&(fstatfs(dir)?.f_type as u64)))
}

/// Walks over a tree; an entry that is gone before it is looked at is passed over.
pub(crate) fn walk(top: &Dir, visit: &mut impl Visit) -> Result<(), TreeError> {
    let at = PathBuf::new();
    let opened = top.try_clone().and_then(|dir| Ok((fstat(&dir)?, dir)));
    let (stat, dir) = opened.map_err(TreeError::when("open", &at))?;
    let mut chain = Chain::new(dir);
    // The directories of each level that have been read of and not entered.
    let mut waiting: Vec<Vec<CString>> = Vec::new();
    match begin(&mut chain, visit, None, &at, &stat)? {
        Some(below) => waiting.push(below),
        None => return Ok(()),
    }
    while let Some(below) = waiting.last_mut() {
        let Some(name) = below.pop() else {
            let at = chain.path();
            visit.leave(chain.here().map_err(TreeError::when("read", &at))?, &at)?;
            waiting.pop();
            chain.leave();
            continue;
        };
        let stat = match chain.enter(&name) {
            Ok(stat) => stat,
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(TreeError::new("open", &chain.path().join(shown(&name)), error)),
        };
        let at = chain.path();
        match begin(&mut chain, visit, Some(&name), &at, &stat)? {
            Some(below) => waiting.push(below),
            None => drop(chain.leave()),
        }
    }
    Ok(())
}

/// Enters a directory, visits what is no directory in it, and says which are; none where it is not walked.
fn begin(
    chain: &mut Chain,
    visit: &mut impl Visit,
    name: Option<&CStr>,
    at: &Path,
    stat: &Stat,
) -> Result<Option<Vec<CString>>, TreeError> {
    let failed = TreeError::when("read", at);
    let dir = chain.here().map_err(failed)?;
    let down = visit.enter(dir, name, at, stat)?;
    // With its own filesystems out of the way a walk of a whole tenant ends.
    if down == Down::Pass || (dir.reach() == Reach::Confined && is_kernels(dir).map_err(failed)?) {
        visit.leave(dir, at)?;
        return Ok(None);
    }
    let mut below = Vec::new();
    let listed = dir.each(|name, kind| {
        if kind == FileType::Directory {
            below.push(name.to_owned());
            return Ok(());
        }
        let stat = match dir.stat(name) {
            Ok(stat) => stat,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(Fault::Tree(TreeError::new("look at", &at.join(shown(name)), error))),
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            below.push(name.to_owned());
            return Ok(());
        }
        visit.entry(dir, name, &at.join(shown(name)), &stat).map_err(Fault::Tree)
    });
    listed.map_err(|fault| match fault {
        Fault::Tree(error) => error,
        Fault::Io(error) => failed(error),
    })?;
    // Taken from the end.
    below.reverse();
    Ok(Some(below))
}

/// Of an entry, or of the directory itself.
enum Fault {
    Tree(TreeError),
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What was opened; none of an entry that was gone, or another thing, by then: it is counted as left out.
pub(crate) fn unless_gone<T>(opened: io::Result<T>, tally: &mut Tally) -> io::Result<Option<T>> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::InvalidInput => {
            tally.left_out += 1;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Files with several names that are remembered at most.
const MAX_LINKED: usize = 1 << 20;

/// What is known of the first name of files that have several.
pub(crate) struct Linked<T>(HashMap<(u64, u64), T>);

impl<T> Linked<T> {
    pub(crate) fn new() -> Self {
        Self(HashMap::new())
    }

    /// What is known of the first name of a file.
    pub(crate) fn first(&self, stat: &Stat) -> Option<&T> {
        self.0.get(&(stat.st_dev, stat.st_ino))
    }

    /// Remembers the first name of a file.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn add(&mut self, stat: &Stat, first: T) -> io::Result<()> {
        if self.0.len() == MAX_LINKED {
            let text = format!("there are more than {MAX_LINKED} files with several names");
            return Err(io::Error::other(text));
        }
        self.0.insert((stat.st_dev, stat.st_ino), first);
        Ok(())
    }
}

/// Whether an entry went, or became another thing, after its name was read.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::STALE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

pub(crate) fn shown(name: &CStr) -> &Path {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()))
}
