//! What two versions differ in, kept for the next tenant that moves between them.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use tenant::{Layout, model::allocation::Pinned};

use super::{StoreError, guard::held, images};

/// The paths in which two versions differ, of those that were compared last. Versions never change.
#[derive(Debug, Default)]
pub(crate) struct Compared(Mutex<VecDeque<([Pinned; 2], Arc<Vec<PathBuf>>)>>);

impl Compared {
    /// So many are kept: a rollout moves many tenants between few versions.
    const MOST: usize = 4;

    /// The paths in which two versions differ, relative to the top of the image.
    ///
    /// # Errors
    /// A version cannot be read.
    pub(crate) fn paths(
        &self,
        layout: &Layout,
        from: &Pinned,
        to: &Pinned,
    ) -> Result<Arc<Vec<PathBuf>>, StoreError> {
        let both = [from.clone(), to.clone()];
        let known = held(&self.0).iter().find(|(known, _)| *known == both).map(|(_, paths)| paths.clone());
        if let Some(paths) = known {
            return Ok(paths);
        }
        let changes = images::changes(layout, from, to)?;
        let paths = Arc::new(changes.files.into_iter().map(|file| file.path).collect::<Vec<_>>());
        let mut known = held(&self.0);
        known.truncate(Self::MOST - 1);
        known.push_front((both, paths.clone()));
        Ok(paths)
    }
}
