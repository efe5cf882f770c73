//! Every key of lxc.container.conf(5), its old spellings, and what becomes of it.
//!
//! The table is also the documentation: a test compares it with `docs/reference/lxc.md`.

use super::{cgroup, draft::Rule, general, mounts, security};

/// A key of LXC.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its present name; `N` is a number, `*` is anything.
    pub name: &'static str,
    /// Its names before LXC 3, if others.
    pub old: &'static str,
    /// Whether it may stand there several times; of another the last one counts.
    pub list: bool,
    /// What becomes of it.
    pub becomes: &'static str,
    pub(super) rule: Rule,
}

const fn one(name: &'static str, old: &'static str, becomes: &'static str, rule: Rule) -> Key {
    Key { name, old, list: false, becomes, rule }
}

const fn many(name: &'static str, old: &'static str, becomes: &'static str, rule: Rule) -> Key {
    Key { name, old, list: true, becomes, rule }
}

use Rule::{CpuQuota, Devices, Each, Network, Never, Notice, Swap};

/// All of them. A key that ends in `*` comes behind those that it would match too.
#[rustfmt::skip] // a row is a line
pub const KEYS: &[Key] = &[
    one("lxc.uts.name", "lxc.utsname", "`hostname`, and the tenant's name unless `--name` gives one", Each(general::hostname)),
    one("lxc.arch", "", "nothing if it is that of this machine, else a warning", Each(general::arch)),
    many("lxc.include", "", "the file, or each `*.conf` of the directory, is read in place", Each(general::include)),
    one("lxc.init.cmd", "lxc.init_cmd", "`init`", Each(general::init)),
    one("lxc.execute.cmd", "", "warning: pass the command to `lxc-execute`", Never("pass the command to lxc-execute")),
    one("lxc.init.cwd", "", "nothing if `/`, else a warning", Each(general::init_cwd)),
    one("lxc.init.uid", "lxc.init_uid", "nothing if 0, else a warning", Each(general::init_id)),
    one("lxc.init.gid", "lxc.init_gid", "nothing if 0, else a warning", Each(general::init_id)),
    one("lxc.init.groups", "", "warning: init is root inside", Never("init is root inside; it can start programs as other users")),
    one("lxc.signal.halt", "lxc.haltsignal", "`stop_signal`", Each(general::stop_signal)),
    one("lxc.signal.reboot", "lxc.rebootsignal", "nothing: a restart is a stop and a start", Notice("a restart is a stop and a start; reboot(2) inside also reboots")),
    one("lxc.signal.stop", "lxc.stopsignal", "nothing: the tenant is killed after `stop_timeout_sec`", Notice("the tenant is killed after stop_timeout_sec")),
    one("lxc.start.auto", "", "`autostart`", Each(general::autostart)),
    one("lxc.start.delay", "", "nothing if 0, else a warning: tenants start in parallel", Each(general::start_order)),
    one("lxc.start.order", "", "nothing if 0, else a warning: tenants start in parallel", Each(general::start_order)),
    many("lxc.group", "", "nothing: LXC's groups select containers for lxc-autostart; `group` of a tenant concerns its network", Notice("LXC's groups select containers for lxc-autostart: use autostart; `group` of a tenant concerns its network")),
    one("lxc.ephemeral", "", "nothing if 0; 1 is a warning", Each(general::ephemeral)),
    many("lxc.environment", "", "`env`; without a value a warning", Each(general::environment)),
    many("lxc.environment.runtime", "", "`env`; without a value a warning", Each(general::environment)),
    many("lxc.environment.hooks", "", "warning: hooks are not supported", Never("hooks are not supported")),
    one("lxc.pty.max", "lxc.pts", "`pts_max`, 16 to 4096", Each(general::pts_max)),
    one("lxc.tty.max", "lxc.tty", "`ttys`, at most 63", Each(general::ttys)),
    one("lxc.tty.dir", "lxc.devttydir", "nothing: ttys are nodes of the tenant's own /dev", Notice("ttys are nodes of the tenant's own /dev, which packages do not modify")),
    one("lxc.console.path", "lxc.console", "nothing if `none` or `auto`, else a warning", Each(general::console_path)),
    one("lxc.console.logfile", "", "nothing: every console is logged", Notice("every console is logged: tenantctl logs")),
    one("lxc.console.size", "", "`console_log`, 4K to 64M", Each(general::console_log)),
    one("lxc.console.buffer.size", "", "`console_log`, 4K to 64M", Each(general::console_log)),
    one("lxc.console.rotate", "", "nothing: logs are rotated automatically", Notice("logs are rotated automatically")),
    one("lxc.rootfs.path", "lxc.rootfs", "`image`, named after the directory; `profile = \"os\"`", Each(mounts::rootfs)),
    one("lxc.rootfs.mount", "", "nothing: there is no mount on the host", Notice("there is no mount on the host")),
    one("lxc.rootfs.options", "", "nothing for `idmap=container`, `noatime`, `nodev`, `nosuid`, `rw`; else a warning", Each(mounts::rootfs_options)),
    one("lxc.rootfs.backend", "", "nothing for a directory; else a warning", Each(mounts::backend)),
    one("lxc.rootfs.managed", "", "nothing: an image never changes", Notice("an image never changes")),
    one("lxc.pivotdir", "", "nothing: LXC ignores it too", Notice("LXC since 1.1 ignores it too")),
    one("lxc.mount.fstab", "lxc.mount", "each line as `lxc.mount.entry`", Each(mounts::fstab)),
    many("lxc.mount.entry", "", "`dirs`: a bind of a directory, or a tmpfs; nothing for the kernel's own filesystems, and for an `optional` entry whose source does not exist", Each(mounts::entry)),
    many("lxc.mount.auto", "", "nothing for `proc`, `sys`, `cgroup`; a warning for writable ones of the host", Each(mounts::auto)),
    one("lxc.autodev", "", "nothing: every tenant has a fresh /dev", Notice("every tenant has a fresh /dev with null, zero, full, random, urandom, tty")),
    one("lxc.autodev.tmpfs.size", "", "nothing: see `lxc.autodev`", Notice("every tenant has a fresh /dev")),
    one("lxc.kmsg", "", "nothing: a tenant does not see the kernel's log", Notice("a tenant does not see the kernel's log")),
    many("lxc.net", "lxc.network", "without a value: clears the NICs before it", Notice("LXC expects a value")),
    one("lxc.net.N.type", "lxc.network.type", "`mode`: `veth` with a link `bridge`, without one or with `veth.mode = router` `routed`; `macvlan`, `vlan`, `phys`; `empty` is `none`; `none` and `ipvlan` are warnings", Network),
    one("lxc.net.N.link", "lxc.network.link", "`link`", Network),
    one("lxc.net.N.name", "lxc.network.name", "`name`", Network),
    one("lxc.net.N.flags", "lxc.network.flags", "nothing: every NIC is up", Network),
    one("lxc.net.N.hwaddr", "lxc.network.hwaddr", "`mac`; with `x` in it, a stable one is generated", Network),
    one("lxc.net.N.mtu", "lxc.network.mtu", "`mtu`, 1280 to 65535", Network),
    many("lxc.net.N.ipv4.address", "lxc.network.ipv4", "`addresses`; without a prefix, that of its class, as in LXC", Network),
    many("lxc.net.N.ipv6.address", "lxc.network.ipv6", "`addresses`; without a prefix /64, as in LXC", Network),
    one("lxc.net.N.ipv4.gateway", "lxc.network.ipv4.gateway", "`gateways`; `dev` is the route `0.0.0.0/0`; `auto` is a warning; the host itself for a routed NIC", Network),
    one("lxc.net.N.ipv6.gateway", "lxc.network.ipv6.gateway", "`gateways`; `dev` is the route `::/0`; `auto` is a warning; the host itself for a routed NIC", Network),
    one("lxc.net.N.macvlan.mode", "lxc.network.macvlan.mode", "`macvlan`; `private` if absent, as in LXC; `passthru` is a warning", Network),
    one("lxc.net.N.vlan.id", "lxc.network.vlan.id", "`vlan`", Network),
    one("lxc.net.N.veth.mode", "", "`mode`: `bridge` or `routed`", Network),
    one("lxc.net.N.veth.pair", "lxc.network.veth.pair", "nothing: the host end has the altname `ve-NAME`", Network),
    many("lxc.net.N.veth.ipv4.route", "", "warning: a route of the host", Network),
    many("lxc.net.N.veth.ipv6.route", "", "warning: a route of the host", Network),
    one("lxc.net.N.veth.n_rxqueues", "", "nothing: the kernel chooses", Network),
    one("lxc.net.N.veth.n_txqueues", "", "nothing: the kernel chooses", Network),
    one("lxc.net.N.veth.vlan.id", "", "warning: use `mode = \"vlan\"`", Network),
    many("lxc.net.N.veth.vlan.tagged.id", "", "warning: use `mode = \"vlan\"`", Network),
    one("lxc.net.N.ipvlan.mode", "", "warning: ipvlan is not supported", Network),
    one("lxc.net.N.ipvlan.isolation", "", "warning: ipvlan is not supported", Network),
    one("lxc.net.N.l2proxy", "", "nothing if 0; 1 is a warning", Network),
    one("lxc.net.N.script.up", "lxc.network.script.up", "warning: scripts on the host are not supported", Network),
    one("lxc.net.N.script.down", "lxc.network.script.down", "warning: scripts on the host are not supported", Network),
    many("lxc.cgroup.devices.allow", "", "`devices`, the sum of all rules; `tun` for `c 10:200` and `fuse` for `c 10:229`, but not from an included file; a warning for devices without a node in a tenant's /dev", Devices),
    many("lxc.cgroup.devices.deny", "", "`devices`, the sum of all rules", Devices),
    many("lxc.cgroup2.devices.allow", "", "`devices`, the sum of all rules; `tun` for `c 10:200` and `fuse` for `c 10:229`, but not from an included file; a warning for devices without a node in a tenant's /dev", Devices),
    many("lxc.cgroup2.devices.deny", "", "`devices`, the sum of all rules", Devices),
    one("lxc.cgroup.memory.limit_in_bytes", "", "`memory_max`", Each(cgroup::memory_max)),
    one("lxc.cgroup2.memory.max", "", "`memory_max`", Each(cgroup::memory_max)),
    one("lxc.cgroup.memory.soft_limit_in_bytes", "", "`memory_high`, which always applies", Each(cgroup::memory_high)),
    one("lxc.cgroup2.memory.high", "", "`memory_high`", Each(cgroup::memory_high)),
    one("lxc.cgroup.memory.memsw.limit_in_bytes", "", "`memory_swap_max`, the difference to the memory limit", Swap),
    one("lxc.cgroup2.memory.swap.max", "", "`memory_swap_max`", Swap),
    one("lxc.cgroup.cpu.shares", "", "`cpu_weight`: 1024 shares are 100", Each(cgroup::cpu_shares)),
    one("lxc.cgroup2.cpu.weight", "", "`cpu_weight`", Each(cgroup::cpu_weight)),
    one("lxc.cgroup.cpu.cfs_quota_us", "", "`cpu_quota`, with the period", CpuQuota),
    one("lxc.cgroup.cpu.cfs_period_us", "", "`cpu_quota`, with the quota", CpuQuota),
    one("lxc.cgroup2.cpu.max", "", "`cpu_quota`", CpuQuota),
    one("lxc.cgroup.pids.max", "", "`tasks_max`", Each(cgroup::tasks_max)),
    one("lxc.cgroup2.pids.max", "", "`tasks_max`", Each(cgroup::tasks_max)),
    one("lxc.cgroup.blkio.weight", "", "`io_weight`: 500 is 100", Each(cgroup::blkio_weight)),
    one("lxc.cgroup.blkio.bfq.weight", "", "`io_weight`", Each(cgroup::io_weight)),
    one("lxc.cgroup2.io.weight", "", "`io_weight`", Each(cgroup::io_weight)),
    one("lxc.cgroup2.io.bfq.weight", "", "`io_weight`", Each(cgroup::io_weight)),
    one("lxc.cgroup2.cgroup.max.descendants", "", "`cgroups_max`", Each(cgroup::cgroups_max)),
    one("lxc.cgroup.cpuset.*", "", "warning: CPUs are shared by weight and quota", Never("tenants cannot be bound to CPUs or memory nodes: use cpu_weight and cpu_quota")),
    one("lxc.cgroup2.cpuset.*", "", "warning: CPUs are shared by weight and quota", Never("tenants cannot be bound to CPUs or memory nodes: use cpu_weight and cpu_quota")),
    one("lxc.cgroup.net_cls.*", "", "warning: use `net_rate`", Never("packets are not classified by cgroup: use net_rate")),
    one("lxc.cgroup.net_prio.*", "", "warning: use `net_rate`", Never("packets are not classified by cgroup: use net_rate")),
    one("lxc.cgroup.dir", "", "nothing: the host has its own cgroup tree", Notice("the host has its own cgroup tree")),
    one("lxc.cgroup.dir.*", "", "nothing: the host has its own cgroup tree", Notice("the host has its own cgroup tree")),
    one("lxc.cgroup.relative", "", "nothing: the host has its own cgroup tree", Notice("the host has its own cgroup tree")),
    one("lxc.cgroup.*", "", "warning", Never("no key of a tenant sets this file; `tenantctl explain` lists the limits")),
    one("lxc.cgroup2.*", "", "warning", Never("no key of a tenant sets this file; `tenantctl explain` lists the limits")),
    many("lxc.cap.drop", "", "`drop_capabilities`", Rule::Capabilities),
    many("lxc.cap.keep", "", "`drop_capabilities`: all others", Rule::Capabilities),
    many("lxc.idmap", "lxc.id_map", "nothing for the tenant, which has its own 65,536 ids; the import of the root filesystem uses it to map owners back", Each(security::idmap)),
    one("lxc.sysctl.net.*", "", "`sysctl`", Each(security::sysctl)),
    one("lxc.sysctl.*", "", "warning: only keys below `net.` are possible", Never("a tenant can set only keys below net.; the others belong to the host")),
    one("lxc.proc.*", "", "warning", Never("the host does not write to /proc for a tenant; init inside can")),
    one("lxc.prlimit.*", "lxc.limit.*", "warning: set it in the tenant, e.g. `DefaultLimitNOFILE=` of systemd", Never("set limits of single processes inside, e.g. DefaultLimitNOFILE= of systemd or limits.conf; the host's default applies")),
    one("lxc.hook.version", "", "nothing by itself", Notice("it has no effect without hooks")),
    many("lxc.hook.clone", "", "nothing: each tenant is created with its own identity", Notice("each tenant is created with its own identity")),
    many("lxc.hook.*", "", "warning: scripts on the host are not supported", Never("scripts on the host are not supported; use the image, or a unit that runs tenantctl")),
    one("lxc.seccomp.profile", "lxc.seccomp", "nothing for LXC's own; else a warning", Each(security::seccomp)),
    one("lxc.seccomp.allow_nesting", "", "nothing: filters may be stacked", Notice("filters inside are added to the tenant's")),
    one("lxc.seccomp.notify.*", "", "warning", Never("system calls cannot be forwarded to a helper")),
    one("lxc.apparmor.profile", "lxc.aa_profile", "nothing for LXC's own, `generated`, `unconfined`, `unchanged`; else a warning", Each(security::apparmor)),
    one("lxc.apparmor.allow_incomplete", "lxc.aa_allow_incomplete", "nothing", Notice("tenants are confined by user namespace, capabilities and seccomp")),
    one("lxc.apparmor.allow_nesting", "", "nothing", Notice("tenants are confined by user namespace, capabilities and seccomp")),
    many("lxc.apparmor.raw", "", "warning", Never("rules go into /etc/apparmor.d/local/tenantry-tenant, or into a profile that the key `apparmor` names")),
    one("lxc.selinux.context", "lxc.se_context", "nothing for `unconfined_t`; else a warning", Each(security::selinux)),
    one("lxc.selinux.context.keyring", "", "nothing: keyrings are refused", Notice("a tenant has its own session keyring and cannot use others")),
    one("lxc.keyring.session", "", "nothing for 1; 0 is a warning", Each(security::keyring)),
    one("lxc.no_new_privs", "", "nothing for 0; 1 is a warning", Each(security::no_new_privs)),
    one("lxc.namespace.clone", "", "nothing: a tenant has its own namespaces of every kind", Notice("a tenant has its own namespaces of every kind")),
    one("lxc.namespace.keep", "", "warning: a tenant has its own namespaces of every kind", Never("a tenant has its own namespaces of every kind")),
    one("lxc.namespace.share.*", "", "warning: a tenant has its own namespaces of every kind", Never("a tenant has its own namespaces of every kind; tenants of one `group` can reach each other")),
    one("lxc.time.offset.*", "", "warning: clocks begin at zero", Never("a tenant's clocks begin at zero")),
    one("lxc.sched.core", "", "nothing for 0; 1 is a warning", Each(security::sched_core)),
    one("lxc.monitor.unshare", "", "nothing: the supervisor mounts nothing on the host", Notice("the supervisor mounts nothing on the host")),
    one("lxc.monitor.signal.pdeath", "", "nothing: init is killed with its supervisor", Notice("init is killed when its supervisor ends")),
    one("lxc.log.level", "lxc.loglevel", "nothing: hostd logs", Notice("hostd logs to the journal")),
    one("lxc.log.file", "lxc.logfile", "nothing: hostd logs", Notice("hostd logs to the journal")),
    one("lxc.log.syslog", "lxc.syslog", "nothing: hostd logs", Notice("hostd logs to the journal")),
];

