//! Versions whose blocks are verified when they are read: a damaged block is an I/O error, never wrong data.
//!
//! | format | by | what is kept |
//! |---|---|---|
//! | erofs | dm-verity, see veritysetup(8) | a hash tree next to the file, its root hash in the manifest |
//! | tree | fs-verity, see `Documentation/filesystems/fsverity.rst` | a hash tree with each file, which the filesystem keeps; one digest of all their digests in the manifest |
//!
//! Neither is a signature: write access to the manifest is enough to replace the root hash.

use std::{
    collections::HashSet,
    fs::File,
    io,
    os::{fd::AsFd as _, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use tenant::{
    kernel::raw,
    model::{ids::Digest, image::ImageFormat},
};

use crate::{
    digest::field,
    explain::{Explain, Outcome},
    tool::{ToolError, VERITYSETUP},
    tree::{Entry, Kind},
};

/// First bytes of what is hashed for a tree.
const MAGIC: &[u8] = b"tenantry-fs-verity-v1\n";
/// What veritysetup(8) prints before the root hash.
const ROOT_HASH: &str = "Root hash:";

/// Why the blocks of a version cannot be protected.
#[derive(Debug, thiserror::Error)]
pub enum ProtectError {
    /// The filesystem of the store has no fs-verity.
    #[error("the filesystem of {path:?} does not support fs-verity")]
    Unsupported {
        /// A file on it.
        path: PathBuf,
        /// Its error.
        #[source]
        source: io::Error,
    },
    /// A file cannot be protected.
    #[error("cannot protect {path:?}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// veritysetup failed.
    #[error("cannot make the hash tree {path:?}")]
    HashTree {
        /// The file it goes to.
        path: PathBuf,
        /// The cause.
        #[source]
        source: ToolError,
    },
    /// veritysetup printed no root hash.
    #[error("veritysetup printed no root hash for {0:?}")]
    NoRootHash(PathBuf),
}

impl Explain for ProtectError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Unsupported { .. } => Some(
                "enable it with `tune2fs -O verity DEVICE` on ext4 (btrfs needs only CONFIG_FS_VERITY in the \
                 kernel), or store the version as one file: --format erofs --verity"
                    .to_owned(),
            ),
            Self::HashTree { source, .. } => source.help(),
            Self::File { .. } | Self::NoRootHash(_) => None,
        }
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::Unsupported { .. } => Outcome::Refused,
            _ => Outcome::Failed,
        }
    }
}

/// Protects a staged version and returns the digest of all its blocks. `entries` are those of its tree.
///
/// # Errors
/// [`ProtectError`].
pub fn protect(version: &Path, format: ImageFormat, entries: &[Entry]) -> Result<Digest, ProtectError> {
    match format {
        ImageFormat::Tree => protect_tree(&version.join("tree"), entries),
        ImageFormat::Erofs => hash_tree(&version.join("image.erofs"), &version.join("image.verity")),
    }
}

/// Makes the hash tree of a file; its root hash.
fn hash_tree(file: &Path, tree: &Path) -> Result<Digest, ProtectError> {
    let mut root_hash = None;
    let mut read = |line: &str| {
        if let Some(hex) = line.trim().strip_prefix(ROOT_HASH) {
            root_hash = format!("sha256:{}", hex.trim()).parse().ok();
        }
    };
    // Without a salt one file always has the same root hash.
    let options = ["format", "--hash=sha256", "--salt=-"].map(Path::new);
    let made = VERITYSETUP.run(options.into_iter().chain([file, tree]), &mut read);
    made.map_err(|source| ProtectError::HashTree { path: tree.to_owned(), source })?;
    root_hash.ok_or_else(|| ProtectError::NoRootHash(file.to_owned()))
}

/// Regular files of a tree, each once, however many names it has.
fn files(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    let mut seen = HashSet::new();
    entries.iter().filter(move |entry| entry.kind == Kind::File && seen.insert(entry.inode))
}

fn protect_tree(root: &Path, entries: &[Entry]) -> Result<Digest, ProtectError> {
    for entry in files(entries) {
        let path = root.join(&entry.path);
        let protect = || raw::enable_verity(File::open(&path)?.as_fd());
        protect().map_err(|source: io::Error| match Errno::from_io_error(&source) {
            Some(Errno::OPNOTSUPP | Errno::NOTTY) => {
                ProtectError::Unsupported { path: root.to_owned(), source }
            }
            _ => ProtectError::File { path: path.clone(), source },
        })?;
    }
    measure(root, entries)?.map_err(|path| ProtectError::File {
        path: root.join(path),
        source: io::Error::other("the kernel reports success, but the file is not protected"),
    })
}

/// The digest of the fs-verity digests of all files of a tree, or the first file that is not protected. No content
/// is read: the kernel verifies it on every read.
///
/// # Errors
/// [`ProtectError::File`].
pub fn measure(root: &Path, entries: &[Entry]) -> Result<Result<Digest, PathBuf>, ProtectError> {
    let mut hasher = Sha256::new();
    hasher.update(MAGIC);
    for entry in files(entries) {
        let path = root.join(&entry.path);
        let digest = File::open(&path).and_then(|file| raw::verity_digest(file.as_fd()));
        match digest.map_err(|source| ProtectError::File { path: path.clone(), source })? {
            Some(digest) => {
                field(&mut hasher, entry.path.as_os_str().as_bytes());
                field(&mut hasher, &digest);
            }
            None => return Ok(Err(entry.path.clone())),
        }
    }
    Ok(Ok(Digest::from_bytes(hasher.finalize().into())))
}
