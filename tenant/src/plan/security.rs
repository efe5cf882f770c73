//! What the tenant may not do: capabilities, system calls, and what an AppArmor profile refuses.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use super::PlanError;
use crate::{
    config::Tenant,
    model::{
        apparmor::{AppArmorProfile, SHIPPED},
        facts::HostFacts,
        syscall::AllowedCall,
    },
};

/// What a refused system call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Answer {
    /// `EPERM`, where programs expect a container to refuse.
    #[serde(rename = "EPERM")]
    NotPermitted,
    /// `ENOSYS`, where programs have another way on kernels without the call.
    #[serde(rename = "ENOSYS")]
    NotImplemented,
    /// `EAFNOSUPPORT`: the kernel has no such family of sockets.
    #[serde(rename = "EAFNOSUPPORT")]
    NoFamily,
    /// `EPROTONOSUPPORT`: the family has no such protocol.
    #[serde(rename = "EPROTONOSUPPORT")]
    NoProtocol,
    /// 0, without effect.
    #[serde(rename = "0")]
    Done,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPermitted => "EPERM",
            Self::NotImplemented => "ENOSYS",
            Self::NoFamily => "EAFNOSUPPORT",
            Self::NoProtocol => "EPROTONOSUPPORT",
            Self::Done => "0, without effect",
        })
    }
}

/// A refused system call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deny {
    /// Its name, as in syscalls(2).
    pub syscall: &'static str,
    /// What it returns.
    #[serde(rename = "errno")]
    pub answer: Answer,
    /// Only when all of these hold; none means always.
    pub only: &'static [Condition],
    /// Why.
    pub reason: &'static str,
}

/// What an argument of a system call must be for a rule to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Its name in the call's manual page.
    pub argument: &'static str,
    /// Its position in a 64-bit program's call, 0 to 5.
    pub index: u8,
    /// What it is compared with.
    pub test: Test,
}

/// A comparison. The arguments in the table are all of C's type `int` or `unsigned int`, of which the
/// kernel takes the low 32 bits, so these are what is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// It is this value.
    Is(Value),
    /// It is none of these values.
    NoneOf(&'static [Value]),
}

/// A value with its name in the kernel's headers.
pub type Value = (&'static str, u32);

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.test {
            Test::Is((name, _)) => write!(f, "{} is {name}", self.argument),
            Test::NoneOf(values) => {
                let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
                write!(f, "{} is not one of {}", self.argument, names.join(", "))
            }
        }
    }
}

impl fmt::Display for Deny {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.syscall)?;
        for (number, condition) in self.only.iter().enumerate() {
            write!(f, " {} {condition}", if number == 0 { "when" } else { "and" })?;
        }
        write!(f, ": {} ({})", self.answer, self.reason)
    }
}

/// Capabilities and system calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecurityPlan {
    /// The bounding set, see capabilities(7): everything else is gone for good.
    pub capabilities: Vec<&'static str>,
    /// The AppArmor profile of every process, see apparmor(7).
    pub apparmor: Option<String>,
    /// Whether no exec gives a process more, see `PR_SET_NO_NEW_PRIVS` of prctl(2).
    pub no_new_privs: bool,
    /// The seccomp(2) filter: a deny list. The first row that matches answers.
    pub denied: Vec<Deny>,
    /// Rows that are left out of it, because the tenant's file asks for that.
    pub allowed: Vec<AllowedCall>,
    /// The newest call that was considered for the list. Those with greater numbers return `ENOSYS`, and
    /// so do all of the x32 interface.
    pub newest: Value,
}

/// What a system needs inside its own namespaces. Left out: SYS_MODULE, SYS_RAWIO, SYS_TIME, SYSLOG,
/// WAKE_ALARM, BLOCK_SUSPEND, MAC_*, AUDIT_*, BPF, PERFMON, CHECKPOINT_RESTORE. SYS_BOOT stays: in a
/// pid namespace reboot(2) only ends that namespace.
const CAPABILITIES: [&str; 26] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_SETFCAP",
];

/// The newest call of Linux 6.18. New calls have one number on all architectures.
const NEWEST: Value = ("file_setattr", 469);

