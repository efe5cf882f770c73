//! Where the tree of an image is.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::sh;

/// The tree of an image that [`crate::images`] built.
pub(crate) fn tree(bin: &Path, images: &Path, name: &str) -> Result<PathBuf> {
    let mut show = Command::new(bin.join("rootfsctl"));
    show.arg("--root").arg(images).args(["--json", "show", name]);
    let shown: serde_json::Value = serde_json::from_str(&sh::read(show)?)?;
    let digest = shown.pointer("/manifest/digest").and_then(serde_json::Value::as_str);
    let digest = digest.with_context(|| format!("rootfsctl shows no digest of {name}"))?.replace(':', "-");
    Ok(images.join("var/lib/tenantry/images").join(name).join("versions").join(digest).join("tree"))
}
