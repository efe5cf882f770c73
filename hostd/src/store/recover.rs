//! What a crash left, finished or undone when hostd starts.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use tenant::{Allocation, Layout, TenantName, allocation::RecordState, file_error::FileError, record};

use super::{
    StoreError,
    create::{STAGED, publish, remove_below},
    destroy::GONE,
};

/// Something that could not be set right; the tenant in question is left as it is.
#[derive(Debug)]
pub struct Finding {
    /// The directory in question.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: StoreError,
}

/// Reads all records and finishes or undoes what was in progress.
///
/// # Errors
/// The directory of tenants cannot be read. What concerns one tenant is a [`Finding`].
pub fn recover(layout: &Layout) -> Result<(BTreeMap<TenantName, Allocation>, Vec<Finding>), StoreError> {
    let mut findings = Vec::new();
    let mut records = BTreeMap::new();
    for name in entries(&layout.tenants())? {
        let path = layout.tenants().join(&name);
        let result = if name.starts_with(STAGED) {
            staged(layout, &path)
        } else if name.starts_with(GONE) {
            remove_below(&layout.tenants(), &path)
                .map(|()| None)
                .map_err(|source| StoreError::Destroy { tenant: name[GONE.len()..].to_owned(), source })
        } else {
            published(&path, &name)
        };
        match result {
            Ok(Some(allocation)) => {
                records.insert(allocation.name.clone(), allocation);
            }
            Ok(None) => {}
            Err(problem) => findings.push(Finding { path, problem }),
        }
    }
    temporary_files(&layout.tenant_configs())?;
    Ok((records, findings))
}

fn entries(dir: &Path) -> Result<Vec<String>, StoreError> {
    let failed = FileError::when("read", dir);
    let mut names = Vec::new();
    match fs::read_dir(dir) {
        Ok(entries) => {
            for entry in entries {
                names.extend(entry.map_err(failed)?.file_name().into_string());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error).into()),
    }
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<Allocation, StoreError> {
    let path = path.join("allocation.toml");
    let text = record::read(&path)?;
    Allocation::parse(&text).map_err(|source| StoreError::Allocation { path, source })
}

/// A creation that was interrupted: finished if its configuration was committed, else undone.
fn staged(layout: &Layout, path: &Path) -> Result<Option<Allocation>, StoreError> {
    let whole = read(path).ok().filter(|allocation| {
        let pinned = &allocation.pinned;
        layout.tenant_config(&allocation.name).is_file()
            && !layout.tenant(&allocation.name).exists()
            && layout.manifest(&pinned.image, &pinned.digest).is_file()
    });
    let failed = FileError::when("recover", path);
    match whole {
        Some(allocation) => {
            publish(layout, &allocation).map_err(failed)?;
            log::info!("finished the creation of tenant {:?}", allocation.name.as_str());
            Ok(Some(allocation))
        }
        None => {
            remove_below(&layout.tenants(), path).map_err(failed)?;
            log::info!("undid the creation in {path:?}");
            Ok(None)
        }
    }
}

fn published(path: &Path, name: &str) -> Result<Option<Allocation>, StoreError> {
    let mut allocation = read(path)?;
    if allocation.name.as_str() != name {
        return Err(StoreError::Misplaced { path: path.to_owned(), name: allocation.name.to_string() });
    }
    match allocation.state {
        RecordState::Ready => Ok(Some(allocation)),
        // It may still run: its files go when the caller has seen to that.
        RecordState::Creating | RecordState::Destroying => {
            allocation.state = RecordState::Destroying;
            Ok(Some(allocation))
        }
    }
}

/// Removes what interrupted writes left beside the configuration files.
fn temporary_files(dir: &Path) -> Result<(), StoreError> {
    for name in entries(dir)? {
        if name.starts_with('.') && name.ends_with(".tmp") {
            let path = dir.join(name);
            fs::remove_file(&path).map_err(FileError::when("remove", &path))?;
        }
    }
    Ok(())
}
