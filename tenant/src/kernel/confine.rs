//! Taking capabilities and system calls away from the calling process, for good.

use std::{collections::BTreeMap, io};

use caps::{CapSet, Capability, CapsHashSet};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

use super::raw;
use crate::plan::{Deny, SecurityPlan};

/// Numbers of the system calls that the plan's table may name.
const SYSCALLS: &[(&str, i64)] = &[
    ("acct", libc::SYS_acct),
    ("add_key", libc::SYS_add_key),
    ("bpf", libc::SYS_bpf),
    ("clock_settime", libc::SYS_clock_settime),
    ("delete_module", libc::SYS_delete_module),
    ("finit_module", libc::SYS_finit_module),
    ("init_module", libc::SYS_init_module),
    ("io_setup", libc::SYS_io_setup),
    ("io_uring_enter", libc::SYS_io_uring_enter),
    ("io_uring_register", libc::SYS_io_uring_register),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("ioctl", libc::SYS_ioctl),
    ("kexec_file_load", libc::SYS_kexec_file_load),
    ("kexec_load", libc::SYS_kexec_load),
    ("keyctl", libc::SYS_keyctl),
    ("lookup_dcookie", libc::SYS_lookup_dcookie),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("quotactl", libc::SYS_quotactl),
    ("quotactl_fd", libc::SYS_quotactl_fd),
    ("request_key", libc::SYS_request_key),
    ("settimeofday", libc::SYS_settimeofday),
    ("socket", libc::SYS_socket),
    ("swapoff", libc::SYS_swapoff),
    ("swapon", libc::SYS_swapon),
    ("syslog", libc::SYS_syslog),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("vmsplice", libc::SYS_vmsplice),
    #[cfg(target_arch = "x86_64")]
    ("ioperm", libc::SYS_ioperm),
    #[cfg(target_arch = "x86_64")]
    ("iopl", libc::SYS_iopl),
];

/// Calls that only some architectures have.
const OPTIONAL: [&str; 2] = ["ioperm", "iopl"];

fn number(syscall: &str) -> io::Result<Option<i64>> {
    match SYSCALLS.iter().find(|(name, _)| *name == syscall) {
        Some((_, number)) => Ok(Some(*number)),
        None if OPTIONAL.contains(&syscall) => Ok(None),
        None => Err(io::Error::other(format!("the seccomp table names an unknown call, {syscall}"))),
    }
}

fn errno(name: &str) -> io::Result<u32> {
    let number = match name {
        "EPERM" => libc::EPERM,
        "ENOSYS" => libc::ENOSYS,
        "EAFNOSUPPORT" => libc::EAFNOSUPPORT,
        _ => return Err(io::Error::other(format!("the seccomp table names an unknown errno, {name}"))),
    };
    Ok(number as u32)
}

fn conditions(deny: &Deny) -> io::Result<Vec<SeccompRule>> {
    let Some(only) = deny.only else { return Ok(Vec::new()) };
    let (length, value) = (SeccompCmpArgLen::Dword, u64::from(only.value));
    let condition = SeccompCondition::new(only.index, length, SeccompCmpOp::Eq, value);
    let rule = condition.and_then(|condition| SeccompRule::new(vec![condition]));
    Ok(vec![rule.map_err(io::Error::other)?])
}

/// One filter for each errno, because a seccompiler filter has one action, and one against x32.
///
/// # Errors
/// A row of the table that names something unknown.
pub fn compile(denied: &[Deny]) -> io::Result<Vec<BpfProgram>> {
    let mut by_errno: BTreeMap<u32, BTreeMap<i64, Vec<SeccompRule>>> = BTreeMap::new();
    for deny in denied {
        let Some(number) = number(deny.syscall)? else { continue };
        let rules = by_errno.entry(errno(deny.errno)?).or_default();
        rules.entry(number).or_default().extend(conditions(deny)?);
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let mut programs = Vec::new();
    if cfg!(target_arch = "x86_64") {
        programs.push(refuse_x32());
    }
    for (errno, rules) in by_errno {
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), arch);
        let program = filter.and_then(BpfProgram::try_from);
        programs.push(program.map_err(io::Error::other)?);
    }
    Ok(programs)
}

/// Refuses the x32 calls of x86-64, the same kernel functions under other numbers: seccompiler's
/// filters look at the architecture, which is the same. See seccomp(2), "Architecture-specific details".
fn refuse_x32() -> BpfProgram {
    const X32_SYSCALL_BIT: u32 = 0x4000_0000;
    const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_GE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let statement = |code, k| sock_filter { code, jt: 0, jf: 0, k };
    vec![
        statement(LOAD_WORD, 0),
        sock_filter { code: JUMP_IF_GE, jt: 0, jf: 1, k: X32_SYSCALL_BIT },
        statement(RETURN, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        statement(RETURN, libc::SECCOMP_RET_ALLOW),
    ]
}

/// What a process is left with: capabilities, and the filters that its system calls pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// The bounding set, a bit for each capability, as `CapBnd` of proc_pid_status(5).
    pub bounding: u64,
    /// Whether no exec gives it more, see `PR_SET_NO_NEW_PRIVS` of prctl(2).
    pub no_new_privs: bool,
    /// The seccomp(2) filters, in the order in which they are installed.
    pub filters: Vec<BpfProgram>,
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
            no_new_privs: false,
            filters: compile(&plan.denied)?,
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

/// Drops every capability that is not kept, from all sets, and installs the filters.
///
/// # Errors
/// The failing call's; the process may then be confined in part and must end.
pub fn apply(plan: &SecurityPlan) -> io::Result<()> {
    Confinement::of(plan)?.apply()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_table_compiles() {
        let denied = [
            Deny { syscall: "bpf", errno: "EPERM", only: None, reason: "" },
            Deny { syscall: "keyctl", errno: "ENOSYS", only: None, reason: "" },
        ];
        assert_eq!(compile(&denied).unwrap().len(), 2 + usize::from(cfg!(target_arch = "x86_64")));
        let unknown = [Deny { syscall: "nonsense", errno: "EPERM", only: None, reason: "" }];
        assert!(compile(&unknown).is_err());
    }
}
