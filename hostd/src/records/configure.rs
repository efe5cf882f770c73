//! Changes of a tenant that exists: its configuration file, and what its record has to say for it.
//!
//! What a change takes of the host is decided and reserved first, under the lock of those who decide; then the disk is
//! written, under none.

use std::{fs::File, io, path::Path};

use filetree::Dir;
use rootfs_tools::store::Lock as ImagesLock;
use tenant::{
    Allocation, Plan, Tenant, TenantName,
    config::profile,
    files::{
        record::{self, Durability},
        sources,
    },
    kernel::{Access, etc::Etc, source},
    model::{
        allocation::Pinned, host::HostConfig, identity::Planned, image::Manifest, limits::DiskLimits,
        nic_table::NicTable,
    },
    plan::RootStep,
};
use wire::DiskUsage;

use super::{Change, Store, StoreError, copies::swap, file, guard::held, images, stamp::now};
use crate::{
    assign::{
        claims::{Claims, uses},
        holding::Taken,
        leases::{Cursors, Fitted},
        reserve::Reservation,
    },
    dirs::{quota, seed},
};

/// What a file makes of a tenant, and what is reserved for that.
struct Draft<'a> {
    tenant: Tenant,
    allocation: Allocation,
    fitted: Fitted,
    config: HostConfig,
    ports: NicTable,
    _reservation: Reservation<'a>,
}

/// A tenant's file as it was read, once for an operation, and what it comes to.
#[derive(Debug)]
pub struct Adopted {
    /// Its text.
    pub text: String,
    /// What it stands for.
    pub tenant: Tenant,
    /// How the tenant is started with it.
    pub plan: Plan,
}

/// A text that can become a tenant's file.
struct Proposal<'a> {
    before: Allocation,
    old_disk: Option<DiskLimits>,
    draft: Draft<'a>,
    manifest: Manifest,
    plan: Plan,
    _images: ImagesLock,
}

impl Store {
    /// The leases that the interfaces of a tenant want of the pools as they are now. `taken` are the addresses
    /// of all others.
    fn fit_leases(
        cursors: &mut Cursors,
        config: &HostConfig,
        tenant: &Tenant,
        allocation: &Allocation,
        mut taken: Taken,
    ) -> Result<Fitted, StoreError> {
        let own = tenant.nics.iter().flat_map(|nic| nic.addresses.iter().map(|own| own.address));
        let own = own.chain([allocation.ipv4.into(), allocation.ipv6.into()]);
        taken.extend(own.map(|address| (address, tenant.name.clone())));
        cursors.fit(config, &tenant.nics, &allocation.leases, &taken)
    }

