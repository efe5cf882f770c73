//! A tenant gets another name.

use std::sync::Arc;

use tenant::TenantName;
use wire::{Code, EventKind, Failure, chain};

use super::{Host, Result, blocking, events::What, turns::Turn};
use crate::records::Change;

impl Host {
    /// Gives a tenant that is down another name. What its unit could not be told is the second part of the answer.
    ///
    /// # Errors
    /// [`Code::Running`]; what [`crate::records::Store::rename`] says. Everything is as before then.
    pub async fn rename(
        self: &Arc<Self>,
        old: &TenantName,
        new: &TenantName,
    ) -> Result<(Change, Vec<String>)> {
        if old == new {
            self.store.ready(old)?;
            return Ok((Change::Unchanged, Vec::new()));
        }
        // In one order, whoever renames what to what.
        let (first, second) = if old < new { (old, new) } else { (new, old) };
        let _turns = (self.turns.take(first).await, self.turns.take(second).await);
        let named = |failure: Failure| Failure {
            message: format!("cannot rename tenant \"{old}\" to \"{new}\": {}", failure.message),
            ..failure
        };
        self.store.check_rename(old, new).map_err(|error| named(error.into()))?;
        if self.units.is_running(old) || !self.units.is_down(old).await? {
            let failure = Failure::new(Code::Running, "it is running");
            return Err(named(failure.help(format!("stop it first: tenantctl stop {old}"))));
        }
        let (first, second) = (self.files.take(first).await, self.files.take(second).await);
        let files = if old < new { second } else { first };
        let (host, from) = (self.clone(), old.clone());
        blocking(move || host.filter.forget(&host.store, &from)).await?.map_err(named)?;
        let (host, from, to) = (self.clone(), old.clone(), new.clone());
        blocking(move || host.store.rename(&from, &to)).await?.map_err(|error| named(error.into()))?;
        let mut warnings = self.move_unit(old, new, &files).await;
        let (host, from, to) = (self.clone(), old.clone(), new.clone());
        let settled = blocking(move || host.store.settle(&from, &to)).await?;
        warnings.extend(settled.err().map(|error| chain(&error)));
        self.events.tell(new, What::new(EventKind::Renamed).change(old, new));
        self.changes.tell(old);
        self.changes.tell(new);
        Ok((Change::Changed, warnings))
    }

    /// The unit of a tenant's new name has what that of its old one had; what could not be done.
    async fn move_unit(self: &Arc<Self>, old: &TenantName, new: &TenantName, files: &Turn) -> Vec<String> {
        let mut warnings = Vec::new();
        warnings.extend(self.units.forget(old).await.err().map(|error| chain(&error)));
        match self.tell_unit(new, files).await {
            Ok(told) => warnings.extend(told),
            Err(failure) => warnings.push(failure.message),
        }
        warnings
    }

    /// Does for the units what a crash kept from being done, of tenants whose renaming was finished by this start.
    pub(super) async fn finish_renames(self: &Arc<Self>) {
        for (old, new) in self.store.take_renamed() {
            let files = self.files.take(&new).await;
            for warning in self.move_unit(&old, &new, &files).await {
                log::warn!("tenant \"{new}\", which was \"{old}\": {warning}");
            }
        }
    }
}
