//! The root of a tenant that is down, put together as for a start, over a process that never becomes its init: for who
//! reads or writes the tenant's files as the tenant would see them.

use std::path::Path;

use super::{StartError, root};
use crate::{
    init::Program,
    kernel::{Cause, Held, InitClone, Kernel, KernelError},
    plan::{Plan, RootStep},
};

/// A root that is there as long as this is kept, and its process is not killed.
pub struct Standing<K: Kernel> {
    held: Held<K::Fd>,
    _remains: Vec<K::Fd>,
}

impl<K: Kernel> Standing<K> {
    /// The process whose namespaces have it.
    pub fn pid(&self) -> i32 {
        self.held.pid
    }

    /// Takes it down.
    ///
    /// # Errors
    /// The process cannot be killed.
    pub fn end(self, kernel: &K) -> Result<(), KernelError> {
        kernel.process_kill(self.held.pid)
    }
}

/// Puts a tenant's root together. No process of the tenant's runs, nothing is connected, no secret is in it.
///
/// # Errors
/// The step that failed; nothing is left of it.
pub fn hold<K: Kernel>(kernel: &K, mut plan: Plan, cgroup: &Path) -> Result<Standing<K>, StartError> {
    // Nobody answers for its limits, and its credentials are for its services.
    plan.root.retain(|step| !matches!(step, RootStep::Limits | RootStep::Credentials { .. }));
    let failed = |step| move |source| StartError { step, source, cleanup: Vec::new() };
    let user = kernel.user_namespace(plan.uids, plan.namespaces_max).map_err(failed("user namespace"))?;
    let parts = root::prepare(kernel, &plan, &user).map_err(failed("root"))?;
    let clone = InitClone {
        cgroup,
        user: &user,
        time_namespace: false,
        own: &parts.own(),
        program: &Program::of(&plan),
    };
    let mut held = kernel.spawn(&clone).map_err(failed("init"))?;
    let own = std::mem::take(&mut held.own);
    let put = || -> Result<_, KernelError> {
        let (remains, _) = root::assemble(kernel, &plan, parts, own)?;
        kernel.root_ready(&held)?;
        kernel.assembled(&mut held)?;
        Ok(remains)
    };
    match put() {
        Ok(remains) => Ok(Standing { held, _remains: remains }),
        Err(source) => {
            let step = if matches!(source.source, Cause::Place(_)) { "root" } else { "init" };
            let cleanup = kernel.process_kill(held.pid).err().into_iter().collect();
            Err(StartError { step, source, cleanup })
        }
    }
}
