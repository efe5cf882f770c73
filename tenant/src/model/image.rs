//! Images as a tenant sees them: the manifest of a version. How they are named: [`super::reference`].
//!
//! `rootfs-tools` writes them; this crate only reads.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use super::reference::{ChannelName, ImageName, ImageRef, InvalidImageRef, ProfileName, VersionRef};
use crate::model::{ids::Digest, recipe::Recipe};

/// How a version is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// A directory `tree/`.
    Tree,
    /// One file `image.erofs`, mounted once and cloned for every tenant.
    Erofs,
}

/// One entry of the image's top level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub struct TopEntry {
    /// File name, e.g. `usr`.
    pub name: String,
    /// For a directory its mode bits (0o755 = 493), for a symlink none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// For a symlink its target, e.g. `usr/bin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// When a tenant counts as started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ready {
    /// When its init sends `READY=1` to `$NOTIFY_SOCKET`, see sd_notify(3).
    Notify,
    /// When its init has been executed.
    Exec,
}

impl std::fmt::Display for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Notify => "when init sends READY=1,",
            Self::Exec => "when init has been executed,",
        })
    }
}

/// Which init an image boots: how it is asked to power off depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitKind {
    /// systemd(1).
    Systemd,
    /// init(8) of sysvinit, whatever it runs: scripts of its own, or OpenRC.
    #[serde(rename = "sysv")]
    SysV,
    /// openrc-init(8).
    #[serde(rename = "openrc")]
    OpenRc,
    /// runit(8).
    Runit,
    /// busybox's, and those that take its signals, such as finit(8).
    Busybox,
    /// Another one; the manifest's `stop_signal` is what it takes.
    #[serde(other)]
    Other,
}

impl InitKind {
    /// The kind of an init whose program's name tells it. `/sbin/init` tells nothing: every kind has that name.
    pub fn of_program(path: &str) -> Option<Self> {
        match path.rsplit('/').next()? {
            "systemd" => Some(Self::Systemd),
            "openrc-init" => Some(Self::OpenRc),
            "runit" | "runit-init" => Some(Self::Runit),
            "busybox" | "finit" => Some(Self::Busybox),
            _ => None,
        }
    }
}

/// How the image's operating system is booted and stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Argument vector of init, an absolute path first.
    pub init: Vec<String>,
    /// Name of the signal that asks init to power off, e.g. `SIGRTMIN+3`.
    pub stop_signal: String,
    /// When a boot counts as done.
    pub ready: Ready,
    /// Argument vector of the login program for a tty that a client attaches to; standard input,
    /// output and error are the tty. Empty where the image has none.
    #[serde(default)]
    pub getty: Vec<String>,
}

/// The program of an image that has one instead of an init, as its makers start it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Argument vector, an absolute path first.
    pub init: Vec<String>,
    /// The directory that it is started in; none is `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Name of the signal that stops it, `SIGTERM` where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// What it has in its environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// `manifest.toml` of a version: what it is and how to boot it. Keys that are not known are skipped: versions travel, and
/// a newer release may have published one. What must not be skipped raises [`Manifest::FORMAT_VERSION`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format, now 1.
    pub format_version: u32,
    /// The image this version belongs to.
    pub image: ImageName,
    /// Content digest, also the version's name.
    pub digest: Digest,
    /// How it is stored.
    pub format: ImageFormat,
    /// When it was published, RFC 3339 in UTC.
    pub created: String,
    /// `PRETTY_NAME` of os-release(5), or the image's name.
    pub os: String,
    /// Architecture as `uname -m` prints it.
    pub arch: String,
    /// Where it came from, e.g. `mmdebstrap bookworm`.
    pub source: String,
    /// Named sets of packages that it was built with, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<String>,
    /// Whether the tuning table was applied.
    pub tuned: bool,
    /// Apparent size of all files, bytes.
    pub size_bytes: u64,
    /// Number of files, directories and links.
    pub files: u64,
    /// What its blocks are checked against when they are read, if they are: for erofs the root hash of its
    /// dm-verity tree, for a tree the digest of the fs-verity digests of all its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verity: Option<Digest>,
    /// The version that it was made to follow: that of its channel before it was published, or the one that
    /// `rootfsctl update` built again; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    /// Which init it has; none if it has no init, or was published before this was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_kind: Option<InitKind>,
    /// How to boot it.
    pub boot: Boot,
    /// What a tenant of the kind `app` runs that names no program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<App>,
    /// How it was made; none if it was published before this was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Recipe>,
    /// Every entry of the top level, sorted by name.
    pub top: Vec<TopEntry>,
}

impl ManifestError {
    /// The remedy, if one is known.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Version(_) => Some("update Tenantry on this host: a newer release has made the version"),
            Self::Malformed(_) => None,
        }
    }
}

impl Manifest {
    /// The format this crate reads and writes.
    pub const FORMAT_VERSION: u32 = 1;

    /// Parses `manifest.toml`.
    ///
    /// # Errors
    /// Text that is not TOML, lacks a key or has another `format_version`.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        match toml::from_str::<Format>(text)?.format_version {
            Self::FORMAT_VERSION => Ok(toml::from_str(text)?),
            other => Err(ManifestError::Version(other)),
        }
    }

    /// The text of `manifest.toml`.
    pub fn render(&self) -> String {
        toml::to_string(self).expect("a manifest has only types that TOML can hold")
    }
}

/// The format that a record says it has. It is read first: of another one nothing else is known.
#[derive(Deserialize)]
pub(super) struct Format {
    pub(super) format_version: u32,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not a manifest.
    #[error("the manifest is malformed")]
    Malformed(#[from] toml::de::Error),
    /// Written by a newer release.
    #[error("the manifest has format_version {0}, but this release supports only 1")]
    Version(u32),
}

/// Where the image's tree comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageSource {
    /// A directory.
    Tree(PathBuf),
    /// A file with an erofs filesystem, mounted once for all tenants.
    Erofs {
        /// The file.
        #[serde(flatten)]
        image: ErofsImage,
        /// Where it is mounted.
        mount: PathBuf,
    },
}

/// A file with an erofs filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErofsImage {
    /// The file.
    pub file: PathBuf,
    /// What each block of it is checked against when it is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verity: Option<HashTree>,
}

/// The hash tree of a file, see veritysetup(8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HashTree {
    /// The file that it is in.
    pub file: PathBuf,
    /// The hash at its root, which stands for every bit of the image.
    pub root_hash: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_tells_its_kind_unless_it_is_called_init() {
        for (path, kind) in [
            ("/lib/systemd/systemd", Some(InitKind::Systemd)),
            ("/sbin/openrc-init", Some(InitKind::OpenRc)),
            ("/usr/bin/runit-init", Some(InitKind::Runit)),
            ("/sbin/finit", Some(InitKind::Busybox)),
            ("/sbin/init", None),
        ] {
            assert_eq!(InitKind::of_program(path), kind, "{path}");
        }
        assert_eq!(serde_json::to_string(&InitKind::OpenRc).unwrap(), "\"openrc\"");
        assert_eq!(serde_json::to_string(&InitKind::SysV).unwrap(), "\"sysv\"");
    }
}
