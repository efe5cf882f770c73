//! Changes of a tenant that exists: its configuration file, and what its record has to say for it.

use std::{fs::File, io, os::fd::OwnedFd, path::Path};

use rootfs_tools::store::Lock as ImagesLock;
use tenant::{
    Allocation, Plan, Tenant, TenantName,
    host::HostConfig,
    identity::Planned,
    image::Manifest,
    kernel::etc::Etc,
    load,
    ports::PortTable,
    profile,
    record::{self, Durability},
};

use super::{
    Change, Store, StoreError,
    claims::{Claims, Others, uses},
    held, images,
    leases::{Cursors, Fitted, Taken},
    quota::{self, DiskUsage},
    seed::{self, Unsynced},
};

impl Store {
    /// Reads what a tenant's file takes of the host. One whose file cannot be used takes nothing, and
    /// cannot be started.
    pub(super) fn read_claims(&self, name: &TenantName) {
        let ports = PortTable::default();
        let tenant = self.config_text(name).and_then(|text| self.resolve(name, &text, &ports));
        let claims = tenant.map(|tenant| Claims::of(&tenant, &ports)).unwrap_or_default();
        self.put_claims(name, claims);
    }

    /// Looks whether a tenant asks for what another one has; the addresses that others have.
    ///
    /// # Errors
    /// [`StoreError::Held`], [`StoreError::Address`].
    pub(super) fn check_claims(
        &self,
        tenant: &Tenant,
        config: &HostConfig,
        ports: &PortTable,
    ) -> Result<Taken, StoreError> {
        let (records, pools) = (self.records(), config.pools());
        let mut refreshed = Vec::new();
        loop {
            let (name, claims) = (&tenant.name, self.claims());
            let others = Others { name, records: &records, claims: &claims, ports, pools: &pools };
            let taken = others.taken();
            match others.check(tenant, &taken) {
                Ok(()) => return Ok(taken),
                // An admin may have edited that tenant's file meanwhile.
                Err(StoreError::Held { holder, .. })
                    if records.contains_key(&holder) && holder != *name && !refreshed.contains(&holder) =>
                {
                    self.read_claims(&holder);
                    refreshed.push(holder);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The leases that fit a tenant's interfaces; `taken` are the addresses that others have.
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

    /// Replaces a tenant's configuration file. `base` is the text that the new one was made from; when
    /// the file says something else meanwhile, nothing is changed.
    ///
    /// Directories that the new configuration asks for are made, addresses of pools are handed out, and a
    /// changed image reference is resolved anew; all count from the next start. What a tenant that
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
        let mut writer = held(&self.writer);
        let mut allocation = self.ready(name)?;
        let old = record::read(&self.layout.tenant_config(name))?;
        if old != base {
            return Err(StoreError::Conflict(name.to_string()));
        }
        if old == text {
            return Ok(Change::Unchanged);
        }
        let ports = profile::load_ports(&self.layout)?;
        let tenant = self.resolve(name, text, &ports)?;
        let config = self.host_config()?;
        let taken = self.check_claims(&tenant, &config, &ports)?;
        let _images = ImagesLock::shared(&self.layout)?;
        let before = allocation.clone();
        let image_before = self.resolve(name, &old, &ports).ok().map(|tenant| tenant.image);
        if image_before.as_ref() != Some(&tenant.image) {
            allocation.pinned = images::resolve(&self.layout, &tenant.image)?;
        }
        // Until the file is written its old text counts, and with it what the text asked for.
        let fitted = Self::fit_leases(&mut writer.cursors, &config, &tenant, &allocation, taken)?;
        allocation.leases = fitted.all();
        let manifest = load::load_manifest(&self.layout, &allocation)?;
        let plan = self.plan_of(&tenant, &allocation, &manifest, None)?;
        self.enforce_disk(&tenant, &allocation, is_running)?;
        self.ensure_dirs(&plan, &manifest)?;
        self.update(&before, &mut allocation)?;
        record::write(&self.layout.tenant_config(name), text.as_bytes(), Durability::Durable)?;
        self.put_claims(name, Claims::of(&tenant, &ports));
        if !is_running && !fitted.unwanted.is_empty() {
            let before = allocation.clone();
            allocation.leases = fitted.wanted;
            if let Err(error) = self.update(&before, &mut allocation) {
                log::warn!("tenant {:?} keeps addresses until its next start: {error}", name.as_str());
            }
        }
        Ok(Change::Changed)
    }

    /// Takes up what an admin has edited in a tenant's file, as [`Store::configure`] would have.
    ///
    /// # Errors
    /// Whatever makes the file invalid; nothing is changed then.
    pub fn take_up(&self, name: &TenantName, is_running: bool) -> Result<(), StoreError> {
        self.adopt_file(name, None, is_running).map(drop)
    }

    /// Compares a tenant's file and the table of NICs, as they are now, with what all others have, and makes
    /// and hands out what they ask for. What a tenant that `is_running` has of a pool stays its own.
    fn adopt_file(
        &self,
        name: &TenantName,
        unit_cgroup: Option<&Path>,
        is_running: bool,
    ) -> Result<(Tenant, Plan), StoreError> {
        let mut writer = held(&self.writer);
        let mut allocation = self.ready(name)?;
        let ports = profile::load_ports(&self.layout)?;
        let tenant = self.resolve(name, &self.config_text(name)?, &ports)?;
        let config = self.host_config()?;
        let taken = self.check_claims(&tenant, &config, &ports)?;
        let _images = ImagesLock::shared(&self.layout)?;
        let before = allocation.clone();
        let fitted = Self::fit_leases(&mut writer.cursors, &config, &tenant, &allocation, taken)?;
        allocation.leases = if is_running { fitted.all() } else { fitted.wanted };
        let manifest = load::load_manifest(&self.layout, &allocation)?;
        let plan = self.plan_of(&tenant, &allocation, &manifest, unit_cgroup)?;
        self.enforce_disk(&tenant, &allocation, is_running)?;
        self.ensure_dirs(&plan, &manifest)?;
        self.update(&before, &mut allocation)?;
        self.put_claims(name, Claims::of(&tenant, &ports));
        Ok((tenant, plan))
    }

    /// Writes a record that differs from the one on disk.
    fn update(&self, before: &Allocation, allocation: &mut Allocation) -> Result<(), StoreError> {
        if allocation == before {
            return Ok(());
        }
        allocation.generation += 1;
        let path = self.layout.allocation(&allocation.name);
        record::write(&path, allocation.render().as_bytes(), Durability::Durable)?;
        self.put(allocation.clone());
        Ok(())
    }

    /// Makes the limits of a tenant's configuration hold for what it stores; on most hosts this is a look.
    fn enforce_disk(
        &self,
        tenant: &Tenant,
        allocation: &Allocation,
        is_running: bool,
    ) -> Result<(), StoreError> {
        let project = allocation.uid_base.base();
        Ok(quota::enforce(&self.layout.tenant(&tenant.name), project, &tenant.disk, is_running)?)
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

    /// What a tenant has stored; none where nobody counts.
    pub fn disk_usage(&self, allocation: &Allocation) -> Option<DiskUsage> {
        quota::usage(&self.layout.tenant(&allocation.name), allocation.uid_base.base())
    }

    /// Makes the directories that a plan asks for and the tenant does not have yet.
    fn ensure_dirs(&self, plan: &Plan, manifest: &Manifest) -> Result<(), StoreError> {
        let failed = |source| StoreError::Create { tenant: plan.tenant.to_string(), source };
        let dirs: OwnedFd = File::open(&plan.dirs).map_err(failed)?.into();
        // The image is opened only if it is needed: one in a file is mounted for that.
        if !seed::lacks_stores(plan, &dirs).map_err(failed)? {
            return Ok(());
        }
        let image = images::contents(&self.layout, manifest)?;
        let ensure = || -> io::Result<()> {
            let image: OwnedFd = File::open(image.path())?.into();
            let mut unsynced = Unsynced::default();
            seed::ensure_stores(plan, &image, &dirs, &mut unsynced)?;
            unsynced.flush()
        };
        ensure().map_err(failed)
    }

    /// The plan for a tenant's next start, with the addresses that it would get if it were now. Whether
    /// another tenant has what it asks for is looked at by [`Store::prepare_start`].
    ///
    /// # Errors
    /// Whatever keeps it from being started.
    pub fn plan(&self, name: &TenantName, unit_cgroup: Option<&Path>) -> Result<(Tenant, Plan), StoreError> {
        let mut allocation = self.ready(name)?;
        let ports = profile::load_ports(&self.layout)?;
        let tenant = self.resolve(name, &self.config_text(name)?, &ports)?;
        let config = self.host_config()?;
        let (records, pools) = (self.records(), config.pools());
        let claims = self.claims();
        let others = Others { name, records: &records, claims: &claims, ports: &ports, pools: &pools };
        let taken = others.taken();
        // Who only looks does not wait for those who write.
        let mut cursors = match self.writer.try_lock() {
            Ok(writer) => writer.cursors.clone(),
            Err(_) => Cursors::behind(&config, &records),
        };
        allocation.leases = Self::fit_leases(&mut cursors, &config, &tenant, &allocation, taken)?.wanted;
        let manifest = load::load_manifest(&self.layout, &allocation)?;
        let plan = self.plan_of(&tenant, &allocation, &manifest, unit_cgroup)?;
        Ok((tenant, plan))
    }

    /// The plan for a start that follows at once. What an admin has edited in the tenant's file or the
    /// table of NICs is compared with all others; directories and addresses that it asks for are made and
    /// handed out.
    ///
    /// # Errors
    /// Whatever keeps it from being started.
    pub fn prepare_start(&self, name: &TenantName, unit_cgroup: &Path) -> Result<(Tenant, Plan), StoreError> {
        let (tenant, plan) = self.adopt_file(name, Some(unit_cgroup), false)?;
        held(&self.started).insert(name.clone(), uses(&tenant.nics));
        Ok((tenant, plan))
    }
}
