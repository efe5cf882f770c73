//! What lies in a new tenant's directories: the layers and copies its plan asks for, and its identity.

use std::{
    ffi::{CStr, CString},
    io::{self, Write as _},
    os::fd::OwnedFd,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use filetree::{Dir, Keep, copy, copy_attributes, settle};
use rustix::{
    fs::{FileType, Mode, OFlags, RenameFlags, ResolveFlags},
    io::Errno,
};
use tenant::{
    model::identity,
    plan::{OwnEtc, Plan, RootStep},
};

use super::remove::remove_all;

/// Files and directories that have to reach the disk before the record does.
#[derive(Debug, Default)]
pub struct Unsynced {
    files: Vec<OwnedFd>,
    trees: Vec<Dir>,
}

impl Unsynced {
    /// So many are kept open at most.
    const MOST: usize = 256;
    /// So many are written out at once.
    const AT_ONCE: usize = 6;

    /// Remembers one; the oldest are written out when there are many. An error of those is met again
    /// by [`Unsynced::flush`], because fsync(2) of a file reports it.
    pub fn push(&mut self, fd: OwnedFd) {
        if self.files.len() >= Self::MOST {
            self.files.retain(|fd| rustix::fs::fsync(fd).is_err());
        }
        self.files.push(fd);
    }

    /// Remembers a whole tree, which is written out with its filesystem: syncfs(2).
    pub fn push_tree(&mut self, tree: Dir) {
        self.trees.push(tree);
    }

    /// fsync(2) of all of them: several at once, because each waits for the disk, which writes out for all that wait
    /// together. Where many tenants are made at once they are what waits together.
    ///
    /// # Errors
    /// The first that fails, e.g. with `StorageFull`.
    pub fn flush(&mut self) -> io::Result<()> {
        self.trees.drain(..).try_for_each(|tree| settle(&tree))?;
        let fds: Vec<OwnedFd> = self.files.drain(..).collect();
        let others = FLUSHING.fetch_add(1, Ordering::Relaxed);
        let threads = if others == 0 { Self::AT_ONCE } else { 1 };
        let flushed = flush_parts(&fds, fds.len().div_ceil(threads).max(1));
        FLUSHING.fetch_sub(1, Ordering::Relaxed);
        flushed
    }
}

/// How many tenants are being written out.
static FLUSHING: AtomicUsize = AtomicUsize::new(0);

fn flush_parts(fds: &[OwnedFd], size: usize) -> io::Result<()> {
    let flush = |fds: &[OwnedFd]| fds.iter().try_for_each(|fd| Ok(rustix::fs::fsync(fd)?));
    let mut parts = fds.chunks(size);
    let Some(own) = parts.next() else { return Ok(()) };
    thread::scope(|scope| {
        let others: Vec<_> = parts
            .map(|part| (part, thread::Builder::new().spawn_scoped(scope, move || flush(part))))
            .collect();
        let mut flushed = flush(own);
        for (part, other) in others {
            // Where there can be no thread, or that has panicked, it is done here.
            let done = other.ok().and_then(|other| other.join().ok()).unwrap_or_else(|| flush(part));
            flushed = flushed.and(done);
        }
        flushed
    })
}

/// What the identity files of a tenant say.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The host's own name, by which tenants reach it.
    pub host_name: &'a str,
}

fn c_name(name: &str) -> io::Result<CString> {
    CString::new(name).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// A directory that a plan asks for.
struct Wanted<'a> {
    /// What it begins as: a directory of the image, or all of it.
    from: Option<&'a str>,
    store: &'a str,
    is_overlay: bool,
}

fn wanted(plan: &Plan) -> impl Iterator<Item = Wanted<'_>> {
    plan.root.iter().filter_map(|step| match step {
        RootStep::Overlay { at, store } => {
            Some(Wanted { from: Some(at.relative()), store, is_overlay: true })
        }
        RootStep::Private { at, store } => {
            Some(Wanted { from: Some(at.relative()), store, is_overlay: false })
        }
        RootStep::Whole { store } => Some(Wanted { from: None, store, is_overlay: true }),
        _ => None,
    })
}

