//! What becomes of a file that hides one of the image. In the upper directory of a tenant that is not running it is done
//! here; in one that is running, overlayfs knows of nothing that is done beneath it, and a process inside does it
//! ([`Placing`] says what).

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use filetree::{Keep, copy_attributes};
use rootfs_tools::{inventory::Item, tree::Kind};
use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};
use tenant::{TenantName, files::file_error::FileError, model::ids::Digest};
use wire::{Changed, DriftFix, DriftKind, DriftMerge, DriftMergeRequest, DriftMerged};

use super::{
    Store, StoreError,
    drift::{Judged, Look, absolute},
    drift_view::Tree,
    upper::Entry,
};
use crate::drift::{
    error::DriftError,
    lineage::Boot,
    notes::{Note, Print, Reason},
    own::Own,
};

/// What the file is called that a merge has replaced, behind its name: as dpkg calls it, which what reads whole
/// directories of configuration knows.
const KEPT: &str = ".dpkg-old";

/// What is to be put at a path of a running tenant.
#[derive(Debug)]
pub enum Placing {
    /// Nothing.
    Nothing,
    /// A file with this content.
    File(File),
    /// A link to there.
    Link(PathBuf),
    /// The directory that is there stays, with another owner and mode.
    Metadata,
}

/// A merge that a process inside a running tenant has to carry out.
#[derive(Debug)]
pub struct Placement {
    /// The path, absolute.
    pub path: String,
    /// What.
    pub what: Placing,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group inside.
    pub owner: [u32; 2],
    /// The name beside it under which what is there is kept.
    pub kept: Option<String>,
}

/// A merge that was decided on.
#[derive(Debug)]
pub struct Merge {
    name: TenantName,
    path: PathBuf,
    boot: Option<Boot>,
    /// What a process inside has to do, where the tenant is running.
    pub placement: Option<Placement>,
    /// Whether the tenant's own is to go before the next start.
    reveal: bool,
    /// What is answered.
    pub merged: DriftMerged,
}

/// What the file gets.
enum Wanted<'a> {
    /// What the image has, as the image has it.
    Image(Option<&'a Item>),
    /// Another content.
    Content(File),
}

impl Store {
    /// Decides on a merge. In a tenant that is not running it is carried out, and [`Self::end_merge`] is left.
    ///
    /// # Errors
    /// [`DriftError`]; the tenant's files cannot be changed.
    pub fn begin_merge(
        &self,
        name: &TenantName,
        request: &DriftMergeRequest,
        (boot, is_running): (Option<Boot>, bool),
    ) -> Result<Merge, StoreError> {
        let look = self.look_at(name, boot)?;
        let (path, judged) = look.one(name, &request.path)?;
        let case = Case { store: self, look: &look, name, path: &path, judged: &judged };
        case.check(request)?;
        let version = look.subject.now.to_string();
        let mut merge = Merge {
            name: name.clone(),
            path: path.clone(),
            boot,
            placement: None,
            reveal: false,
            merged: DriftMerged {
                name: name.to_string(),
                path: absolute(&path),
                change: Changed::Changed,
                version,
                kept: None,
            },
        };
        let wanted = match &request.how {
            DriftMerge::Mine => {
                if judged.file.fix == DriftFix::None {
                    merge.merged.change = Changed::Unchanged;
                }
                return Ok(merge);
            }
            DriftMerge::Theirs => Wanted::Image(look.now.get(&path)),
            DriftMerge::Content => Wanted::Content(case.content_of_image()?),
            DriftMerge::Text(text) => Wanted::Content(case.content_of(text)?),
        };
        let kept = case.kept();
        merge.merged.kept = kept.as_ref().map(|kept| absolute(&path.with_file_name(kept)));
        merge.reveal = matches!(wanted, Wanted::Image(_)) && is_running;
        if is_running {
            merge.placement = Some(case.placement(wanted, kept)?);
        } else {
            case.apply(wanted, kept).map_err(FileError::when("change", &path))?;
        }
        Ok(merge)
    }

    /// Notes what a merge has done.
    ///
    /// # Errors
    /// The notes cannot be written.
    pub fn end_merge(&self, merge: Merge) -> Result<DriftMerged, StoreError> {
        let Merge { name, path, boot, reveal, merged, .. } = merge;
        let look = self.look_at(&name, boot)?;
        let mut notes = look.subject.notes.clone();
        let is_whole = match look.find(&path) {
            Some((upper, inside)) => {
                let failed = FileError::when("look at", &path);
                let entry =
                    upper.entry(inside).and_then(|entry| entry.map(|entry| entry.own(&path)).transpose());
                entry.map_err(failed)?.is_some_and(|own| own.is_whole())
            }
            None => false,
        };
        let print = Print::of(&path, is_whole, &look.now);
        notes.put(Note::new(absolute(&path), &look.subject.now, print, Reason::Merge, reveal));
        self.put_notes(&name, &look, notes)?;
        Ok(merged)
    }

