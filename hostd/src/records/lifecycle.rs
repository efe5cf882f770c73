//! Tenants that are made, renamed and removed.
//!
//! A process that calls this sees to it that one change of a tenant goes on at a time; different tenants do not wait for each
//! other, but for the moment in which it is decided what each may have.

use std::{path::PathBuf, sync::Arc};

use rootfs_tools::store::Lock as ImagesLock;
use tenant::{
    Allocation, TenantName,
    config::{self, Fragment, profile},
    files::{file_error::FileError, record, sources},
    model::allocation::{Generation, Pinned, RecordEvent, RecordState},
};

use super::{
    Change, NewTenant, Store, StoreError,
    broken::Broken,
    create::{Creation, Seed},
    destroy::{self, Destruction},
    edit,
    file::parse,
    guard::held,
    images,
    rename::{Renaming, Step},
    stamp::{now, random_uuid},
};
use crate::{
    assign::{claims::Claims, holding::Holding},
    dirs::{
        mounts,
        seed::{Identity, Unsynced},
        trash::{Item, Leaving},
    },
};

/// A tenant that is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made<'a> {
    /// Its name.
    pub(crate) name: &'a TenantName,
    /// The text of its file.
    pub(crate) text: &'a str,
    /// The version that it boots, if not the one that its file means now.
    pub(crate) pinned: Option<&'a Pinned>,
    /// Its uuid, if it has one already.
    pub(crate) uuid: Option<&'a str>,
}

impl Store {
    /// Makes a tenant; one that exists already and has what is asked for is left alone.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is changed then.
    pub fn create(&self, name: &TenantName, new: &NewTenant) -> Result<(Allocation, Change), StoreError> {
        match self.record(name) {
            Ok(existing) => return self.unchanged(existing, new),
            Err(StoreError::NoTenant(_)) => {}
            Err(error) => return Err(error),
        }
        let settings = edit::apply("", &new.set, &[]).map_err(StoreError::setting(name))?;
        let text = format!("{}{settings}", edit::HEADER);
        let allocation = self.make(&Made { name, text: &text, pinned: None, uuid: None }, Seed::Image)?;
        Ok((allocation, Change::Created))
    }

    /// A name that a new tenant can have.
    pub(crate) fn refuse_taken(&self, name: &TenantName) -> Result<(), StoreError> {
        if self.has(name) {
            return Err(StoreError::NameTaken(name.to_string()));
        }
        Ok(())
    }

    /// Makes a tenant that is not there.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is changed then.
    pub(crate) fn make(&self, made: &Made<'_>, seed: Seed<'_>) -> Result<Allocation, StoreError> {
        let Made { name, text, pinned, uuid } = *made;
        self.refuse_taken(name)?;
        let config_path = self.layout.tenant_config(name);
        if record::is_there(&config_path)? {
            return Err(StoreError::StrayConfig { path: config_path });
        }
        self.check_storage()?;
        // Before anybody is kept waiting: rootfsctl may have it for a while.
        let _images = ImagesLock::shared(&self.layout)?;
        let mut writer = self.decide();
        let (config, ports) = (self.host_config()?, profile::load_nic_table(&self.layout)?);
        let tenant = self.resolve(name, text, &config, &ports)?;
        let mut taken = self.check_claims(&writer, &tenant, &config, &ports)?;
        let wanted = pinned.map_or_else(|| tenant.image.clone(), Pinned::reference);
        let pinned = images::resolve(&self.layout, &wanted, &config)?;
        let used = self.used(&writer, name);
        let at = writer.cursor.next(&config, &used, &taken)?;
        taken.extend([(at.ipv4.into(), name.clone()), (at.ipv6.into(), name.clone())]);
        let leases = writer.cursors.fit(&config, &tenant.nics, &[], &taken)?.wanted;
        let created = now();
        let Pinned { image, digest } = pinned.clone();
        let allocation = Allocation {
            format_version: Allocation::FORMAT_VERSION,
            generation: 1,
            name: name.clone(),
            // The record becomes a tenant's by the rename that publishes it, whole.
            state: RecordState::Ready,
            renaming: None,
            uuid: uuid.map_or_else(random_uuid, |uuid| Ok(uuid.to_owned()))?,
            index: at.index,
            uid_base: at.uid_base,
            ipv4: at.ipv4,
            ipv6: at.ipv6,
            created: created.clone(),
            pinned,
            leases,
            generations: vec![Generation { image, digest, since: created }],
        };
        let _reservation = self.reserve(&mut writer, &allocation, Claims::of(&tenant, &ports))?;
        drop(writer);
        let manifest = sources::load_manifest(&self.layout, &allocation.pinned, &config)?;
        let plan = self.plan_of(&tenant, &allocation, &manifest, &config, None)?;
        self.check_binds(&plan)?;
        Creation {
            layout: &self.layout,
            allocation: &allocation,
            config: text,
            plan: &plan,
            image: images::contents(&self.layout, &manifest)?,
            identity: Identity { host_name: &self.facts.hostname },
            disk: tenant.disk,
            unsynced: Unsynced::default(),
            seed,
        }
        .run()?;
        self.put(allocation.clone());
        self.put_claims(name, Claims::of(&tenant, &ports));
        Ok(allocation)
    }

