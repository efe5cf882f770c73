//! Taking capabilities and system calls away from the calling process, for good.
//!
//! The order matters: a filter is installed with CAP_SYS_ADMIN in the user namespace, which the tenant may
//! be about to lose, and the bounding set shrinks with CAP_SETPCAP. So the powers themselves go last.

use std::io;

use caps::{CapSet, Capability, CapsHashSet};

use super::{raw, seccomp};
use crate::plan::SecurityPlan;

/// Installs the filter and takes every capability that is not kept from what this process and its
/// children can ever gain. It still has those it has.
///
/// # Errors
/// The failing call's; the process may then be confined in part and must end.
pub fn bind(plan: &SecurityPlan) -> io::Result<()> {
    let kept = kept(plan)?;
    raw::seccomp(&seccomp::compile(plan))?;
    for capability in caps::runtime::thread_all_supported() {
        if !kept.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability).map_err(io::Error::other)?;
        }
    }
    caps::clear(None, CapSet::Ambient).map_err(io::Error::other)?;
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new()).map_err(io::Error::other)
}

/// Drops the capabilities themselves that are not kept.
///
/// # Errors
/// As [`bind`].
pub fn shed(plan: &SecurityPlan) -> io::Result<()> {
    let kept = kept(plan)?;
    let permitted = caps::read(None, CapSet::Permitted).map_err(io::Error::other)?;
    let permitted: CapsHashSet = permitted.intersection(&kept).copied().collect();
    caps::set(None, CapSet::Effective, &permitted).map_err(io::Error::other)?;
    caps::set(None, CapSet::Permitted, &permitted).map_err(io::Error::other)
}

/// Both.
///
/// # Errors
/// As [`bind`].
pub fn apply(plan: &SecurityPlan) -> io::Result<()> {
    bind(plan)?;
    shed(plan)
}

fn kept(plan: &SecurityPlan) -> io::Result<CapsHashSet> {
    let kept = plan.capabilities.iter().map(|name| name.parse::<Capability>());
    kept.collect::<Result<_, _>>().map_err(io::Error::other)
}
