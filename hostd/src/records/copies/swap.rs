//! Directories that take the place of a tenant's, all of them at once, whatever is in between.
//!
//! ```text
//! NAME/.work/dirs        the new ones, whole and on the disk
//! NAME/.work/commit.toml says which version they lie over: from here on it is finished
//! NAME/allocation.toml   pinned to that version
//! NAME/dirs              ─rename▶ NAME/.work/old
//! NAME/.work/dirs        ─rename▶ NAME/dirs
//! NAME/.work             removed
//! ```
//!
//! A new version and a new file of a tenant go the same way, without directories: `commit.toml` has both.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tenant::{
    Allocation, Layout, TenantName,
    files::{
        file_error::FileError,
        record::{self, Durability},
    },
    model::allocation::Pinned,
};

use crate::{
    dirs::remove::remove_all,
    records::{StoreError, file::write_copy, stamp::now},
};

/// What is to be finished.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Commit {
    pinned: Pinned,
    /// The text of the tenant's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<String>,
}

impl Commit {
    fn write(&self, layout: &Layout, name: &TenantName) -> Result<(), StoreError> {
        let path = commit_path(layout, name);
        let text =
            toml::to_string(self).map_err(io::Error::other).map_err(FileError::when("write", &path))?;
        Ok(record::write(&path, text.as_bytes(), Durability::Durable)?)
    }
}

fn commit_path(layout: &Layout, name: &TenantName) -> PathBuf {
    layout.work(name).join("commit.toml")
}

/// Makes the work directory of a tenant empty.
///
/// # Errors
/// It cannot be emptied, or made.
pub(crate) fn begin(layout: &Layout, name: &TenantName) -> Result<PathBuf, StoreError> {
    end(layout, name)?;
    let work = layout.work(name);
    fs::create_dir(&work).map_err(FileError::when("make", &work))?;
    Ok(work)
}

/// Removes the work directory of a tenant.
///
/// # Errors
/// A file in it cannot be removed.
pub(crate) fn end(layout: &Layout, name: &TenantName) -> Result<(), StoreError> {
    let work = layout.work(name);
    let failed = FileError::when("remove", &work);
    let tenant = match record::open_dir(&layout.tenant(name)) {
        Ok(dir) => dir,
        Err(error) => return Err(failed(error).into()),
    };
    Ok(remove_all(tenant, c".work").map_err(failed)?)
}

/// Puts the new directories in the place of the tenant's, over a version of its image.
///
/// # Errors
/// Before the commit everything is as it was; after it the next start of hostd finishes.
pub(crate) fn commit(
    layout: &Layout,
    allocation: Allocation,
    pinned: Pinned,
) -> Result<Allocation, StoreError> {
    Commit { pinned, config: None }.write(layout, &allocation.name)?;
    finish(layout, allocation)
}

/// Says that a tenant is about to get another version and another file: where a crash comes in between, the next start
/// of hostd gives it both.
///
/// # Errors
/// It cannot be said; there is nothing to be finished then.
pub(crate) fn announce(
    layout: &Layout,
    name: &TenantName,
    pinned: Pinned,
    config: &str,
) -> Result<(), StoreError> {
    begin(layout, name)?;
    let dir = layout.tenant(name);
    let said = Commit { pinned, config: Some(config.to_owned()) }
        .write(layout, name)
        // Before the record: that is in the same directory.
        .and_then(|()| Ok(record::sync_dir(&dir).map_err(FileError::when("sync", &dir))?));
    if said.is_err() {
        withdraw(layout, name);
    }
    said
}

/// Says that nothing is to be finished any more.
pub(crate) fn withdraw(layout: &Layout, name: &TenantName) {
    let path = commit_path(layout, name);
    let removed = fs::remove_file(&path).map_err(FileError::when("remove", &path));
    // First, and for good: what is to be finished may be another thing when the power has failed.
    record::settle_dir(&layout.work(name));
    let ended = end(layout, name);
    for error in [removed.err().map(StoreError::from), ended.err()].into_iter().flatten() {
        log::warn!("{}", wire::chain(&error));
    }
}

/// Goes on with what was committed, if anything was; the record of the tenant then.
///
/// # Errors
/// A file cannot be renamed or written.
pub(crate) fn finish(layout: &Layout, mut allocation: Allocation) -> Result<Allocation, StoreError> {
    let name = allocation.name.clone();
    let path = commit_path(layout, &name);
    // One look for each tenant, of which hardly any has it.
    if !record::is_there(&layout.work(&name))? {
        return Ok(allocation);
    }
    let text = match record::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Nothing was committed: what is there was to become something, or has been something.
            if let Err(error) = end(layout, &name) {
                log::warn!("{}", wire::chain(&error));
            }
            return Ok(allocation);
        }
        text => text?,
    };
    let Commit { pinned, config } =
        toml::from_str(&text).map_err(io::Error::other).map_err(FileError::when("read", &path))?;
    if allocation.pin(pinned, now()) {
        allocation.generation += 1;
        record::write(&layout.allocation(&name), allocation.render().as_bytes(), Durability::Durable)?;
        write_copy(layout, &allocation, Durability::Volatile);
    }
    if let Some(text) = config {
        record::write(&layout.tenant_config(&name), text.as_bytes(), Durability::Durable)?;
    }
    let (dirs, work) = (layout.dirs(&name), layout.work(&name));
    let new = work.join("dirs");
    if record::is_there(&new)? {
        if record::is_there(&dirs)? {
            rename(&dirs, &work.join("old"))?;
        }
        rename(&new, &dirs)?;
        record::settle_dir(&layout.tenant(&name));
    }
    fs::remove_file(&path).map_err(FileError::when("remove", &path))?;
    record::settle_dir(&work);
    if let Err(error) = end(layout, &name) {
        log::warn!("{}", wire::chain(&error));
    }
    Ok(allocation)
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    Ok(fs::rename(from, to).map_err(FileError::when("rename", from))?)
}
