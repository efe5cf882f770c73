//! Images: what a registry or an archive brings.

use std::fs;

use filetree::archive::Reader;
use rootfs_tools::{inventory::Inventory, registry::Layout};
use sha2::{Digest as _, Sha256};
use tenant::model::image::Manifest;

use crate::text::text;

/// No more of a member is copied than that.
const MOST: u64 = 1 << 20;

pub(crate) fn manifest(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let Ok(manifest) = Manifest::parse(text) else { return };
    let again = Manifest::parse(&manifest.render()).expect("what was written can be read");
    assert_eq!(manifest, again);
}

pub(crate) fn inventory(input: &[u8]) {
    if let Ok(inventory) = Inventory::parse(input) {
        let again = Inventory::parse(inventory.render().as_bytes()).expect("what was written can be read");
        assert_eq!(inventory, again);
    }
}

/// A tar archive, all of whose members are extracted, each into an empty file.
pub(crate) fn archive(input: &[u8]) {
    let mut reader = Reader::new(input);
    while let Ok(Some(member)) = reader.next_member() {
        if member.size > MOST {
            continue;
        }
        let mut file = tempfile::tempfile().expect("a temporary file");
        if reader.copy_to(&member, &mut file).is_err() {
            break;
        }
        assert!(file.metadata().expect("its size").len() <= member.size);
    }
}

/// A layout: the input is `index.json`, and what follows each zero byte is a blob.
pub(crate) fn oci_layout(input: &[u8]) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let blobs = dir.path().join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a directory");
    let mut parts = input.split(|byte| *byte == 0);
    fs::write(dir.path().join("index.json"), parts.next().unwrap_or_default()).expect("a file");
    for blob in parts.take(4) {
        let digest: String = Sha256::digest(blob).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(blobs.join(digest), blob).expect("a file");
    }
    let layout = Layout::open(dir.path(), None).expect("it has an index");
    for tag in [None, Some("latest")] {
        if let Err(error) = layout.image(tag) {
            assert!(!error.to_string().is_empty());
        }
    }
}
