//! The records of rollouts on disk: `rollouts/ID.json`. One that cannot be read is named, and no other is kept from
//! going on.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    path::Path,
};

use tenant::{
    Layout,
    files::{
        file_error::FileError,
        record::{self, Durability},
    },
};

use super::record::Record;

/// So many rollouts that have ended are kept.
const KEPT: usize = 64;
/// Largest record, bytes: some 40,000 tenants.
const MAX_RECORD: u64 = 16 << 20;

/// What is on disk.
#[derive(Debug, Default)]
pub struct Found {
    /// Records by their numbers.
    pub records: BTreeMap<u64, Record>,
    /// Files that cannot be used, and why.
    pub broken: BTreeMap<u64, String>,
}

/// Reads all records.
///
/// # Errors
/// The directory cannot be read.
pub fn read(layout: &Layout) -> Result<Found, FileError> {
    let dir = layout.rollouts();
    let mut found = Found::default();
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(FileError::new("read", dir, error)),
    };
    for entry in entries {
        let name = entry.map_err(|error| FileError::new("read", &dir, error))?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".json")).and_then(|id| id.parse().ok());
        let Some(id) = id else { continue };
        match one(layout, id) {
            // Removed in this moment.
            Ok(None) => {}
            Ok(Some(record)) => {
                found.records.insert(id, record);
            }
            Err(reason) => {
                found.broken.insert(id, reason);
            }
        }
    }
    Ok(found)
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    record::open(path)?.take(MAX_RECORD + 1).read_to_string(&mut text)?;
    match text.len() as u64 > MAX_RECORD {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(text),
    }
}

/// Reads one record; none where there is none.
///
/// # Errors
/// Why it cannot be used.
pub fn one(layout: &Layout, id: u64) -> Result<Option<Record>, String> {
    let path = layout.rollout(id);
    let text = match text(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| format!("cannot read {}: {error}", path.display()))?,
    };
    let record = Record::parse(&text).map_err(|error| {
        format!("cannot use {}: {}", path.display(), wire::one_line(&wire::chain(&error)))
    })?;
    match record.id == id {
        true => Ok(Some(record)),
        false => Err(format!("cannot use {}: it is the record of rollout {}", path.display(), record.id)),
    }
}

/// Writes a record.
///
/// # Errors
/// The failing call's; a record that is too large to be read again.
pub fn write(layout: &Layout, record: &Record, durability: Durability) -> Result<(), FileError> {
    let (dir, path, text) = (layout.rollouts(), layout.rollout(record.id), record.render());
    if text.len() as u64 > MAX_RECORD {
        return Err(FileError::new("write", path, io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    record::make_dirs(&dir).map_err(|error| FileError::new("make", &dir, error))?;
    record::write(&path, text.as_bytes(), durability)
}

/// Removes the oldest of those that have ended, where there are too many.
pub fn prune(layout: &Layout, found: &Found) {
    let ended = found.records.values().filter(|record| record.is_over());
    let ids: Vec<u64> = ended.map(|record| record.id).collect();
    for id in ids.iter().take(ids.len().saturating_sub(KEPT)) {
        let path = layout.rollout(*id);
        if let Err(error) = fs::remove_file(&path) {
            log::warn!("cannot remove {}: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::record::{End, Step, tests::sample};

    #[test]
    fn a_record_that_cannot_be_read_is_named_and_the_others_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        assert!(read(&layout).unwrap().records.is_empty());
        let record = sample();
        write(&layout, &record, Durability::Volatile).unwrap();
        fs::write(layout.rollout(4), "{").unwrap();
        fs::write(layout.rollout(5), record.render()).unwrap();
        fs::create_dir(layout.rollout(6)).unwrap();
        fs::write(layout.rollouts().join("notes.txt"), "").unwrap();
        let found = read(&layout).unwrap();
        assert_eq!(found.records.into_iter().collect::<Vec<_>>(), [(3, record)]);
        assert_eq!(found.broken.keys().copied().collect::<Vec<_>>(), [4, 5, 6]);
        assert!(
            found.broken[&4].contains("4.json") && found.broken[&5].contains("rollout 3"),
            "{:?}",
            found.broken
        );
    }

    #[test]
    fn the_oldest_that_have_ended_are_removed_and_none_that_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        for id in 1..=70 {
            let step = if id == 2 { Step::Move } else { Step::Done(End::Finished) };
            write(&layout, &Record { id, step, ..sample() }, Durability::Volatile).unwrap();
        }
        prune(&layout, &read(&layout).unwrap());
        let left = read(&layout).unwrap().records;
        let first: Vec<u64> = left.keys().copied().take(3).collect();
        assert_eq!((left.len(), first), (65, vec![2, 7, 8]));
    }

    #[test]
    fn a_record_of_five_thousand_tenants_can_be_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let mut record = sample();
        let one = record.members[1].clone();
        record.members = (0..5000).map(|_| one.clone()).collect();
        write(&layout, &record, Durability::Volatile).unwrap();
        record.members.extend((0..100_000).map(|_| one.clone()));
        assert_eq!(
            write(&layout, &record, Durability::Volatile).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }
}
