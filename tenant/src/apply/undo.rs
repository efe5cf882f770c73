//! What a start leaves in the kernel, by name, and how it goes away.

use std::path::PathBuf;

use crate::{
    kernel::{Kernel, KernelError},
    model::name::TenantName,
    plan::{FilterPlan, Plan, PortPlan},
};

/// One thing to take away. Mounts and namespaces are not among them: they go with the last process
/// and descriptor that holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undo {
    /// Kill everything in a cgroup, then remove it.
    Cgroup(PathBuf),
    /// Kill a process that may not be in its cgroup yet.
    Process(i32),
    /// Remove an interface, if it is of this interface group.
    Link {
        /// Its name.
        name: String,
        /// The group of our ports.
        group: u32,
    },
    /// Take the tenant out of the packet filter.
    Filter(Box<FilterPlan>),
    /// Bring every NIC home that the tenant has claimed.
    Nics {
        /// Where the claims are.
        claims: PathBuf,
        /// Who claimed them.
        tenant: TenantName,
        /// The cgroup of the processes that may have them.
        cgroup: PathBuf,
    },
}

impl Undo {
    pub(super) fn port(port: &PortPlan) -> Self {
        Self::Link { name: port.host_name.clone(), group: port.group }
    }

    pub(super) fn nics(plan: &Plan) -> Self {
        Self::Nics {
            claims: plan.claims.clone(),
            tenant: plan.tenant.clone(),
            cgroup: plan.cgroup.payload.clone(),
        }
    }
}

/// What a start has done so far.
pub(super) struct Journal<Fd> {
    pub(super) done: Vec<Undo>,
    /// The tenant's network namespace, once NICs of the host are to move there.
    pub(super) network: Option<Fd>,
}

/// Everything that a whole start of this plan leaves, in the order in which it was made, but for its elements of the packet
/// filter.
pub fn everything(plan: &Plan) -> Vec<Undo> {
    let mut all = vec![Undo::Cgroup(plan.cgroup.payload.clone())];
    all.extend(plan.nics.iter().filter_map(|nic| nic.port()).map(Undo::port));
    // Also for a tenant whose file says nothing of a NIC any more.
    all.push(Undo::nics(plan));
    all
}

/// Undoes in reverse. One failure hides no other. `network` is the tenant's network namespace, if a process
/// holds it.
pub(super) fn run<K: Kernel>(kernel: &K, done: Vec<Undo>, network: Option<&K::Fd>) -> Vec<KernelError> {
    let mut failures = Vec::new();
    // Opened while there are processes in them: then nothing that is in them can be lost.
    let mut namespaces = Vec::new();
    let (mut nics, rest): (Vec<Undo>, Vec<Undo>) =
        done.into_iter().partition(|undo| matches!(undo, Undo::Nics { .. }));
    nics.dedup();
    for undo in &nics {
        if let Undo::Nics { claims, tenant, cgroup } = undo {
            match kernel.claimed_namespaces(claims, tenant, cgroup) {
                Ok(found) => namespaces.extend(found),
                Err(error) => failures.push(error),
            }
        }
    }
    let namespaces: Vec<&K::Fd> = network.into_iter().chain(&namespaces).collect();
    // NICs is returned to the host last: no process is left then who could keep them.
    for undo in rest.into_iter().rev().chain(nics) {
        let result = match &undo {
            Undo::Cgroup(dir) => kernel.cgroup_kill(dir).and_then(|()| kernel.cgroup_remove(dir)),
            Undo::Process(pid) => kernel.process_kill(*pid),
            Undo::Filter(filter) => kernel.filter_remove(&filter.host, &filter.tenant),
            Undo::Link { name, group } => kernel.link_delete(name, *group),
            Undo::Nics { claims, tenant, .. } => kernel.return_nics(claims, tenant, &namespaces),
        };
        failures.extend(result.err());
    }
    failures
}
