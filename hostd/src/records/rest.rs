//! Directories of which a running tenant sees another version from its next start on.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tenant::{Layout, Plan, model::allocation::Pinned, plan::RootStep};

use super::{Store, StoreError, guard::held, images};

/// The paths in which two versions differ, of those that were compared last. Versions never change.
#[derive(Debug, Default)]
pub(crate) struct Compared(Mutex<VecDeque<([Pinned; 2], Arc<Vec<PathBuf>>)>>);

impl Compared {
    /// So many are kept: a rollout moves many tenants between few versions.
    const MOST: usize = 4;

    fn paths(&self, layout: &Layout, from: &Pinned, to: &Pinned) -> Result<Arc<Vec<PathBuf>>, StoreError> {
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

impl Store {
    /// The directories of a tenant with this plan in which the version that it has booted and another one differ, of those
    /// that keep the version that was booted.
    ///
    /// # Errors
    /// A version cannot be read.
    pub fn rest(&self, plan: &Plan, booted: &Pinned, to: &Pinned) -> Result<Vec<String>, StoreError> {
        if booted == to {
            return Ok(Vec::new());
        }
        let paths = self.compared.paths(&self.layout, booted, to)?;
        Ok(differing(&plan.root, &paths))
    }
}

fn differing(root: &[RootStep], paths: &[PathBuf]) -> Vec<String> {
    // What is shared in one of them changes at once.
    let nested = root.iter().filter_map(|step| match step {
        RootStep::Shared { at } => Some(Path::new(at.relative())),
        _ => None,
    });
    let nested: Vec<&Path> = nested.collect();
    let overlays = root.iter().filter_map(|step| match step {
        RootStep::Overlay { at, .. } => Some(at),
        _ => None,
    });
    let differs = |at: &Path| {
        let is_in = |path: &&PathBuf| path.starts_with(at) && *path != at;
        paths.iter().filter(is_in).any(|path| !nested.iter().any(|dir| path.starts_with(dir)))
    };
    overlays.filter(|at| differs(at.relative().as_ref())).map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differing_of(paths: &[&str]) -> Vec<String> {
        let at = |at: &str| at.parse().unwrap();
        let overlay = |dir: &str| RootStep::Overlay { at: at(dir), store: dir.to_owned() };
        let root = [
            overlay("/etc"),
            overlay("/opt"),
            RootStep::Shared { at: at("/usr") },
            overlay("/var"),
            RootStep::Shared { at: at("/var/lib/dpkg") },
        ];
        differing(&root, &paths.iter().map(PathBuf::from).collect::<Vec<_>>())
    }

    #[test]
    fn only_directories_with_a_difference_wait_for_a_start() {
        assert_eq!(differing_of(&["usr/bin/x", "etc/motd", "etcetera", "opt"]), ["/etc"]);
        assert_eq!(differing_of(&["var/lib/dpkg/status", "var/lib/dpkg"]), Vec::<String>::new());
        assert_eq!(differing_of(&["var/lib/dpkg/status", "var/lib/dpkg-new", "opt/a"]), ["/opt", "/var"]);
        assert_eq!(differing_of(&[]), Vec::<String>::new());
    }
}
