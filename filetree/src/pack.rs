//! A tree, or one entry of it, into an archive.

use std::{
    ffi::CStr,
    io::{self, Write},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use rustix::fs::{FileType, Stat};

use crate::{
    Dir, Keep, Tally, TreeError, Watch,
    archive::{Chunk, Entry, Kind, MAX_CHUNKS, Writer},
    attributes::{self, extents, times},
    dir::stat_of,
    walk::{Down, Linked, Visit, shown, unless_gone, walk},
};

/// Longest path, bytes: what a reader can be asked to keep.
const MAX_PATH: usize = 1 << 20;

/// What is packed, and how.
pub struct Pack<'a> {
    /// What the path of each entry begins with, without a `/` at either end; of one entry its whole path.
    pub prefix: &'a Path,
    /// Which extended attributes go along.
    pub keep: Keep,
    /// Whether what is in a directory stays behind, by its path below the top.
    pub passes: &'a dyn Fn(&Path) -> bool,
}

/// Packs what has a name in a directory, or, without a name, the directory itself. Sockets and devices stay behind, but for
/// the nodes that mark removed files of an overlay.
///
/// # Errors
/// The first entry that cannot be read; `archive` cannot be written, or who watches ends it.
pub fn pack<W: Write>(
    dir: &Dir,
    name: Option<&CStr>,
    pack: &Pack<'_>,
    archive: &mut Writer<W>,
    watch: Watch<'_>,
) -> Result<Tally, TreeError> {
    let mut packing = Packing { pack, archive, watch, tally: Tally::default(), linked: Linked::new() };
    let Some(name) = name else {
        walk(dir, &mut packing)?;
        return Ok(packing.tally);
    };
    let at = Path::new("");
    let stat = dir.stat(name).map_err(TreeError::when("open", shown(name)))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        walk(&dir.dir(name).map_err(TreeError::when("open", shown(name)))?, &mut packing)?;
    } else {
        packing.entry(dir, name, at, &stat)?;
    }
    Ok(packing.tally)
}

struct Packing<'a, W> {
    pack: &'a Pack<'a>,
    archive: &'a mut Writer<W>,
    watch: Watch<'a>,
    tally: Tally,
    /// The first path of files that have several.
    linked: Linked<Vec<u8>>,
}

impl<W: Write> Packing<'_, W> {
    /// The path of an entry in the archive.
    fn path(&self, at: &Path) -> Result<Vec<u8>, TreeError> {
        let mut path = self.pack.prefix.as_os_str().as_bytes().to_vec();
        if !path.is_empty() && !at.as_os_str().is_empty() {
            path.push(b'/');
        }
        path.extend(at.as_os_str().as_bytes());
        if path.is_empty() {
            path.push(b'.');
        }
        if path.len() > MAX_PATH {
            let text = format!("its path has more than {MAX_PATH} bytes");
            return Err(TreeError::new("pack", at, io::Error::other(text)));
        }
        Ok(path)
    }

    fn told(&mut self, at: &Path) -> Result<(), TreeError> {
        (self.watch)(&self.tally).map_err(TreeError::when("pack", at))
    }

    fn file(&mut self, parent: &Dir, name: &CStr, at: &Path, path: &[u8]) -> Result<(), TreeError> {
        let opened = unless_gone(parent.file(name), &mut self.tally);
        let Some(file) = opened.map_err(TreeError::when("open", at))? else { return Ok(()) };
        let failed = TreeError::when("pack", at);
        let stat = stat_of(&file).map_err(failed)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        // One is the end of the file.
        let parts = extents(&file, size, MAX_CHUNKS - 1).map_err(failed)?;
        let chunks: Vec<Chunk> = parts.iter().map(|&(offset, length)| Chunk { offset, length }).collect();
        let is_sparse = size > 0 && parts != [(0, size)];
        let kept = attributes::read(&file, self.pack.keep).map_err(failed)?;
        let entry = Entry { attributes: &kept, ..entry(path, Kind::File, &stat) };
        let Self { archive, watch, tally, .. } = self;
        let mut tell = |bytes: u64| {
            tally.bytes += bytes;
            watch(tally)
        };
        let how = (size, is_sparse.then_some(&chunks[..]));
        archive.file(&entry, how, &file, &mut tell).map_err(failed)
    }
}

fn entry<'a>(path: &'a [u8], kind: Kind, stat: &Stat) -> Entry<'a> {
    Entry {
        path,
        kind,
        link: b"",
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: times(stat).last_modification,
        attributes: &[],
    }
}

impl<W: Write> Visit for Packing<'_, W> {
    fn enter(&mut self, dir: &Dir, _: Option<&CStr>, at: &Path, stat: &Stat) -> Result<Down, TreeError> {
        let path = self.path(at)?;
        let failed = TreeError::when("pack", at);
        let kept = attributes::read(dir, self.pack.keep).map_err(failed)?;
        let entry = Entry { attributes: &kept, ..entry(&path, Kind::Directory, stat) };
        self.archive.entry(&entry).map_err(failed)?;
        self.tally.entries += 1;
        self.told(at)?;
        Ok(if (self.pack.passes)(at) { Down::Pass } else { Down::Walk })
    }

    fn entry(&mut self, parent: &Dir, name: &CStr, at: &Path, stat: &Stat) -> Result<(), TreeError> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if !self.pack.keep.takes(stat) {
            self.tally.left_out += 1;
            return Ok(());
        }
        let path = self.path(at)?;
        let failed = TreeError::when("pack", at);
        self.tally.entries += 1;
        if stat.st_nlink > 1
            && let Some(first) = self.linked.first(stat)
        {
            let entry = Entry { link: first, ..entry(&path, Kind::HardLink, stat) };
            self.archive.entry(&entry).map_err(failed)?;
            return self.told(at);
        }
        let before = self.tally.left_out;
        match kind {
            FileType::RegularFile => self.file(parent, name, at, &path)?,
            FileType::Symlink => {
                let target = unless_gone(parent.target(name), &mut self.tally).map_err(failed)?;
                if let Some(target) = target {
                    let entry = Entry { link: target.to_bytes(), ..entry(&path, Kind::Symlink, stat) };
                    self.archive.entry(&entry).map_err(failed)?;
                }
            }
            FileType::Fifo => self.archive.entry(&entry(&path, Kind::Fifo, stat)).map_err(failed)?,
            _ => self.archive.entry(&entry(&path, Kind::Char(0, 0), stat)).map_err(failed)?,
        }
        if stat.st_nlink > 1 && self.tally.left_out == before {
            self.linked.add(stat, path).map_err(failed)?;
        }
        self.told(at)
    }

    fn leave(&mut self, _: &Dir, _: &Path) -> Result<(), TreeError> {
        Ok(())
    }
}
