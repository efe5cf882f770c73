//! A directory to a tree.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs, io,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use filetree::archive::{Reason, acl::Acl};
use rustix::fs::{AtFlags, Gid, Mode, Uid, XattrFlags};
use tenant::files::file_error::FileError;

use super::{
    attributes::{self, CAPABILITY},
    error::ImportError,
    idmap::IdMap,
    names::Names,
    report::Report,
};
use crate::{
    progress::Progress,
    rootdir::RootDir,
    tool::CP,
    tree::{self, Entry, Kind},
};

/// Copies the directory `from` to `tree`, which must not exist.
///
/// # Errors
/// [`ImportError`]; a process has it as its root directory.
pub fn copy(from: &Path, tree: &Path, progress: &Progress) -> Result<(), ImportError> {
    let failed = FileError::when("read", from);
    if let Some(user) = user_of(from).map_err(failed)? {
        return Err(ImportError::Live { path: from.to_owned(), user });
    }
    let whole = from.canonicalize().map_err(failed)?;
    if tree.starts_with(&whole) {
        return Err(ImportError::Around(from.to_owned()));
    }
    progress.step("copying the directory");
    let options = ["-a", "--reflink=auto", "--one-file-system", "--"].map(OsStr::new);
    // `/.` names the directory itself even if the path is a link.
    let content = from.join(".");
    CP.run(options.into_iter().chain([content.as_os_str(), tree.as_os_str()]), |_| {})?;
    Ok(())
}

/// The directory `prefix` below `from`, reached through no link that leads out.
///
/// # Errors
/// There is no such directory.
pub(super) fn below(from: &Path, prefix: &Path) -> Result<PathBuf, ImportError> {
    let failed = FileError::when("read", from);
    let canonical = RootDir::open(from).map_err(failed)?.canonical(prefix);
    let found = canonical.map(|path| from.join(path)).filter(|path| path.is_dir());
    found.ok_or_else(|| ImportError::NoPrefix(prefix.to_owned()))
}

/// The process that has `from` as its root directory: this system, or the first one found.
fn user_of(from: &Path) -> io::Result<Option<String>> {
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    let wanted = fs::metadata(from)?;
    if same(&fs::metadata("/")?, &wanted) {
        return Ok(Some("this system".to_owned()));
    }
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let process = Path::new("/proc").join(&name);
        // A process that has ended, or a zombie, has none.
        let Ok(found) = fs::metadata(process.join("root")) else { continue };
        if same(&found, &wanted) {
            let program = fs::read_to_string(process.join("comm")).unwrap_or_default();
            return Ok(Some(format!("process {pid} ({})", program.trim())));
        }
    }
    Ok(None)
}

/// Refuses in a copied tree what a tenant cannot have, and maps the owners of its files by `idmap`.
///
/// # Errors
/// [`ImportError::File`], [`ImportError::Entry`].
pub(super) fn put_right(tree: &Path, entries: &[Entry], idmap: &IdMap) -> Result<Report, ImportError> {
    let root = RootDir::open(tree).map_err(FileError::when("open", tree))?;
    let mut report = Report { entries: entries.len() as u64, ..Report::default() };
    let mut seen = HashSet::new();
    for entry in entries {
        let refused = |reason| ImportError::Entry {
            what: "file",
            entry: Path::new("/").join(&entry.path).to_string_lossy().into_owned(),
            reason,
        };
        check(entry).map_err(refused)?;
        report.devices += u64::from(matches!(entry.kind, Kind::Char(_) | Kind::Block(_)));
        let shifted = Shifted::of(entry, idmap).map_err(refused)?;
        // All names of one file share its owner.
        if !idmap.is_empty() && seen.insert(entry.inode) {
            shifted.apply(&root, entry).map_err(FileError::when("change the owner of", &entry.path))?;
        }
    }
    Ok(report)
}

fn check(entry: &Entry) -> Result<(), Reason> {
    if entry.kind == Kind::Char(0) {
        return Err(Reason::Whiteout);
    }
    entry.xattrs.keys().try_for_each(|name| attributes::check_name(name))
}

/// The attributes of a file that contain ids.
struct Shifted {
    uid: u32,
    gid: u32,
    attributes: Vec<(&'static str, Vec<u8>)>,
}

impl Shifted {
    fn of(entry: &Entry, idmap: &IdMap) -> Result<Self, Reason> {
        let unknown = |id: u32| Reason::Owner { id: id.into(), mapped: !idmap.is_empty() };
        let uid = idmap.user(entry.uid.into()).ok_or_else(|| unknown(entry.uid))?;
        let gid = idmap.group(entry.gid.into()).ok_or_else(|| unknown(entry.gid))?;
        let (names, mut changed) = (Names::default(), Vec::new());
        let value = |name: &str| entry.xattrs.get(OsStr::new(name));
        for name in [Acl::ACCESS, Acl::DEFAULT] {
            if let Some(bytes) = value(name) {
                let acl = Acl::from_bytes(bytes)?;
                let bytes = acl.to_bytes(|id| names.user(id, idmap), |id| names.group(id, idmap))?;
                changed.push((name, bytes));
            }
        }
        if let Some(bytes) = value(CAPABILITY) {
            changed.push((CAPABILITY, attributes::capability(bytes, idmap)?.into_owned()));
        }
        Ok(Self { uid, gid, attributes: changed })
    }

    fn apply(&self, root: &RootDir, entry: &Entry) -> io::Result<()> {
        let (parent, name) = match entry.path.file_name() {
            Some(_) => root.parent(&entry.path)?,
            None => (root.mkdir_all("")?, ".".into()),
        };
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::fs::chownat(&parent, &name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if matches!(entry.kind, Kind::Symlink(_)) {
            return Ok(());
        }
        let path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(&name);
        for (name, value) in &self.attributes {
            rustix::fs::lsetxattr(&path, *name, value, XattrFlags::empty())?;
        }
        // chown(2) took setuid and setgid away.
        Ok(rustix::fs::chmodat(&parent, &name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?)
    }
}

/// Lists a tree that was just created.
pub(super) fn walk(tree: &Path) -> Result<Vec<Entry>, ImportError> {
    Ok(tree::walk(tree)?)
}
