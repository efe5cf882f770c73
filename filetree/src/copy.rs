//! A tree as another one: owners, modes, times, links, holes and attributes are kept. Where the filesystem can, files
//! share their blocks (ioctl_ficlone(2)).

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, Stat, ioctl_ficlone},
    io::Errno,
};

use crate::{
    Dir, Keep, Tally, TreeError, Watch,
    attributes::{self, describe, describe_at, extents, owner, times},
    chain::Chain,
    dir::{c_name, stat_of},
    walk::{Down, Linked, Visit, is_gone, unless_gone, walk},
};

/// So many bytes are copied between two looks at who watches.
const PIECE: u64 = 16 << 20;

/// Copies what is in the directory `from` into the empty directory `to`, and its own metadata. `passes` says of a
/// directory, by its path below `from`, whether what is in it stays behind. Sockets stay behind, and devices but for
/// the nodes that mark removed files of an overlay.
///
/// # Errors
/// The first entry that cannot be copied; what was copied stays.
pub fn copy(
    from: &Dir,
    to: &Dir,
    keep: Keep,
    passes: &dyn Fn(&Path) -> bool,
    watch: Watch<'_>,
) -> Result<Tally, TreeError> {
    let top = to.try_clone().map_err(TreeError::when("open", Path::new("")))?;
    let mut copying = Copying {
        to: Chain::new(top),
        keep,
        passes,
        watch,
        tally: Tally::default(),
        linked: Linked::new(),
        shares: true,
    };
    walk(from, &mut copying)?;
    Ok(copying.tally)
}

struct Copying<'a> {
    to: Chain,
    keep: Keep,
    passes: &'a dyn Fn(&Path) -> bool,
    watch: Watch<'a>,
    tally: Tally,
    /// The first name of files that have several, below the top.
    linked: Linked<PathBuf>,
    /// Whether blocks may be shared: not tried again where that was refused.
    shares: bool,
}

impl Copying<'_> {
    fn told(&mut self, at: &Path) -> Result<(), TreeError> {
        (self.watch)(&self.tally).map_err(TreeError::when("copy", at))
    }

    fn file(&mut self, parent: &Dir, name: &CStr, at: &Path) -> Result<(), TreeError> {
        let opened = unless_gone(parent.file(name), &mut self.tally);
        let Some(file) = opened.map_err(TreeError::when("open", at))? else { return Ok(()) };
        let failed = TreeError::when("copy", at);
        let stat = stat_of(&file).map_err(failed)?;
        let copy = self.to.here().and_then(|dir| dir.create(name, 0o600)).map_err(failed)?;
        self.contents(&file, &copy, &stat).map_err(failed)?;
        let kept = attributes::read(&file, self.keep).map_err(failed)?;
        describe(&copy, owner(&stat), stat.st_mode, &kept, Some(&times(&stat))).map_err(failed)
    }

    fn contents(&mut self, from: &File, to: &File, stat: &Stat) -> io::Result<()> {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if size == 0 {
            return Ok(());
        }
        if self.shares {
            match ioctl_ficlone(to, from) {
                Ok(()) => {
                    self.tally.bytes += size;
                    return Ok(());
                }
                Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::XDEV | Errno::INVAL | Errno::NOSYS) => {
                    self.shares = false;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        let parts = extents(from, size, usize::MAX)?;
        let is_whole = parts == [(0, size)];
        for (offset, length) in parts {
            let (mut source, mut target) = (from, to);
            source.seek(SeekFrom::Start(offset))?;
            target.seek(SeekFrom::Start(offset))?;
            let mut left = length;
            while left > 0 {
                // copy_file_range(2), where the filesystem has it.
                let copied = io::copy(&mut source.take(left.min(PIECE)), &mut target)?;
                if copied == 0 {
                    break;
                }
                left -= copied;
                self.tally.bytes += copied;
                (self.watch)(&self.tally)?;
            }
        }
        // A hole at the end.
        if is_whole { Ok(()) } else { to.set_len(size) }
    }

    /// Makes another name of a file that was copied before; whether there was one.
    fn link(&mut self, name: &CStr, at: &Path, stat: &Stat) -> Result<bool, TreeError> {
        let failed = TreeError::when("link", at);
        if let Some(first) = self.linked.first(stat) {
            let parent = first.parent().unwrap_or(Path::new(""));
            let first = first.file_name().unwrap_or_default();
            let first = c_name(first).map_err(failed)?;
            let dir = self.to.top().find(parent).map_err(failed)?;
            match self.to.here().and_then(|here| dir.link(&first, here, name)) {
                Ok(()) => return Ok(true),
                // That name was gone before it could be copied.
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        self.linked.add(stat, at.to_owned()).map_err(failed)?;
        Ok(false)
    }
}

impl Visit for Copying<'_> {
    fn enter(&mut self, _: &Dir, name: Option<&CStr>, at: &Path, _: &Stat) -> Result<Down, TreeError> {
        let failed = TreeError::when("make", at);
        if let Some(name) = name {
            self.to.here().and_then(|dir| dir.make_dir(name).map(drop)).map_err(failed)?;
            self.to.enter(name).map_err(failed)?;
        }
        self.tally.entries += 1;
        self.told(at)?;
        Ok(if (self.passes)(at) { Down::Pass } else { Down::Walk })
    }

    fn entry(&mut self, parent: &Dir, name: &CStr, at: &Path, stat: &Stat) -> Result<(), TreeError> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if !self.keep.takes(stat) {
            self.tally.left_out += 1;
            return Ok(());
        }
        self.tally.entries += 1;
        if stat.st_nlink > 1 && self.link(name, at, stat)? {
            return self.told(at);
        }
        let failed = TreeError::when("copy", at);
        match kind {
            FileType::RegularFile => self.file(parent, name, at)?,
            FileType::Symlink => {
                let target = unless_gone(parent.target(name), &mut self.tally).map_err(failed)?;
                if let Some(target) = target {
                    let here = self.to.here().map_err(failed)?;
                    here.symlink(&target, name).map_err(failed)?;
                    describe_at(here, name, kind, owner(stat), 0, &times(stat)).map_err(failed)?;
                }
            }
            _ => {
                let here = self.to.here().map_err(failed)?;
                here.make_node(name, kind, 0o600, 0).map_err(failed)?;
                describe_at(here, name, kind, owner(stat), stat.st_mode, &times(stat)).map_err(failed)?;
            }
        }
        self.told(at)
    }

    fn leave(&mut self, dir: &Dir, at: &Path) -> Result<(), TreeError> {
        let failed = TreeError::when("copy", at);
        let keep = self.keep;
        let describe_copy = |to: &Dir| -> io::Result<()> {
            let stat = stat_of(dir)?;
            describe(to, owner(&stat), stat.st_mode, &attributes::read(dir, keep)?, Some(&times(&stat)))
        };
        self.to.here().and_then(describe_copy).map_err(failed)?;
        self.to.leave();
        Ok(())
    }
}

/// Writes a whole tree out, with its filesystem: syncfs(2).
///
/// # Errors
/// Those of syncfs(2), e.g. `StorageFull` of what was delayed.
pub fn settle(dir: &Dir) -> io::Result<()> {
    Ok(rustix::fs::syncfs(dir.as_fd())?)
}
