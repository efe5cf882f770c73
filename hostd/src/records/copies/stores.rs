//! Which parts of a tenant's `dirs` are its own files, and which are overlayfs's.

use std::{
    collections::BTreeSet,
    ffi::CString,
    io,
    path::{Path, PathBuf},
};

use filetree::Dir;
use tenant::plan::{Plan, RootStep};

/// A directory of the tenant's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnDir {
    /// Where the tenant sees it, without the `/` in front; empty for its whole root.
    pub(super) at: String,
    /// Its name in `dirs`.
    pub(super) store: String,
    /// Whether it is an overlay, with `upper` and `work` in it.
    pub(super) is_overlay: bool,
}

/// The directories of a plan.
pub(super) fn own_dirs(plan: &Plan) -> Vec<OwnDir> {
    let own = plan.root.iter().filter_map(|step| {
        let (at, store, is_overlay) = match step {
            RootStep::Overlay { at, store } => (at.relative(), store, true),
            RootStep::Private { at, store } => (at.relative(), store, false),
            RootStep::Whole { store } => ("", store, true),
            _ => return None,
        };
        Some(OwnDir { at: at.to_owned(), store: store.clone(), is_overlay })
    });
    own.collect()
}

/// Says of a directory, by its path in `dirs`, whether what is in it does not go along: what overlayfs works with.
pub(super) fn passes(plan: &Plan) -> impl Fn(&Path) -> bool {
    let overlays = own_dirs(plan).into_iter().filter(|own| own.is_overlay);
    let work: BTreeSet<PathBuf> = overlays.map(|own| Path::new(&own.store).join("work")).collect();
    move |path| work.contains(path)
}

/// Where what the tenant has at a path of its own lies in `dirs`; none where the path is shared, or the directory is not
/// there.
///
/// # Errors
/// It cannot be looked for; something of the tenant's stands in the way.
pub(super) fn find(plan: &Plan, dirs: &Dir, path: &str) -> io::Result<Option<(Dir, CString)>> {
    let name = |text: &str| CString::new(text).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    for own in own_dirs(plan) {
        let below = match own.at.as_str() {
            "" => Some(path),
            at => path.strip_prefix(at).and_then(|rest| rest.strip_prefix('/')),
        };
        let Some(below) = below else { continue };
        let (parent, last) = below.rsplit_once('/').unwrap_or(("", below));
        let mut wanted = PathBuf::from(&own.store);
        wanted.push(if own.is_overlay { "upper" } else { "" });
        wanted.push(parent);
        return match dirs.find(&wanted) {
            Ok(dir) => Ok(Some((dir, name(last)?))),
            // Not there, or a link or a file that the tenant has put there: nothing of the image's identity is in it.
            Err(error) => match error.raw_os_error() {
                Some(errno)
                    if [rustix::io::Errno::NOENT, rustix::io::Errno::NOTDIR, rustix::io::Errno::LOOP]
                        .iter()
                        .any(|known| known.raw_os_error() == errno) =>
                {
                    Ok(None)
                }
                _ => Err(error),
            },
        };
    }
    Ok(None)
}
