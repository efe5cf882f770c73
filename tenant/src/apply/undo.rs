//! What a start leaves in the kernel, by name, and how it goes away.

use std::path::PathBuf;

use crate::{
    kernel::{Kernel, KernelError},
    plan::Plan,
};

/// One thing to take away. Mounts and namespaces are not among them: they go with the last process
/// and descriptor that holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undo {
    /// Kill everything in a cgroup, then remove it.
    Cgroup(PathBuf),
    /// Kill a process that may not be in its cgroup yet.
    Process(i32),
    /// Remove an interface.
    Link(String),
}

/// Everything that a whole start of this plan leaves, in the order in which it was made.
pub fn everything(plan: &Plan) -> Vec<Undo> {
    let mut all = vec![Undo::Cgroup(plan.cgroup.payload.clone())];
    for nic in &plan.nics {
        all.extend(nic.port().map(|port| Undo::Link(port.host_name.clone())));
    }
    all
}

/// Undoes in reverse. One failure hides no other.
pub(super) fn run<K: Kernel>(kernel: &K, done: Vec<Undo>) -> Vec<KernelError> {
    let mut failures = Vec::new();
    for undo in done.into_iter().rev() {
        let result = match &undo {
            Undo::Cgroup(dir) => kernel.cgroup_kill(dir).and_then(|()| kernel.cgroup_remove(dir)),
            Undo::Process(pid) => kernel.process_kill(*pid),
            Undo::Link(name) => kernel.link_delete(name),
        };
        failures.extend(result.err());
    }
    failures
}
