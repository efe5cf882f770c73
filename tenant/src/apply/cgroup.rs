//! The payload's cgroup.

use super::Undo;
use crate::{
    kernel::{Kernel, Result},
    plan::CgroupPlan,
};

pub(super) fn create<K: Kernel>(kernel: &K, plan: &CgroupPlan, done: &mut Vec<Undo>) -> Result<()> {
    kernel.cgroup_create(&plan.supervisor)?;
    kernel.cgroup_enter(&plan.supervisor)?;
    kernel.cgroup_create(&plan.payload)?;
    done.push(Undo::Cgroup(plan.payload.clone()));
    kernel.cgroup_set(&plan.payload, "cgroup.max.descendants", &plan.max_descendants.to_string())?;
    kernel.cgroup_delegate(&plan.payload, plan.owner)
}
