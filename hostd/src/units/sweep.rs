//! Taking away what a tenant without a supervisor has left in the kernel.

use std::path::Path;

use tenant::{
    Layout, Plan, TenantName, apply,
    kernel::{Kernel as _, KernelError, Linux, nft},
    plan::HostFilter,
};

/// Removes whatever bears a tenant's name in the kernel; its supervisor has ended. `cgroup` is its unit's v2
/// directory, `plan` what it was started with, where that is known. Returns what could not be removed.
pub(super) fn sweep(
    layout: &Layout,
    name: &TenantName,
    cgroup: &Path,
    plan: Option<&Plan>,
) -> Vec<KernelError> {
    let kernel = Linux::new();
    // An nft that a killed supervisor began may still be at work. Not yet the payload: its processes
    // keep the NICs that are to come home.
    let mut failures: Vec<KernelError> =
        kernel.cgroup_kill(&cgroup.join("supervisor")).err().into_iter().collect();
    failures.extend(match plan {
        Some(plan) => apply::stop(&kernel, plan, None),
        None => apply::release(&kernel, &layout.nic_claims(), name, cgroup),
    });
    // The plan may be of another configuration; the record says what is in the filter.
    failures.extend(nft::forget(&HostFilter::bare(layout), name).err());
    // The plan may be of another configuration, the directories are the ones that were made.
    failures.extend(kernel.cgroup_kill(cgroup).err());
    failures.extend(kernel.cgroup_remove(cgroup).err());
    failures
}
