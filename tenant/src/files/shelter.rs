//! Directories that users of the host must not enter: set-user-ID files of tenants and of images lie in them, and some
//! of those are the host's root's.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
};

use crate::files::{file_error::FileError, layout::Layout};

/// Closes the directories with the files of all tenants and of all images. A process that is about to use them does so first,
/// hostd and every supervisor: a tenant may start without hostd.
///
/// # Errors
/// One cannot be looked at or changed.
pub fn close_state(layout: &Layout) -> Result<(), FileError> {
    [layout.tenants(), layout.images()].iter().try_for_each(|dir| close(dir))
}

/// Closes the directories that tell which tenants there are, with their files and what is known of those that are running.
/// Members of `group`, who may give orders, can look there; its sockets are for them.
///
/// # Errors
/// One cannot be looked at or changed.
pub fn close_names(layout: &Layout, group: Option<u32>) -> Result<(), FileError> {
    let mode = if group.is_some() { 0o750 } else { 0o700 };
    for dir in [layout.tenant_configs(), layout.runtimes()] {
        let found = match fs::metadata(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found.map_err(FileError::when("look at", &dir))?,
        };
        if found.uid() == 0 && found.mode() & 0o7777 == mode && group.is_none_or(|group| group == found.gid())
        {
            continue;
        }
        chown(&dir, Some(0), group).map_err(FileError::when("change the owner of", &dir))?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode))
            .map_err(FileError::when("change the mode of", &dir))?;
    }
    Ok(())
}

/// Keeps users out of a directory, whatever a backup or an admin has made of its mode. One that is not there yet is
/// made so.
fn close(dir: &Path) -> Result<(), FileError> {
    let found = match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(FileError::when("look at", dir))?,
    };
    if found.uid() == 0 && found.mode() & 0o077 == 0 {
        return Ok(());
    }
    log::warn!("{dir:?} was accessible to users of the host; its mode is 0700 and its owner root again");
    chown(dir, Some(0), Some(0)).map_err(FileError::when("change the owner of", dir))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
        .map_err(FileError::when("change the mode of", dir))
}
