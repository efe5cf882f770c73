//! Whether a filesystem can hold tenants.

use std::{
    fs,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::Path,
};

use super::{
    Access, KernelError, Result, TmpfsUse, Top, Upper,
    apart::apart,
    mount::{overlay, tmpfs, tree_clone},
    staging::Staging,
};

/// The beginning of the names of directories in which it is tried; the pid of who tries follows.
const PROBE: &str = ".probe-";

/// Removes what an attempt has left whose process was killed. Nobody may be trying meanwhile.
pub fn clear(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().as_bytes().starts_with(PROBE.as_bytes()) {
            // It is tried again when the next hostd starts.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Tries, in a directory of its own below `dir`, what every tenant's overlays need of the filesystem. In a thread of its
/// own: one that could not leave the namespace in which that is done does nothing else there.
pub(super) fn check(dir: &Path, user: &OwnedFd, owner: u32, attach: bool) -> Result<()> {
    let probe = dir.join(format!("{PROBE}{}", std::process::id()));
    let make = |name: &str| fs::create_dir_all(probe.join(name));
    let result = make("store/upper")
        .and_then(|()| make("store/work"))
        .map_err(|error| KernelError::new("write to", dir.display(), error))
        .and_then(|()| {
            let tried = apart(|| try_overlay(&probe, user, owner, attach));
            tried.map_err(|error| KernelError::new("check", dir.display(), error))?
        });
    let _ = fs::remove_dir_all(&probe);
    result
}

fn try_overlay(probe: &Path, user: &OwnedFd, owner: u32, attach: bool) -> Result<()> {
    let staging = attach.then(|| Staging::enter(probe)).transpose()?;
    let tree = tree_clone(probe, user, Access::ReadWrite)?;
    let lower = tmpfs(TmpfsUse::Files, 4096, 0o755, owner)
        .map_err(|error| KernelError::new("mount", "tmpfs", error))?;
    for tree in [&lower, &tree] {
        staging.as_ref().map_or(Ok(()), |staging| staging.attach_layer(tree))?;
    }
    let upper = Upper { tree: &tree, store: "store" };
    overlay(&lower, None, Top::Upper(upper), owner, "trial").map(drop)
}
