//! The inventory of a version: what is in its tree, without reading the tree.
//!
//! It is the file [`FILE`] in the version's directory, in the format of mtree(5), which `bsdtar` and others read too:
//!
//! ```text
//! #mtree
//! . type=dir mode=0755 uid=0 gid=0
//! ./usr/bin/ping type=file mode=0755 uid=0 gid=0 size=90568 sha256digest=0e1d…
//! # xattrs 5b0e…
//! ```
//!
//! One line for each name, all of them full paths, sorted by their bytes. `inode` is there where one file has several
//! names in the tree; it numbers such files and is no number of a filesystem. mtree(5) has no keyword for extended
//! attributes, so the SHA-256 of all of a file is in a comment below its line. Times are left out, as they are in the
//! [digest].
//!
//! An inventory is a copy of what the digest covers. Where both could disagree (a damaged disk), the tree counts:
//! nothing is shared or verified by an inventory alone.

mod item;
mod line;

pub use item::Item;

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use tenant::{
    Layout,
    files::{
        file_error::FileError,
        record::{self, Durability},
    },
    kernel::{KernelError, image::Contents},
    model::{
        ids::Digest,
        image::{ImageName, ImageSource, Manifest},
    },
};

use crate::{
    digest::{self, ContentHash, field},
    erofs::ErofsError,
    explain::{Explain, Outcome},
    tree::{self, Entry, Kind, TreeError},
};

/// Name of the inventory in a version's directory.
pub const FILE: &str = "files.mtree";
/// First line of an inventory.
const MAGIC: &str = "#mtree";

/// What is in a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    items: Vec<Item>,
}

/// Why there is no inventory of a version.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// It is malformed.
    #[error("line {line} of the inventory {path:?} is malformed: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The tree cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The version cannot be opened.
    #[error(transparent)]
    Open(#[from] ErofsError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Explain for InventoryError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Malformed { path, .. } => {
                Some(format!("remove it, it is made again: rm {}", path.display()))
            }
            Self::Tree(e) => e.help(),
            Self::Open(e) => e.help(),
            Self::File(e) => {
                (e.kind() == io::ErrorKind::PermissionDenied).then(|| "run it as root".to_owned())
            }
        }
    }

    fn outcome(&self) -> Outcome {
        Outcome::Failed
    }
}

impl From<KernelError> for InventoryError {
    fn from(error: KernelError) -> Self {
        Self::Open(error.into())
    }
}

/// A text that is no inventory: the number of its first wrong line, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// From 1.
    pub line: usize,
    /// The reason.
    pub reason: &'static str,
}

impl Inventory {
    /// The inventory of a tree that [`tree::walk`] listed and [`digest::contents`] read.
    pub fn of(entries: &[Entry], contents: &[Option<ContentHash>]) -> Self {
        let mut names: HashMap<(u64, u64), (u64, u64)> = HashMap::new();
        for entry in entries.iter().filter(|entry| entry.kind != Kind::Dir) {
            let next = names.len() as u64 + 1;
            names.entry(entry.inode).or_insert((next, 0)).1 += 1;
        }
        let inode = |entry: &Entry| match names.get(&entry.inode) {
            Some((number, count)) if *count > 1 && entry.kind != Kind::Dir => Some(*number),
            _ => None,
        };
        let item = |(entry, sha256): (&Entry, &Option<ContentHash>)| Item {
            path: entry.path.clone(),
            kind: entry.kind.clone(),
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            size: entry.size,
            sha256: *sha256,
            xattrs: hash_xattrs(&entry.xattrs),
            inode: inode(entry),
        };
        Self { items: entries.iter().zip(contents).map(item).collect() }
    }

    /// An inventory of these items.
    pub fn of_items(mut items: Vec<Item>) -> Self {
        items.sort_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
        Self { items }
    }

    /// SHA-256 of its text.
    pub fn hash(&self) -> ContentHash {
        Sha256::digest(self.render()).into()
    }

    /// Its items, sorted by the bytes of the path; the root of the tree is the first.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The items below a directory, and the directory.
    pub fn below(&self, dir: &Path) -> impl Iterator<Item = &Item> {
        let wanted = dir.as_os_str().as_bytes();
        let first = self.items.partition_point(|item| item.path.as_os_str().as_bytes() < wanted);
        // `a-b` is between `a` and `a/b`.
        let with_prefix = self.items[first..]
            .iter()
            .take_while(move |item| item.path.as_os_str().as_bytes().starts_with(wanted));
        with_prefix.filter(move |item| item.path.starts_with(dir))
    }

