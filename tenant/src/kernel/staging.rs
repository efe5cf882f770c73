//! The mount namespace in which a tenant's root is put together.
//!
//! It belongs to the host's user namespace, and what is attached in it appears in the tenant's own by propagation.
//! That is the only way in which the kernel locks what the host has set: `ro`, `nodev`, `nosuid`, `noexec` of a mount
//! that has crossed into the namespace of a less privileged user cannot be taken off there, see mount_namespaces(7),
//! "Restrictions on mount namespaces". A tree that crosses as a whole is locked together besides: its root can be
//! unmounted, the mounts in it cannot.

use std::{
    cell::{Cell, OnceCell},
    fs::File,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, mknodat, openat},
    mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount, unmount},
};

use super::{
    Cause, KernelError, Place, Result, TmpfsUse,
    mount::{as_owner, clone_mount, tmpfs},
    openat2,
    place::PlaceError,
    raw,
};

/// Room for the places: directories only.
const PLACES: u64 = 1 << 20;
/// The mount namespace of this thread.
const NAMESPACE: &str = "/proc/thread-self/ns/mnt";
/// Where the root waits until what is locked in it is there.
const ROOT: &str = "root";

/// The namespace, with this thread in it. Dropping it takes the thread back to where it was, as `leave` does,
/// but cannot say that this failed: a process that drops it has failed already, and does nothing more than to take down what
/// there is. All files and directories of the host are the same in there.
#[derive(Debug)]
pub struct Staging {
    before: Before,
    /// The directory that is covered by the places.
    covered: PathBuf,
    /// A tmpfs with a directory for each tree.
    places: OnceCell<OwnedFd>,
    layers: Cell<u32>,
}

impl Staging {
    /// Moves this process into a new namespace. `place` is a directory that is covered in there as soon as something
    /// is attached. A process keeps the root it had: paths that do not lead through `place` are good as before.
    pub(super) fn enter(place: &Path) -> Result<Self> {
        let enter = || -> io::Result<Self> {
            let before = Before::remember()?;
            unshare(CloneFlags::CLONE_NEWNS)?;
            let staging =
                Self { before, covered: place.to_owned(), places: OnceCell::new(), layers: Cell::new(0) };
            // Seen nowhere else, but for what comes to lie over `/`.
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
            mount_change("/", MountPropagationFlags::SHARED)?;
            Ok(staging)
        };
        enter().map_err(|error| KernelError::new("make", "a mount namespace for the root filesystem", error))
    }