    /// Before a start: copies of files of the image that a merge has made in a running tenant go, so that the image's files
    /// are seen from now on. A copy that the tenant has changed since stays.
    pub fn reveal(&self, name: &TenantName) {
        let revealed = || -> Result<(), StoreError> {
            let notes = self.notes(name)?;
            if !notes.iter().any(|note| note.reveal) {
                return Ok(());
            }
            let look = self.look_at(name, None)?;
            for note in notes.iter().filter(|note| note.reveal) {
                let Ok((path, judged)) = look.one(name, &note.path) else {
                    let cleared = clear(&look, Path::new(note.path.trim_start_matches('/')));
                    cleared.map_err(FileError::when("change", Path::new(&note.path)))?;
                    continue;
                };
                let case = Case { store: self, look: &look, name, path: &path, judged: &judged };
                let is_copy = judged.file.kind == DriftKind::Same
                    || note.version() == judged.from && judged.file.kind == DriftKind::Outdated;
                if is_copy && judged.found.own.is_whole() {
                    let removed = case.apply(Wanted::Image(look.now.get(&path)), None);
                    removed.map_err(FileError::when("change", &path))?;
                }
            }
            let mut notes = notes.clone();
            notes.all_revealed();
            self.put_notes(name, &look, notes)
        };
        if let Err(error) = revealed() {
            log::warn!("cannot remove copies of the image from tenant \"{name}\": {}", wire::chain(&error));
        }
    }
}

/// A path that is merged.
struct Case<'a> {
    store: &'a Store,
    look: &'a Look<'a>,
    name: &'a TenantName,
    path: &'a Path,
    judged: &'a Judged,
}

impl Case<'_> {
    fn running(&self, reason: &'static str) -> StoreError {
        DriftError::Running { tenant: self.name.to_string(), path: absolute(self.path), reason }.into()
    }

    fn refused(&self, reason: &'static str) -> StoreError {
        DriftError::Refused { tenant: self.name.to_string(), path: absolute(self.path), reason }.into()
    }

    /// Whether the tenant has what the request was made for.
    fn check(&self, request: &DriftMergeRequest) -> Result<(), StoreError> {
        let conflict =
            |what| DriftError::Conflict { tenant: self.name.to_string(), path: absolute(self.path), what };
        if request.version.as_ref().is_some_and(|version| *version != self.look.subject.now.to_string()) {
            return Err(conflict("the tenant's version").into());
        }
        let Some(wanted) = &request.own_sha256 else { return Ok(()) };
        let hash = |entry: Entry| entry.hash(self.judged.found.own.item().map_or(0, |item| item.size));
        let own = self.entry().and_then(hash).map(|hash| Digest::from_bytes(hash).hex());
        if own.is_ok_and(|own| own == *wanted) { Ok(()) } else { Err(conflict("the tenant's file").into()) }
    }

    fn entry(&self) -> io::Result<Entry> {
        let (upper, inside) = self.look.find(self.path).ok_or(io::ErrorKind::NotFound)?;
        Ok(upper.entry(inside)?.ok_or(io::ErrorKind::NotFound)?)
    }

    fn own_file(&self) -> Result<&Item, StoreError> {
        let own = self.judged.found.own.item().filter(|item| item.kind == Kind::File);
        own.ok_or_else(|| self.refused("the tenant's own is no regular file"))
    }

    fn content_of_image(&self) -> Result<File, StoreError> {
        self.own_file()?;
        let is_file = self.look.now.get(self.path).is_some_and(|item| item.kind == Kind::File);
        if !is_file {
            return Err(self.refused("the image has no regular file there"));
        }
        let file = Tree::open(self.store, &self.look.subject.now)?.file(self.path);
        Ok(file.map_err(FileError::when("read", self.path))?)
    }

    fn content_of(&self, text: &str) -> Result<File, StoreError> {
        self.own_file()?;
        let file = || {
            let mut file = tempfile::tempfile()?;
            file.write_all(text.as_bytes())?;
            io::Seek::rewind(&mut file)?;
            Ok(file)
        };
        Ok(file().map_err(FileError::when("write", &std::env::temp_dir()))?)
    }

    /// The name under which the tenant's own is kept: where it has something that neither version of the image has.
    fn kept(&self) -> Option<String> {
        let item = self.judged.found.own.item().filter(|item| item.kind == Kind::File)?;
        let name = item.path.file_name()?.to_str()?;
        (self.judged.file.kind == DriftKind::Changed).then(|| format!("{name}{KEPT}"))
    }

    /// What a process inside has to do.
    fn placement(&self, wanted: Wanted<'_>, kept: Option<String>) -> Result<Placement, StoreError> {
        let own = self.judged.found.own.item();
        let (what, item) = match wanted {
            Wanted::Content(file) => {
                let own = self.own_file()?;
                if own.xattrs.is_some() {
                    return Err(self.running("it has extended attributes, which would be lost"));
                }
                (Placing::File(file), Some(own))
            }
            Wanted::Image(None) => (Placing::Nothing, None),
            Wanted::Image(Some(item)) => {
                if item.xattrs.is_some() {
                    return Err(self.running("the image's file has extended attributes"));
                }
                let is_dir = own.is_some_and(|own| own.kind == Kind::Dir);
                let what = match (&item.kind, is_dir) {
                    (Kind::File, false) => Placing::File(
                        Tree::open(self.store, &self.look.subject.now)?
                            .file(self.path)
                            .map_err(FileError::when("read", self.path))?,
                    ),
                    (Kind::Symlink(target), false) => Placing::Link(target.clone()),
                    (Kind::Dir, true) if !self.judged.found.own.is_whole() => Placing::Metadata,
                    (Kind::Dir, _) => return Err(self.running("the image has a directory there")),
                    (_, true) => return Err(self.running("the tenant has a directory there")),
                    _ => return Err(self.running("the image's file is neither a regular one nor a link")),
                };
                (what, Some(item))
            }
        };
        let mode = item.map_or(0, |item| item.mode);
        let owner = item.map_or([0, 0], |item| [item.uid, item.gid]);
        Ok(Placement { path: absolute(self.path), what, mode, owner, kept })
    }

    /// Does it, in the upper directory.
    fn apply(&self, wanted: Wanted<'_>, kept: Option<String>) -> io::Result<()> {
        let (upper, inside) = self.look.find(self.path).ok_or(io::ErrorKind::NotFound)?;
        let entry = self.entry()?;
        let parent = upper.parent(inside)?;
        let name = inside.file_name().unwrap_or(OsStr::new("."));
        match (wanted, &self.judged.found.own) {
            (Wanted::Content(mut file), _) => {
                let staged = Staged::new(&parent, name)?;
                io::copy(&mut file, &mut &staged.file)?;
                copy_attributes(entry.open()?, &staged.file, Keep::Own)?;
                staged.file.sync_all()?;
                keep(&parent, name, kept.as_deref())?;
                staged.publish()?;
            }
            (Wanted::Image(Some(item)), Own::There(Item { kind: Kind::Dir, .. }))
                if item.kind == Kind::Dir =>
            {
                entry.own_as(item)?;
            }
            (Wanted::Image(Some(Item { kind: Kind::Dir, .. })), Own::Replaced(_)) => entry.merge()?,
            (Wanted::Image(_), Own::Replaced(_) | Own::There(Item { kind: Kind::Dir, .. })) => {
                let text = "the tenant has a directory of its own there: remove it from inside first";
                return Err(io::Error::other(text));
            }
            (Wanted::Image(_), _) => {
                keep(&parent, name, kept.as_deref())?;
                rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
            }
        }
        Ok(rustix::fs::fsync(&parent)?)
    }
}

