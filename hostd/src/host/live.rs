//! What a new configuration changes at once where its tenant runs: limits, and what the packet filter holds. Taken
//! back unless it is kept, so that a change which fails changes nothing.

use std::sync::Arc;

use tenant::{Tenant, TenantName, model::filter::TenantFilter};

use crate::{
    host::{Host, Result},
    units::limits::{Applied, Enforce},
};

/// A change of a tenant that runs; none of one that does not.
pub(crate) struct LiveChange {
    host: Arc<Host>,
    name: TenantName,
    after: Tenant,
    limits: Option<Applied>,
    filter: Option<TenantFilter>,
    is_running: bool,
    is_kept: bool,
}

impl LiveChange {
    /// Looks whether the limits can be enforced, and sets them and what the filter holds where the tenant runs.
    /// `before` is what it has by its file; none where that is not known.
    ///
    /// # Errors
    /// A limit cannot be enforced, or a port of the host leads elsewhere; nothing is changed then.
    pub(crate) fn begin(
        host: &Arc<Host>,
        name: &TenantName,
        before: Option<&Tenant>,
        after: &Tenant,
        enforce: Enforce,
    ) -> Result<Self> {
        let is_running = host.units().is_running(name);
        let (own, named, wanted) = (host.clone(), name.clone(), after.clone());
        let mut change = Self {
            host: own,
            name: named,
            after: wanted,
            limits: None,
            filter: None,
            is_running,
            is_kept: false,
        };
        let limits_differ = before.is_none_or(|before| before.limits != after.limits);
        if limits_differ && (is_running || host.units().starts_with_host()) {
            change.limits = host.units().limit(name, &after.limits, enforce)?;
        }
        if is_running {
            change.filter = host.filter().change(host.store(), name, after)?;
        }
        Ok(change)
    }

    /// The file says the same now.
    pub(crate) fn keep(mut self) {
        self.is_kept = true;
        if self.is_running
            // Once more: it may have rebooted in between, with what its file said then.
            && let Err(failure) = self.host.filter().change(self.host.store(), &self.name, &self.after)
        {
            log::warn!("tenant \"{}\": {failure}", self.name);
        }
    }
}

impl Drop for LiveChange {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        // In reverse. The failure that led here is told; one of these is only logged.
        if let Some(before) = self.filter.take()
            && let Err(failure) = self.host.filter().put_back(self.host.store(), &self.name, &before)
        {
            log::error!("cannot restore rate, group and ports of tenant \"{}\": {failure}", self.name);
        }
        if let Some(Err(error)) = self.limits.take().map(Applied::undo) {
            let reason = wire::chain(&error);
            log::error!("cannot restore some limits of tenant \"{}\": {reason}", self.name);
        }
    }
}