    fn places(&self) -> io::Result<&OwnedFd> {
        if let Some(places) = self.places.get() {
            return Ok(places);
        }
        let places = tmpfs(TmpfsUse::Files, PLACES, 0o700, 0)?;
        move_mount(&places, "", CWD, &self.covered, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        // It may lie on the same mount as `/`. What waits here is to be seen nowhere else.
        raw::mount_setattr(places.as_fd(), 0, libc::MS_PRIVATE, None)?;
        Ok(self.places.get_or_init(|| places))
    }

    /// Attaches a tree out of the way, for an overlay to be made of it.
    pub(super) fn attach_layer(&self, tree: &OwnedFd) -> Result<()> {
        self.attach_apart(&self.new_name(), tree)
            .map_err(|error| KernelError::new("attach", "a layer", error))
    }

    fn new_name(&self) -> String {
        self.layers.replace(self.layers.get() + 1).to_string()
    }

    fn attach_apart(&self, name: &str, tree: &OwnedFd) -> io::Result<()> {
        let places = self.places()?;
        mkdirat(places, name, Mode::RWXU)?;
        Ok(move_mount(tree, "", places, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
    }

    /// Attaches a root out of the way: what is locked in it comes before it is seen.
    pub(super) fn attach_root(&self, root: &OwnedFd) -> Result<()> {
        self.attach_apart(ROOT, root).map_err(|error| KernelError::new("attach", "/", error))
    }

    /// Takes away what covers mounts of these trees, of all at one moment.
    ///
    /// An unmount propagates to all mounts that get what is mounted on its parent. So each tree gets a twin in its peer
    /// group, with something mounted over it of which the others know nothing; and taking that away takes away what is
    /// mounted over each of them. All twins hang on one mount: they go by one system call.
    pub(super) fn reveal(&self, trees: &[&OwnedFd]) -> Result<()> {
        let (to, group) = (MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH, MoveMountFlags::MOVE_MOUNT_SET_GROUP);
        let from = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        let reveal = || -> io::Result<()> {
            let places = self.places()?;
            let stand = clone_mount(places)?;
            self.attach_apart(&self.new_name(), &stand)?;
            for tree in trees {
                let twin = clone_mount(tree)?;
                raw::mount_setattr(twin.as_fd(), 0, libc::MS_PRIVATE, None)?;
                let name = self.new_name();
                make_place(&stand, &name, tree)?;
                move_mount(&twin, "", &stand, &*name, from)?;
                move_mount(clone_mount(&twin)?, "", &twin, "", from | to)?;
                move_mount(tree, "", &twin, "", from | to | group)?;
            }
            Ok(unmount(format!("/proc/self/fd/{}", stand.as_raw_fd()), UnmountFlags::DETACH)?)
        };
        reveal().map_err(|error| KernelError::new("reveal", "mounts that are covered", error))
    }

    /// Takes this thread back. The namespace lives on, with what is in it, for as long as the descriptor is held:
    /// taking it down waits for the kernel's readers of mounts.
    ///
    /// # Errors
    /// The thread is still in there, and must do nothing more than to take down what there is.
    pub(super) fn leave(self) -> Result<OwnedFd> {
        let held = File::open(NAMESPACE);
        let held =
            held.map_err(|error| KernelError::new("hold", "the mount namespace of the root", error))?;
        let back = self.before.go_back();
        back.map_err(|error| KernelError::new("return to", "the mount namespace of the host", error))?;
        Ok(held.into())
    }
}

/// What a thread is given back when it leaves.
#[derive(Debug)]
struct Before {
    namespace: File,
    root: OwnedFd,
    working_directory: OwnedFd,
    is_back: Cell<bool>,
}

impl Before {
    fn remember() -> io::Result<Self> {
        let dir = |path| openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        Ok(Self {
            namespace: File::open(NAMESPACE)?,
            root: dir("/")?,
            working_directory: dir(".")?,
            is_back: Cell::new(false),
        })
    }

    fn go_back(&self) -> io::Result<()> {
        setns(&self.namespace, CloneFlags::CLONE_NEWNS)?;
        rustix::process::fchdir(&self.root)?;
        rustix::process::chroot(".")?;
        rustix::process::fchdir(&self.working_directory)?;
        self.is_back.set(true);
        Ok(())
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        if !self.is_back.get()
            && let Err(error) = self.go_back()
        {
            log::error!("cannot return to the mount namespace of the host: {error}");
        }
    }
}

/// A directory or a file, as what is to be mounted on it.
fn make_place(dir: &OwnedFd, name: &str, tree: &OwnedFd) -> io::Result<()> {
    match FileType::from_raw_mode(fstat(tree)?.st_mode) {
        FileType::Directory => Ok(mkdirat(dir, name, Mode::RWXU)?),
        _ => Ok(mknodat(dir, name, FileType::RegularFile, Mode::RUSR, 0)?),
    }
}

/// Lets a root appear over `/`, here and in every namespace that was copied from this one, init's.
pub(super) fn show_root(root: &OwnedFd) -> Result<()> {
    move_mount(root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|error| KernelError::new("attach", "/", error))
}

/// Attaches a mount below a root.
pub(super) fn attach(root: &OwnedFd, at: &Path, place: Place, tree: &OwnedFd) -> Result<()> {
    let place = match place {
        Place::Made => open_made(root.as_fd(), at),
        Place::Directory { owner } => open_place(root.as_fd(), at, owner),
    };
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    place
        .map_err(explain)
        .and_then(|place| Ok(move_mount(tree, "", &place, "", flags)?))
        .map_err(|error| KernelError::new("attach", format!("/{}", at.display()), error))
}

/// A detached peer of a mount of a root.
pub(super) fn peer(root: &OwnedFd, at: Option<&str>) -> Result<OwnedFd> {
    open_made(root.as_fd(), at.unwrap_or("."))
        .and_then(|place| clone_mount(&place))
        .map_err(|error| KernelError::new("hold", format!("/{}", at.unwrap_or_default()), error))
}

/// Detaches a mount below a root, and what propagated from it.
pub(super) fn withdraw(root: &OwnedFd, at: &str) -> Result<()> {
    let detach = || -> io::Result<()> {
        let (parent, name) = at.rsplit_once('/').unwrap_or((".", at));
        let parent = open_made(root.as_fd(), parent)?;
        // By name: it is the mount there that is meant, not the directory that it covers.
        let path = format!("/proc/self/fd/{}/{name}", parent.as_raw_fd());
        Ok(unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
    };
    detach().map_err(|error| KernelError::new("take away", format!("/{at}"), error))
}

/// An error of the kernel as one of a place; others are left as they are.
fn explain(error: io::Error) -> Cause {
    let fault = match error.raw_os_error() {
        Some(libc::EROFS) => PlaceError::Absent,
        Some(libc::ELOOP) => PlaceError::Link,
        Some(libc::ENOTDIR) => PlaceError::NotDirectory,
        _ => return error.into(),
    };
    fault.into()
}

fn open_made(root: BorrowedFd<'_>, at: impl AsRef<Path>) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    Ok(openat2(root, at.as_ref(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

/// A directory below the root to mount on. Missing ones are made, and belong to `owner`; a link on the way is
/// refused, for below the top level the tenant may have put it there.
pub(super) fn open_place(root: BorrowedFd<'_>, at: &Path, owner: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    match openat2(root, at, flags, Mode::empty(), resolve) {
        Ok(place) => return Ok(place),
        Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let name = at.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = match at.parent().filter(|parent| *parent != Path::new("")) {
        Some(parent) => open_place(root, parent, owner)?,
        None => openat2(root, ".", flags, Mode::empty(), resolve)?,
    };
    match as_owner(owner, || Ok(mkdirat(&parent, name, Mode::from_raw_mode(0o755))?)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(openat2(&parent, name, flags, Mode::empty(), resolve)?)
}
