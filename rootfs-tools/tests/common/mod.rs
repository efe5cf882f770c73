//! What the tests of imports share.
#![allow(dead_code, reason = "not every test program uses all of it")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use rootfs_tools::{
    import::{self, ImportError, Options, Report},
    progress::Progress,
};
use tar::{Builder, EntryType, Header};

/// An archive in the making.
pub(crate) type Archive = Builder<Vec<u8>>;

/// Appends an entry with a raw name, as no honest tar would.
pub(crate) fn entry(
    archive: &mut Archive,
    kind: EntryType,
    name: &str,
    link: Option<&str>,
    mode: u32,
    data: &[u8],
) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    if let Some(link) = link {
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    }
    header.set_entry_type(kind);
    header.set_size(data.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    header.set_device_major(1).unwrap();
    header.set_device_minor(3).unwrap();
    header.set_cksum();
    archive.append(&header, data).unwrap();
}

/// A file that can be executed.
pub(crate) fn program(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "#!/bin/sh\n").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Imports an archive or directory.
pub(crate) fn import_dir(from: &Path, tree: &Path, options: &Options) -> Result<Report, ImportError> {
    import::import(from, tree, options, &Progress::silent())
}
