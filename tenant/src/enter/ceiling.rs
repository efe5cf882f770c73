//! What a tenant's init itself has at the moment: no process that joins the tenant gets more.

use std::{fs, io};

use rustix::{
    process::{Pid, getpriority_process, setpriority_process},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use super::rlimits::ResourceLimits;
use crate::{init::confine::Confinement, kernel::raw};

/// Powers of a running init, and its share of the machine.
#[derive(Clone, Debug)]
pub(super) struct Ceiling {
    /// Its capability bounding set, a bit for each capability.
    bounding: u64,
    no_new_privs: bool,
    limits: ResourceLimits,
    /// -20 to 19.
    nice: i32,
    /// -1000 to 1000, see proc_pid_oom_score_adj(5).
    oom_score_adj: i32,
    /// None on a machine with more processors than a set holds; then it may use what its cgroup may.
    cpus: Option<CpuSet>,
}

impl Ceiling {
    /// That of a process, which must be held by a pidfd and be alive afterwards.
    pub(super) fn of(pid: i32) -> io::Result<Self> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
        let process = Some(Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?);
        let (bounding, no_new_privs) = powers(&read("status")?).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self {
            bounding,
            no_new_privs,
            limits: ResourceLimits::of(&pid.to_string())?,
            nice: getpriority_process(process)?,
            oom_score_adj: read("oom_score_adj")?.trim().parse().map_err(io::Error::other)?,
            cpus: sched_getaffinity(process).ok(),
        })
    }

    /// A confinement, and nothing that init has not.
    pub(super) fn confine(&self, recorded: &Confinement) -> Confinement {
        Confinement {
            bounding: recorded.bounding & self.bounding,
            no_new_privs: recorded.no_new_privs || self.no_new_privs,
            filters: recorded.filters.clone(),
        }
    }

    /// Gives the calling process, which is still one of the host, init's share of the machine in place of its
    /// own, and the limits that init was started with.
    pub(super) fn share(&self, recorded: &ResourceLimits) -> io::Result<()> {
        recorded.within(&self.limits).apply()?;
        raw::reset_io_priority()?;
        match setpriority_process(None, self.nice) {
            // Without CAP_SYS_NICE it stays less urgent than init.
            Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => {}
            result => result?,
        }
        if let Some(cpus) = &self.cpus {
            sched_setaffinity(None, cpus)?;
        }
        let adjust = || fs::write("/proc/self/oom_score_adj", self.oom_score_adj.to_string());
        match adjust() {
            // Without CAP_SYS_RESOURCE it stays more likely to be killed than init.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            result => result,
        }
    }
}

/// Bounding set and no-new-privileges of proc_pid_status(5).
fn powers(status: &str) -> Option<(u64, bool)> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
    };
    Some((u64::from_str_radix(field("CapBnd")?, 16).ok()?, field("NoNewPrivs")? == "1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_those_that_the_kernel_tells() {
        let status = "Name:\tinit\nCapEff:\t0000000000000001\nCapBnd:\t00000000000000ff\nNoNewPrivs:\t1\n";
        assert_eq!(powers(status), Some((0xff, true)));
        assert_eq!(powers("Name:\tinit\n"), None);
        assert!(Ceiling::of(std::process::id() as i32).is_ok());
    }

    #[test]
    fn a_confinement_never_exceeds_init() {
        let own = Ceiling::of(std::process::id() as i32).unwrap();
        let init = Ceiling { bounding: 0b0110, no_new_privs: true, ..own };
        let recorded = Confinement { bounding: 0b0011, no_new_privs: false, filters: vec![Vec::new()] };
        let confined = init.confine(&recorded);
        assert_eq!((confined.bounding, confined.no_new_privs), (0b0010, true));
        assert_eq!(confined.filters, recorded.filters);
    }
}
