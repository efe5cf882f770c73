//! Where the tenant's processes are accounted.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::PlanError;
use crate::{
    config::Tenant,
    model::{allocation::Allocation, facts::HostFacts},
};

/// The cgroup v2 directories of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CgroupPlan {
    /// The unit's directory: every controller it has is passed down to `payload`, so that the tenant's own
    /// init can set limits.
    pub unit: PathBuf,
    /// Where the supervisor sits; a cgroup with controllers holds no processes itself.
    pub supervisor: PathBuf,
    /// Where the tenant sits, and where its cgroup namespace starts.
    pub payload: PathBuf,
    /// Host uid that may make cgroups below `payload`.
    pub owner: u32,
    /// Controllers that the tenant's own manager may use, those of them that the unit has.
    pub controllers: &'static [&'static str],
    /// `cgroup.max.descendants` of `payload`.
    pub max_descendants: u32,
}

/// What systemd hands down to containers: the controllers of its unit's resource keys.
const CONTROLLERS: [&str; 4] = ["cpu", "io", "memory", "pids"];

pub(super) fn plan(
    tenant: &Tenant,
    allocation: &Allocation,
    facts: &HostFacts,
    unit: Option<&Path>,
) -> Result<CgroupPlan, PlanError> {
    let Some(mount) = &facts.cgroup.v2_mount else {
        return Err(PlanError::NoCgroup2);
    };
    let unit = unit.unwrap_or(&facts.cgroup.v2_own).to_owned();
    // `supervisor` and `payload` at the top of the hierarchy would be not in use.
    if unit == *mount {
        return Err(PlanError::RootCgroup);
    }
    Ok(CgroupPlan {
        supervisor: unit.join("supervisor"),
        payload: unit.join("payload"),
        unit,
        owner: allocation.uid_base.base(),
        controllers: &CONTROLLERS,
        max_descendants: tenant.cgroups_max,
    })
}
