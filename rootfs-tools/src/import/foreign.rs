//! Things that are mistaken for a root filesystem.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use crate::tree::{Entry, Kind};

/// A tree that is not a root filesystem, and what it is instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// Nothing.
    #[error("it contains no files")]
    Empty,
    /// An image as the OCI's image-layout specification has it.
    #[error("it is an OCI image layout: its files are in layers, not in a root filesystem")]
    OciLayout,
    /// What `docker save` and `podman save` write.
    #[error("it is a docker archive: its files are in layers, not in a root filesystem")]
    DockerArchive,
    /// An image of LXD or Incus, with its metadata.
    #[error("it is an image of LXD or Incus: its root filesystem is in \"rootfs\"")]
    LxdImage,
    /// The metadata of an image of LXD or Incus alone.
    #[error("it is the metadata of an image of LXD or Incus: its root filesystem is another file")]
    LxdMetadata,
    /// A backup of LXD or Incus.
    #[error("it is a backup of LXD or Incus: its root filesystem is in {0:?}")]
    LxdBackup(PathBuf),
    /// A root filesystem in a directory.
    #[error("its root filesystem is in {0:?}")]
    Nested(PathBuf),
    /// It contains no executable file.
    #[error("it contains no init and no other program")]
    NoProgram,
}

/// Names of which every root filesystem has at least one.
const TOP: [&str; 7] = ["bin", "sbin", "usr", "lib", "etc", "init", "nix"];
/// Names that tell a root filesystem from any other directory.
const ROOT: [&str; 5] = ["usr/sbin/init", "sbin/init", "etc/os-release", "usr/lib/os-release", "etc/passwd"];
/// Maximum depth of a prefix, components.
const DEPTH: usize = 4;

impl Foreign {
    /// What to do about it, for the archive or directory `from`.
    pub fn help(&self, from: &Path) -> String {
        let again = |prefix: &Path| {
            format!("rootfsctl import {} --strip-prefix {}", from.display(), prefix.display())
        };
        match self {
            Self::Empty | Self::NoProgram => {
                "archive the root filesystem itself, e.g. tar -C DIR --numeric-owner --xattrs -czf FILE ."
                    .to_owned()
            }
            Self::OciLayout if from.is_dir() => format!("rootfsctl import --oci {}", from.display()),
            Self::OciLayout | Self::DockerArchive => {
                format!("rootfsctl import --docker-archive {}", from.display())
            }
            Self::LxdImage => again(Path::new("rootfs")),
            Self::LxdMetadata => {
                "import the other file of the image, rootfs.squashfs or rootfs.tar".to_owned()
            }
            Self::LxdBackup(prefix) | Self::Nested(prefix) => again(prefix),
        }
    }

    /// What a tree is if it is not a root filesystem. With `as_it_is`, a root filesystem further down is not
    /// looked for.
    pub fn recognize(entries: &[Entry], as_it_is: bool) -> Option<Self> {
        let paths: HashSet<&Path> = entries.iter().map(|entry| entry.path.as_path()).collect();
        let has = |path: &str| paths.contains(Path::new(path));
        if entries.len() <= 1 {
            return Some(Self::Empty);
        }
        if !TOP.iter().any(|name| has(name)) {
            if has("manifest.json") && (has("repositories") || has("blobs") || layers(entries)) {
                return Some(Self::DockerArchive);
            }
            if has("oci-layout") || has("index.json") && has("blobs") {
                return Some(Self::OciLayout);
            }
            if has("metadata.yaml") && has("rootfs") {
                return Some(Self::LxdImage).filter(|_| !as_it_is);
            }
            if has("metadata.yaml") {
                return Some(Self::LxdMetadata);
            }
            if let Some(prefix) = nested(entries).filter(|_| !as_it_is) {
                let is_backup = has("backup/index.yaml");
                return Some(if is_backup { Self::LxdBackup(prefix) } else { Self::Nested(prefix) });
            }
        }
        let is_program = |entry: &Entry| entry.kind == Kind::File && entry.mode & 0o111 != 0;
        (!entries.iter().any(is_program)).then_some(Self::NoProgram)
    }
}

/// Whether it contains layers as docker saved them up to version 24.
fn layers(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.path.file_name().is_some_and(|name| name == "layer.tar"))
}

/// The directory that looks most like a root filesystem.
fn nested(entries: &[Entry]) -> Option<PathBuf> {
    let prefix = |entry: &Entry| {
        ROOT.iter().find_map(|suffix| {
            let mut at = entry.path.as_path();
            if !at.ends_with(suffix) {
                return None;
            }
            for _ in Path::new(suffix).components() {
                at = at.parent()?;
            }
            Some(at.to_owned())
        })
    };
    let depth = |path: &PathBuf| path.components().count();
    let found = entries.iter().filter_map(prefix).filter(|path| (1..=DEPTH).contains(&depth(path)));
    found.min_by_key(|path| (depth(path), path.clone()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn of(files: &[(&str, u32)], as_it_is: bool) -> Option<Foreign> {
        let dir = tempfile::tempdir().unwrap();
        for (path, mode) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "x").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        Foreign::recognize(&crate::tree::walk(dir.path()).unwrap(), as_it_is)
    }

    #[test]
    fn what_is_no_root_filesystem_is_named() {
        use Foreign::{DockerArchive, Empty, LxdBackup, LxdImage, LxdMetadata, Nested, NoProgram, OciLayout};
        let plain = |paths: &[&str]| {
            let files: Vec<_> = paths.iter().map(|path| (*path, 0o644)).collect();
            of(&files, false)
        };
        assert_eq!(plain(&[]), Some(Empty));
        assert_eq!(plain(&["oci-layout", "index.json", "blobs/sha256/aa"]), Some(OciLayout));
        assert_eq!(plain(&["manifest.json", "repositories", "aa/layer.tar", "aa/json"]), Some(DockerArchive));
        // Since version 25 a docker archive is an OCI layout, too.
        assert_eq!(
            plain(&["oci-layout", "index.json", "manifest.json", "blobs/sha256/aa"]),
            Some(DockerArchive)
        );
        assert_eq!(plain(&["metadata.yaml", "templates/x", "rootfs/etc/passwd"]), Some(LxdImage));
        assert_eq!(plain(&["metadata.yaml", "templates/x"]), Some(LxdMetadata));
        assert_eq!(
            plain(&["backup/index.yaml", "backup/container/rootfs/etc/passwd"]),
            Some(LxdBackup("backup/container/rootfs".into()))
        );
        assert_eq!(plain(&["web/config", "web/rootfs/usr/sbin/init"]), Some(Nested("web/rootfs".into())));
        assert_eq!(plain(&["rootfs/etc/os-release", "rootfs/a/etc/passwd"]), Some(Nested("rootfs".into())));
        assert_eq!(plain(&["etc/passwd", "usr/share/x"]), Some(NoProgram));
    }

    #[test]
    fn a_root_filesystem_and_a_single_program_are_taken() {
        assert_eq!(of(&[("sbin/init", 0o755)], false), None);
        assert_eq!(of(&[("server", 0o755)], false), None);
        assert_eq!(of(&[("usr/bin/sh", 0o755), ("opt/jail/etc/passwd", 0o644)], false), None);
        let nested = [("rootfs/etc/passwd", 0o644), ("server", 0o755)];
        assert!(of(&nested, false).is_some());
        assert_eq!(of(&nested, true), None);
    }
}
