//! Layers: what a version adds to, changes in and removes from its parent.
//!
//! The same trees give the same bytes, so that a registry which has the layers of a parent is not sent them again. A
//! large layer is cut into several: what was fetched of an image before a pull was interrupted is not fetched again.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs::{self, File},
    io::{self, Read as _, Write},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use tenant::{files::file_error::FileError, model::ids::Digest};

use super::{
    error::RegistryError,
    layout::{Descriptor, LAYER, Layout},
};
use crate::{
    digest::{self, ContentHash},
    import::WHITEOUT,
    tree::{self, Entry, Kind},
};

/// Where a layer is cut, bytes before compression.
const CUT: u64 = 64 << 20;
/// Level of zstd: more gains little for programs, and takes much longer.
const LEVEL: i32 = 3;

/// The files of a version.
#[derive(Debug)]
pub struct Tree {
    path: PathBuf,
    entries: Vec<Entry>,
    contents: Vec<Option<ContentHash>>,
    /// By inode, the places of all names of a file.
    names: HashMap<(u64, u64), Vec<usize>>,
}

/// A layer that was written.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its blob.
    pub descriptor: Descriptor,
    /// Its digest before it was compressed.
    pub diff_id: String,
}

/// What a layer says of a file besides its path.
#[derive(PartialEq, Eq)]
struct Record<'a> {
    kind: &'a Kind,
    mode: u32,
    owner: (u32, u32),
    content: Option<ContentHash>,
    attributes: &'a std::collections::BTreeMap<std::ffi::OsString, Vec<u8>>,
    names: Vec<&'a Path>,
}

impl Tree {
    /// Reads a tree and hashes its files.
    ///
    /// # Errors
    /// The first file that cannot be read.
    pub fn read(path: &Path) -> Result<Self, RegistryError> {
        let entries = tree::walk(path)?;
        let contents = digest::contents(path, &entries)?;
        let mut names: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.kind != Kind::Dir) {
            names.entry(entry.inode).or_default().push(at);
        }
        Ok(Self { path: path.to_owned(), entries, contents, names })
    }

    /// The first name of a file, if this is another one.
    fn first_name(&self, at: usize) -> Option<&Path> {
        let first = *self.names.get(&self.entries[at].inode)?.first()?;
        (first != at).then(|| self.entries[first].path.as_path())
    }

    fn record(&self, at: usize) -> Record<'_> {
        let entry = &self.entries[at];
        let names = self.names.get(&entry.inode).map(Vec::as_slice).unwrap_or_default();
        Record {
            kind: &entry.kind,
            mode: entry.mode,
            owner: (entry.uid, entry.gid),
            content: self.contents[at],
            attributes: &entry.xattrs,
            names: names.iter().map(|at| self.entries[*at].path.as_path()).collect(),
        }
    }

    fn by_path(&self) -> HashMap<&Path, usize> {
        self.entries.iter().enumerate().map(|(at, entry)| (entry.path.as_path(), at)).collect()
    }
}

/// What a layer has to say.
struct Changes {
    /// Paths that are removed.
    removed: Vec<PathBuf>,
    /// Places in the new tree's list, sorted.
    sent: BTreeSet<usize>,
}

impl Changes {
    fn between(old: Option<&Tree>, new: &Tree) -> Self {
        let Some(old) = old else {
            return Self { removed: Vec::new(), sent: (0..new.entries.len()).collect() };
        };
        let (before, now) = (old.by_path(), new.by_path());
        let is_same = |(at, entry): &(usize, &Entry)| {
            before.get(entry.path.as_path()).is_some_and(|was| old.record(*was) == new.record(*at))
        };
        let changed = new.entries.iter().enumerate().filter(|one| !is_same(one)).map(|(at, _)| at);
        let mut sent: BTreeSet<usize> = changed.collect();
        let is_dir = |path: &Path| now.get(path).is_some_and(|at| new.entries[*at].kind == Kind::Dir);
        // What was in a directory that is gone, or is none any more, goes with it.
        let is_removed = |entry: &&Entry| {
            !now.contains_key(entry.path.as_path()) && entry.path.parent().is_some_and(&is_dir)
        };
        let removed: Vec<_> = old.entries.iter().filter(is_removed).map(|entry| entry.path.clone()).collect();
        // Other programs make a directory that a layer does not mention with attributes of their own.
        let mut above = HashSet::new();
        let touched = sent.iter().map(|at| new.entries[*at].path.as_path());
        for path in touched.chain(removed.iter().map(PathBuf::as_path)) {
            above.extend(path.ancestors().skip(1));
        }
        sent.extend(above.iter().filter_map(|path| now.get(path)));
        Self { removed, sent }
    }
}

/// Counts and hashes what goes through it.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    length: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), length: 0 }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..length]);
        self.length += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

type Packed = Hashing<zstd::Encoder<'static, Hashing<File>>>;

/// A layer that is being written.
struct Writer<'a> {
    layout: &'a Layout,
    path: PathBuf,
    tar: tar::Builder<Packed>,
}