/// Keys whose blank value clears everything below them, too.
const SPACES: &[&str] =
    &["lxc.net", "lxc.cgroup", "lxc.cgroup2", "lxc.hook", "lxc.prlimit", "lxc.sysctl", "lxc.proc"];

/// The key that a present name is of.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    let general = network_part(name).map(|(_, part)| format!("lxc.net.N.{part}"));
    let name = general.as_deref().unwrap_or(name);
    KEYS.iter().find(|key| match key.name.strip_suffix('*') {
        Some(prefix) => name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()),
        None => key.name == name,
    })
}

/// Number and rest of a key of a network interface.
pub(super) fn network_part(name: &str) -> Option<(u32, &str)> {
    let (number, part) = name.strip_prefix("lxc.net.")?.split_once('.')?;
    Some((number.parse().ok()?, part))
}

/// Whether a blank value of `clearing` clears `name`; both are present names.
pub(super) fn clears(clearing: &str, name: &str) -> bool {
    let is_nic = clearing.strip_prefix("lxc.net.").is_some_and(|n| n.parse::<u32>().is_ok());
    let below = || name.strip_prefix(clearing).is_some_and(|rest| rest.starts_with('.'));
    name == clearing || (SPACES.contains(&clearing) || is_nic) && below()
}

/// Gives keys their present names. Old network keys have no number: `lxc.network.type` begins the next
/// interface, and those that follow are of that one.
#[derive(Debug, Default)]
pub(super) struct Renamer {
    interfaces: u32,
}