    /// The item at `path` (without a leading `/`).
    pub fn get(&self, path: &Path) -> Option<&Item> {
        let wanted = path.as_os_str().as_bytes();
        let found = self.items.binary_search_by(|item| item.path.as_os_str().as_bytes().cmp(wanted));
        found.ok().map(|index| &self.items[index])
    }

    /// Parses the text of an inventory. Keywords that are not known are skipped.
    ///
    /// # Errors
    /// [`Malformed`] for the first line that is not one, or is not in order.
    pub fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut items: Vec<Item> = Vec::new();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let wrong = |reason| Malformed { line: index + 1, reason };
            if index == 0 {
                if line != MAGIC.as_bytes() {
                    return Err(wrong("it is not the first line of an mtree(5) file"));
                }
            } else if let Some(hex) = line.strip_prefix(line::XATTRS.as_bytes()) {
                let item = items.last_mut().ok_or(wrong("there is no file before it"))?;
                item.xattrs = Some(line::hash(hex).map_err(wrong)?);
            } else if !line.is_empty() && line[0] != b'#' {
                let item = line::parse(line).map_err(wrong)?;
                let is_first = items
                    .last()
                    .is_none_or(|last| last.path.as_os_str().as_bytes() < item.path.as_os_str().as_bytes());
                if !is_first {
                    return Err(wrong("the paths are not sorted"));
                }
                items.push(item);
            }
        }
        Ok(Self { items })
    }

    /// The text of the file.
    pub fn render(&self) -> String {
        let mut text = format!("{MAGIC}\n");
        for item in &self.items {
            line::render(item, &mut text);
        }
        text
    }

    /// Reads the inventory in `dir`, the directory of a version; none if the version has none.
    ///
    /// # Errors
    /// [`InventoryError`].
    pub fn read(dir: &Path) -> Result<Option<Self>, InventoryError> {
        let path = dir.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(FileError::new("read", path, e).into()),
        };
        match Self::parse(&text) {
            Ok(inventory) => Ok(Some(inventory)),
            Err(Malformed { line, reason }) => Err(InventoryError::Malformed { path, line, reason }),
        }
    }

    /// Writes it into `dir`, the directory of a version.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn write(&self, dir: &Path) -> Result<(), FileError> {
        record::write(&dir.join(FILE), self.render().as_bytes(), Durability::Durable)
    }
}

/// The inventory of a version in the store. One that an earlier release published has none: its tree is read once and the
/// inventory is kept, unless the tree is not what its digest says.
///
/// # Errors
/// [`InventoryError`].
pub fn of_version(
    layout: &Layout,
    image: &ImageName,
    digest: &Digest,
    manifest: &Manifest,
) -> Result<Inventory, InventoryError> {
    let dir = layout.version(image, digest);
    if let Some(inventory) = Inventory::read(&dir)? {
        return Ok(inventory);
    }
    let opened = Contents::open(&ImageSource::of(layout, manifest))?;
    let root = opened.path();
    let entries = tree::walk(&root)?;
    let contents = digest::contents(&root, &entries)?;
    let inventory = Inventory::of(&entries, &contents);
    let found = digest::combine(&entries, &contents);
    if digest::of_version(&found, manifest.format, manifest.verity.is_some()) == *digest {
        // A reader without the right to write it reads the tree each time.
        let _ = inventory.write(&dir);
    }
    Ok(inventory)
}

