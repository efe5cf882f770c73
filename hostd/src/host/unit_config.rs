//! Carrying a tenant's file to its unit, where there is one beyond its life: limits, restart policy, whether it starts
//! with the host. What was carried is written down, see [`tenant::files::applied`]. A change that fails changes nothing.

use std::{fs, io, path::Path, sync::Arc};

use tenant::{
    Tenant, TenantName,
    files::{applied::AppliedConfig, file_error::FileError},
};
use wire::chain;

use super::turns::Turn;
use crate::{
    host::{Host, Result, blocking},
    records::StoreError,
    units::{limits::Enforce, systemd::Had},
};

/// What a unit has of a file that is about to be written.
#[derive(Debug)]
pub(crate) struct PendingUnit {
    now: AppliedConfig,
    /// What had been carried before.
    before: Option<AppliedConfig>,
    /// What the unit had then.
    had: Had,
    /// Whether it started with the host before, where that is another now.
    was_enabled: Option<bool>,
}

/// Makes `carried.toml` what it was.
fn write_back(path: &Path, before: Option<&AppliedConfig>) -> std::result::Result<(), FileError> {
    match before {
        Some(before) => before.write(path),
        None => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FileError::when("remove", path)(error))
            }
            _ => Ok(()),
        },
    }
}

impl Host {
    /// Applies a tenant's file as it is: its text, and the tenant it stands for. Directories have been seen to; `_files`
    /// says that no other process is at them.
    ///
    /// # Errors
    /// A limit cannot be enforced, or systemd refuses; the unit has then what it had.
    pub(crate) async fn apply_config(
        self: &Arc<Self>,
        text: &str,
        tenant: &Tenant,
        enforce: Enforce,
        _files: &Turn,
    ) -> Result<()> {
        if !self.units().starts_with_host() {
            return Ok(());
        }
        let (host, own, name) = (self.clone(), tenant.name.clone(), &tenant.name);
        let before = blocking(move || host.applied(&own)).await?;
        let Some(limits) = self.units().enforceable(&tenant.limits, enforce)? else { return Ok(()) };
        let old = before.as_ref().map(|before| before.limits.clone()).unwrap_or_default();
        let Some(had) = self.units().apply_config(name, &old, &limits, tenant.restart).await? else {
            return Ok(());
        };
        let now = AppliedConfig::new(text, limits);
        if before.as_ref() == Some(&now) {
            return Ok(());
        }
        // Last: where hostd ends in between, the file is carried once more.
        let (path, written) = (self.layout().applied_config(name), now.clone());
        let written = blocking(move || written.write(&path)).await?;
        if let Err(error) = written {
            self.units().give_back(name, &now.limits, &had).await;
            return Err(StoreError::from(error).into());
        }
        Ok(())
    }

    /// What was carried last. One that cannot be read is as good as none: everything is set then.
    fn applied(&self, name: &TenantName) -> Option<AppliedConfig> {
        AppliedConfig::read(&self.layout().applied_config(name)).unwrap_or_default()
    }

    /// Carries a text that is about to become a tenant's file; `before` is the tenant as its file says now. None where
    /// there is no unit to carry it to. `_files` is as for [`Self::apply_config`].
    ///
    /// # Errors
    /// As for [`Self::apply_config`].
    pub(crate) async fn apply_config_ahead(
        self: &Arc<Self>,
        name: &TenantName,
        text: &str,
        before: Option<&Tenant>,
        after: &Tenant,
        enforce: Enforce,
        _files: &Turn,
    ) -> Result<Option<PendingUnit>> {
        let Some(limits) = self.units().enforceable(&after.limits, enforce)? else { return Ok(None) };
        let (host, own, now) = (self.clone(), name.clone(), AppliedConfig::new(text, limits));
        // First: where hostd ends before the file is written, what was carried is not of the file, and the file is
        // carried once more, over this.
        let noted = now.clone();
        let before_unit = blocking(move || -> Result<Option<AppliedConfig>> {
            let before = host.applied(&own);
            noted.write(&host.layout().applied_config(&own)).map_err(StoreError::from)?;
            Ok(before)
        })
        .await??;
        let old = before_unit.as_ref().map(|before| before.limits.clone()).unwrap_or_default();
        let had = match self.units().apply_config(name, &old, &now.limits, after.restart).await {
            Ok(Some(had)) => had,
            other => {
                self.note_back(name, before_unit).await;
                return Ok(other.map(|_| None)?);
            }
        };
        let mut ahead = PendingUnit { now, before: before_unit, had, was_enabled: None };
        let enabled = before.map(|before| before.autostart);
        if enabled != Some(after.autostart) {
            if let Err(error) = self.units().enable(name, after.autostart).await {
                self.take_back(name, ahead).await;
                return Err(error.into());
            }
            ahead.was_enabled = enabled;
        }
        Ok(Some(ahead))
    }

    /// The file was not written: the unit has again what it had.
    pub(crate) async fn take_back(self: &Arc<Self>, name: &TenantName, ahead: PendingUnit) {
        let PendingUnit { now, before, had, was_enabled } = ahead;
        if let Some(on) = was_enabled
            && let Err(error) = self.units().enable(name, on).await
        {
            log::error!("cannot restore the autostart of tenant \"{name}\": {}", chain(&error));
        }
        self.units().give_back(name, &now.limits, &had).await;
        self.note_back(name, before).await;
    }

    async fn note_back(self: &Arc<Self>, name: &TenantName, before: Option<AppliedConfig>) {
        let path = self.layout().applied_config(name);
        let written = blocking(move || write_back(&path, before.as_ref())).await;
        match written {
            Ok(Ok(())) => {}
            // It differs from the file: what the file says is carried by the next start.
            Ok(Err(error)) => log::warn!("tenant \"{name}\": {}", chain(&error)),
            Err(failure) => log::warn!("tenant \"{name}\": {failure}"),
        }
    }
}
