//! The payload's cgroup, the devices that its processes may use, and the sysctls that they may not write.

use super::undo::Undo;
use crate::{
    kernel::{Kernel, Result},
    plan::{CgroupPlan, Plan},
};

/// Leaves the unit's cgroup, so that its controllers can be passed down. Before this process has any children:
/// they would be in the way.
pub(super) fn enter<K: Kernel>(kernel: &K, plan: &CgroupPlan) -> Result<()> {
    kernel.cgroup_create(&plan.supervisor)?;
    kernel.cgroup_enter(&plan.supervisor)?;
    kernel.cgroup_hand_down(&plan.unit, plan.controllers)
}

pub(super) fn create<K: Kernel>(kernel: &K, plan: &CgroupPlan, done: &mut Vec<Undo>) -> Result<()> {
    kernel.cgroup_create(&plan.payload)?;
    done.push(Undo::Cgroup(plan.payload.clone()));
    kernel.cgroup_set(&plan.payload, "cgroup.max.descendants", &plan.max_descendants.to_string())?;
    kernel.cgroup_delegate(&plan.payload, plan.owner)
}

/// Needs no [`Undo`]: what is attached to a cgroup goes with it.
pub(super) fn confine<K: Kernel>(kernel: &K, plan: &Plan) -> Result<()> {
    kernel.device_control(&plan.cgroup.payload, &plan.devices.allowed)?;
    let refused: Vec<&str> = plan.refused_sysctls.iter().map(|refused| refused.path).collect();
    kernel.sysctl_control(&plan.cgroup.payload, &refused)
}
