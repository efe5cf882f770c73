//! What the tenant may not do: capabilities and system calls.

use serde::Serialize;

use crate::config::Tenant;

/// A refused system call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deny {
    /// Its name, as in syscalls(2).
    pub syscall: &'static str,
    /// What it returns: `EPERM`, `ENOSYS` or `EAFNOSUPPORT`.
    pub errno: &'static str,
    /// Only with this argument; none means always.
    pub only: Option<Argument>,
    /// Why.
    pub reason: &'static str,
}

/// A value that an argument of a system call must have for the rule to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Argument {
    /// Position, 0 to 5.
    pub index: u8,
    /// Value; the low 32 bits are compared.
    pub value: u32,
}

/// Capabilities and system calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecurityPlan {
    /// The bounding set, see capabilities(7): everything else is gone for good.
    pub capabilities: Vec<&'static str>,
    /// The seccomp(2) filter: a deny list, in order.
    pub denied: Vec<Deny>,
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

const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;

/// One table, by reason. ENOSYS where programs have a fallback for kernels without the call, EPERM
/// where they expect a container to refuse.
#[rustfmt::skip]
const DENIED: &[(&str, &str, Option<Argument>, &str)] = &[
    ("init_module",        "EPERM",  None, "kernel modules belong to the host"),
    ("finit_module",       "EPERM",  None, "kernel modules belong to the host"),
    ("delete_module",      "EPERM",  None, "kernel modules belong to the host"),
    ("kexec_load",         "EPERM",  None, "the kernel belongs to the host"),
    ("kexec_file_load",    "EPERM",  None, "the kernel belongs to the host"),
    ("open_by_handle_at",  "EPERM",  None, "reaches files outside the tenant's mounts"),
    ("lookup_dcookie",     "EPERM",  None, "reaches paths outside the tenant's mounts"),
    ("swapon",             "EPERM",  None, "swap belongs to the host"),
    ("swapoff",            "EPERM",  None, "swap belongs to the host"),
    ("acct",               "EPERM",  None, "process accounting belongs to the host"),
    ("quotactl",           "EPERM",  None, "quotas are the host's limits on the tenant"),
    ("quotactl_fd",        "EPERM",  None, "quotas are the host's limits on the tenant"),
    ("iopl",               "EPERM",  None, "I/O ports belong to the host"),
    ("ioperm",             "EPERM",  None, "I/O ports belong to the host"),
    ("settimeofday",       "EPERM",  None, "the clock belongs to the host"),
    ("clock_settime",      "EPERM",  None, "the clock belongs to the host"),
    ("syslog",             "EPERM",  None, "the kernel log tells of other tenants"),
    ("bpf",                "EPERM",  None, "attack surface of the verifier"),
    ("perf_event_open",    "EPERM",  None, "attack surface, and a side channel between tenants"),
    ("userfaultfd",        "EPERM",  None, "widens races in the kernel"),
    ("add_key",            "ENOSYS", None, "key quotas are not per user namespace"),
    ("request_key",        "ENOSYS", None, "calls out to the host's key helper"),
    ("keyctl",             "ENOSYS", None, "key quotas are not per user namespace"),
    ("io_uring_setup",     "ENOSYS", None, "attack surface, and not covered by this filter"),
    ("io_uring_enter",     "ENOSYS", None, "attack surface, and not covered by this filter"),
    ("io_uring_register",  "ENOSYS", None, "attack surface, and not covered by this filter"),
    ("io_setup",           "ENOSYS", None, "fs.aio-max-nr is one pool for the whole host"),
    ("vmsplice",           "EPERM",  None, "lends page-cache pages to pipes"),
    ("socket",             "EAFNOSUPPORT", Some(Argument { index: 0, value: AF_ALG }),   "loads modules, writes to the page cache"),
    ("socket",             "EAFNOSUPPORT", Some(Argument { index: 0, value: AF_VSOCK }), "has no namespaces"),
    ("ioctl",              "EPERM",  Some(Argument { index: 1, value: TIOCSTI }),   "types into another's terminal"),
    ("ioctl",              "EPERM",  Some(Argument { index: 1, value: TIOCLINUX }), "types into another's terminal"),
];

pub(super) fn plan(tenant: &Tenant) -> SecurityPlan {
    let is_kept = |name: &&str| !tenant.drop_capabilities.iter().any(|dropped| dropped == name);
    SecurityPlan {
        capabilities: CAPABILITIES.into_iter().filter(is_kept).collect(),
        denied: DENIED
            .iter()
            .map(|&(syscall, errno, only, reason)| Deny { syscall, errno, only, reason })
            .collect(),
    }
}
