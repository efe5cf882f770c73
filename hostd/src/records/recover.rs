//! What a crash left, finished or undone when hostd starts. Nothing here takes long: what is to be removed is told,
//! and goes while hostd serves.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use tenant::{
    Allocation, Layout, TenantName,
    files::{
        file_error::FileError,
        record::{self, Durability},
    },
    model::allocation::RecordState,
};

use super::{
    StoreError,
    broken::Broken,
    copies::swap,
    create::{PART, STAGED, publish},
    destroy::hidden,
    file::{parse, write_copy},
    rename::Renaming,
    stamp::random_uuid,
    traces::{Traces, broken_because},
};
use crate::{
    assign::holding::Holding,
    dirs::trash::{GONE, Item},
    parts::in_parts,
};

/// Something that could not be set right, and is left as it is.
#[derive(Debug)]
pub struct Finding {
    /// The file or directory in question.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: StoreError,
}

/// What there is in the directory of tenants.
#[derive(Debug, Default)]
pub struct Recovered {
    /// All records that can be read.
    pub records: BTreeMap<TenantName, Allocation>,
    /// Tenants whose records cannot.
    pub broken: BTreeMap<TenantName, Broken>,
    /// Directories that are to go.
    pub trash: Vec<Item>,
    /// The old and new names of tenants whose renaming was finished.
    pub renamed: Vec<(TenantName, TenantName)>,
    /// What is neither.
    pub findings: Vec<Finding>,
}

impl Recovered {
    /// Adds what was found of other tenants.
    fn add(&mut self, other: Self) {
        let Self { records, broken, trash, renamed, findings } = other;
        self.records.extend(records);
        self.broken.extend(broken);
        self.trash.extend(trash);
        self.renamed.extend(renamed);
        self.findings.extend(findings);
    }
}

