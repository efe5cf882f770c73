//! Taking away what a tenant without a supervisor has left in the kernel.

use std::path::Path;

use tenant::{
    Layout, Plan, TenantName,
    kernel::{Kernel as _, KernelError, Linux},
    supervisor::host::sweep::{self, was_orderly},
};

/// Removes whatever bears a tenant's name in the kernel; its supervisor has ended. `cgroup` is its unit's v2
/// directory, which goes as well, `plan` what it was started with, where that is known. Returns what could not be
/// removed.
pub(super) fn sweep(
    layout: &Layout,
    name: &TenantName,
    cgroup: &Path,
    plan: Option<&Plan>,
) -> Vec<KernelError> {
    let kernel = Linux::new();
    let mut failures = match was_orderly(layout, name, Some(cgroup)) {
        true => Vec::new(),
        false => sweep::sweep(layout, name, cgroup, plan),
    };
    failures.extend(kernel.cgroup_kill(cgroup).err());
    failures.extend(kernel.cgroup_remove(cgroup).err());
    failures
}
