//! A version as one erofs file.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use tenant::kernel::{KernelError, image::ImageError};

use crate::{
    explain::{Explain, Outcome},
    tool::{MKFS_EROFS, ToolError},
};

/// An erofs file that cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum ErofsError {
    /// mkfs.erofs failed.
    #[error("cannot make the erofs file {path:?}")]
    Make {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: ToolError,
    },
    /// The tree could not be taken away after it went into the file.
    #[error("cannot clean up {path:?}")]
    Clean {
        /// The tree.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The kernel does not mount it.
    #[error(transparent)]
    Mount(#[from] KernelError),
}

impl Explain for ErofsError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Make { source, .. } => source.help(),
            Self::Mount(source) => {
                Some(ImageError::of(source).unwrap_or(&ImageError::NoFile).help().to_owned())
            }
            Self::Clean { .. } => None,
        }
    }

    fn outcome(&self) -> Outcome {
        Outcome::Failed
    }
}

/// Packs `tree` into the file `image` and removes the tree.
///
/// # Errors
/// [`ErofsError`].
pub fn pack(tree: &Path, image: &Path) -> Result<(), ErofsError> {
    // Uncompressed: the page cache holds the pages either way, and a fault needs no CPU.
    let args = [image.as_os_str(), tree.as_os_str()];
    MKFS_EROFS.run(args, |_| {}).map_err(|source| ErofsError::Make { path: image.to_owned(), source })?;
    let clean = || {
        File::open(image)?.sync_all()?;
        fs::remove_dir_all(tree)
    };
    clean().map_err(|source| ErofsError::Clean { path: tree.to_owned(), source })
}
