//! A tenant's directories as they are at one moment.

use std::fs;

use filetree::{Dir, Keep, Tally, Watch, copy, settle};
use tenant::{
    TenantName,
    files::{
        file_error::FileError,
        record::{self, Durability},
    },
    model::snapshot::{Snapshot, SnapshotName},
};
use wire::SnapshotInfo;

use super::{CopyError, stores::passes, swap};
use crate::records::{
    Store, StoreError,
    create::remove_below,
    stamp::{date_ms, now_ms},
};

/// What is asked of a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Taking {
    /// Its name; the moment if none.
    pub name: Option<String>,
    /// What it is for.
    pub comment: Option<String>,
    /// Whether the tenant is running and not frozen.
    pub live: bool,
}

impl Store {
    /// Takes a snapshot of a tenant's directories.
    ///
    /// # Errors
    /// There is one of that name; a file cannot be copied. There is no such snapshot then.
    pub fn take_snapshot(
        &self,
        tenant: &TenantName,
        taking: &Taking,
        watch: Watch<'_>,
    ) -> Result<(SnapshotName, Tally), StoreError> {
        let record = self.ready(tenant)?;
        let taken = date_ms(now_ms());
        let moment: String = taken.chars().filter(char::is_ascii_digit).collect();
        let moment = format!("{}-{}", &moment[..8], &moment[8..14]);
        let name = taking.name.as_deref().unwrap_or(&moment).parse::<SnapshotName>();
        let name = name.map_err(CopyError::from)?;
        let path = self.layout.snapshot(tenant, &name);
        if record::is_there(&path)? {
            let (tenant, name) = (tenant.to_string(), name.to_string());
            return Err(CopyError::NameTaken { tenant, name }.into());
        }
        let (_, plan) = self.plan(tenant, None)?;
        let work = swap::begin(&self.layout, tenant)?;
        let mut take = || -> Result<Tally, StoreError> {
            let new = work.join("snapshot");
            let dirs = new.join("dirs");
            fs::create_dir_all(&dirs).map_err(FileError::when("make", &dirs))?;
            let open = |path| Dir::open(path).map_err(FileError::when("open", path));
            let (from, to) = (open(&self.layout.dirs(tenant))?, open(&dirs)?);
            let tally = copy(&from, &to, Keep::LayerHere, &passes(&plan), watch)
                .map_err(|source| CopyError::Tree { tenant: tenant.to_string(), source })?;
            let snapshot = Snapshot {
                format_version: Snapshot::FORMAT_VERSION,
                name: name.clone(),
                taken: taken.clone(),
                comment: taking.comment.clone(),
                entries: tally.entries,
                bytes: tally.bytes,
                live: taking.live,
                pinned: record.pinned.clone(),
            };
            let text = snapshot.render();
            record::write(&new.join(Snapshot::FILE), text.as_bytes(), Durability::Volatile)?;
            settle(&to).map_err(FileError::when("write", &dirs))?;
            let all = self.layout.snapshots(tenant);
            record::make_dirs(&all).map_err(FileError::when("make", &all))?;
            fs::rename(&new, &path).map_err(FileError::when("rename", &new))?;
            record::settle_dir(&all);
            Ok(tally)
        };
        let taken = take();
        let ended = swap::end(&self.layout, tenant);
        let tally = taken?;
        ended?;
        Ok((name, tally))
    }

    /// A snapshot of a tenant.
    ///
    /// # Errors
    /// There is none of this name, or its record cannot be used.
    pub fn snapshot(&self, tenant: &TenantName, name: &str) -> Result<Snapshot, StoreError> {
        self.ready(tenant)?;
        let name: SnapshotName = name.parse().map_err(CopyError::from)?;
        let path = self.layout.snapshot(tenant, &name);
        if !record::is_there(&path)? {
            let (tenant, name) = (tenant.to_string(), name.to_string());
            return Err(CopyError::NoSnapshot { tenant, name }.into());
        }
        let path = path.join(Snapshot::FILE);
        let text = record::read(&path)?;
        Ok(Snapshot::parse(&text).map_err(|source| CopyError::Snapshot { path, source })?)
    }

    /// The snapshots of a tenant, the oldest first.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn snapshots(&self, tenant: &TenantName) -> Result<Vec<SnapshotInfo>, StoreError> {
        let record = self.ready(tenant)?;
        let dir = self.layout.snapshots(tenant);
        let mut all = Vec::new();
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(all),
            entries => entries.map_err(FileError::when("read", &dir))?,
        };
        for entry in entries {
            let entry = entry.map_err(FileError::when("read", &dir))?;
            let Some(name) = entry.file_name().to_str().and_then(|name| name.parse::<SnapshotName>().ok())
            else {
                continue;
            };
            all.push(match self.snapshot(tenant, name.as_str()) {
                Ok(snapshot) => SnapshotInfo {
                    name: name.to_string(),
                    taken: snapshot.taken,
                    comment: snapshot.comment,
                    is_present_base: snapshot.pinned == record.pinned,
                    base: snapshot.pinned.to_string(),
                    entries: snapshot.entries,
                    bytes: snapshot.bytes,
                    live: snapshot.live,
                    problem: None,
                },
                Err(error) => SnapshotInfo {
                    name: name.to_string(),
                    taken: String::new(),
                    comment: None,
                    base: String::new(),
                    is_present_base: false,
                    entries: 0,
                    bytes: 0,
                    live: false,
                    problem: Some(wire::chain(&error)),
                },
            });
        }
        all.sort_by(|one, other| (&one.taken, &one.name).cmp(&(&other.taken, &other.name)));
        Ok(all)
    }

    /// Removes a snapshot; one whose record is damaged as well.
    ///
    /// # Errors
    /// There is none of this name; a file in it cannot be removed.
    pub fn remove_snapshot(&self, tenant: &TenantName, name: &str) -> Result<(), StoreError> {
        match self.snapshot(tenant, name) {
            Err(StoreError::Copy(CopyError::Snapshot { .. }) | StoreError::File(_)) => {}
            other => drop(other?),
        }
        let name: SnapshotName = name.parse().map_err(CopyError::from)?;
        let path = self.layout.snapshot(tenant, &name);
        // Gone at once, however long its files take.
        let work = swap::begin(&self.layout, tenant)?;
        let gone = work.join("snapshot");
        fs::rename(&path, &gone).map_err(FileError::when("remove", &path))?;
        record::settle_dir(&self.layout.snapshots(tenant));
        remove_below(&work, &gone).map_err(FileError::when("remove", &gone))?;
        swap::end(&self.layout, tenant)
    }
}