impl Renamer {
    /// The present name of a key; none for an old network key before any `lxc.network.type`.
    pub(super) fn name(&mut self, key: &str) -> Option<String> {
        if let Some(rest) = key.strip_prefix("lxc.network.") {
            let (number, part) = match rest.split_once('.').map(|(n, part)| (n.parse().ok(), part)) {
                Some((Some(number), part)) => {
                    self.interfaces = self.interfaces.max(u32::saturating_add(number, 1));
                    (number, part)
                }
                _ if rest == "type" => {
                    self.interfaces = self.interfaces.saturating_add(1);
                    (self.interfaces - 1, rest)
                }
                _ if rest.bytes().all(|b| b.is_ascii_digit()) => return Some(format!("lxc.net.{rest}")),
                _ => (self.interfaces.checked_sub(1)?, rest),
            };
            let part = match part {
                "ipv4" | "ipv6" => format!("{part}.address"),
                other => other.to_owned(),
            };
            return Some(format!("lxc.net.{number}.{part}"));
        }
        if let Some(rest) = key.strip_prefix("lxc.limit.") {
            return Some(format!("lxc.prlimit.{rest}"));
        }
        let renamed = KEYS.iter().find(|known| known.old == key && !known.old.is_empty());
        Some(renamed.map_or(key, |known| known.name).to_owned())
    }
}

