//! What systemd says of units.

use std::{collections::HashMap, fs};

use tenant::{TenantName, model::limits::Limits};
use wire::{EffectiveLimit, UnitReport};

use super::{
    bus::{self, Bus, BusError, unit},
    files,
    manager::Systemd,
    properties,
};
use crate::units::UnitError;

/// Most units whose status is asked for in one list.
const STATUS_LINES: usize = 32;

impl Systemd {
    /// The limits that a tenant's unit has, against those of its file, and how the unit is.
    ///
    /// # Errors
    /// Cannot connect to systemd.
    pub async fn report(
        &self,
        name: &TenantName,
        file: &Limits,
    ) -> Result<(UnitReport, Vec<EffectiveLimit>), UnitError> {
        let (unit, bus) = (unit(name), Bus::open().await?);
        let facts = bus.unit(&unit).await?;
        let service = bus.service(&unit).await?;
        let by_hand = |setting: &str| files::is_set_by_hand(&unit, setting);
        let limits = properties::effective(&service.numbers, file, self.memory, by_hand);
        let events = fs::read_to_string(self.cgroups(name).v2.join("memory.events")).ok();
        let oom_kills = events.and_then(|text| {
            text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
        });
        let report = UnitReport {
            name: unit,
            active: facts.active,
            sub: facts.sub,
            result: service.result,
            status: Some(service.status).filter(|status| !status.is_empty()),
            restarts: service.restarts,
            enabled: facts.file,
            oom_kills,
        };
        Ok((report, limits))
    }

    /// The units of tenants that are being started or stopped.
    ///
    /// # Errors
    /// Cannot connect to systemd.
    pub async fn pending(&self) -> Result<HashMap<TenantName, Pending>, UnitError> {
        let what = "list units";
        let bus = Bus::open().await?;
        let body = (["activating", "deactivating"].as_slice(), ["tenant@*.service"].as_slice());
        let answer = bus.manager(what, "ListUnitsByPatterns", &body).await?;
        let units: Vec<bus::Listed> =
            answer.body().deserialize().map_err(|error| BusError::Call(what, error))?;
        let mut pending = HashMap::new();
        for (number, listed) in units.into_iter().enumerate() {
            let Some(name) = bus::tenant(&listed.0) else { continue };
            let status = if number < STATUS_LINES { bus.status_line(&listed.0).await.ok() } else { None };
            let status = status.filter(|status| !status.is_empty());
            pending.insert(name, Pending { starts: listed.3 == "activating", status });
        }
        Ok(pending)
    }
}

/// What a unit is doing that its tenant's state does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Whether it is being started.
    pub starts: bool,
    /// The status line of its supervisor.
    pub status: Option<String>,
}
