//! What two versions differ in, kept for the next tenant that moves between them.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use rootfs_tools::diff::Changes;
use tenant::model::allocation::Pinned;

use super::guard::held;

/// The paths in which two versions differ, of those that were compared last. Versions never change.
#[derive(Debug, Default)]
pub(crate) struct Compared(Mutex<VecDeque<Difference>>);

#[derive(Debug)]
struct Difference {
    versions: [Pinned; 2],
    paths: Arc<Vec<PathBuf>>,
}

impl Compared {
    /// So many are kept: a rollout moves many tenants between few versions.
    const MOST: usize = 4;

    /// The paths in which two versions differ, relative to the top of the image. `compare` tells where it is not known.
    ///
    /// # Errors
    /// Those of `compare`.
    pub(crate) fn paths<E>(
        &self,
        versions: [Pinned; 2],
        compare: impl FnOnce(&[Pinned; 2]) -> Result<Changes, E>,
    ) -> Result<Arc<Vec<PathBuf>>, E> {
        let known =
            held(&self.0).iter().find(|known| known.versions == versions).map(|known| known.paths.clone());
        if let Some(paths) = known {
            return Ok(paths);
        }
        let changes = compare(&versions)?;
        let paths = Arc::new(changes.files.into_iter().map(|file| file.path).collect::<Vec<_>>());
        let mut known = held(&self.0);
        known.truncate(Self::MOST - 1);
        known.push_front(Difference { versions, paths: paths.clone() });
        Ok(paths)
    }
}
