//! `import`: a tar archive (plain, gzip, xz, zstd) or a directory becomes a tree.
//!
//! ```text
//! FILE ─packed──▶ bytes ─filetree::archive::Reader──▶ members ─unpack──▶ ┐
//! DIR  ─cp(1)───────────────────────────────────── put_right──▶ ┴─ tree ─▶ foreign::recognize
//! ```
//!
//! The archive is untrusted. Names are made relative and may not contain `..`; each
//! parent resolves inside the tree ([`crate::rootdir::RootDir`]), so no link leads out of it; device nodes, attributes
//! that control overlayfs or security modules, owners a tenant cannot have, and bombs are refused or
//! left out.

mod attributes;
mod directory;
mod error;
mod foreign;
mod idmap;
mod layer;
mod names;
mod options;
mod packed;
mod report;
mod unpack;

use std::{fs, path::Path};

use tenant::files::file_error::FileError;

pub use directory::copy;
pub use error::ImportError;
pub use foreign::Foreign;
pub use idmap::{IdMap, IdRange, InvalidRange, OverlappingRanges};
pub use options::{Limits, Options};
pub use report::Report;
pub use unpack::{unpack, unpack_layers};
pub(crate) use {layer::WHITEOUT, packed::read as read_archive};

use crate::progress::Progress;

/// Unpacks the archive, or copies the directory, `from` to `tree`, which must not exist.
///
/// # Errors
/// [`ImportError`]; the tree may be there in part then, and is the staging directory's to remove.
pub fn import(
    from: &Path,
    tree: &Path,
    options: &Options,
    progress: &Progress,
) -> Result<Report, ImportError> {
    let meta = fs::metadata(from).map_err(FileError::when("read", from))?;
    let report = if meta.is_dir() {
        let root = match &options.strip_prefix {
            Some(prefix) if !prefix.as_os_str().is_empty() => directory::below(from, prefix)?,
            _ => from.to_owned(),
        };
        copy(&root, tree, progress)?;
        progress.step("looking at the files");
        directory::put_right(tree, &directory::walk(tree)?, &options.idmap)?
    } else {
        progress.step("unpacking the archive");
        let reader = packed::open(from)?;
        fs::create_dir(tree).map_err(FileError::when("make", tree))?;
        unpack(reader, tree, options)?
    };
    recognize(from, tree, options.strip_prefix.is_some())?;
    Ok(report)
}

/// Refuses a tree that is no root filesystem.
///
/// # Errors
/// [`ImportError::Foreign`].
pub fn recognize(from: &Path, tree: &Path, as_it_is: bool) -> Result<(), ImportError> {
    match Foreign::recognize(&directory::walk(tree)?, as_it_is) {
        Some(kind) => Err(ImportError::Foreign { from: from.to_owned(), kind }),
        None => Ok(()),
    }
}