/// The known key that is most like an unknown one.
pub(super) fn nearest(key: &str) -> Option<&'static str> {
    let names = KEYS.iter().flat_map(|known| [known.name, known.old]).filter(|name| !name.is_empty());
    let likeness = |name: &&str| strsim::jaro_winkler(name, key);
    names.filter(|name| likeness(name) > 0.9).max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_old_name_leads_to_a_key() {
        for key in KEYS.iter().filter(|key| !key.old.is_empty()) {
            let mut renamer = Renamer::default();
            renamer.name("lxc.network.type");
            let old = key.old.replace('*', "nofile");
            let name = Renamer { interfaces: 1 }.name(&old).unwrap();
            assert_eq!(find(&name).unwrap().name, key.name, "{old}");
        }
    }

    #[test]
    fn no_key_is_hidden_behind_another() {
        for key in KEYS {
            let name = key.name.replace(".N.", ".0.").replace('*', "x");
            assert_eq!(find(&name).unwrap().name, key.name);
        }
    }

    #[test]
    fn old_interfaces_are_counted() {
        let mut renamer = Renamer::default();
        assert_eq!(renamer.name("lxc.network.link"), None);
        for (old, new) in [
            ("lxc.network.type", "lxc.net.0.type"),
            ("lxc.network.ipv4", "lxc.net.0.ipv4.address"),
            ("lxc.network.ipv4.gateway", "lxc.net.0.ipv4.gateway"),
            ("lxc.network.type", "lxc.net.1.type"),
            ("lxc.network.0.link", "lxc.net.0.link"),
            ("lxc.network.link", "lxc.net.1.link"),
            ("lxc.network", "lxc.net"),
            ("lxc.pts", "lxc.pty.max"),
        ] {
            assert_eq!(renamer.name(old).as_deref(), Some(new));
        }
    }

    #[test]
    fn blank_values_clear_what_is_below_a_space() {
        assert!(clears("lxc.net", "lxc.net.0.link") && clears("lxc.net.0", "lxc.net.0.link"));
        assert!(!clears("lxc.net.0", "lxc.net.01.link") && !clears("lxc.net.0", "lxc.net.1.link"));
        assert!(clears("lxc.cgroup", "lxc.cgroup.devices.allow") && !clears("lxc.cgroup", "lxc.cgroup2.x"));
        assert!(
            clears("lxc.cap.drop", "lxc.cap.drop") && !clears("lxc.environment", "lxc.environment.hooks")
        );
    }
}
