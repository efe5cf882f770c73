//! Taking away what a tenant without a supervisor has left in the kernel.

use std::path::Path;

use tenant::{
    Layout, Plan, TenantName,
    kernel::{Kernel as _, KernelError, Linux},
    supervisor,
};

/// Removes whatever bears a tenant's name in the kernel; its supervisor has ended. `cgroup` is its unit's v2
/// directory, which goes as well, `plan` what it was started with, which is asked for only where the supervisor left
/// something. Returns what could not be removed.
pub(super) fn sweep(
    layout: &Layout,
    name: &TenantName,
    cgroup: &Path,
    plan: impl FnOnce() -> Option<Plan>,
) -> Vec<KernelError> {
    let kernel = Linux::new();
    let mut failures = Vec::new();
    if !supervisor::host::sweep::is_clean(layout, name, Some(cgroup)) {
        failures = supervisor::host::sweep::sweep(layout, name, cgroup, plan().as_ref());
    }
    failures.extend(kernel.cgroup_kill(cgroup).err());
    failures.extend(kernel.cgroup_remove(cgroup).err());
    failures
}
