//! Images in use whose blocks are checked when they are read: whether a damaged one has been found.

use rootfs_tools::{Store, store::StoreError};
use tenant::{
    kernel::image::is_damaged,
    model::image::{ErofsImage, ImageSource, Manifest},
};
use wire::{chain, doctor::Finding};

use super::Examination;

pub(super) fn check(examination: &Examination<'_>) -> Vec<Finding> {
    let layout = examination.host.store().layout();
    let manifests = match manifests(&Store::new(layout.clone())) {
        Ok(manifests) => manifests,
        Err(error) => return vec![Finding::fault(chain(&error))],
    };
    let mut findings = Vec::new();
    let mut checked = 0;
    for manifest in manifests {
        let ImageSource::Erofs { image, .. } = ImageSource::of(layout, &manifest) else { continue };
        match state(&manifest, &image) {
            Some(finding) => findings.push(finding),
            None => checked += usize::from(image.verity.is_some()),
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(format!("{checked} images with hash trees, no damaged block was read")));
    }
    findings
}

fn manifests(store: &Store) -> Result<Vec<Manifest>, StoreError> {
    let mut manifests = Vec::new();
    for image in store.images()? {
        for digest in store.versions(&image)? {
            manifests.push(store.manifest(&image, &digest)?);
        }
    }
    Ok(manifests)
}

fn state(manifest: &Manifest, image: &ErofsImage) -> Option<Finding> {
    let named = format!("{}@{}", manifest.image, manifest.digest.short());
    match is_damaged(image) {
        Ok(Some(true)) => {
            let text = format!("image {named} is damaged on disk: reads have failed");
            let help = format!(
                "check it: rootfsctl verify {named}; then publish it again and move its tenants to the new version"
            );
            Some(Finding::fault(text).help(help))
        }
        Ok(_) => None,
        Err(error) => Some(Finding::failed(&error)),
    }
}