const fn is(argument: &'static str, index: u8, name: &'static str, value: u32) -> Condition {
    Condition { argument, index, test: Test::Is((name, value)) }
}

/// Families that a tenant has: what needs no module, or is a system's daily bread, and knows network
/// namespaces. All others load code into the host's kernel, few of them are ever used, and they have
/// been the way to more than one hole.
const FAMILIES: &[Value] =
    &[("AF_UNIX", 1), ("AF_INET", 2), ("AF_INET6", 10), ("AF_NETLINK", 16), ("AF_PACKET", 17)];

/// Likewise for netlink(7). The kernel looks for a module for each number it does not know.
const NETLINK: &[Value] = &[
    ("NETLINK_ROUTE", 0),
    ("NETLINK_USERSOCK", 2),
    ("NETLINK_SOCK_DIAG", 4),
    ("NETLINK_XFRM", 6),
    ("NETLINK_NETFILTER", 12),
    ("NETLINK_KOBJECT_UEVENT", 15),
    ("NETLINK_GENERIC", 16),
];

const FOREIGN_FAMILY: Condition = Condition { argument: "family", index: 0, test: Test::NoneOf(FAMILIES) };
const IS_NETLINK: Condition = is("family", 0, "AF_NETLINK", 16);
const FOREIGN_NETLINK: Condition = Condition { argument: "protocol", index: 2, test: Test::NoneOf(NETLINK) };

/// One table, by reason. `ENOSYS` where programs have a fallback for kernels without the call, `EPERM`
/// where they expect a container to refuse, success where the call is but advice.
#[rustfmt::skip]
const DENIED: &[(&str, Answer, &[Condition], &str)] = {
    use Answer::{Done, NoFamily, NoProtocol, NotImplemented, NotPermitted};
    &[
    ("init_module",        NotPermitted,   &[], "kernel modules belong to the host"),
    ("finit_module",       NotPermitted,   &[], "kernel modules belong to the host"),
    ("delete_module",      NotPermitted,   &[], "kernel modules belong to the host"),
    ("kexec_load",         NotPermitted,   &[], "the kernel belongs to the host"),
    ("kexec_file_load",    NotPermitted,   &[], "the kernel belongs to the host"),
    ("open_by_handle_at",  NotPermitted,   &[], "reaches files outside the tenant's mounts"),
    ("lookup_dcookie",     NotPermitted,   &[], "reaches paths outside the tenant's mounts"),
    ("swapon",             NotPermitted,   &[], "swap belongs to the host"),
    ("swapoff",            NotPermitted,   &[], "swap belongs to the host"),
    ("acct",               NotPermitted,   &[], "process accounting belongs to the host"),
    ("quotactl",           NotPermitted,   &[], "quotas are set by the host"),
    ("quotactl_fd",        NotPermitted,   &[], "quotas are set by the host"),
    ("iopl",               NotPermitted,   &[], "I/O ports belong to the host"),
    ("ioperm",             NotPermitted,   &[], "I/O ports belong to the host"),
    ("settimeofday",       NotPermitted,   &[], "the clock belongs to the host"),
    ("clock_settime",      NotPermitted,   &[], "the clock belongs to the host"),
    ("syslog",             NotPermitted,   &[], "the kernel log contains messages about other tenants"),
    ("bpf",                NotPermitted,   &[], "attack surface of the verifier"),
    ("perf_event_open",    NotPermitted,   &[], "attack surface, and a side channel between tenants"),
    ("userfaultfd",        NotPermitted,   &[], "widens races in the kernel"),
    ("add_key",            NotImplemented, &[], "key quotas are not per user namespace"),
    ("request_key",        NotImplemented, &[], "calls the host's key helper"),
    ("keyctl",             NotImplemented, &[], "key quotas are not per user namespace"),
    ("io_uring_setup",     NotImplemented, &[], "attack surface, and not covered by this filter"),
    ("io_uring_enter",     NotImplemented, &[], "attack surface, and not covered by this filter"),
    ("io_uring_register",  NotImplemented, &[], "attack surface, and not covered by this filter"),
    ("io_setup",           NotImplemented, &[], "fs.aio-max-nr is one pool for the whole host"),
    ("vmsplice",           NotPermitted,   &[], "lends page-cache pages to pipes"),
    ("cachestat",          NotImplemented, &[], "reveals which files of the shared image others read"),
    ("fadvise64",          Done, &[is("advice", 3, "POSIX_FADV_DONTNEED", 4)], "drops pages of the shared image from memory"),
    ("madvise",            Done, &[is("advice", 2, "MADV_PAGEOUT", 21)], "drops pages of the shared image from memory"),
    ("process_madvise",    Done, &[is("advice", 3, "MADV_PAGEOUT", 21)], "drops pages of the shared image from memory"),
    ("sync",               Done, &[], "writes back the data of all tenants; fsync is per file"),
    ("socket",             NoFamily, &[FOREIGN_FAMILY], "loads modules on the host, or is not namespaced"),
    ("socketpair",         NoFamily, &[FOREIGN_FAMILY], "loads modules on the host, or is not namespaced"),
    ("socket",             NoFamily, &[IS_NETLINK, is("protocol", 2, "NETLINK_AUDIT", 9)], "audit belongs to the host"),
    ("socket",             NoProtocol, &[IS_NETLINK, FOREIGN_NETLINK], "loads modules on the host"),
    ("socketcall",         NotImplemented, &[is("call", 0, "SYS_SOCKET", 1)], "hides the family from this filter"),
    ("socketcall",         NotImplemented, &[is("call", 0, "SYS_SOCKETPAIR", 8)], "hides the family from this filter"),
    ("ioctl",              NotPermitted, &[is("request", 1, "TIOCSTI", 0x5412)],   "inserts input into another terminal"),
    ("ioctl",              NotPermitted, &[is("request", 1, "TIOCLINUX", 0x541c)], "inserts input into another terminal"),
    ("ioctl",              NotPermitted, &[is("request", 1, "TIOCSETD", 0x5423)],  "loads line disciplines on the host"),
    ]
};