/// Reads all records and finishes or undoes what was in progress.
///
/// # Errors
/// The directory of tenants cannot be read.
pub fn recover(layout: &Layout) -> Result<Recovered, StoreError> {
    let mut found = Recovered::default();
    let mut names = Vec::new();
    for entry in entries(&layout.tenants())? {
        let path = layout.tenants().join(&entry);
        if entry.starts_with(STAGED) {
            staged(layout, &path, &mut found);
        } else if entry.starts_with(PART) {
            found.trash.push(Item { path, tenant: None, holding: Holding::default() });
        } else if entry.starts_with(GONE) {
            found.trash.push(gone(layout, &path, &entry));
        } else if let Ok(name) = entry.parse::<TenantName>() {
            names.push(name);
        }
    }
    let parts = in_parts(&names, |part| {
        let mut found = Recovered::default();
        part.iter().for_each(|name| published(layout, name.clone(), &mut found));
        found
    });
    parts.into_iter().for_each(|part| found.add(part));
    for dir in [layout.tenant_configs(), layout.etc(), layout.rollouts()] {
        record::remove_temporaries(&dir).map_err(FileError::when("clean up", &dir))?;
    }
    Ok(found)
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

/// A creation that was interrupted: finished if its configuration was committed, else undone.
fn staged(layout: &Layout, path: &Path, found: &mut Recovered) {
    let record = parse(&path.join("allocation.toml")).ok();
    let whole = record.as_ref().filter(|allocation| {
        let pinned = &allocation.pinned;
        layout.tenant_config(&allocation.name).is_file()
            && !layout.tenant(&allocation.name).exists()
            && layout.manifest(&pinned.image, &pinned.digest).is_file()
    });
    let failed = FileError::when("recover", path);
    let finding = |error| Finding { path: path.to_owned(), problem: failed(error).into() };
    if let Some(allocation) = whole {
        match publish(layout, allocation) {
            Ok(()) => {
                log::info!("finished the creation of tenant \"{}\"", allocation.name);
                found.records.insert(allocation.name.clone(), allocation.clone());
            }
            Err(error) => found.findings.push(finding(error)),
        }
        return;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.trim_start_matches(STAGED).parse::<TenantName>().ok();
    // Its place must be free at once: a process may want to make the same tenant again.
    let hide = || -> Result<PathBuf, StoreError> {
        let name = name.clone().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let hidden = hidden(layout, &name, &random_uuid()?);
        fs::rename(path, &hidden).map_err(failed)?;
        Ok(hidden)
    };
    match hide() {
        Ok(hidden) => {
            log::info!("rolling back the creation in {}", path.display());
            let holding = record.as_ref().map(Holding::of).unwrap_or_default();
            found.trash.push(Item { path: hidden, tenant: name, holding });
        }
        Err(problem) => found.findings.push(Finding { path: path.to_owned(), problem }),
    }
}

/// A removal that was interrupted. What the tenant had of the host is not free before the last file is gone.
fn gone(layout: &Layout, path: &Path, entry: &str) -> Item {
    let name = entry[GONE.len()..].split('.').next().unwrap_or_default().parse::<TenantName>().ok();
    let holding = match (parse(&path.join("allocation.toml")), &name) {
        (Ok(record), _) => Holding::of(&record),
        (Err(_), Some(name)) => Traces::of(layout, path, name).holding(),
        (Err(_), None) => Holding::default(),
    };
    Item { path: path.to_owned(), tenant: name, holding }
}

fn published(layout: &Layout, name: TenantName, found: &mut Recovered) {
    let path = layout.allocation(&name);
    let record = parse(&path);
    if let Ok(Allocation { state: RecordState::Renaming, renaming: Some(new), .. }) = &record {
        let new = new.clone();
        return renamed(layout, name, record, new, found);
    }
    let record = record.and_then(|allocation| match allocation.name == name {
        true => Ok(allocation),
        false => {
            let path = layout.tenant(&name);
            Err(StoreError::Misplaced { path, name: allocation.name.to_string() })
        }
    });
    let record = record.and_then(|allocation| swap::finish(layout, allocation));
    match record {
        Ok(mut allocation) => {
            clean_up(layout, &name);
            keep_copy(layout, &allocation);
            if allocation.state != RecordState::Ready {
                // It may still run: it goes when the caller has seen to that.
                allocation.state = RecordState::Destroying;
            }
            found.records.insert(name, allocation);
        }
        Err(problem) => {
            found.broken.insert(name.clone(), broken_because(layout, &name, &problem));
        }
    }
}

/// A renaming that was interrupted: finished. Where that is not possible the tenant is broken, and its record says what
/// was to become of it.
fn renamed(
    layout: &Layout,
    dir: TenantName,
    record: Result<Allocation, StoreError>,
    new: TenantName,
    found: &mut Recovered,
) {
    let finish = |mut record: Allocation| -> Result<Allocation, StoreError> {
        if ![&record.name, &new].contains(&&dir) {
            return Err(StoreError::Misplaced { path: layout.tenant(&dir), name: record.name.to_string() });
        }
        Renaming { layout, allocation: &mut record, name: new.clone() }.finish()?;
        Ok(record)
    };
    let old = record.as_ref().map(|record| record.name.clone()).unwrap_or_else(|_| dir.clone());
    match record.and_then(finish) {
        Ok(record) => {
            log::info!("finished the renaming of tenant \"{old}\" to \"{new}\"");
            clean_up(layout, &new);
            found.renamed.push((old, new.clone()));
            found.records.insert(new, record);
        }
        Err(problem) => {
            let mut broken = broken_because(layout, &dir, &problem);
            broken.reason = format!(
                "the renaming of {old:?} to {new:?} cannot be finished: {}",
                wire::chain(&problem),
                old = old.as_str(),
                new = new.as_str()
            );
            found.broken.insert(dir, broken);
        }
    }
}

/// Removes what interrupted writes have left beside a record.
fn clean_up(layout: &Layout, name: &TenantName) {
    let dir = layout.tenant(name);
    if let Err(error) = record::remove_temporaries(&dir) {
        log::warn!("cannot clean up {}: {error}", dir.display());
    }
}

/// Makes the copy of a record where there is none, or an old one: an earlier release made none.
fn keep_copy(layout: &Layout, allocation: &Allocation) {
    let path = layout.allocation_copy(&allocation.name);
    let text = allocation.render();
    if record::read(&path).is_ok_and(|copy| copy == text) {
        return;
    }
    write_copy(layout, allocation, Durability::Volatile);
}
