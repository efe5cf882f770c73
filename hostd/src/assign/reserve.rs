//! What a change will take of the host, reserved before it touches the disk: so no lock is held over that.

use std::sync::{Arc, MutexGuard};

use tenant::{
    Allocation, Tenant, TenantName,
    model::{host::HostConfig, nic_table::NicTable},
};

use super::{
    allocate::Used,
    claims::{BROKEN, COMING, Claims, GOING, Held, Others},
    holding::{Holding, Taken},
    writer::Writer,
};
use crate::records::{Store, StoreError, guard::held};

/// Kept for as long as a tenant is made or changed; what it will have is not another's meanwhile.
#[derive(Debug)]
#[must_use]
pub(crate) struct Reservation<'a> {
    store: &'a Store,
    name: TenantName,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        held(&self.store.writer).coming.remove(&self.name);
    }
}

impl Store {
    /// Waits until no other process decides what a tenant may have. That takes as long as reading a few small files.
    pub(crate) fn decide(&self) -> MutexGuard<'_, Writer> {
        held(&self.writer)
    }

    /// Reserves what a tenant will have. It gets it when its record says so; the reservation may go then.
    ///
    /// # Errors
    /// The same tenant is being made or changed already.
    pub(crate) fn reserve(
        &self,
        writer: &mut Writer,
        allocation: &Allocation,
        claims: Claims,
    ) -> Result<Reservation<'_>, StoreError> {
        let name = allocation.name.clone();
        if writer.coming.contains_key(&name) {
            return Err(StoreError::Changing(name.to_string()));
        }
        writer.coming.insert(name.clone(), (Holding::of(allocation), Arc::new(claims)));
        Ok(Reservation { store: self, name })
    }

    /// What is held by others than the records tell, as the tenant `name` sees it.
    fn held(&self, writer: &Writer, name: &TenantName) -> Vec<Held> {
        let coming = writer.coming.iter().filter(|(other, _)| *other != name);
        let coming = coming.map(|(holder, (holding, claims))| Held {
            holder: holder.clone(),
            holding: holding.clone(),
            claims: Some(claims.clone()),
            why: COMING,
        });
        let going = self.trash.holdings().into_iter();
        let going = going.map(|(holder, holding)| Held { holder, holding, claims: None, why: GOING });
        let broken = self.broken();
        let broken = broken.iter().filter(|(other, _)| *other != name);
        let broken = broken.map(|(holder, broken)| Held {
            holder: holder.clone(),
            holding: broken.holding.clone(),
            claims: None,
            why: BROKEN,
        });
        coming.chain(going).chain(broken).collect()
    }

    /// The numbers that a new tenant cannot have.
    pub(crate) fn used(&self, writer: &Writer, name: &TenantName) -> Used {
        let held = self.held(writer, name);
        Used::of(&self.records(), held.iter().map(|held| &held.holding))
    }

    /// The addresses that all others have.
    pub(crate) fn taken(
        &self,
        writer: &Writer,
        name: &TenantName,
        config: &HostConfig,
        ports: &NicTable,
    ) -> Taken {
        let (records, claims, pools) = (self.records(), self.claims(), config.pools());
        let held = self.held(writer, name);
        Others { name, records: &records, claims: &claims, held: &held, ports, pools: &pools }.taken()
    }

    /// Looks whether a tenant asks for what another one has; the addresses that others have.
    ///
    /// # Errors
    /// [`StoreError::Held`], [`StoreError::Address`].
    pub(crate) fn check_claims(
        &self,
        writer: &Writer,
        tenant: &Tenant,
        config: &HostConfig,
        ports: &NicTable,
    ) -> Result<Taken, StoreError> {
        let (records, pools) = (self.records(), config.pools());
        let held = self.held(writer, &tenant.name);
        let mut refreshed = Vec::new();
        loop {
            let (name, claims) = (&tenant.name, self.claims());
            let others =
                Others { name, records: &records, claims: &claims, held: &held, ports, pools: &pools };
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
}
