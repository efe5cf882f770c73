//! A tenant's limits as properties of its unit.

use std::path::Path;

use tenant::{TenantName, config::Restart, model::limits::Limits};

use super::{
    bus::{Bus, unit},
    manager::{SLICE, Systemd},
    properties,
};
use crate::units::{
    UnitError,
    limits::{
        self, Enforce, IoSchedulers, Unenforceable,
        table::{Kind, LIMITS, Limit, Template},
    },
};

impl Systemd {
    /// Which limits this host cannot enforce: those that are set, and those of `tenant@.service`.
    pub fn unenforceable(&self, limits: &Limits) -> Vec<Unenforceable> {
        let lack = |limit: &Limit| {
            let is_set = limits.most(limit.key).is_some();
            let by_default = limits.get(limit.key).is_none();
            if !is_set && (!by_default || limit.template == Template::Nothing) {
                return None;
            }
            let controllers = self.controllers.iter().map(String::as_str);
            let reason = limits::lack(limit, controllers).or_else(|| {
                let weighs = limit.kind != Kind::IoWeight
                    || IoSchedulers::of_host(Path::new(SLICE)) != IoSchedulers::default();
                (!weighs).then(|| format!("the io controller (cgroup v2) {}", IoSchedulers::NEEDED))
            })?;
            Some(Unenforceable { key: limit.key, reason, by_default })
        };
        LIMITS.iter().filter_map(lack).collect()
    }

    /// Those of a tenant's limits that can be set on its unit.
    ///
    /// # Errors
    /// One cannot be enforced, unless that is to be passed over.
    pub fn enforceable(&self, limits: &Limits, enforce: Enforce) -> Result<Limits, UnitError> {
        let missing = self.unenforceable(limits);
        let keys: Vec<_> = missing.iter().map(|missing| missing.key).collect();
        enforce.judge(missing)?;
        Ok(limits.without(&keys))
    }

    /// Carries limits and restart policy to a tenant's unit, which need not run; `before` are the limits that it has of
    /// an earlier file.
    ///
    /// # Errors
    /// systemd refuses; the unit has then what it had.
    pub async fn apply_config(
        &self,
        name: &TenantName,
        before: &Limits,
        limits: &Limits,
        restart: Restart,
    ) -> Result<Had, UnitError> {
        let had = Had { limits: before.clone(), drop_in: self.drop_in(name) };
        let applied = async {
            self.set_limits(name, before, limits).await?;
            self.set_restart(name, restart).await
        };
        if let Err(error) = applied.await {
            self.give_back(name, limits, &had).await;
            return Err(error);
        }
        Ok(had)
    }

    /// Gives a tenant's unit what it had before these limits were carried. A failure is only logged: another is told.
    pub async fn give_back(&self, name: &TenantName, limits: &Limits, had: &Had) {
        let limits = self.set_limits(name, limits, &had.limits).await;
        let drop_in = self.put_drop_in(name, had.drop_in.as_deref()).await;
        for error in [limits, drop_in].into_iter().filter_map(Result::err) {
            log::error!(
                "cannot reset the properties of the unit of tenant \"{name}\": {}",
                wire::chain(&error)
            );
        }
    }

    /// Sets on a tenant's unit what its file has changed since `carried`; it need not run.
    ///
    /// # Errors
    /// systemd refuses.
    pub(super) async fn set_limits(
        &self,
        name: &TenantName,
        applied: &Limits,
        limits: &Limits,
    ) -> Result<(), UnitError> {
        let changes = properties::changes(applied, limits, self.memory);
        if changes.is_empty() {
            return Ok(());
        }
        Ok(Bus::open().await?.set(&unit(name), &changes).await?)
    }
}

/// What a tenant's unit had of its file.
#[derive(Clone, Debug)]
pub struct Had {
    limits: Limits,
    /// Of its restart policy.
    drop_in: Option<String>,
}
