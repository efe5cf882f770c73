//! Unit files of ours: whether a tenant starts with the host, and the drop-in that its file asks for.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tenant::{
    TenantName,
    config::Restart,
    files::record::{self, Durability},
};

use super::{
    bus::{Bus, BusError, unit},
    manager::Systemd,
};
use crate::units::UnitError;

/// Where `systemctl set-property` writes, see systemd.unit(5).
const CONTROL: [&str; 2] = ["/etc/systemd/system.control", "/run/systemd/system.control"];
const DROP_IN: &str = "50-tenantry.conf";

/// Whether a setting of a unit has a drop-in of `systemctl set-property`.
pub(super) fn is_set_by_hand(unit: &str, setting: &str) -> bool {
    CONTROL.iter().any(|dir| fs::exists(format!("{dir}/{unit}.d/50-{setting}.conf")).unwrap_or(false))
}

/// The drop-in that a tenant's restart policy asks for; none where `tenant@.service` says the same.
fn drop_in(config: &Path, restart: Restart) -> Option<String> {
    let policy = match restart {
        Restart::OnFailure => return None,
        Restart::No => "no",
        Restart::Always => "always",
    };
    Some(format!(
        "# Written by hostd from the key `restart` of {}; change it there.\n[Service]\nRestart={policy}\n",
        config.display()
    ))
}

impl Systemd {
    /// Makes a unit start with the host, or not.
    ///
    /// # Errors
    /// systemd refuses.
    pub async fn enable(&self, name: &TenantName, on: bool) -> Result<(), UnitError> {
        let bus = Bus::open().await?;
        let unit = unit(name);
        if on {
            let what = "enable a unit";
            bus.manager(what, "EnableUnitFiles", &([unit.as_str()].as_slice(), false, false)).await?;
        } else {
            let what = "disable a unit";
            bus.manager(what, "DisableUnitFiles", &([unit.as_str()].as_slice(), false)).await?;
        }
        Ok(())
    }

    /// The directory of a unit's drop-ins.
    pub(super) fn drop_ins(&self, name: &TenantName) -> PathBuf {
        self.unit_files.join(format!("{}.d", unit(name)))
    }

    /// A tenant's drop-in as it is.
    pub(super) fn drop_in(&self, name: &TenantName) -> Option<String> {
        record::read(&self.drop_ins(name).join(DROP_IN)).ok()
    }

    /// Makes a tenant's drop-in what its restart policy asks for.
    ///
    /// # Errors
    /// It cannot be written, or systemd does not read it.
    pub(super) async fn set_restart(&self, name: &TenantName, restart: Restart) -> Result<(), UnitError> {
        self.put_drop_in(name, drop_in(&self.layout.tenant_config(name), restart).as_deref()).await
    }

    /// Makes a tenant's drop-in this text, or takes it away.
    ///
    /// # Errors
    /// It cannot be written, or systemd does not read it.
    pub(super) async fn put_drop_in(&self, name: &TenantName, wanted: Option<&str>) -> Result<(), UnitError> {
        if wanted == self.drop_in(name).as_deref() {
            return Ok(());
        }
        let dir = self.drop_ins(name);
        let path = dir.join(DROP_IN);
        let io = |error| UnitError::Io("write the drop-in of its unit", error);
        match wanted {
            Some(text) => {
                fs::create_dir_all(&dir).map_err(io)?;
                record::write(&path, text.as_bytes(), Durability::Durable)
                    .map_err(|error| io(io::Error::other(error)))?;
            }
            None => {
                fs::remove_file(&path).map_err(io)?;
                // Another drop-in may be in it.
                let _ = fs::remove_dir(&dir);
            }
        }
        // systemd knows which directories of drop-ins there are, and looks for no others until it is told.
        self.reload().await
    }

    pub(super) async fn reload(&self) -> Result<(), UnitError> {
        Bus::open().await?.manager("reload unit files", "Reload", &()).await?;
        Ok(())
    }

    /// Takes away everything that is kept about a unit: the tenant is being destroyed.
    ///
    /// # Errors
    /// systemd refuses.
    pub async fn forget(&self, name: &TenantName) -> Result<(), UnitError> {
        let unit = unit(name);
        let bus = Bus::open().await?;
        if !bus.unit(&unit).await?.is_down() {
            self.kill(name).await?;
        }
        let units = [unit.as_str()];
        bus.manager("disable a unit", "DisableUnitFiles", &(units.as_slice(), false)).await?;
        let own = self.drop_in(name).is_some();
        for result in [
            bus.manager("revert a unit", "RevertUnitFiles", &(units.as_slice(),)).await,
            bus.manager("reset the failed state of a unit", "ResetFailedUnit", &(unit.as_str(),)).await,
        ] {
            match result {
                // There was nothing to revert, or no process has heard of it.
                Ok(_) | Err(BusError::Call(_, zbus::Error::MethodError(..))) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if own {
            self.reload().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    pub(super) fn a_drop_in_says_where_it_comes_from() {
        let config = Path::new("/srv/try/etc/tenantry/tenants/alice.toml");
        assert_eq!(drop_in(config, Restart::OnFailure), None);
        let text = drop_in(config, Restart::Always).unwrap();
        assert!(
            text.starts_with('#') && text.contains(" /srv/try/etc/tenantry/tenants/alice.toml;"),
            "{text}"
        );
        assert!(text.ends_with("\n[Service]\nRestart=always\n"), "{text}");
    }
}
