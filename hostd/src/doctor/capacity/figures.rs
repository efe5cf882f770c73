//! What one tenant takes: a Debian tenant of the image that `rootfsctl build debian` makes, booted and idle.
//!
//! Each figure is at least what was measured on Linux 6.18 (5 tenants at once; given behind each), and at most
//! three times that: `tests/tests/doctor.rs` measures them again at every run, so that they cannot rot. A
//! Debian that is not tuned (logind, sshd, a getty, journald always running) takes more of some; given too.

/// Pseudoterminals besides the console and the ttys: one login or `exec --tty` at a time. Measured: 0 when
/// no process is there.
pub const LOGINS: u64 = 1;
/// Processes and threads, the supervisor's included. Measured: 2; not tuned: 7.
pub const TASKS: u64 = 6;
/// Open files, the supervisor's included. Measured: 53; not tuned: 105.
pub const FILES: u64 = 110;
/// Descriptors of hostd, besides [`HOSTD_FILES`]. Measured: 3 (the supervisor, and two files of its cgroups
/// once a client has asked for its state), more while it starts.
pub const HOSTD_DESCRIPTORS: u64 = 4;
/// Descriptors of hostd without any tenant, with requests in progress. Measured: 13.
pub const HOSTD_FILES: u64 = 64;
/// cgroups of the v2 hierarchy, the unit's three included. Measured: 5; not tuned: 14.
pub const CGROUPS: u64 = 14;
/// Entries of the IPv6 neighbour table, of all network namespaces, for each veth: groups of multicast.
/// Measured: 3. Permanent entries are more (2 of each family), and the kernel does not count them
/// (`neigh_alloc` in `net/core/neighbour.c`).
pub const NEIGHBOURS6: u64 = 4;
/// Entries of either neighbour table for each interface at a bridge or a NIC of the host: one for its gateway,
/// and the gateway's for it where that is the host. Routed interfaces have permanent ones.
pub const NEIGHBOURS_LAN: u64 = 2;
/// Permanent entries of each neighbour table for a routed interface: in the tenant and on the host.
pub const NEIGHBOURS_PERMANENT: u64 = 2;
/// Bytes on disk after the first boot. Measured: 132 KiB; not tuned: 8.2 MiB, nearly all of it the journal.
pub const DISK: u64 = 384 << 10;
/// Files and directories on disk after the first boot. Measured: 33; not tuned: 45.
pub const INODES: u64 = 64;
/// Bytes below `/run/tenantry`. Measured: 20 KiB.
pub const RUN: u64 = 32 << 10;
/// Files and directories below `/run/tenantry`. Measured: 8.
pub const RUN_INODES: u64 = 12;
/// Memory, bytes: 3.08 MiB is "memory per system, 100 idle" of the benchmarks; not tuned: 9.13 MiB.
pub const MEMORY: u64 = 3_200 << 10;
/// Connections that one tenant may keep the host busy with, `flows` in `tenantry.nft`.
pub const FLOWS: u64 = 8_192;
/// Memory cgroups that the kernel can number: `MEM_CGROUP_ID_MAX` in `mm/memcontrol.c`.
pub const MEMORY_CGROUPS: u64 = 65_535;
/// Ports of a bridge: `BR_PORT_BITS` in `net/bridge/br_private.h`, without number 0.
pub const BRIDGE_PORTS: u64 = 1_023;
/// Keys of root for each unit where systemd starts it: its session keyring and `invocation_id`.
pub const UNIT_KEYS: u64 = 2;
/// Bytes of those keys.
pub const UNIT_KEY_BYTES: u64 = 128;

/// What every tenant has for itself: the key of sysctl(8), what it is, how much a tenant needs. They are
/// counted for the user id that owns the tenant's user namespace (`inc_ucount` in `kernel/ucount.c`), for the
/// tenant's own user id (keys), or for a mount namespace; so they do not grow with the number of tenants.
pub const OWN: [(&str, &str, u64); 13] = [
    // Measured: 3 instances with 4 watches; not tuned: 8 with 26.
    ("fs.inotify.max_user_instances", "inotify instances of a tenant", 8),
    ("fs.inotify.max_user_watches", "inotify watches of a tenant", 12),
    // Measured: 1 of each, and the user namespace around it; not tuned: 2 of mnt and uts.
    ("user.max_user_namespaces", "user namespaces of a tenant", 3),
    ("user.max_mnt_namespaces", "mount namespaces of a tenant", 3),
    ("user.max_pid_namespaces", "pid namespaces of a tenant", 2),
    ("user.max_uts_namespaces", "uts namespaces of a tenant", 3),
    ("user.max_ipc_namespaces", "ipc namespaces of a tenant", 2),
    ("user.max_net_namespaces", "network namespaces of a tenant", 2),
    ("user.max_cgroup_namespaces", "cgroup namespaces of a tenant", 2),
    ("user.max_time_namespaces", "time namespaces of a tenant", 2),
    // Measured: 1 key of 5 bytes.
    ("kernel.keys.maxkeys", "keys of a tenant", 3),
    ("kernel.keys.maxbytes", "bytes of keys of a tenant", 15),
    // Measured: 18; not tuned: 23.
    ("fs.mount-max", "mounts in a mount namespace", 36),
];