/// The hash of extended attributes; none if there are no attributes.
pub fn hash_xattrs(xattrs: &BTreeMap<OsString, Vec<u8>>) -> Option<ContentHash> {
    if xattrs.is_empty() {
        return None;
    }
    let mut hasher = Sha256::new();
    for (name, value) in xattrs {
        field(&mut hasher, name.as_bytes());
        field(&mut hasher, value);
    }
    Some(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use proptest::prelude::*;

    use super::*;

    fn component() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(
                prop::num::u8::ANY.prop_filter("not in a name", |b| *b != 0 && *b != b'/'),
                1..12
            ),
            "[ #=\\\\*?\\[a.]{1,6}".prop_map(String::into_bytes),
        ]
        .prop_filter("no name", |name| name != b"." && name != b"..")
    }

    fn path() -> impl Strategy<Value = PathBuf> {
        prop::collection::vec(component(), 0..4)
            .prop_map(|parts| OsString::from_vec(parts.join(&b'/')).into())
    }

    fn kind() -> impl Strategy<Value = Kind> {
        let number =
            (0..4096_u32, 0..1_048_576_u32).prop_map(|(major, minor)| rustix::fs::makedev(major, minor));
        let target =
            prop::collection::vec(1..=255_u8, 1..20).prop_map(|bytes| OsString::from_vec(bytes).into());
        prop_oneof![
            Just(Kind::Dir),
            Just(Kind::File),
            target.prop_map(Kind::Symlink),
            number.clone().prop_map(Kind::Char),
            number.prop_map(Kind::Block),
            Just(Kind::Fifo),
            Just(Kind::Socket),
        ]
    }

    prop_compose! {
        fn item()(
            path in path(), kind in kind(), mode in 0..0o10000_u32, uid: u32, gid: u32, size: u64, hash: [u8; 32],
            xattrs: Option<[u8; 32]>, inode: Option<u64>,
        ) -> Item {
            let is_file = kind == Kind::File;
            Item {
                path, mode, uid, gid, xattrs, inode: inode.filter(|_| kind != Kind::Dir), kind,
                size: if is_file { size } else { 0 }, sha256: is_file.then_some(hash),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(mut items in prop::collection::vec(item(), 0..20)) {
            items.sort_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
            items.dedup_by(|a, b| a.path == b.path);
            let inventory = Inventory { items };
            let text = inventory.render();
            prop_assert!(text.bytes().all(|byte| byte == b'\n' || (0x20..0x7f).contains(&byte)));
            prop_assert_eq!(Inventory::parse(text.as_bytes()), Ok(inventory));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: Vec<u8>, line in "\\./[a-z\\\\0-9 =]{0,40}") {
            let _ = Inventory::parse(&text);
            let _ = Inventory::parse(format!("#mtree\n{line}").as_bytes());
        }
    }

    #[test]
    fn hostile_lines_are_refused() {
        let cases: &[(&str, &str)] = &[
            ("usr type=dir mode=0755 uid=0 gid=0", "does not begin with \"./\""),
            ("./../etc type=dir mode=0755 uid=0 gid=0", "leads out"),
            ("./a/./b type=dir mode=0755 uid=0 gid=0", "leads out"),
            ("./a//b type=dir mode=0755 uid=0 gid=0", "leads out"),
            ("./a\\057b type=dir mode=0755 uid=0 gid=0", "escape"),
            ("./a type=link mode=0777 uid=0 gid=0 link=b\0c", "zero byte"),
            ("./a\\000 type=dir mode=0755 uid=0 gid=0", "escape"),
            ("./a\\7 type=dir mode=0755 uid=0 gid=0", "escape"),
            ("./a type=door mode=0755 uid=0 gid=0", "type"),
            ("./a mode=0755 uid=0 gid=0", "type"),
            ("./a type=dir mode=10755 uid=0 gid=0", "mode"),
            ("./a type=dir mode=0755 gid=0", "owner"),
            ("./a type=file mode=0755 uid=0 gid=0 size=1", "sha256digest"),
            ("./a type=file mode=0755 uid=0 gid=0 size=1 sha256digest=00", "SHA-256"),
            ("./a type=link mode=0777 uid=0 gid=0", "link"),
            ("./a type=char mode=0777 uid=0 gid=0 device=1", "device"),
        ];
        for (line, reason) in cases {
            let found =
                Inventory::parse(format!("#mtree\n. type=dir mode=0755 uid=0 gid=0\n{line}\n").as_bytes());
            let error = found.expect_err(line);
            assert_eq!(error.line, 3, "{line}");
            assert!(error.reason.contains(reason), "{line}: {}", error.reason);
        }
        let twice = "#mtree\n./b type=dir mode=0755 uid=0 gid=0\n./b type=dir mode=0755 uid=0 gid=0\n";
        assert!(Inventory::parse(twice.as_bytes()).is_err());
    }
}
