//! From an image of a layout to a tree.

use std::{fs, path::Path};

use tenant::files::file_error::FileError;

use super::{
    error::RegistryError,
    layout::{Image, Layout},
};
use crate::{
    import::{self, Options, Report},
    progress::Progress,
};

/// Unpacks the layers of an image to `tree`, which must not exist. All of them are compared with their digests before
/// the first is unpacked; a damaged one is removed from the layout, so that a pull fetches it again.
///
/// # Errors
/// [`RegistryError`].
pub fn unpack(
    layout: &Layout,
    image: &Image,
    tree: &Path,
    progress: &Progress,
) -> Result<Report, RegistryError> {
    let mut files = Vec::new();
    progress.step("checking the layers");
    for layer in &image.layers {
        match layout.check(layer) {
            Ok(file) => files.push(file),
            Err(error) => {
                if let RegistryError::Blob { digest, .. } = &error {
                    // What cannot be removed is reported again by the next pull.
                    let _ = layout.forget(digest);
                }
                return Err(error);
            }
        }
    }
    fs::create_dir(tree).map_err(FileError::when("make", tree))?;
    let count = files.len();
    let layers = files.iter().enumerate().map(|(at, file)| {
        progress.step(&format!("unpacking layer {} of {count}", at + 1));
        import::open_archive(file)
    });
    Ok(import::unpack_layers(layers, tree, &Options::default())?)
}