    /// Decides what a tenant has with this text as its file, compared with all others as they are now, and
    /// reserves it.
    fn draft(
        &self,
        allocation: &Allocation,
        text: &str,
        pin: impl FnOnce(&Tenant) -> Result<Option<Pinned>, StoreError>,
    ) -> Result<Draft<'_>, StoreError> {
        let name = &allocation.name;
        let mut allocation = allocation.clone();
        let mut writer = self.decide();
        let (config, ports) = (self.host_config()?, profile::load_nic_table(&self.layout)?);
        let tenant = self.resolve(name, text, &config, &ports)?;
        let taken = self.check_claims(&writer, &tenant, &config, &ports)?;
        if let Some(pinned) = pin(&tenant)? {
            allocation.pin(pinned, now());
        }
        let fitted = Self::fit_leases(&mut writer.cursors, &config, &tenant, &allocation, taken)?;
        // Until the file is written its old text counts, and with it what the text asked for.
        allocation.leases = fitted.all();
        let reservation = self.reserve(&mut writer, &allocation, Claims::of(&tenant, &ports))?;
        drop(writer);
        Ok(Draft { tenant, allocation, fitted, config, ports, _reservation: reservation })
    }

    /// What a new text makes of a tenant; none where it is the text that the file has.
    fn propose(&self, name: &TenantName, base: &str, text: &str) -> Result<Option<Proposal<'_>>, StoreError> {
        let before = self.ready(name)?;
        let old = record::read(&self.layout.tenant_config(name))?;
        if old != base {
            return Err(StoreError::Conflict(name.to_string()));
        }
        if old == text {
            return Ok(None);
        }
        let _images = ImagesLock::shared(&self.layout)?;
        let old_tenant = self.resolve_text(name, &old).ok();
        let pin = |tenant: &Tenant| match old_tenant.as_ref().map(|old| &old.image) {
            Some(image) if *image == tenant.image => Ok(None),
            // A process that mends a file that could not be used asks for no other version by that.
            None if asks_for_the_same(&old, text) && before.pinned.image == tenant.image.image => Ok(None),
            _ => images::resolve(&self.layout, &tenant.image, &self.host_config()?).map(Some),
        };
        let draft = self.draft(&before, text, pin)?;
        let manifest = sources::read_manifest(&self.layout, &draft.allocation.pinned)?;
        let plan = self.plan_of(&draft.tenant, &draft.allocation, &manifest, &draft.config, None)?;
        self.check_binds(&plan)?;
        let old_disk = old_tenant.map(|tenant| tenant.disk);
        Ok(Some(Proposal { before, old_disk, draft, manifest, plan, _images }))
    }

    /// Whether [`Store::configure`] would take a text, and whether it would change anything.
    ///
    /// # Errors
    /// Those of [`Store::configure`], but for what the disk refuses.
    pub fn rehearse(&self, name: &TenantName, base: &str, text: &str) -> Result<Change, StoreError> {
        // What is handed out of pools here is not taken.
        let cursors = self.decide().cursors.clone();
        let change = self.propose(name, base, text).map(|proposal| match proposal {
            Some(_) => Change::Changed,
            None => Change::Unchanged,
        });
        self.decide().cursors = cursors;
        change
    }

    /// Replaces a tenant's configuration file. `base` is the text that the new one was made from; when
    /// the file says something else meanwhile, nothing is changed.
    ///
    /// Directories that the new configuration asks for are made, addresses of pools are handed out, and a
    /// changed image reference is resolved again; all take effect at the next start. What a tenant that
    /// `is_running` has of a pool stays its own until then.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], or whatever makes the text invalid; nothing is changed then.
    pub fn configure(
        &self,
        name: &TenantName,
        base: &str,
        text: &str,
        is_running: bool,
    ) -> Result<Change, StoreError> {
        let Some(proposal) = self.propose(name, base, text)? else { return Ok(Change::Unchanged) };
        let Proposal { before, old_disk, draft, manifest, plan, _images } = proposal;
        let Draft { tenant, mut allocation, fitted, ports, _reservation, .. } = draft;
        self.with_disk(&tenant, old_disk, &before, is_running, || {
            self.ensure_dirs(&plan, &manifest)?;
            // The record must not say what no file asks for: another version, say.
            let is_rebased = allocation.pinned != before.pinned;
            if is_rebased {
                swap::announce(&self.layout, name, allocation.pinned.clone(), text)?;
            }
            let path = self.layout.tenant_config(name);
            let written = self.update(&before, &mut allocation).and_then(|()| {
                let written = record::write(&path, text.as_bytes(), Durability::Durable);
                if written.is_err() {
                    let mut restored = Allocation { generation: allocation.generation, ..before.clone() };
                    if let Err(error) = self.update(&allocation, &mut restored) {
                        log::warn!("cannot restore the record of tenant \"{name}\": {error}");
                    }
                }
                Ok(written?)
            });
            if is_rebased {
                swap::withdraw(&self.layout, name);
            }
            written
        })?;
        self.put_claims(name, Claims::of(&tenant, &ports));
        if !is_running && !fitted.unwanted.is_empty() {
            let before = allocation.clone();
            allocation.leases = fitted.wanted;
            if let Err(error) = self.update(&before, &mut allocation) {
                log::warn!("cannot release addresses of tenant \"{name}\" before its next start: {error}");
            }
        }
        Ok(Change::Changed)
    }

    /// Takes up what an admin has edited in a tenant's file, as [`Store::configure`] would have.
    ///
    /// # Errors
    /// Whatever makes the file invalid; nothing is changed then.
    pub fn adopt_edit(
        &self,
        name: &TenantName,
        text: String,
        is_running: bool,
    ) -> Result<Adopted, StoreError> {
        self.adopt_file(name, text, None, is_running)
    }

    /// Compares a tenant's file and the table of NICs, as they are now, with what all others have, and makes
    /// and hands out what they ask for. What a tenant that `is_running` has of a pool stays its own.
    fn adopt_file(
        &self,
        name: &TenantName,
        text: String,
        unit_cgroup: Option<&Path>,
        is_running: bool,
    ) -> Result<Adopted, StoreError> {
        let before = self.ready(name)?;
        let _images = ImagesLock::shared(&self.layout)?;
        let Draft { tenant, mut allocation, fitted, config, ports, _reservation } =
            self.draft(&before, &text, |_| Ok(None))?;
        allocation.leases = if is_running { fitted.all() } else { fitted.wanted };
        let pinned = &allocation.pinned;
        let manifest = match is_running {
            true => sources::read_manifest(&self.layout, pinned)?,
            false => sources::load_manifest(&self.layout, pinned, &config)?,
        };
        let plan = self.plan_of(&tenant, &allocation, &manifest, &config, unit_cgroup)?;
        self.check_binds(&plan)?;
        // The values before the file was edited by hand are unknown.
        self.with_disk(&tenant, None, &before, is_running, || {
            self.ensure_dirs(&plan, &manifest)?;
            self.update(&before, &mut allocation)
        })?;
        self.put_claims(name, Claims::of(&tenant, &ports));
        Ok(Adopted { text, tenant, plan })
    }

    /// Writes a record that differs from the one on disk.
    pub(super) fn update(&self, before: &Allocation, allocation: &mut Allocation) -> Result<(), StoreError> {
        if allocation == before {
            return Ok(());
        }
        allocation.generation += 1;
        let _writing = self.writing(&allocation.name);
        let path = self.layout.allocation(&allocation.name);
        record::write(&path, allocation.render().as_bytes(), Durability::Durable)?;
        // Only a repair needs the copy: one that a power failure undoes is made again when hostd begins.
        file::write_copy(&self.layout, allocation, Durability::Volatile);
        self.put(allocation.clone());
        Ok(())
    }

    /// Does something while the limits of a tenant's configuration hold for what it stores; on most hosts they are
    /// but looked at. Where it fails those of before hold again.
    fn with_disk(
        &self,
        tenant: &Tenant,
        before: Option<DiskLimits>,
        allocation: &Allocation,
        is_running: bool,
        work: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (dir, project) = (self.layout.tenant(&tenant.name), allocation.uid_base.base());
        quota::enforce(&dir, project, &tenant.disk, is_running)?;
        let result = work();
        if result.is_err()
            && let Some(before) = before.filter(|before| *before != tenant.disk)
            && let Err(error) = quota::enforce(&dir, project, &before, is_running)
        {
            log::warn!("the disk limits of tenant \"{}\" differ from its file: {error}", tenant.name);
        }
        result
    }

    /// The host name that the tenant's admin has set in its own `/etc`, and that counts there instead of the
    /// one in its file; none where there is no such thing, or it cannot be planned.
    pub fn hostname_inside(&self, name: &TenantName) -> Option<String> {
        let (_, plan) = self.plan(name, None).ok()?;
        let dirs = File::open(&plan.dirs).ok()?;
        let etc = Etc::open(dirs, &plan.own_etc()?.path()).ok()?;
        let planned = Planned { tenant: name.as_str(), hostname: &plan.init.hostname, uuid: &plan.init.uuid };
        etc.names().set_inside(planned).map(str::to_owned)
    }

    /// What a tenant has stored, as its filesystem counts it; none where that does not count.
    pub fn disk_usage(&self, allocation: &Allocation) -> Option<DiskUsage> {
        quota::usage(&self.layout.tenant(&allocation.name), allocation.uid_base.base())
    }

    /// Looks whether every directory of the host that a plan names can be given, as the start will.
    pub(crate) fn check_binds(&self, plan: &Plan) -> Result<(), StoreError> {
        for step in &plan.root {
            if let RootStep::Bind { at, source, writable } = step {
                source::open_in(self.view, source, Access::of(*writable))
                    .map_err(|source| StoreError::Bind { at: at.clone(), source })?;
            }
        }
        Ok(())
    }

    /// Makes the directories that a plan asks for and the tenant does not have yet.
    fn ensure_dirs(&self, plan: &Plan, manifest: &Manifest) -> Result<(), StoreError> {
        let failed = |source| StoreError::Create { tenant: plan.tenant.to_string(), source };
        let dirs = Dir::open(&plan.dirs).map_err(failed)?;
        // The image is opened only if it is needed: one in a file is mounted for that.
        if !seed::lacks_stores(plan, &dirs).map_err(failed)? {
            return Ok(());
        }
        let image = images::contents(&self.layout, manifest)?;
        let ensure = || -> io::Result<()> {
            let image = Dir::open(&image.path())?;
            seed::add_stores(plan, &image, &dirs)
        };
        ensure().map_err(failed)
    }

    /// The plan for a tenant's next start, with the addresses that it would get if it were now. Whether
    /// another tenant has what it asks for is looked at by [`Store::prepare_start`].
    ///
    /// # Errors
    /// Whatever keeps it from being started.
    pub fn plan(&self, name: &TenantName, unit_cgroup: Option<&Path>) -> Result<(Tenant, Plan), StoreError> {
        self.plan_text(name, &self.config_text(name)?, unit_cgroup)
    }

    /// [`Store::plan`] with the text of the tenant's file as it was read before.
    ///
    /// # Errors
    /// Whatever keeps it from being started.
    pub fn plan_text(
        &self,
        name: &TenantName,
        text: &str,
        unit_cgroup: Option<&Path>,
    ) -> Result<(Tenant, Plan), StoreError> {
        let mut allocation = self.ready(name)?;
        let (config, ports) = (self.host_config()?, profile::load_nic_table(&self.layout)?);
        let tenant = self.resolve(name, text, &config, &ports)?;
        let (mut cursors, taken) = {
            let writer = self.decide();
            (writer.cursors.clone(), self.taken(&writer, name, &config, &ports))
        };
        allocation.leases = Self::fit_leases(&mut cursors, &config, &tenant, &allocation, taken)?.wanted;
        let manifest = sources::read_manifest(&self.layout, &allocation.pinned)?;
        let plan = self.plan_of(&tenant, &allocation, &manifest, &config, unit_cgroup)?;
        Ok((tenant, plan))
    }

    /// The plan for a start that follows at once. What an admin has edited in the tenant's file or the
    /// table of NICs is compared with all others; directories and addresses that it asks for are made and
    /// handed out.
    ///
    /// # Errors
    /// Whatever keeps it from being started.
    pub fn prepare_start(&self, name: &TenantName, unit_cgroup: &Path) -> Result<Adopted, StoreError> {
        let text = self.config_text(name)?;
        let adopted = self.adopt_file(name, text, Some(unit_cgroup), false)?;
        held(&self.started).insert(name.clone(), uses(&adopted.tenant.nics));
        Ok(adopted)
    }
}

/// Whether two texts, of which one need not be a valid file, name the same image and profile.
fn asks_for_the_same(one: &str, other: &str) -> bool {
    let named = |text: &str| {
        let table = text.parse::<toml::Table>().ok()?;
        Some([table.get("image").cloned(), table.get("profile").cloned()])
    };
    named(one).is_some_and(|one| Some(one) == named(other))
}
