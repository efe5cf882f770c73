//! Plan to kernel. Nothing is decided here: each part of the plan has a file that walks its steps.
//!
//! A failure at any step undoes what was done before it, in reverse, and reports every cleanup that
//! failed in addition to the cause.

mod base;
mod cgroup;
mod fault;
mod filter;
mod hold;
mod network;
mod root;
mod shown;
mod swap;
mod undo;

pub use fault::remedy;
pub use hold::{Standing, hold};
pub use network::try_port;
pub use swap::{SwapError, swap};
pub use undo::{Undo, everything};

use std::path::Path;

use self::{fault::leftovers, undo::Journal};

use crate::{
    init::Program,
    kernel::{Cause, InitClone, Kept, Kernel, KernelError, Payload},
    model::name::TenantName,
    plan::Plan,
};

/// A start that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {}{}", operation(.step), leftovers(.cleanup))]
pub struct StartError {
    /// The part of the plan that failed.
    pub step: &'static str,
    /// Why.
    #[source]
    pub source: KernelError,
    /// What could not be undone afterwards.
    pub cleanup: Vec<KernelError>,
}

impl StartError {
    /// The remedy, where the fault itself tells one.
    pub fn help(&self) -> Option<String> {
        remedy(&self.source)
    }
}

/// What a step of a start does, as it follows "cannot".
fn operation(step: &str) -> &'static str {
    match step {
        "cgroup" => "set up its cgroups",
        "drivers" => "provide its devices",
        "filter" => "set up its packet filter",
        "user namespace" => "create its user namespace",
        "root" => "set up its root filesystem",
        "network" => "set up its network",
        "devices" => "restrict its devices",
        _ => "start its init",
    }
}

/// Starts a tenant: returns when its init has been executed.
///
/// # Errors
/// The first step that failed; everything before it has been undone.
pub fn start<K: Kernel>(kernel: &K, plan: &Plan) -> Result<Payload<K::Fd>, StartError> {
    let mut journal = Journal { done: Vec::new(), network: None };
    match apply(kernel, plan, &mut journal) {
        Ok(payload) => Ok(Payload { network: journal.network, ..payload }),
        Err((step, source)) => {
            let cleanup = undo::run(kernel, journal.done, journal.network.as_ref());
            Err(StartError { step, source, cleanup })
        }
    }
}

type Step<T> = Result<T, (&'static str, KernelError)>;

fn apply<K: Kernel>(kernel: &K, plan: &Plan, journal: &mut Journal<K::Fd>) -> Step<Payload<K::Fd>> {
    cgroup::enter(kernel, &plan.cgroup).map_err(|error| ("cgroup", error))?;
    let drivers = plan.drivers.iter().try_for_each(|driver| kernel.driver_try(*driver));
    drivers.map_err(|error| ("drivers", error))?;
    cgroup::create(kernel, &plan.cgroup, &mut journal.done).map_err(|error| ("cgroup", error))?;
    let user =
        kernel.user_namespace(plan.uids, plan.namespaces_max).map_err(|error| ("user namespace", error))?;
    let mut parts = root::prepare(kernel, plan, &user).map_err(|error| ("root", error))?;
    let clone = InitClone {
        cgroup: &plan.cgroup.payload,
        user: &user,
        time_namespace: plan.time_namespace,
        own: &parts.own(),
        program: &Program::of(plan),
    };
    let mut held = kernel.spawn(&clone).map_err(|error| ("init", error))?;
    held.files = parts.files.take();
    journal.done.push(Undo::Process(held.pid));
    let own = std::mem::take(&mut held.own);
    let (mut remains, parents) =
        root::assemble(kernel, plan, parts, own).map_err(|error| match error.source {
            Cause::Place(_) => ("root", error),
            _ => ("init", error),
        })?;
    kernel.root_ready(&held).map_err(|error| ("init", error))?;
    // The tenant sends nothing before it is filtered. Init assembles its root meanwhile.
    let closing = filter::add(kernel, plan, &mut journal.done).map_err(|error| ("filter", error))?;
    network::connect(kernel, plan, held.pid, journal).map_err(|error| {
        match kernel.check_alive(&mut held) {
            // Without an init there is no network namespace to connect: that is init's failure, not the network's.
            Err(own) => ("init", own),
            Ok(()) => ("network", error),
        }
    })?;
    kernel.assembled(&mut held).map_err(|error| ("init", error))?;
    // Not sooner: the terminals are the host's gift, whatever the tenant may open itself.
    cgroup::confine(kernel, plan).map_err(|error| ("devices", error))?;
    let terminals = usize::from(plan.ttys) + 1;
    let payload = kernel.release(held, &plan.init.argv[0], terminals).map_err(|error| ("init", error))?;
    remains.extend(closing);
    let kept = (!parents.is_empty()).then_some(Kept { user, parents });
    Ok(Payload { remains, kept, ..payload })
}

/// Takes a tenant down, however far it is up: kills what still runs and removes whatever bears its
/// name, but for its elements of the packet filter: a start replaces them, and hostd removes those of tenants that have ended.
/// After a crash and before a start alike. `network` is its network
/// namespace, if a process holds it: all that is in it then is returned to the host, even when no process is left.
///
/// # Errors
/// Everything that could not be removed; what could is gone.
pub fn stop<K: Kernel>(kernel: &K, plan: &Plan, network: Option<&K::Fd>) -> Vec<KernelError> {
    undo::run(kernel, everything(plan), network)
}

/// Takes a tenant down whose init has ended in an orderly way: as [`stop`], but what goes by itself is not waited for. Its
/// links go with its network namespace, a moment after its last process.
///
/// # Errors
/// As [`stop`].
pub fn end<K: Kernel>(kernel: &K, plan: &Plan, network: Option<&K::Fd>) -> Vec<KernelError> {
    let mut all = everything(plan);
    all.retain(|undo| !matches!(undo, Undo::Link { .. }));
    undo::run(kernel, all, network)
}

/// Kills a tenant and brings home the host's NICs that it has: all that can be done for one that has no
/// plan, for its file was broken while it ran.
///
/// # Errors
/// As [`stop`].
pub fn release<K: Kernel>(kernel: &K, claims: &Path, tenant: &TenantName, cgroup: &Path) -> Vec<KernelError> {
    let (claims, cgroup) = (claims.to_owned(), cgroup.to_owned());
    let nics = Undo::Nics { claims, tenant: tenant.clone(), cgroup: cgroup.clone() };
    undo::run(kernel, vec![Undo::Cgroup(cgroup), nics], None)
}
