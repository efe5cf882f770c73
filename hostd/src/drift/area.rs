//! The directories of a tenant in which its own files lie over those of its image.

use std::path::{Path, PathBuf};

use tenant::{
    Plan,
    plan::{OwnEtc, RootStep},
};

/// Files of `/etc` that Tenantry itself gives each tenant.
const IDENTITY: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/machine-id"];

/// An overlay of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// The directory, without a leading `/`.
    pub dir: PathBuf,
    /// The upper directory, where the tenant's own files are.
    pub upper: PathBuf,
    /// The tenant's directories.
    pub dirs: PathBuf,
    /// What is mounted over parts of it: these are not of the overlay.
    covered: Vec<PathBuf>,
    /// Files that are never the image's.
    identity: Vec<PathBuf>,
}

impl Area {
    /// The overlays of a plan.
    pub fn all(plan: &Plan) -> Vec<Self> {
        let below = |dir: &Path| {
            let mounted = plan.root.iter().filter_map(RootStep::at).map(PathBuf::from);
            mounted.filter(|at| at.starts_with(dir) && at != dir).collect()
        };
        let is_etc = matches!(plan.own_etc(), Some(OwnEtc::Overlay(_)));
        let area = |step: &RootStep| {
            let RootStep::Overlay { at, store } = step else { return None };
            let dir = PathBuf::from(at.relative());
            let identity = IDENTITY.iter().map(PathBuf::from).filter(|path| is_etc && path.starts_with(&dir));
            Some(Self {
                upper: Path::new(store).join("upper"),
                dirs: plan.dirs.clone(),
                covered: below(&dir),
                identity: identity.collect(),
                dir,
            })
        };
        plan.root.iter().filter_map(area).collect()
    }

    /// Whether a path of the image is seen through this overlay.
    pub fn has(&self, path: &Path) -> bool {
        path.starts_with(&self.dir)
            && !self.covered.iter().any(|covered| path.starts_with(covered))
            && !self.identity.iter().any(|own| path == own)
    }

    /// A path of the image, seen from the directory.
    pub fn inside<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.strip_prefix(&self.dir).ok().filter(|_| self.has(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_over_an_overlay_and_what_tenantry_writes_is_left_out() {
        let area = Area {
            dir: "var".into(),
            upper: "x".into(),
            dirs: "/".into(),
            covered: vec!["var/lib/dpkg".into()],
            identity: vec!["var/own".into()],
        };
        for (path, has) in [
            ("var", true),
            ("var/lib", true),
            ("var/lib/dpkg2", true),
            ("var/lib/dpkg", false),
            ("var/lib/dpkg/status", false),
            ("var/own", false),
            ("variable", false),
            ("etc/passwd", false),
        ] {
            assert_eq!(area.has(Path::new(path)), has, "{path}");
        }
        assert_eq!(area.inside(Path::new("var/lib")), Some(Path::new("lib")));
    }
}
