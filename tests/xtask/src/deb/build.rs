//! What the parts of a package are made from.

use std::path::PathBuf;

use super::version::Version;

/// What is known before anything is made.
pub(super) struct Build {
    /// Programs to be packed.
    pub(super) bin: PathBuf,
    /// Where generated files are made.
    pub(super) made: PathBuf,
    /// The tree that becomes the package.
    pub(super) tree: PathBuf,
    pub(super) version: Version,
    /// Seconds since 1970.
    pub(super) epoch: u64,
}