/// Whether one of the directories that the plan asks for is not below `dirs`.
///
/// # Errors
/// It cannot be looked for.
pub(crate) fn lacks_stores(plan: &Plan, dirs: &Dir) -> io::Result<bool> {
    for Wanted { store, .. } in wanted(plan) {
        if !dirs.has(&c_name(store)?)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes the directories below `dirs` that the plan asks for and that are not there yet; each appears
/// whole, but for a power cut before they are written out.
///
/// # Errors
/// The first one that cannot be made.
pub(crate) fn ensure_stores(plan: &Plan, image: &Dir, dirs: &Dir, unsynced: &mut Unsynced) -> io::Result<()> {
    let staged = stage_stores(plan, image, dirs, unsynced)?;
    place_stores(&staged, dirs, unsynced)
}

/// [`ensure_stores`] where `dirs` are a tenant's already, which finds whatever is there whole: they get their names when
/// they are on the disk.
///
/// # Errors
/// As [`ensure_stores`].
pub(crate) fn add_stores(plan: &Plan, image: &Dir, dirs: &Dir) -> io::Result<()> {
    let mut unsynced = Unsynced::default();
    let staged = stage_stores(plan, image, dirs, &mut unsynced)?;
    unsynced.flush()?;
    place_stores(&staged, dirs, &mut unsynced)?;
    unsynced.flush()
}

/// A directory that has not its name yet.
struct Staged {
    staged: CString,
    name: CString,
}

/// Gives them their names.
fn place_stores(all: &[Staged], dirs: &Dir, unsynced: &mut Unsynced) -> io::Result<()> {
    for Staged { staged, name } in all {
        dirs.rename(staged, dirs, name, RenameFlags::empty())?;
    }
    unsynced.push(dirs.try_clone()?.into());
    Ok(())
}

fn stage_stores(plan: &Plan, image: &Dir, dirs: &Dir, unsynced: &mut Unsynced) -> io::Result<Vec<Staged>> {
    let mut all = Vec::new();
    for Wanted { from, store, is_overlay } in wanted(plan) {
        let name = c_name(store)?;
        if dirs.has(&name)? {
            continue;
        }
        let staged = c_name(&format!(".new-{store}"))?;
        remove_all(dirs, &staged)?;
        let source = match from {
            None => Some(image.try_clone()?),
            Some(path) => match image.dir(&c_name(path)?) {
                Ok(dir) => Some(dir),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            },
        };
        let dir = dirs.make_dir(&staged)?;
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o755))?;
        match (is_overlay, source) {
            (true, source) => {
                let upper = dir.make_dir(c"upper")?;
                if let Some(source) = source {
                    copy_attributes(source, &upper, Keep::Own)?;
                }
                unsynced.push(upper.into());
                // Empty, and as it is made: it is there when the entry of its parent is.
                dir.make_dir(c"work")?;
                unsynced.push(dir.into());
            }
            (false, Some(source)) => {
                copy(&source, &dir, Keep::Own, &|_| false, &mut |_| Ok(()))?;
                unsynced.push_tree(dir);
            }
            (false, None) => unsynced.push(dir.into()),
        }
        if from == Some("tmp") {
            // Whatever the image has: everybody inside writes there, and removes only their own.
            let top = dirs.dir(&staged)?;
            let top = if is_overlay { top.dir(c"upper")? } else { top };
            rustix::fs::fchmod(&top, Mode::from_raw_mode(0o1777))?;
        }
        all.push(Staged { staged, name });
    }
    Ok(all)
}

/// Opens the directory into which files of the tenant's own `/etc` are written.
fn open_etc(own: OwnEtc<'_>, image: &Dir, dirs: &Dir) -> io::Result<Dir> {
    match own {
        OwnEtc::Overlay(store) => dirs.dir(&c_name(store)?)?.dir(c"upper"),
        OwnEtc::Private(store) => dirs.dir(&c_name(store)?),
        OwnEtc::Whole(store) => {
            let upper = dirs.dir(&c_name(store)?)?.dir(c"upper")?;
            if upper.has(c"etc")? {
                return upper.dir(c"etc");
            }
            let etc = upper.make_dir(c"etc")?;
            copy_attributes(image.dir(c"etc")?, &etc, Keep::Own)?;
            Ok(etc)
        }
    }
}