/// Removes a whiteout that hides nothing: it would hide what a later version has there.
fn clear(look: &Look<'_>, path: &Path) -> io::Result<()> {
    let (Some((upper, inside)), None) = (look.find(path), look.now.get(path)) else { return Ok(()) };
    match (upper.entry(inside)?, inside.file_name()) {
        (Some(entry), Some(name)) if entry.own(path)? == Own::Removed => {
            Ok(rustix::fs::unlinkat(upper.parent(inside)?, name, AtFlags::empty())?)
        }
        _ => Ok(()),
    }
}

/// Keeps a file under another name too.
fn keep(parent: &OwnedFd, name: &OsStr, kept: Option<&str>) -> io::Result<()> {
    let Some(kept) = kept else { return Ok(()) };
    match rustix::fs::unlinkat(parent, kept, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    Ok(rustix::fs::linkat(parent, name, parent, kept, AtFlags::empty())?)
}

/// A file that is to take the place of another one; it goes if it does not.
struct Staged<'a> {
    parent: &'a OwnedFd,
    name: &'a OsStr,
    staged: String,
    file: File,
}

impl<'a> Staged<'a> {
    fn new(parent: &'a OwnedFd, name: &'a OsStr) -> io::Result<Self> {
        let staged = format!(".tenantctl-{}.new", std::process::id());
        match rustix::fs::unlinkat(parent, &*staged, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent, &*staged, flags, Mode::from_raw_mode(0o600))?;
        Ok(Self { parent, name, staged, file: file.into() })
    }

    fn publish(self) -> io::Result<()> {
        Ok(rustix::fs::renameat(self.parent, &*self.staged, self.parent, self.name)?)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // Where it has taken its place there is none.
        let _ = rustix::fs::unlinkat(self.parent, &*self.staged, AtFlags::empty());
    }
}
