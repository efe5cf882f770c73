//! What a supervisor that was killed left in the kernel, and how it goes.
//!
//! `tenant sweep NAME` is the `ExecStopPost=` of `tenant@NAME.service`, see systemd.service(5); where hostd
//! starts supervisors itself, it calls [`sweep`] when one has ended.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    apply,
    files::{claim::NicClaim, layout::Layout, sources::Sources, state::RunState},
    kernel::{Kernel, KernelError, Linux, forwarding6_release},
    model::{facts::HostFacts, name::TenantName},
    plan::{Plan, port_group},
    supervisor::{
        error::{Failed, RunError},
        host::queue,
        lock::lock,
    },
};

/// Removes whatever bears a tenant's name in the kernel: its processes and cgroups below `unit`, its interfaces, its
/// place among those that wait to boot, and, if it was the last one that needed it, IPv6 forwarding of the host. Its
/// supervisor has ended. hostd takes it out of the packet filter. `plan` is what it would be started with now, if there
/// is such a thing.
///
/// # Errors
/// Everything that could not be removed; what could is gone.
pub fn sweep(layout: &Layout, name: &TenantName, unit: &Path, plan: Option<&Plan>) -> Vec<KernelError> {
    let kernel = Linux::new();
    let (supervisor, payload) = (unit.join("supervisor"), unit.join("payload"));
    // Not yet the payload: its processes keep the NICs that are to be returned to the host.
    let mut failures: Vec<KernelError> = kernel.cgroup_kill(&supervisor).err().into_iter().collect();
    failures.extend(match plan {
        Some(plan) => apply::stop(&kernel, plan, None),
        None => apply::release(&kernel, &layout.nic_claims(), name, &payload),
    });
    failures.extend(queue::forget(layout, name).err());
    failures.extend(forwarding6_release(&layout.forwarding6(), port_group(layout), &[]).err());
    // The plan may be of another configuration, the directories are the ones that were made.
    for dir in [payload, supervisor] {
        failures.extend(kernel.cgroup_kill(&dir).and_then(|()| kernel.cgroup_remove(&dir)).err());
    }
    failures
}

/// After the end of a unit's main process: does nothing where that was orderly, else [`sweep`]s and removes the
/// sockets. Whether anything was left.
///
/// # Errors
/// The first thing that could not be removed; what could is gone.
pub fn after(layout: &Layout, name: &TenantName) -> Result<bool, Failed> {
    let runtime = layout.runtime(name);
    if !runtime.is_dir() {
        return Ok(false);
    }
    // One that a process supervises is not ours to sweep.
    let _lock = match lock(&runtime.join("lock")) {
        Err(RunError::Busy(_)) => return Ok(false),
        lock => lock?,
    };
    let state = RunState::read(&layout.run_state(name)).map_err(RunError::from)?;
    let said = state.as_ref().map(|state| PathBuf::from(&state.cgroup));
    let unit = said.or_else(own_unit);
    if is_clean(layout, name, unit.as_deref()) {
        return Ok(false);
    }
    let mut failures = Vec::new();
    if let Some(unit) = unit {
        // A configuration that was spoilt meanwhile keeps no process from being swept.
        let plan = Sources::read(layout, name)
            .ok()
            .zip(HostFacts::gather().ok())
            .and_then(|(sources, facts)| sources.plan(layout, name, &facts, Some(&unit), &[]).ok());
        failures = sweep(layout, name, &unit, plan.as_ref());
    }
    for path in sockets(layout, name).into_iter().chain([layout.exec_context(name)]) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                failures.push(KernelError::new("remove", path.display(), error));
            }
            _ => {}
        }
    }
    match failures.into_iter().next() {
        Some(error) => Err(RunError::Sweep(error).into()),
        None => Ok(true),
    }
}

fn sockets(layout: &Layout, name: &TenantName) -> [PathBuf; 2] {
    [layout.console_socket(name), layout.control_socket(name)]
}

/// Whether a supervisor that has ended has taken its tenant down before: one that was killed leaves its sockets. `unit`
/// is the directory of its unit's v2 cgroup.
pub fn is_clean(layout: &Layout, name: &TenantName, unit: Option<&Path>) -> bool {
    !sockets(layout, name).iter().any(|socket| socket.exists())
        && !unit.is_some_and(|unit| unit.join("payload").exists())
        && !is_noted(layout, name)
}

/// Whether something of a tenant is written down that a stop would have taken back.
fn is_noted(layout: &Layout, name: &TenantName) -> bool {
    let claims = NicClaim::read_all(&layout.nic_claims()).unwrap_or_default();
    claims.iter().any(|claim| claim.tenant == *name) || !queue::left(layout, name).is_empty()
}

/// The unit that this process belongs to: systemd puts what it runs for a delegated unit besides the main
/// process into a cgroup `.control` below the unit's.
fn own_unit() -> Option<PathBuf> {
    let own = HostFacts::gather().ok()?.cgroup.v2_own;
    (own.file_name()? == ".control").then(|| own.parent().map(Path::to_owned))?
}
