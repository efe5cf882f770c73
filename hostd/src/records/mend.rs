//! Records that are damaged, made again.

use std::{
    fs::{self, File},
    io::Read as _,
    sync::Arc,
};

use rootfs_tools::{Store as ImageStore, store::Lock as ImagesLock};
use tenant::{
    Allocation, TenantName,
    config::profile,
    files::{
        file_error::FileError,
        record::{self, Durability},
        state::RunState,
    },
    model::allocation::{Lease, Pinned, RecordState},
};

use super::{
    Store, StoreError, file,
    guard::held,
    images,
    stamp::{now, random_uuid},
    traces::{Traces, is_uuid},
};
use crate::assign::{allocate::Assignment, claims::Claims, holding, writer::Writer};

impl Store {
    /// Makes the record of a broken tenant again, from its copy or from what else is known. What is not known any
    /// more it gets again; that is the answer, in words.
    ///
    /// # Errors
    /// [`StoreError::Unmendable`], or the record cannot be written.
    pub fn mend(&self, name: &TenantName, is_running: bool) -> Result<Vec<String>, StoreError> {
        let broken = self.broken().get(name).cloned();
        let broken = broken.ok_or_else(|| StoreError::NoTenant(name.to_string()))?;
        let refuse = |reason: String, help: &'static str| StoreError::Unmendable {
            tenant: name.to_string(),
            reason,
            help,
        };
        if broken.is_newer {
            return Err(refuse(broken.reason, "use the release of Tenantry that wrote it, or a newer one"));
        }
        let traces = Traces::of(&self.layout, &self.layout.tenant(name), name);
        let _images = ImagesLock::shared(&self.layout)?;
        let mut notes = Vec::new();
        let pinned = match traces.pinned.clone() {
            Some(pinned) => pinned,
            None => self.booted(name, &mut notes)?,
        };
        let uuid = self.uuid_of(name, &traces, &mut notes)?;
        let mut writer = self.decide();
        let known = self.numbers(&writer, name, &traces)?;
        let at = match known {
            Some(at) => at,
            None if is_running => {
                let reason = "its number is lost while it is running with it".to_owned();
                return Err(refuse(reason, "stop it first: tenantctl stop NAME"));
            }
            None => {
                let (config, ports) = (self.host_config()?, profile::load_nic_table(&self.layout)?);
                let (used, taken) = (self.used(&writer, name), self.taken(&writer, name, &config, &ports));
                notes.push("it has a new number, new uids on the host and new addresses".to_owned());
                writer.cursor.next(&config, &used, &taken)?
            }
        };
        let allocation = Allocation {
            format_version: Allocation::FORMAT_VERSION,
            generation: traces.generation + 1,
            name: name.clone(),
            state: RecordState::Ready,
            renaming: None,
            uuid,
            index: at.index,
            uid_base: at.uid_base,
            ipv4: at.ipv4,
            ipv6: at.ipv6,
            created: traces.created.clone().unwrap_or_else(now),
            pinned,
            leases: self.free_leases(&writer, name, traces.leases)?,
            generations: traces.generations,
        };
        let _reservation = self.reserve(&mut writer, &allocation, Claims::default())?;
        drop(writer);
        let _writing = self.writing(name);
        self.clear_record(name)?;
        record::write(&self.layout.allocation(name), allocation.render().as_bytes(), Durability::Durable)?;
        file::write_copy(&self.layout, &allocation, Durability::Durable);
        self.put(allocation);
        Arc::make_mut(&mut held(&self.broken)).remove(name);
        self.read_claims(name);
        Ok(notes)
    }

    /// Takes away what lies in the place of a record and cannot be replaced by a file.
    fn clear_record(&self, name: &TenantName) -> Result<(), StoreError> {
        let path = self.layout.allocation(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => {
                let aside = path.with_extension("damaged");
                let failed = FileError::when("move away", &path);
                Ok(fs::rename(&path, aside).map_err(failed)?)
            }
            _ => Ok(()),
        }
    }

    /// Writes the record that hostd knows over one on the disk that was damaged since it was read.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn rewrite(&self, name: &TenantName) -> Result<(), StoreError> {
        let mut allocation = self.record(name)?;
        allocation.generation += 1;
        let _writing = self.writing(name);
        self.clear_record(name)?;
        record::write(&self.layout.allocation(name), allocation.render().as_bytes(), Durability::Durable)?;
        file::write_copy(&self.layout, &allocation, Durability::Durable);
        self.put(allocation);
        Ok(())
    }

    /// What is wrong with the record of a tenant on the disk; hostd itself has read it before. Nothing where it is being
    /// written at this moment.
    pub fn record_fault(&self, name: &TenantName) -> Option<StoreError> {
        let known = self.record(name).ok()?;
        let path = self.layout.allocation(name);
        let fault = match file::parse(&path) {
            Err(error) => error,
            Ok(found) if found.name != *name => {
                StoreError::Misplaced { path: self.layout.tenant(name), name: found.name.to_string() }
            }
            Ok(found) if found != known => StoreError::Altered { path },
            Ok(_) => return None,
        };
        // In this order: what was written before this look is known by the second one.
        let is_changed = self.is_being_written(name) || self.record(name).ok().as_ref() != Some(&known);
        (!is_changed).then_some(fault)
    }

    /// The numbers of a tenant as far as they are known and not another's; none where one is missing.
    fn numbers(
        &self,
        writer: &Writer,
        name: &TenantName,
        traces: &Traces,
    ) -> Result<Option<Assignment>, StoreError> {
        let (config, ports) = (self.host_config()?, profile::load_nic_table(&self.layout)?);
        let Some(index) = traces.index else { return Ok(None) };
        // As the pools of this host have it, where the record does not say.
        let uid_base = traces.uid_base.or_else(|| config.uid_range(index));
        let ipv4 = traces.ipv4.or_else(|| config.pool4.address(index));
        let ipv6 = traces.ipv6.or_else(|| config.pool6.address(index));
        let (Some(uid_base), Some(ipv4), Some(ipv6)) = (uid_base, ipv4, ipv6) else { return Ok(None) };
        let taken = self.taken(writer, name, &config, &ports);
        let is_free = self.used(writer, name).leaves(index, uid_base)
            && !taken.contains_key(&ipv4.into())
            && !taken.contains_key(&ipv6.into());
        Ok(is_free.then_some(Assignment { index, uid_base, ipv4, ipv6 }))
    }

    /// The leases that no other process has got meanwhile; the next start asks for what is missing.
    fn free_leases(
        &self,
        writer: &Writer,
        name: &TenantName,
        known: Vec<Lease>,
    ) -> Result<Vec<Lease>, StoreError> {
        let (config, ports) = (self.host_config()?, profile::load_nic_table(&self.layout)?);
        let taken = self.taken(writer, name, &config, &ports);
        let is_free = |lease: &Lease| holding::addresses(lease).all(|address| !taken.contains_key(&address));
        Ok(known.into_iter().filter(is_free).collect())
    }

    /// The version that a tenant booted last, or else the one that its file asks for now.
    fn booted(&self, name: &TenantName, notes: &mut Vec<String>) -> Result<Pinned, StoreError> {
        let text = record::read(&self.layout.tenant_config(name))?;
        let tenant = self.resolve_text(name, &text)?;
        let image = tenant.image.image.clone();
        let state = RunState::read(&self.layout.run_state(name)).ok().flatten();
        if let Some(digest) = state.and_then(|state| state.digest)
            && ImageStore::new(self.layout.clone()).versions(&image)?.contains(&digest)
        {
            return Ok(Pinned { image, digest });
        }
        let pinned = images::resolve(&self.layout, &tenant.image, &self.host_config()?)?;
        notes.push(format!("it boots {} of image \"{image}\", as its file requests", pinned.digest.short()));
        Ok(pinned)
    }

    /// The tenant's uuid: of its record, or of its machine-id(5). That it could have written itself, so it must be
    /// no other tenant's: hardware addresses follow from it.
    fn uuid_of(
        &self,
        name: &TenantName,
        traces: &Traces,
        notes: &mut Vec<String>,
    ) -> Result<String, StoreError> {
        let records = self.records();
        let is_free =
            |uuid: &String| !records.values().any(|record| record.name != *name && record.uuid == *uuid);
        if let Some(uuid) = traces.uuid.clone().filter(is_free) {
            return Ok(uuid);
        }
        let found = self.machine_id(name).filter(is_free);
        notes.push(match found {
            Some(_) => "its machine-id is used as its uuid".to_owned(),
            None => "it has a new uuid, and with it new hardware addresses".to_owned(),
        });
        found.map_or_else(random_uuid, Ok)
    }

    fn machine_id(&self, name: &TenantName) -> Option<String> {
        let dirs = record::open_dir(&self.layout.dirs(name)).ok()?;
        // The tenant's own directories: no link leads out of them, and nothing is waited for.
        let open = |path: &str| {
            use rustix::fs::{Mode, OFlags, ResolveFlags};
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            filetree::openat2(&dirs, path, flags, Mode::empty(), resolve).ok()
        };
        let paths = ["etc/upper/machine-id", "etc/machine-id", "root-overlay/upper/etc/machine-id"];
        paths.iter().find_map(|path| {
            let file = File::from(open(path)?);
            let mut text = String::new();
            file.metadata().ok().filter(fs::Metadata::is_file)?;
            file.take(64).read_to_string(&mut text).ok()?;
            Some(text.trim().to_owned()).filter(|text| is_uuid(text))
        })
    }
}