fn denied() -> impl Iterator<Item = Deny> {
    DENIED.iter().map(|&(syscall, answer, only, reason)| Deny { syscall, answer, only, reason })
}

pub(super) fn plan(tenant: &Tenant, facts: &HostFacts) -> Result<SecurityPlan, PlanError> {
    let is_kept = |name: &&str| !tenant.drop_capabilities.iter().any(|dropped| dropped == name);
    Ok(SecurityPlan {
        capabilities: CAPABILITIES.into_iter().filter(is_kept).collect(),
        apparmor: apparmor(tenant.apparmor.as_ref(), facts)?.map(str::to_owned),
        no_new_privs: tenant.no_new_privs,
        ..SecurityPlan::shipped(&tenant.allow_syscalls)
    })
}

/// What is named must be there; what nothing names is a layer more where it is.
fn apparmor<'a>(named: Option<&'a AppArmorProfile>, facts: &HostFacts) -> Result<Option<&'a str>, PlanError> {
    let is_loaded = |name: &&str| facts.apparmor.contains(*name);
    match named.map(AppArmorProfile::name) {
        None => Ok(Some(SHIPPED).filter(is_loaded)),
        Some(None) => Ok(None),
        Some(Some(name)) if is_loaded(&name) => Ok(Some(name)),
        Some(Some(name)) => Err(PlanError::AppArmor(name.to_owned())),
    }
}

impl SecurityPlan {
    /// What every tenant is refused, but for these calls.
    pub fn shipped(allowed: &[AllowedCall]) -> Self {
        let allowed: BTreeSet<AllowedCall> = allowed.iter().copied().collect();
        let is_allowed = |deny: &Deny| allowed.iter().any(|call| call.name() == deny.syscall);
        Self {
            capabilities: CAPABILITIES.to_vec(),
            apparmor: None,
            no_new_privs: false,
            denied: denied().filter(|deny| !is_allowed(deny)).collect(),
            allowed: allowed.iter().copied().collect(),
            newest: NEWEST,
        }
    }
}
