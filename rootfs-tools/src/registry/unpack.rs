//! From an image of a layout to a tree.

use std::{cell::RefCell, fs, path::Path, rc::Rc};

use tenant::files::file_error::FileError;

use super::{
    blob::Shared,
    error::RegistryError,
    layout::{Image, Layout},
};
use crate::{
    import::{self, Options, Report},
    progress::Progress,
};

/// Unpacks the layers of an image to `tree`, which must not exist. All of them are compared with their digests before
/// the first is unpacked, and each again by the bytes that were unpacked; a damaged one is removed from the layout, so
/// that a pull fetches it again.
///
/// # Errors
/// [`RegistryError`]; the tree may be there in part then.
pub fn unpack(
    layout: &Layout,
    image: &Image,
    tree: &Path,
    progress: &Progress,
) -> Result<Report, RegistryError> {
    let unpacked = unpack_all(layout, image, tree, progress);
    if let Err(RegistryError::Blob { digest, .. }) = &unpacked {
        // What cannot be removed is reported again by the next pull.
        let _ = layout.forget(digest);
    }
    unpacked
}

fn unpack_all(
    layout: &Layout,
    image: &Image,
    tree: &Path,
    progress: &Progress,
) -> Result<Report, RegistryError> {
    progress.step("checking the layers");
    let mut blobs = Vec::new();
    for layer in &image.layers {
        let mut blob = layout.open_blob(layer)?;
        blob.check()?;
        blobs.push(Shared(Rc::new(RefCell::new(blob))));
    }
    fs::create_dir(tree).map_err(FileError::when("make", tree))?;
    let (count, mut begun) = (blobs.len(), 0);
    let layers = blobs.iter().map(|blob| {
        begun += 1;
        progress.step(&format!("unpacking layer {begun} of {count}"));
        let path = blob.0.borrow().path().to_owned();
        import::read_archive(&path, blob.clone())
    });
    let unpacked = import::unpack_layers(layers, tree, &Options::default());
    // A layer that was exchanged meanwhile is the reason of whatever was wrong with it.
    for blob in blobs.iter().take(begun) {
        blob.0.borrow_mut().finish()?;
    }
    Ok(unpacked?)
}
