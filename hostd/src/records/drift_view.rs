//! Three views of a path: the image's file in the version that the tenant's own comes from, the image's file now, the
//! tenant's own. A text that is not too long is shown whole.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
    path::Path,
};

use rootfs_tools::{digest, inventory::Item, tree::Kind};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat};
use tenant::{
    TenantName,
    files::{file_error::FileError, sources},
    kernel::image::Contents,
    model::{allocation::Pinned, ids::Digest},
};
use wire::{DriftNode, DriftSide, DriftView};

use super::{
    Store, StoreError,
    drift::{Judged, Look},
    images,
};
use crate::drift::lineage::Boot;

/// Largest file of a tenant's whose hash is told, bytes.
const MOST_HASHED: u64 = 64 << 20;

/// A version's files.
pub(super) struct Tree {
    root: OwnedFd,
    _contents: Contents,
}

impl Tree {
    /// Opens them.
    pub(super) fn open(store: &Store, version: &Pinned) -> Result<Self, StoreError> {
        let manifest = sources::read_manifest(&store.layout, version)?;
        let contents = images::contents(&store.layout, &manifest)?;
        let path = contents.path();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, &path, flags, Mode::empty()).map_err(io::Error::from);
        Ok(Self { root: root.map_err(FileError::when("open", &path))?, _contents: contents })
    }

    /// A regular file in it; a path that leads over a link is none.
    pub(super) fn file(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        Ok(filetree::openat2(&self.root, path, flags, Mode::empty(), resolve)?.into())
    }
}

impl Store {
    /// Three views of a path.
    ///
    /// # Errors
    /// The path hides nothing; [`StoreError::OwnInstall`]; a version cannot be read.
    pub fn drift_view(
        &self,
        name: &TenantName,
        path: &str,
        boot: Option<Boot>,
    ) -> Result<DriftView, StoreError> {
        let look = self.look_at(name, boot)?;
        let (path, judged) = look.one(name, path)?;
        let from = look.side(&judged.from, &path)?;
        let now = look.side(&look.subject.now, &path)?;
        let now = now.unwrap_or_else(|| DriftSide::of(DriftNode::Nothing));
        let own = look.own_side(&path, &judged).map_err(FileError::when("read", &path))?;
        Ok(DriftView { name: name.to_string(), file: judged.file, from, now, own })
    }
}

impl Look<'_> {
    /// The view of a version; none where its files are not known.
    fn side(&self, version: &Pinned, path: &Path) -> Result<Option<DriftSide>, StoreError> {
        let Some(inventory) = self.inventory(version) else { return Ok(None) };
        let mut side = inventory.get(path).map_or_else(|| DriftSide::of(DriftNode::Nothing), side);
        side.version = Some(version.to_string());
        if let (DriftNode::File, Some(size)) = (side.what, side.size) {
            let file = Tree::open(self.store(), version)?.file(path);
            fill(&mut side, file, size).map_err(FileError::when("read", path))?;
        }
        Ok(Some(side))
    }

    fn own_side(&self, path: &Path, judged: &Judged) -> io::Result<DriftSide> {
        let Some(item) = judged.found.own.item() else { return Ok(DriftSide::of(DriftNode::Nothing)) };
        let mut side = side(item);
        if let (Kind::File, Some((upper, inside))) = (&item.kind, self.find(path)) {
            let entry = upper.entry(inside)?.filter(|entry| *entry.kind() == Kind::File);
            let entry = entry.ok_or(io::ErrorKind::NotFound)?;
            fill(&mut side, entry.open(), item.size)?;
            if side.sha256.is_none() && item.size <= MOST_HASHED {
                side.sha256 = Some(Digest::from_bytes(entry.hash(item.size)?).hex());
            }
        }
        Ok(side)
    }
}

fn side(item: &Item) -> DriftSide {
    let what = match item.kind {
        Kind::Dir => DriftNode::Directory,
        Kind::File => DriftNode::File,
        Kind::Symlink(_) => DriftNode::Link,
        Kind::Char(_) | Kind::Block(_) | Kind::Fifo | Kind::Socket => DriftNode::Other,
    };
    DriftSide {
        mode: Some(item.mode),
        owner: Some([item.uid, item.gid]),
        has_attributes: item.xattrs.is_some(),
        size: (item.kind == Kind::File).then_some(item.size),
        sha256: item.sha256.map(|hash| Digest::from_bytes(hash).hex()),
        target: match &item.kind {
            Kind::Symlink(target) => Some(target.display().to_string()),
            _ => None,
        },
        ..DriftSide::of(what)
    }
}

/// Reads the text of a file of this size.
fn fill(side: &mut DriftSide, file: io::Result<File>, size: u64) -> io::Result<()> {
    if size > DriftSide::MAX_TEXT {
        side.no_text = Some(format!("it is longer than {} KiB", DriftSide::MAX_TEXT >> 10));
        return Ok(());
    }
    let mut bytes = Vec::new();
    // The tenant may have made it longer by now.
    file?.take(size).read_to_end(&mut bytes)?;
    side.sha256 = Some(Digest::from_bytes(digest::hash(&bytes[..])?).hex());
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => side.text = Some(text),
        _ => side.no_text = Some("it is no text".to_owned()),
    }
    Ok(())
}
