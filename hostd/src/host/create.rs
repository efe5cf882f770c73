//! Tenants that are made and removed.

use std::sync::Arc;

use tenant::TenantName;
use wire::{Code, EventKind, Failure};

use super::{Host, Result, blocking, events::What};
use crate::{
    dirs::trash::Leaving,
    records::{Change, NewTenant, StoreError},
};

impl Host {
    /// Makes a tenant. What its unit could not be told is the second part of the answer.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn create(
        self: &Arc<Self>,
        name: &TenantName,
        new: NewTenant,
    ) -> Result<(Change, Vec<String>)> {
        let _turn = self.turns.take(name).await;
        let files = self.files.take(name).await;
        let (host, own) = (self.clone(), name.clone());
        let (_, change) = blocking(move || host.store.create(&own, &new)).await??;
        let mut warnings = Vec::new();
        if change == Change::Created {
            warnings = self.settle_new(name, &files).await?;
        }
        Ok((change, warnings))
    }

    /// Removes a tenant and waits until its files are gone; a running one, or one whose record is damaged, only with
    /// `force`. The name is free before that: while the files go no other process is kept waiting, and what does go wrong
    /// then is told.
    ///
    /// # Errors
    /// [`Code::Running`], or what [`crate::records::Store::destroy`] says.
    pub async fn destroy(self: &Arc<Self>, name: &TenantName, force: bool) -> Result<()> {
        Ok(self.remove(name, force).await?.gone().await?)
    }

    /// Makes a tenant one that is no more, but for its files.
    pub(super) async fn remove(self: &Arc<Self>, name: &TenantName, force: bool) -> Result<Leaving> {
        let (host, own) = (self.clone(), name.clone());
        // Before it is killed for nothing.
        blocking(move || host.store.refuse_mounts(&own)).await??;
        if force && self.store.has(name) && self.units.is_running(name) {
            // It does not wait for its turn: what it is to end may be what holds it.
            self.units.kill(name).await?;
        }
        let _turn = self.turns.take(name).await;
        let is_broken = match self.store.record(name) {
            Err(StoreError::Broken { .. }) if force => true,
            record => record.map(|_| false)?,
        };
        // One that waits to be started again is up as well.
        if self.units.is_running(name) || !self.units.is_down(name).await? {
            if !force {
                return Err(Failure::new(Code::Running, format!("tenant {:?} is running", name.as_str()))
                    .help(format!("stop it first: tenantctl stop {name}; or pass --force")));
            }
            self.units.kill(name).await?;
        }
        let _files = self.files.take(name).await;
        self.units.forget(name).await?;
        let (host, own) = (self.clone(), name.clone());
        let removed = blocking(move || -> Result<Leaving> {
            // Its numbers are another tenant's soon.
            host.filter.forget(&host.store, &own)?;
            Ok(if is_broken { host.store.discard(&own)? } else { host.store.destroy(&own)? })
        });
        let leaving = removed.await??;
        self.meter.forget(&self.store.layout().tenant(name));
        self.changes.tell(name);
        self.events.tell(name, What::new(EventKind::Destroyed));
        Ok(leaving)
    }
}