    /// An existing tenant as the answer to a request for it.
    fn unchanged(&self, existing: Allocation, new: &NewTenant) -> Result<(Allocation, Change), StoreError> {
        let name = &existing.name;
        if existing.state != RecordState::Ready {
            return Err(StoreError::HalfRemoved(name.to_string()));
        }
        let text = self.config_text(name)?;
        let wanted = edit::apply(&text, &new.set, &[]).map_err(StoreError::setting(name))?;
        let same = config::parse_toml::<Fragment>(&text).ok() == config::parse_toml::<Fragment>(&wanted).ok();
        if same { Ok((existing, Change::Unchanged)) } else { Err(StoreError::NameTaken(name.to_string())) }
    }

    /// Looks whether the host has mounted something in a tenant's directories. What an admin has put there must be
    /// neither removed nor in the way when half of the tenant is gone.
    ///
    /// # Errors
    /// [`StoreError::Mounted`].
    pub fn refuse_mounts(&self, name: &TenantName) -> Result<(), StoreError> {
        let dir = self.layout.tenant(name);
        let points = mounts::below(&dir).map_err(FileError::when("find mounts below", &dir))?;
        match points[..] {
            [] => Ok(()),
            _ => Err(StoreError::Mounted { tenant: name.to_string(), points }),
        }
    }

    /// Removes a tenant that does not run; going on with a removal that failed is fine. Its name is free then, and
    /// its files go while no process waits for them.
    ///
    /// # Errors
    /// [`StoreError::Mounted`], and nothing is changed; else see [`StoreError`], and the record says that the tenant
    /// is being destroyed.
    pub fn destroy(&self, name: &TenantName) -> Result<Leaving, StoreError> {
        let mut allocation = self.record(name)?;
        self.refuse_mounts(name)?;
        let _writing = self.writing(name);
        let result = Destruction { layout: &self.layout, allocation: &mut allocation }.run();
        match result {
            Ok(path) => Ok(self.drop_record(name, path, Holding::of(&allocation))),
            Err(error) => {
                self.put(allocation);
                Err(error)
            }
        }
    }

    /// Removes a tenant whose record is damaged, and which does not run.
    ///
    /// # Errors
    /// [`StoreError::NoTenant`] for one whose record is not; else as [`Store::destroy`].
    pub fn discard(&self, name: &TenantName) -> Result<Leaving, StoreError> {
        let none = || StoreError::NoTenant(name.to_string());
        let Broken { holding, .. } = self.broken().get(name).cloned().ok_or_else(none)?;
        self.refuse_mounts(name)?;
        let failed = |source| StoreError::Destroy { tenant: name.to_string(), source };
        destroy::forget(&self.layout, name).map_err(failed)?;
        let hidden = destroy::hidden(&self.layout, name, &random_uuid()?);
        destroy::hide(&self.layout, name, &hidden).map_err(failed)?;
        Ok(self.drop_record(name, hidden, holding))
    }