impl<'a> Writer<'a> {
    fn new(layout: &'a Layout) -> io::Result<Self> {
        let path = layout.blob(&Digest::from_bytes([0; 32])).with_file_name(".part");
        let packed = zstd::Encoder::new(Hashing::new(File::create(&path)?), LEVEL)?;
        let mut tar = tar::Builder::new(Hashing::new(packed));
        tar.sparse(false);
        Ok(Self { layout, path, tar })
    }

    /// Bytes so far, before compression.
    fn length(&self) -> u64 {
        self.tar.get_ref().length
    }

    fn finish(self) -> io::Result<Part> {
        let plain = self.tar.into_inner()?;
        let diff_id = Digest::from_bytes(plain.hasher.finalize().into()).to_string();
        let packed = plain.inner.finish()?;
        let digest = Digest::from_bytes(packed.hasher.finalize().into());
        fs::rename(&self.path, self.layout.blob(&digest))?;
        Ok(Part { descriptor: Layout::descriptor(LAYER, digest, packed.length), diff_id })
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let mut name = std::ffi::OsString::from(WHITEOUT);
        name.push(path.file_name().unwrap_or_default());
        let mut header = header(tar::EntryType::Regular, 0o600);
        self.tar.append_data(&mut header, path.with_file_name(name), io::empty())
    }

    fn add(&mut self, tree: &Tree, at: usize) -> io::Result<()> {
        let entry = &tree.entries[at];
        let on_disk = tree.path.join(&entry.path);
        let kind = match (&entry.kind, tree.first_name(at)) {
            (_, Some(_)) => tar::EntryType::Link,
            (Kind::Dir, _) => tar::EntryType::Directory,
            (Kind::Symlink(_), _) => tar::EntryType::Symlink,
            (Kind::Fifo, _) => tar::EntryType::Fifo,
            _ => tar::EntryType::Regular,
        };
        let mut header = header(kind, entry.mode);
        header.set_uid(entry.uid.into());
        header.set_gid(entry.gid.into());
        // Whole seconds, as programs such as Python compare them; before 1970 there is none.
        let mtime = fs::symlink_metadata(&on_disk)?.mtime();
        header.set_mtime(u64::try_from(mtime).unwrap_or_default());
        let path = if entry.path.as_os_str().is_empty() { Path::new("./") } else { &entry.path };
        if let Some(first) = tree.first_name(at) {
            return self.tar.append_link(&mut header, path, first);
        }
        let attributes: Vec<_> = entry
            .xattrs
            .iter()
            .map(|(name, value)| (format!("SCHILY.xattr.{}", name.to_string_lossy()), value.as_slice()))
            .collect();
        if !attributes.is_empty() {
            let attributes = attributes.iter().map(|(name, value)| (name.as_str(), *value));
            self.tar.append_pax_extensions(attributes)?;
        }
        match &entry.kind {
            Kind::Symlink(target) => self.tar.append_link(&mut header, path, target),
            Kind::File => {
                header.set_size(entry.size);
                self.tar.append_data(&mut header, path, File::open(&on_disk)?.take(entry.size))
            }
            _ => self.tar.append_data(&mut header, path, io::empty()),
        }
    }
}

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

/// Refuses what a layer cannot contain, before anything is written.
fn check(tree: &Tree, changes: &Changes) -> Result<(), RegistryError> {
    for entry in changes.sent.iter().map(|at| &tree.entries[*at]) {
        let name = entry.path.file_name().unwrap_or_default().as_bytes();
        let why = match entry.kind {
            Kind::Socket => "it is a socket",
            Kind::Char(_) | Kind::Block(_) => "it is a device node",
            _ if name.starts_with(WHITEOUT.as_bytes()) => "its name marks removed files in layers",
            _ => continue,
        };
        return Err(RegistryError::File { path: Path::new("/").join(&entry.path), why });
    }
    Ok(())
}

/// Writes the layers of a tree: all of it, or what is different from `old`; nothing where nothing is.
///
/// # Errors
/// [`RegistryError::File`] for a file that no layer can contain; else a file cannot be read or written.
pub fn write_layers(layout: &Layout, old: Option<&Tree>, new: &Tree) -> Result<Vec<Part>, RegistryError> {
    let changes = Changes::between(old, new);
    check(new, &changes)?;
    let write = || -> io::Result<Vec<Part>> {
        let mut parts = Vec::new();
        if changes.sent.is_empty() && changes.removed.is_empty() {
            return Ok(parts);
        }
        let mut writer = Writer::new(layout)?;
        for path in &changes.removed {
            writer.remove(path)?;
        }
        for at in &changes.sent {
            if writer.length() > CUT {
                parts.push(writer.finish()?);
                writer = Writer::new(layout)?;
            }
            writer.add(new, *at)?;
        }
        parts.push(writer.finish()?);
        Ok(parts)
    };
    Ok(write().map_err(FileError::when("write a layer of", &new.path))?)
}