/// Hides a file of the image's `/etc` from the tenant, which may make its own.
fn hide(etc: &Dir, own: OwnEtc<'_>, image: &Dir, name: &CStr) -> io::Result<()> {
    if matches!(own, OwnEtc::Private(_)) {
        return remove_all(etc, name);
    }
    match image.dir(c"etc") {
        // A whiteout, see the kernel's Documentation/filesystems/overlayfs.rst.
        Ok(lower) if lower.has(name)? => {
            remove_all(etc, name)?;
            etc.make_node(name, FileType::CharacterDevice, 0, 0)
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Where the name servers of a tenant are told, seen from its `/etc`.
pub(crate) const RESOLV_CONF: &str = "../run/host/resolv.conf";

/// Whether an `/etc/resolv.conf` of the image says nothing: it is absent, empty, or a link. What a link
/// leads to, in `/run` mostly, is not there in a tenant, whose network is configured before init runs.
fn is_placeholder(image: &Dir) -> io::Result<bool> {
    let etc = match image.dir(c"etc") {
        Ok(etc) => etc,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    match etc.stat(c"resolv.conf") {
        Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => stat.st_size == 0,
            FileType::Symlink => is_dangling(image, &etc)?,
            _ => false,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether the link leads, inside the image, to no plain file with something in it.
fn is_dangling(image: &Dir, etc: &Dir) -> io::Result<bool> {
    let target = etc.target(c"resolv.conf")?;
    let target = target.to_string_lossy();
    let path = if target.starts_with('/') { target.into_owned() } else { format!("etc/{target}") };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match filetree::openat2(image, path.as_str(), flags, Mode::empty(), resolve) {
        Ok(file) => {
            let stat = rustix::fs::fstat(file)?;
            Ok(FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_size == 0)
        }
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

fn machine_id(plan: &Plan) -> String {
    format!("{}\n", plan.init.uuid)
}

/// Writes a file in the place of whatever has its name: a private `/etc` is a copy of the image's, and that of a copied
/// tenant is as the tenant left it.
fn write(etc: &Dir, name: &CStr, text: &str, mode: u32, unsynced: &mut Unsynced) -> io::Result<()> {
    remove_all(etc, name)?;
    let mut file = etc.create(name, mode)?;
    file.write_all(text.as_bytes())?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    unsynced.push(file.into());
    Ok(())
}

/// Writes `machine-id` alone, of a tenant whose other files are those of another one.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_machine_id(
    plan: &Plan,
    image: &Dir,
    dirs: &Dir,
    unsynced: &mut Unsynced,
) -> io::Result<()> {
    let Some(own) = plan.own_etc() else { return Ok(()) };
    write(&open_etc(own, image, dirs)?, c"machine-id", &machine_id(plan), 0o444, unsynced)
}

/// Writes `hosts` and `machine-id`: what a first boot would otherwise have to make up, or share with every
/// other tenant. A `hostname` of the image is hidden, so that the name of the plan counts, see
/// [`tenant::model::identity`]. For an image whose `resolv.conf` says nothing, that becomes a link to what the tenant
/// is told of its name servers at each start, key `dns`; from then on it is the tenant's own.
///
/// # Errors
/// The first file that cannot be written.
pub(crate) fn write_identity(
    plan: &Plan,
    identity: Identity<'_>,
    image: &Dir,
    dirs: &Dir,
    unsynced: &mut Unsynced,
) -> io::Result<()> {
    let Some(own) = plan.own_etc() else { return Ok(()) };
    let etc = open_etc(own, image, dirs)?;
    write(&etc, c"hosts", &identity::hosts(&plan.init.hostname, identity.host_name), 0o644, unsynced)?;
    write(&etc, c"machine-id", &machine_id(plan), 0o444, unsynced)?;
    hide(&etc, own, image, c"hostname")?;
    if is_placeholder(image)? {
        remove_all(&etc, c"resolv.conf")?;
        etc.symlink(&c_name(RESOLV_CONF)?, c"resolv.conf")?;
    }
    unsynced.push(etc.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_out_is_told_whichever_thread_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let file =
            |number: usize| -> OwnedFd { File::create(dir.path().join(number.to_string())).unwrap().into() };
        for bad in [None, Some(0), Some(7), Some(19)] {
            let mut unsynced = Unsynced::default();
            for number in 0..20 {
                // fsync(2) of a pipe is refused.
                let fd = if bad == Some(number) { std::io::pipe().unwrap().0.into() } else { file(number) };
                unsynced.push(fd);
            }
            assert_eq!(unsynced.flush().is_err(), bad.is_some(), "{bad:?}");
            unsynced.flush().unwrap();
        }
    }

    #[test]
    fn a_resolv_conf_of_the_image_that_says_something_stays() {
        let image = tempfile::tempdir().unwrap();
        let etc = image.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        let file = etc.join("resolv.conf");
        let said = || is_placeholder(&Dir::open(image.path()).unwrap()).unwrap();
        assert!(said(), "absent");
        std::fs::write(&file, "").unwrap();
        assert!(said(), "empty");
        std::fs::write(&file, "nameserver 9.9.9.9\n").unwrap();
        assert!(!said(), "a name server");
        std::fs::rename(&file, etc.join("real")).unwrap();
        for (target, nothing) in [
            ("real", false),
            ("/etc/real", false),
            ("../../../etc/real", false),
            ("../run/systemd/resolve/stub-resolv.conf", true),
            ("/etc/hostname/x", true),
            ("resolv.conf", true),
            ("/etc", true),
        ] {
            std::os::unix::fs::symlink(target, &file).unwrap();
            assert_eq!(said(), nothing, "{target}");
            std::fs::remove_file(&file).unwrap();
        }
    }
}