    /// There is no such tenant any more; what it had of the host is free when its files are gone.
    fn drop_record(&self, name: &TenantName, path: PathBuf, holding: Holding) -> Leaving {
        // A process that decides about numbers meanwhile sees the tenant, or its files.
        let _writer = self.decide();
        let leaving = self.trash.add(Item { path, tenant: Some(name.clone()), holding });
        Arc::make_mut(&mut held(&self.records)).remove(name);
        Arc::make_mut(&mut held(&self.broken)).remove(name);
        Arc::make_mut(&mut held(&self.claims)).remove(name);
        held(&self.started).remove(name);
        leaving
    }

    /// Looks whether a tenant can have a name.
    ///
    /// # Errors
    /// Something of that name is there, or the tenant cannot be renamed.
    pub fn check_rename(&self, old: &TenantName, new: &TenantName) -> Result<Allocation, StoreError> {
        let allocation = self.ready(old)?;
        self.refuse_mounts(old)?;
        if self.has(new) || record::is_there(&self.layout.tenant(new))? {
            return Err(StoreError::NameTaken(new.to_string()));
        }
        let path = self.layout.tenant_config(new);
        if record::is_there(&path)? {
            return Err(StoreError::StrayConfig { path });
        }
        let path = self.layout.credentials(new);
        if record::is_there(&path)? {
            return Err(StoreError::StrayCredentials { path });
        }
        // Rows of a table that is malformed could not be given to it.
        self.nic_table()?;
        Ok(allocation)
    }

    /// Gives a tenant that is down another name; until [`Store::settle`] a crash is followed by that again.
    ///
    /// # Errors
    /// Those of [`Store::check_rename`], or a step that failed; everything is as before then.
    pub fn rename(&self, old: &TenantName, new: &TenantName) -> Result<(), StoreError> {
        let mut allocation = self.check_rename(old, new)?;
        let (_old, _new) = (self.writing(old), self.writing(new));
        let mut renaming = Renaming { layout: &self.layout, allocation: &mut allocation, name: new.clone() };
        for (number, step) in Step::ALL[..6].iter().enumerate() {
            // The table of NICs is one file for all.
            let writer = (*step == Step::NicTable).then(|| self.decide());
            let done = renaming.step(*step);
            drop(writer);
            let Err(error) = done else { continue };
            for undone in Step::ALL[..=number].iter().rev() {
                let _writer = (*undone == Step::NicTable).then(|| self.decide());
                // What failed may have been done or not: where it was not, there is nothing to undo.
                if let Err(error) = renaming.undo(*undone)
                    && undone != step
                {
                    log::error!(
                        "tenant \"{old}\" is left half renamed until hostd is started again: {}",
                        wire::chain(&error)
                    );
                    break;
                }
            }
            self.put(allocation);
            return Err(error);
        }
        let _writer = self.decide();
        let mut records = held(&self.records);
        let records = Arc::make_mut(&mut records);
        records.remove(old);
        let state = allocation.state.next(RecordEvent::Renamed)?;
        let settled = Allocation { state, name: new.clone(), renaming: None, ..allocation };
        records.insert(new.clone(), settled);
        let mut claims = held(&self.claims);
        let claims = Arc::make_mut(&mut claims);
        if let Some(own) = claims.remove(old) {
            claims.insert(new.clone(), own);
        }
        held(&self.started).remove(old);
        Ok(())
    }

    /// The last step of a renaming: everything of the tenant has its new name.
    ///
    /// # Errors
    /// The record cannot be written; it is done by the next start of hostd then.
    pub fn settle(&self, old: &TenantName, new: &TenantName) -> Result<(), StoreError> {
        let _writing = self.writing(new);
        let mut allocation = parse(&self.layout.allocation(new))?;
        if allocation.name == *old {
            Renaming { layout: &self.layout, allocation: &mut allocation, name: new.clone() }
                .step(Step::Settle)?;
        }
        self.put(allocation);
        Ok(())
    }
}
