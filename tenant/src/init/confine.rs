//! Taking capabilities and system calls away from the calling process, for good.

use std::{fs, io};

use caps::{CapSet, Capability, CapsHashSet};

use super::seccomp;
use crate::{kernel::raw, plan::SecurityPlan};

/// What a process is left with: capabilities, and the filters that its system calls pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// The bounding set, a bit for each capability, as `CapBnd` of proc_pid_status(5).
    pub bounding: u64,
    /// Whether no exec gives it more, see `PR_SET_NO_NEW_PRIVS` of prctl(2).
    pub no_new_privs: bool,
    /// The seccomp(2) filters, in the order in which they are installed.
    pub filters: Vec<Vec<raw::Instruction>>,
}

impl Confinement {
    /// What a plan leaves to a tenant.
    ///
    /// # Errors
    /// A row of the plan's tables that names something unknown.
    pub fn of(plan: &SecurityPlan) -> io::Result<Self> {
        let kept = plan.capabilities.iter().map(|name| name.parse::<Capability>());
        let kept: CapsHashSet = kept.collect::<Result<_, _>>().map_err(io::Error::other)?;
        Ok(Self {
            bounding: kept.iter().fold(0, |mask, capability| mask | capability.bitmask()),
            no_new_privs: plan.no_new_privs,
            filters: vec![seccomp::compile(plan)],
        })
    }

    /// Takes from the calling process, for good, what it is not left with: capabilities from all sets, and
    /// what the filters refuse.
    ///
    /// The order matters. A filter is installed with CAP_SYS_ADMIN in the user namespace, the bounding set
    /// shrinks with CAP_SETPCAP, and the tenant may be about to lose either.
    ///
    /// # Errors
    /// The failing call's; the process may then be confined in part and must end.
    pub fn apply(&self) -> io::Result<()> {
        let is_kept = |capability: &Capability| self.bounding & capability.bitmask() != 0;
        self.filters.iter().try_for_each(|program| raw::seccomp(program))?;
        for capability in caps::runtime::thread_all_supported() {
            if !is_kept(&capability) {
                caps::drop(None, CapSet::Bounding, capability).map_err(io::Error::other)?;
            }
        }
        caps::clear(None, CapSet::Ambient).map_err(io::Error::other)?;
        caps::set(None, CapSet::Inheritable, &CapsHashSet::new()).map_err(io::Error::other)?;
        let permitted = caps::read(None, CapSet::Permitted).map_err(io::Error::other)?;
        let permitted: CapsHashSet = permitted.into_iter().filter(is_kept).collect();
        caps::set(None, CapSet::Effective, &permitted).map_err(io::Error::other)?;
        caps::set(None, CapSet::Permitted, &permitted).map_err(io::Error::other)?;
        if self.no_new_privs {
            nix::sys::prctl::set_no_new_privs()?;
        }
        Ok(())
    }
}

/// The calling process is under an AppArmor profile when it has executed another program, and so is what it starts
/// until then. It must still see the host's `/proc`; see `aa_change_onexec(2)`.
///
/// # Errors
/// The profile is not loaded, or the caller's own does not allow it.
pub fn change_profile_on_exec(profile: &str) -> io::Result<()> {
    fs::write("/proc/thread-self/attr/apparmor/exec", format!("exec {profile}"))
}

/// Drops every capability that is not kept, from all sets, and installs the filters.
///
/// # Errors
/// The failing call's; the process may then be confined in part and must end.
pub fn apply(plan: &SecurityPlan) -> io::Result<()> {
    Confinement::of(plan)?.apply()
}
