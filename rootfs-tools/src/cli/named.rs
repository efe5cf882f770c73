//! The name of an image that is made of a file.

use std::path::Path;

use rootfs_tools::Outcome;
use tenant::model::image::ImageName;

use super::{
    build::Target,
    context::{Failure, Refusal},
};

/// The last component of a path, without control characters.
pub(super) fn file_name(from: &Path) -> String {
    let absolute = std::path::absolute(from).unwrap_or_else(|_| from.to_owned());
    let name = absolute.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.chars().filter(|c| !c.is_control()).collect()
}

/// The given name, or the file's without its endings.
pub(super) fn image_name(from: &Path, target: &Target) -> Result<ImageName, Failure> {
    if let Some(name) = &target.name {
        return Ok(name.clone());
    }
    let mut name = file_name(from);
    for ending in [".gz", ".xz", ".zst", ".tgz", ".txz", ".tar"] {
        name = name.strip_suffix(ending).unwrap_or(&name).to_owned();
    }
    name.to_lowercase().parse().map_err(|e| {
        let refusal = Refusal {
            message: format!("cannot name the image after {from:?}: {e}"),
            help: Some("name it with --name IMAGE".to_owned()),
            outcome: Outcome::Failed,
        };
        refusal.into()
    })
}
