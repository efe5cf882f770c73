//! Tenants that are given another file.

use std::sync::Arc;

use tenant::{Tenant, TenantName, config, files::record};
use wire::{EventKind, Failure};

use super::{Host, Result, blocking, events::What, live::LiveChange, turns::Turn};
use crate::{
    records::{Adopted, Change, StoreError, edit},
    units::limits::Enforce,
};

impl Host {
    /// Changes keys of a tenant's configuration. Limits, its group, its rate and its forwarded ports take
    /// effect at once where it runs; whether
    /// anything else waits for the next start is the second part of the answer.
    ///
    /// # Errors
    /// An invalid key or value, or a limit this host cannot enforce; nothing is changed then.
    pub async fn set(
        self: &Arc<Self>,
        name: &TenantName,
        set: Vec<String>,
        unset: Vec<String>,
        enforce: Enforce,
    ) -> Result<(Change, bool)> {
        let _turn = self.turns.take(name).await;
        // Not sooner: another process may have changed another key before it was this one's turn.
        let files = self.files.take(name).await;
        let base = self.store.config_text(name)?;
        let text = edit::apply(&base, &set, &unset).map_err(StoreError::setting(name))?;
        self.configure_in_turn(name, base, text, enforce, files).await
    }

    /// Replaces a tenant's configuration file, see [`crate::records::Store::configure`].
    ///
    /// # Errors
    /// Those of [`Host::set`], and [`wire::Code::Conflict`].
    pub async fn configure(
        self: &Arc<Self>,
        name: &TenantName,
        base: String,
        text: String,
        enforce: Enforce,
    ) -> Result<(Change, bool)> {
        let _turn = self.turns.take(name).await;
        let files = self.files.take(name).await;
        self.configure_in_turn(name, base, text, enforce, files).await
    }

    async fn configure_in_turn(
        self: &Arc<Self>,
        name: &TenantName,
        base: String,
        text: String,
        enforce: Enforce,
        files: Turn,
    ) -> Result<(Change, bool)> {
        let (host, own, proposed) = (self.clone(), name.clone(), (base.clone(), text.clone()));
        let is_running = self.units.is_running(name);
        let begun = blocking(move || -> Result<(Change, Option<Tenant>, Tenant, LiveChange)> {
            let before = host.store.resolve_text(&own, &proposed.0).ok();
            let after = host.store.resolve_text(&own, &proposed.1)?;
            // What cannot be the tenant's file must not be its unit's for a moment.
            let change = match host.units.starts_with_host() {
                true => host.store.rehearse(&own, &proposed.0, &proposed.1)?,
                false => Change::Changed,
            };
            let live = LiveChange::begin(&host, &own, before.as_ref(), &after, enforce)?;
            Ok((change, before, after, live))
        });
        let (change, before, after, live) = begun.await??;
        let waits =
            is_running && before.as_ref().is_none_or(|before| !config::waiting(before, &after).is_empty());
        if change == Change::Unchanged {
            blocking(move || live.keep()).await?;
            return Ok((change, waits));
        }
        let applied = self.apply_config_ahead(name, &text, before.as_ref(), &after, enforce, &files).await;
        let ahead = match applied {
            Ok(ahead) => ahead,
            Err(failure) => {
                blocking(move || drop(live)).await?;
                return Err(Failure {
                    message: format!("cannot apply the file of tenant \"{name}\" to its unit: {failure}"),
                    ..failure
                });
            }
        };
        let (host, own) = (self.clone(), name.clone());
        let written = blocking(move || -> Result<Change> {
            let pinned = || host.store.record(&own).map(|record| record.pinned).ok();
            let before = pinned();
            let change = host.store.configure(&own, &base, &text, is_running)?;
            live.keep();
            if change != Change::Unchanged {
                host.events.tell(&own, What::new(EventKind::Set).keys(edit::changed(&base, &text)));
            }
            if let (Some(before), Some(after)) = (before, pinned())
                && before != after
            {
                host.events.tell(&own, What::new(EventKind::ImageChanged).change(before, after));
            }
            Ok(change)
        });
        let change = match written.await.and_then(|written| written) {
            Ok(change) => change,
            Err(failure) => {
                if let Some(ahead) = ahead {
                    self.take_back(name, ahead).await;
                }
                return Err(failure);
            }
        };
        Ok((change, waits))
    }

    /// Makes the directories that a tenant's file asks for and carries the file to its unit, for a supervisor
    /// that is about to start. Does not wait for the tenant's turn: who has it may wait for that supervisor.
    ///
    /// # Errors
    /// The file cannot be used, or a limit cannot be enforced.
    pub async fn prepare(self: &Arc<Self>, name: &TenantName) -> Result<Change> {
        let files = self.files.take(name).await;
        let (host, own) = (self.clone(), name.clone());
        let prepare = move || host.store.prepare_start(&own, &host.units.cgroups(&own).v2);
        let Adopted { text, tenant, .. } = blocking(prepare).await??;
        self.apply_config(&text, &tenant, Enforce::Asked, &files).await?;
        Ok(Change::Changed)
    }

    /// Carries a tenant's file to the tenant that runs: limits, group, rate and ports at once. The keys that
    /// wait for its next start are the second part of the answer.
    ///
    /// # Errors
    /// The file cannot be used, or a limit cannot be enforced; nothing is changed then.
    pub async fn reload(
        self: &Arc<Self>,
        name: &TenantName,
        enforce: Enforce,
    ) -> Result<(Change, Vec<String>)> {
        let _turn = self.turns.take(name).await;
        let files = self.files.take(name).await;
        let (host, own) = (self.clone(), name.clone());
        let is_running = self.units.is_running(name);
        let begun = blocking(move || -> Result<(Vec<String>, LiveChange, Adopted)> {
            let text = host.store.config_text(&own)?;
            let tenant = host.store.resolve_text(&own, &text)?;
            let live = LiveChange::begin(&host, &own, None, &tenant, enforce)?;
            let adopted = host.store.adopt_edit(&own, text, is_running)?;
            if !is_running {
                return Ok((Vec::new(), live, adopted));
            }
            let started = record::read(&host.layout().started(&own)).ok();
            let waiting = started.map(|started| edit::waiting(&started, &adopted.text)).unwrap_or_default();
            Ok((waiting, live, adopted))
        });
        let (waiting, live, Adopted { text, tenant, .. }) = begun.await??;
        let applied = self.apply_config(&text, &tenant, enforce, &files).await;
        let is_applied = applied.is_ok();
        blocking(move || if is_applied { live.keep() } else { drop(live) }).await?;
        applied?;
        Ok((Change::Changed, waiting))
    }
}
