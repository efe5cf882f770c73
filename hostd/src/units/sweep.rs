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

#[cfg(test)]
mod tests {
    use std::{cell::Cell, fs};

    use super::*;

    #[test]
    fn a_plan_is_asked_for_only_where_a_supervisor_left_something() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let name: TenantName = "alice".parse().unwrap();
        fs::create_dir_all(layout.runtime(&name)).unwrap();
        let asked = Cell::new(false);
        let plan = || {
            asked.set(true);
            None
        };
        let none = dir.path().join("cgroup");
        sweep(&layout, &name, &none, plan);
        assert!(!asked.get(), "it took its tenant down");
        // One that was killed does not remove its sockets.
        fs::write(layout.control_socket(&name), "").unwrap();
        sweep(&layout, &name, &none, plan);
        assert!(asked.get());
    }
}
