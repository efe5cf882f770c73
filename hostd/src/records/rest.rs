//! Directories of which a running tenant sees another version from its next start on.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tenant::{Plan, model::allocation::Pinned, plan::RootStep};

use super::{Store, StoreError, images};

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
        Ok(differing(&plan.root, &self.differing_paths(booted, to)?))
    }

    /// The paths in which two versions differ, relative to the top of the image.
    ///
    /// # Errors
    /// A version cannot be read.
    pub(super) fn differing_paths(
        &self,
        from: &Pinned,
        to: &Pinned,
    ) -> Result<Arc<Vec<PathBuf>>, StoreError> {
        let compare = |[from, to]: &[Pinned; 2]| images::changes(&self.layout, from, to);
        self.compared.paths([from.clone(), to.clone()], compare)
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
