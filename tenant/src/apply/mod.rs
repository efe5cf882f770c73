//! Plan to kernel. Nothing is decided here: each part of the plan has a file that walks its steps.
//!
//! A failure at any step undoes what was done before it, in reverse, and reports every cleanup that
//! failed beside the cause.

mod cgroup;
mod network;
mod root;
mod undo;

pub use undo::{Undo, everything};

use crate::{
    kernel::{Kernel, KernelError, Payload},
    plan::Plan,
};

/// A start that failed.
#[derive(Debug, thiserror::Error)]
#[error("{step} failed{}", leftovers(.cleanup))]
pub struct StartError {
    /// The part of the plan that failed.
    pub step: &'static str,
    /// Why.
    #[source]
    pub source: KernelError,
    /// What could not be undone afterwards.
    pub cleanup: Vec<KernelError>,
}

fn leftovers(cleanup: &[KernelError]) -> String {
    if cleanup.is_empty() {
        return String::new();
    }
    let list: Vec<String> = cleanup.iter().map(|error| format!("{error}: {}", error.source)).collect();
    format!(" (and its cleanup: {})", list.join("; "))
}

/// Starts a tenant: returns when its init has been executed.
///
/// # Errors
/// The first step that failed; everything before it has been undone.
pub fn start<K: Kernel>(kernel: &K, plan: &Plan) -> Result<Payload<K::Fd>, StartError> {
    let mut done = Vec::new();
    apply(kernel, plan, &mut done).map_err(|(step, source)| {
        let cleanup = undo::run(kernel, done);
        StartError { step, source, cleanup }
    })
}

type Step<T> = Result<T, (&'static str, KernelError)>;

fn apply<K: Kernel>(kernel: &K, plan: &Plan, done: &mut Vec<Undo>) -> Step<Payload<K::Fd>> {
    cgroup::create(kernel, &plan.cgroup, done).map_err(|error| ("cgroup", error))?;
    let user = kernel.user_namespace(plan.uids).map_err(|error| ("user namespace", error))?;
    let mounts = root::prepare(kernel, plan, &user).map_err(|error| ("root", error))?;
    let mut held = kernel.spawn(plan, &user, mounts).map_err(|error| ("init", error))?;
    done.push(Undo::Process(held.pid));
    network::connect(kernel, &plan.nics, held.pid, done).map_err(|error| ("network", error))?;
    kernel.assembled(&mut held).map_err(|error| ("init", error))?;
    // Not sooner: the terminals are the host's gift, whatever the tenant may open itself.
    cgroup::confine(kernel, plan).map_err(|error| ("devices", error))?;
    kernel.release(plan, held).map_err(|error| ("init", error))
}

/// Takes a tenant down, however far it is up: kills what still runs and removes whatever bears its
/// name. Right after a clean end, after a crash, and before a start alike.
///
/// # Errors
/// Everything that could not be removed; what could is gone.
pub fn stop<K: Kernel>(kernel: &K, plan: &Plan) -> Vec<KernelError> {
    undo::run(kernel, everything(plan))
}
