//! A directory as it is at one moment, and made again elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    ffi::OsString,
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, lchown, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use nix::sys::stat::{Mode, SFlag, mknod};

/// A file or directory, under a number that no other one gets, as an inode number is given again.
pub(super) type Id = usize;
/// What has which name: by directory and name.
pub(super) type Names = BTreeMap<(Id, OsString), Id>;

/// What is at the top of every recorded directory and on no disk.
const VOLATILE: &str = "run";
/// The directories of a state are this old: a program may take what is young for another one's work.
const AGE: Duration = Duration::from_secs(86_400);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Directory,
    File(Vec<u8>),
    Link(PathBuf),
    Device(u64),
    /// A FIFO or a socket.
    Other,
}

/// What there is of a file or directory besides its names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Inode {
    pub(super) kind: Kind,
    mode: u32,
    owner: (u32, u32),
}

impl Inode {
    fn read(path: &Path, meta: &fs::Metadata) -> io::Result<Self> {
        let kind = match meta.file_type() {
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_file() => Kind::File(fs::read(path)?),
            kind if kind.is_symlink() => Kind::Link(fs::read_link(path)?),
            kind if kind.is_char_device() || kind.is_block_device() => Kind::Device(meta.rdev()),
            _ => Kind::Other,
        };
        Ok(Self { kind, mode: meta.mode(), owner: (meta.uid(), meta.gid()) })
    }

    /// The same with a part of what is in it, in bytes by its length.
    pub(super) fn cut(&self, part: impl Fn(usize) -> usize) -> Self {
        match &self.kind {
            Kind::File(text) => Self { kind: Kind::File(text[..part(text.len())].to_vec()), ..self.clone() },
            _ => self.clone(),
        }
    }
}

/// Everything below a directory, by inode numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) top: u64,
    pub(super) names: BTreeMap<(u64, OsString), u64>,
    pub(super) inodes: HashMap<u64, Arc<Inode>>,
}

impl Seen {
    /// The inode number of a directory.
    pub(super) fn number(dir: &Path) -> u64 {
        fs::metadata(dir).expect("the directory is there").ino()
    }

    /// Reads a directory; an error where something of it is changed meanwhile.
    pub(super) fn read(top: &Path) -> io::Result<Self> {
        let meta = fs::metadata(top)?;
        let mut seen = Self { top: meta.ino(), names: BTreeMap::new(), inodes: HashMap::new() };
        seen.inodes.insert(meta.ino(), Arc::new(Inode::read(top, &meta)?));
        seen.below(top, meta.ino())?;
        Ok(seen)
    }

    fn below(&mut self, dir: &Path, number: u64) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            if number == self.top && name == VOLATILE {
                continue;
            }
            let meta = fs::symlink_metadata(&path)?;
            let own = meta.ino();
            self.names.insert((number, of_another(name)), own);
            if let Entry::Vacant(vacant) = self.inodes.entry(own) {
                vacant.insert(Arc::new(Inode::read(&path, &meta)?));
                if meta.is_dir() {
                    self.below(&path, own)?;
                }
            }
        }
        Ok(())
    }
}

/// Every name below a directory, as a path from `top`, which it lies in.
///
/// # Panics
/// When an entry is not what a directory said of it.
pub fn names_below(top: &Path, dir: &Path) -> BTreeSet<PathBuf> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        names.insert(entry.path().strip_prefix(top).expect("it lies below the top").to_owned());
        if entry.file_type().expect("a type").is_dir() {
            names.extend(names_below(top, &entry.path()));
        }
    }
    names
}

/// The name of a temporary file as another process has it: the next one that writes has not the number of this one.
fn of_another(name: OsString) -> OsString {
    match name.to_str().and_then(|name| name.strip_suffix(&format!(".{}.tmp", std::process::id()))) {
        Some(first) => format!("{first}.1.tmp").into(),
        None => name,
    }
}

/// What a power cut leaves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Left {
    /// Each with its path, in an order in which it can be made; of what has more than one name, the first of them.
    entries: Vec<(PathBuf, What)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum What {
    Made(Arc<Inode>),
    Again(PathBuf),
}

impl Left {
    pub(super) fn of(top: Id, names: &Names, inode: impl Fn(Id) -> Arc<Inode>) -> Self {
        let mut left = Self { entries: Vec::new() };
        left.below(Path::new(""), top, names, &inode, &mut HashMap::new());
        left
    }

    fn below(
        &mut self,
        at: &Path,
        dir: Id,
        names: &Names,
        inode: &impl Fn(Id) -> Arc<Inode>,
        made: &mut HashMap<Id, PathBuf>,
    ) {
        for ((_, name), id) in names.range((dir, OsString::new())..(dir + 1, OsString::new())) {
            let path = at.join(name);
            if let Some(first) = made.get(id) {
                self.entries.push((path, What::Again(first.clone())));
                continue;
            }
            made.insert(*id, path.clone());
            let inode_of = inode(*id);
            let is_dir = inode_of.kind == Kind::Directory;
            self.entries.push((path.clone(), What::Made(inode_of)));
            if is_dir {
                self.below(&path, *id, names, inode, made);
            }
        }
    }

    /// Makes it below an empty directory.
    pub(super) fn write(&self, to: &Path) -> io::Result<()> {
        for (path, entry) in &self.entries {
            let path = to.join(path);
            match entry {
                What::Made(inode) => inode.make(&path)?,
                What::Again(first) => fs::hard_link(to.join(first), &path)?,
            }
        }
        let past = SystemTime::now() - AGE;
        for (path, entry) in self.entries.iter().rev() {
            let What::Made(inode) = entry else { continue };
            if inode.kind == Kind::Directory {
                let dir = fs::File::open(to.join(path))?;
                dir.set_modified(past)?;
                dir.set_permissions(fs::Permissions::from_mode(inode.mode & 0o7777))?;
            }
        }
        Ok(())
    }
}

impl Inode {
    fn make(&self, path: &Path) -> io::Result<()> {
        match &self.kind {
            Kind::Directory => fs::create_dir(path)?,
            Kind::File(text) => fs::write(path, text)?,
            Kind::Link(target) => symlink(target, path)?,
            Kind::Device(device) => mknod(path, SFlag::S_IFCHR, Mode::empty(), *device)?,
            Kind::Other => mknod(path, SFlag::S_IFIFO, Mode::empty(), 0)?,
        }
        let meta = fs::symlink_metadata(path)?;
        if (meta.uid(), meta.gid()) != self.owner {
            lchown(path, Some(self.owner.0), Some(self.owner.1))?;
        }
        match self.kind {
            Kind::Link(_) | Kind::Directory => Ok(()),
            _ => fs::set_permissions(path, fs::Permissions::from_mode(self.mode & 0o7777)),
        }
    }
}
