//! The table of keys: what a tenant's file may say, and all that is known of each key.
//!
//! Everything else follows from a row: how a file is read and merged with its profile, which values are refused, what
//! `tenantctl explain` and a shell's completion know, which changes take effect at once, and the tables of
//! `docs/reference/tenant.toml.md`.

use std::{collections::BTreeMap, net::IpAddr, sync::LazyLock};

use serde::{Deserialize, Serialize};

use super::{
    error::ConfigError,
    nic_fragment::NicFragment,
    policy::Policy,
    schema::{
        Absent::{Host, Image, Is, Nothing},
        Effect::{Live, NextStart},
        Live::{Disk, Filter, Limit, Unit, Words as Telling},
        Range::{self, Boolean, Form, Number, Percent, Size, Time, Words},
        Row,
        Section::{Own, Profiles, Table},
        Shown::{self, By},
        from_to, up_to,
    },
    shown::{list, names, none_or, word},
    slot::Slot,
    tenant::Tenant,
    words::{Kind, Restart, RootMode},
};
use crate::model::{
    apparmor::AppArmorProfile,
    device::DeviceRule,
    follow::Follow,
    host::GroupName,
    image::{ImageRef, ProfileName, Ready},
    label::Labels,
    limits::{ByteSize, Count, CpuQuota, Limits, Seconds, Weight},
    net::{BitRate, Forwards},
    park::{Idle, Park},
    path::TenantPath,
    syscall::AllowedCall,
};

/// A row of the table.
pub type Key = Row<Fragment, Tenant>;

/// `name: type { section, range, what counts without it, when a change counts, how it is shown, what it is for }`
macro_rules! keys {
    ($($name:ident: $type:ty { $section:expr, $range:expr, $absent:expr, $effect:expr, $shown:expr, $doc:literal })*) => {
        /// A tenant file or a profile file: every key is optional.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Fragment {
            $(
                #[doc = $doc]
                #[serde(deserialize_with = "Slot::read", skip_serializing_if = "Slot::is_absent")]
                pub $name: $type,
            )*
        }

        impl Fragment {
            /// This fragment (a profile) with `over` (a tenant file) laid on top: single values and lists are
            /// replaced, tables are merged key by key.
            pub fn overlaid(self, over: Self) -> Self {
                Self { $($name: Slot::overlaid(self.$name, over.$name)),* }
            }
        }

        /// All keys, in the order in which they are told.
        pub const KEYS: &[Key] = &[$(
            Row {
                name: stringify!($name),
                section: $section,
                range: $range,
                absent: $absent,
                effect: $effect,
                doc: $doc,
                shown: $shown,
                is_given: |file| !file.$name.is_absent(),
                number: |file| Slot::number(&file.$name),
            }
        ),*];
    };
}

const GENERAL: &str = "General";
const INIT: &str = "Init";
const PARKING: &str = "Parking";
const TERMINALS: &str = "Terminals";
const DEVICES: &str = "Devices";
const LIMITS: &str = "Limits";
const DIRECTORIES: &str = "Directories: `[dirs]`";
const NETWORK: &str = "Network";
const SERVERS: &str = "Name servers: `dns`";
/// Any text of one line.
const LINE: Range = Form { kind: "string", form: "", good: "\"text\"", bad: "7" };
const ARGV: Range = Form {
    kind: "list of strings",
    form: "1 to 64, the first an absolute path",
    good: "[\"/bin/sh\"]",
    bad: "[\"sh\"]",
};

keys! {
    profile: Option<ProfileName> {
        Table(GENERAL), Form { kind: "string", form: "a profile's name", good: "\"shared-os\"", bad: "\"/\"" },
        Nothing("`default_profile` of [hostd.toml](hostd.toml.md)"), NextStart, By(|tenant| tenant.profile.to_string()),
        "what is absent here"
    }
    kind: Option<Kind> {
        Profiles, Words(&["shared-os", "os", "app", "app-plus", "router"]),
        Nothing("the profile's"), NextStart, By(|tenant| tenant.kind.as_str().to_owned()),
        "what the profile is for; in profiles only"
    }
    image: Option<ImageRef> {
        Table(GENERAL), Form { kind: "string", form: "`NAME`, `NAME:CHANNEL`, `NAME@VERSION`", good: "\"debian\"", bad: "\"a b\"" },
        Nothing("`default_image` of hostd.toml"), NextStart, By(|tenant| tenant.image.to_string()),
        "which image; see below"
    }
    follow: Option<Follow> {
        Table(GENERAL), Form { kind: "string", form: "`:CHANNEL`; not with an `image` that names a version", good: "\":testing\"", bad: "\"stable\"" },
        Nothing("the channel that `image` names, `:stable` without one; none with a version"), Live(Telling), By(|tenant| none_or(tenant.follow.as_ref().map(|channel| format!(":{channel}")))),
        "the channel of the image that the tenant follows: a [rollout](../how-to/roll-out-a-version.md) without a selection moves those that follow the channel which it moves"
    }
    description: Option<String> {
        Table(GENERAL), LINE,
        Nothing("none"), Live(Telling), By(|tenant| none_or(tenant.description.as_ref())),
        "one line for people"
    }
    hostname: Option<String> {
        Table(GENERAL), Form { kind: "string", form: "labels of a-z, A-Z, 0-9, `-`, joined by `.`; at most 64 bytes", good: "\"web.example.org\"", bad: "\"a b\"" },
        Nothing("the tenant's name"), NextStart, By(|tenant| tenant.hostname.clone()),
        "host name inside, from the next start; a name that the tenant has set itself, in its `/etc/hostname`, goes before it, and `tenantctl show` tells both"
    }
    autostart: Option<bool> {
        Table(GENERAL), Boolean,
        Is("false"), Live(Unit), By(|tenant| tenant.autostart.to_string()),
        "started by hostd once after each boot of the machine"
    }
    start_priority: Option<u16> {
        Table(GENERAL), Number(from_to(0, 1000)),
        Is("500"), NextStart, By(|tenant| tenant.start_priority.to_string()),
        "of many tenants that are started at once, the greater boots first"
    }
    init: Option<Vec<String>> {
        Table(INIT), ARGV,
        Image, NextStart, By(|tenant| list(tenant.init.as_deref())),
        "what is executed as process 1"
    }
    ready: Option<Ready> {
        Table(INIT), Words(&["notify", "exec"]),
        Image, NextStart, By(|tenant| tenant.ready.map_or("none".to_owned(), |ready| word(&ready))),
        "when it counts as started: it sends `READY=1`, or it has been executed"
    }
    start_timeout_sec: Option<Seconds> {
        Table(INIT), Time(from_to(1, 3600)),
        Is("90"), NextStart, By(|tenant| tenant.start_timeout.as_secs().to_string()),
        "until it must be ready; reboots before that count against it, one after it has the whole time again"
    }
    stop_signal: Option<String> {
        Table(INIT), Form { kind: "string", form: "`SIGTERM`, `SIGRTMIN+3`, …", good: "\"SIGTERM\"", bad: "\"SIGFOO\"" },
        Image, NextStart, By(|tenant| none_or(tenant.stop_signal.as_ref())),
        "asks init to power off; without it, the way of the image's init, [below](#how-an-init-is-stopped)"
    }
    stop_timeout_sec: Option<Seconds> {
        Table(INIT), Time(from_to(1, 3600)),
        Is("90"), NextStart, By(|tenant| tenant.stop_timeout.as_secs().to_string()),
        "then everything is killed"
    }
    restart: Option<Restart> {
        Table(INIT), Words(&["on-failure", "no", "always"]),
        Is("\"on-failure\""), Live(Unit), By(|tenant| word(&tenant.restart)),
        "whether systemd starts it again after its end: when it failed, never, or unless it was stopped; hostd without systemd starts nothing again"
    }
    idle: Option<Idle> {
        Table(PARKING), Words(&["run", "park"]),
        Is("\"run\""), NextStart, By(|tenant| word(&tenant.idle)),
        "what becomes of it when it is idle: it goes on running, or it is [parked](../how-to/park-idle-tenants.md) and wakes when it is needed"
    }
    park: Option<Park> {
        Table(PARKING), Words(&["freeze", "stop"]),
        Is("\"freeze\""), NextStart, By(|tenant| word(&tenant.park)),
        "how it is parked: its processes stand still, or it is [stopped and boots when it is needed](../how-to/park-idle-tenants.md#stopped-instead-of-frozen). `stop` needs routed interfaces"
    }
    idle_after_sec: Option<Seconds> {
        Table(PARKING), Time(from_to(2, 86_400)),
        Is("600"), NextStart, By(|tenant| tenant.idle_after.as_secs().to_string()),
        "for how long nothing happens in it and on its network until it counts as idle"
    }
    ttys: Option<u8> {
        Table(TERMINALS), Number(from_to(0, 63)),
        Is("6"), NextStart, By(|tenant| tenant.ttys.to_string()),
        "ttys in addition to the console"
    }
    pts_max: Option<u32> {
        Table(TERMINALS), Number(from_to(16, 4096)),
        Is("256"), NextStart, By(|tenant| tenant.pts_max.to_string()),
        "most pseudoterminals in the tenant's `/dev/pts`, at least `ttys` + 1. Root inside can raise it, or mount a devpts of its own: what the host keeps for itself is `kernel.pty.reserve`"
    }
    getty: Option<Vec<String>> {
        Table(TERMINALS), ARGV,
        Image, NextStart, By(|tenant| list(tenant.getty.as_deref())),
        "login program that is started on attach to a tty"
    }
    console_log: Option<ByteSize> {
        Table(TERMINALS), Size(from_to(4 << 10, 64 << 20)),
        Is("\"128K\""), NextStart, By(|tenant| ByteSize(tenant.console_log).to_string()),
        "largest size of the log of one tty"
    }
    console_journal: Option<bool> {
        Table(TERMINALS), Boolean,
        Is("true"), NextStart, By(|tenant| tenant.console_journal.to_string()),
        "the console's lines go to the host's [journal](journal.md) too, where it has one"
    }
    root: Option<RootMode> {
        Table(DIRECTORIES), Words(&["skeleton", "overlay", "paths"]),
        Is("\"skeleton\""), NextStart, By(|tenant| word(&tenant.root)),
        "`overlay`: the whole image under the tenant's changes is `/`; then only tmpfs and binds are possible in `[dirs]`. `paths`: `/` holds the listed paths of the image and what `[dirs]` names"
    }
    paths: Option<Vec<TenantPath>> {
        Table(DIRECTORIES), Form { kind: "list of paths", form: "1 to 256; with `root = \"paths\"` only, and required there", good: "[\"/usr\"]", bad: "[\"usr\"]" },
        Nothing("none"), NextStart, By(|tenant| format!("{:?}", tenant.paths)),
        "what the tenant sees of the image, read-only: directories or single files"
    }
    cpu_weight: Option<Weight> {
        Table(LIMITS), Number(from_to(1, 10_000)),
        Nothing("100 in effect"), Live(Limit), Shown::Limit,
        "share against others when the CPUs are busy"
    }
    cpu_quota: Option<CpuQuota> {
        Table(LIMITS), Percent(up_to(1, 100_000)),
        Nothing("unlimited"), Live(Limit), Shown::Limit,
        "most CPU time; `200%` is two CPUs"
    }
    cpu_quota_period_ms: Option<u16> {
        Table(LIMITS), Number(from_to(1, 1000)),
        Nothing("100 in effect"), Live(Limit), Shown::Limit,
        "milliseconds in which `cpu_quota` is given and used up: the shorter, the shorter a tenant that has used up its quota stands still"
    }
    memory_max: Option<ByteSize> {
        Table(LIMITS), Size(up_to(4 << 20, 1 << 50)),
        Nothing("the host's default, [hostd.toml](hostd.toml.md)"), Live(Limit), Shown::Limit,
        "beyond it processes of the tenant are killed"
    }
    memory_high: Option<ByteSize> {
        Table(LIMITS), Size(up_to(0, 1 << 50)),
        Nothing("unlimited"), Live(Limit), Shown::Limit,
        "beyond it the tenant is slowed down and reclaimed from; at most `memory_max`"
    }
    memory_swap_max: Option<ByteSize> {
        Table(LIMITS), Size(up_to(0, 1 << 50)),
        Nothing("unlimited"), Live(Limit), Shown::Limit,
        "most swap"
    }
    tasks_max: Option<Count> {
        Table(LIMITS), Number(up_to(8, 4_194_304)),
        Nothing("the host's default"), Live(Limit), Shown::Limit,
        "processes and threads"
    }
    io_weight: Option<Weight> {
        Table(LIMITS), Number(from_to(1, 10_000)),
        Nothing("100 in effect"), Live(Limit), Shown::Limit,
        "share of block I/O"
    }
    cgroups_max: Option<u32> {
        Table(LIMITS), Number(from_to(8, 65_536)),
        Is("1024"), NextStart, By(|tenant| tenant.cgroups_max.to_string()),
        "cgroups inside"
    }
    namespaces_max: Option<u32> {
        Table(LIMITS), Number(from_to(16, 65_536)),
        Is("1024"), NextStart, By(|tenant| tenant.namespaces_max.to_string()),
        "namespaces of each kind inside, its own among them, of all users together"
    }
    show_limits: Option<bool> {
        Table(LIMITS), Boolean,
        Nothing("`true` of a tenant with `memory_max`, `memory_swap_max` or `cpu_quota`, its own or its profile's; else `false`"), NextStart, By(|tenant| tenant.show_limits.to_string()),
        "the tenant sees its limits in `/proc/meminfo`, `/proc/cpuinfo` and their like, [not the host's size](#what-a-tenant-sees-of-its-limits)"
    }
    disk_max: Option<ByteSize> {
        Table(LIMITS), Size(up_to(1 << 20, 1 << 50)),
        Nothing("unlimited"), Live(Disk), By(|tenant| none_or(tenant.disk.max.as_ref())),
        "bytes in the tenant's own directories, see below"
    }
    inodes_max: Option<Count> {
        Table(LIMITS), Number(up_to(256, 1 << 32)),
        Nothing("unlimited"), Live(Disk), By(|tenant| none_or(tenant.disk.inodes.as_ref())),
        "files and directories there"
    }
    devices: Option<Vec<DeviceRule>> {
        Table(DEVICES), Form { kind: "list of rules", form: "`CLASS MAJOR:MINOR ACCESS`", good: "[\"c 1:3 rw\"]", bad: "[\"x\"]" },
        Nothing("console, ptmx and pts, see below"), NextStart, By(|tenant| format!("{:?}", tenant.devices)),
        "the device nodes it may use besides those that every system needs; all others are refused"
    }
    tun: Option<bool> {
        Table(DEVICES), Boolean,
        Is("false"), NextStart, By(|tenant| tenant.features.tun.to_string()),
        "`/dev/net/tun` is there and may be used: interfaces that a program is behind (VPNs)"
    }
    fuse: Option<bool> {
        Table(DEVICES), Boolean,
        Is("false"), NextStart, By(|tenant| tenant.features.fuse.to_string()),
        "`/dev/fuse` is there and may be used: filesystems that a program is behind (sshfs, fuse-overlayfs)"
    }
    wireguard: Option<bool> {
        Table(DEVICES), Boolean,
        Is("false"), NextStart, By(|tenant| tenant.features.wireguard.to_string()),
        "the start is refused where the host's kernel has no WireGuard. Where it has, a tenant can make such interfaces in any case"
    }
    shm_max: Option<ByteSize> {
        Table(DEVICES), Size(from_to(64 << 10, 1 << 40)),
        Nothing("half of `memory_max`, or of hostd.toml's `default_memory_max`; 256M without either, and with systemd without `memory_max`"), NextStart, By(|tenant| tenant.shm_max.to_string()),
        "size of `/dev/shm`"
    }
    drop_capabilities: Option<Vec<String>> {
        Table("Capabilities"), Form { kind: "list of strings", form: "`CAP_NET_RAW`, … of capabilities(7)", good: "[\"CAP_NET_RAW\"]", bad: "[\"CAP_NOTHING\"]" },
        Nothing("none"), NextStart, By(|tenant| format!("{:?}", tenant.drop_capabilities)),
        "taken from every process inside for good, besides those that no tenant has"
    }
    apparmor: Option<AppArmorProfile> {
        Table("Capabilities"), Form { kind: "string", form: "a profile that the host has loaded, or `unconfined`", good: "\"unconfined\"", bad: "\"a b\"" },
        Nothing("`tenantry-tenant` where the host has loaded it, else none"), NextStart, By(|tenant| tenant.apparmor.as_ref().map_or_else(|| "the host's".to_owned(), ToString::to_string)),
        "the AppArmor profile of every process inside, see apparmor(7). A start is refused where the host has not loaded the one that is named"
    }
    no_new_privs: Option<bool> {
        Table("Capabilities"), Boolean,
        Is("false"), NextStart, By(|tenant| tenant.no_new_privs.to_string()),
        "no program inside gets more rights than the one that executes it: set-user-ID and file capabilities have no effect, see `PR_SET_NO_NEW_PRIVS` of prctl(2). `true` in the profile `app`"
    }
    allow_syscalls: Option<Vec<AllowedCall>> {
        Table("System calls"), Form { kind: "list of strings", form: "the names below", good: "[\"keyctl\"]", bad: "[\"reboot\"]" },
        Nothing("none"), NextStart, By(|tenant| names(&tenant.allow_syscalls)),
        "refused system calls that this tenant may use; the list replaces the profile's"
    }
    group: Option<GroupName> {
        Table(NETWORK), Form { kind: "string", form: "1 to 64 of a-z, 0-9, `-`, `.`, `_`", good: "\"shop\"", bad: "\"a b\"" },
        Nothing("none"), Live(Filter), By(|tenant| none_or(tenant.group.as_ref().map(GroupName::as_str))),
        "tenants of one group reach each other; without one a tenant reaches no other tenant"
    }
    net_rate: Option<BitRate> {
        Table(NETWORK), Form { kind: "string", form: "`8K` to `1000G`, powers of 1000", good: "\"100M\"", bad: "\"1K\"" },
        Nothing("unlimited"), Live(Filter), By(|tenant| none_or(tenant.net_rate.as_ref())),
        "most bit/s in each direction over its routed and bridged interfaces"
    }
    ports: Option<Forwards> {
        Table(NETWORK), Form { kind: "list of strings, or one with commas", form: "`HOST:TENANT/tcp` or `/udp`, ports 1 to 65535", good: "\"8080:80\"", bad: "\"0:80\"" },
        Nothing("none"), Live(Filter), By(|tenant| names(&tenant.forwards)),
        "ports of the host that lead to the tenant"
    }
    dns: Option<Vec<IpAddr>> {
        Table(SERVERS), Form { kind: "list of addresses", form: "at most 3", good: "[\"9.9.9.9\"]", bad: "[\"9.9.9\"]" },
        Host("those of the host"), NextStart, By(|tenant| format!("{:?}", tenant.dns)),
        "name servers"
    }
    dns_search: Option<Vec<String>> {
        Table(SERVERS), Form { kind: "list of domains", form: "at most 6", good: "[\"example.org\"]", bad: "[\"a b\"]" },
        Nothing("none"), NextStart, By(|tenant| format!("{:?}", tenant.dns_search)),
        "search domains"
    }
    labels: Labels {
        Table(GENERAL), Form { kind: "table of strings", form: "at most 64, see [below](#labels)", good: "{ tier = \"web\" }", bad: "{ \"a b\" = \"x\" }" },
        Nothing("empty"), Live(Telling), By(|tenant| format!("{:?}", tenant.labels)),
        "words by which people sort their tenants"
    }
    env: BTreeMap<String, String> {
        Table(GENERAL), Form { kind: "table of strings", form: "names of letters, digits, `_`; values up to 4096 bytes", good: "{ LANG = \"C.UTF-8\" }", bad: "{ \"A=B\" = \"x\" }" },
        Nothing("empty"), NextStart, By(|tenant| format!("{:?}", tenant.env)),
        "environment of init, and of commands that join ([what wins for a locale](../how-to/set-the-locale.md#for-one-command))"
    }
    sysctl: BTreeMap<String, String> {
        Own("Kernel parameters: `[sysctl]`"), Form { kind: "table of strings", form: "keys below `net.`", good: "{ \"net.ipv4.ip_forward\" = \"1\" }", bad: "{ \"kernel.panic\" = \"1\" }" },
        Nothing("empty"), NextStart, By(|tenant| format!("{:?}", tenant.sysctl)),
        "keys of the tenant's network namespace"
    }
    dirs: BTreeMap<TenantPath, Policy> {
        Own(DIRECTORIES), Form { kind: "table of policies", form: "absolute paths", good: "{ \"/srv\" = \"tmpfs\" }", bad: "{ \"/proc/x\" = \"tmpfs\" }" },
        Nothing("`shared`"), NextStart, By(|tenant| format!("{:?}", tenant.dirs)),
        "what each directory is"
    }
    nic: Option<Vec<NicFragment>> {
        Own("Network: `[[nic]]`"), Form { kind: "list of tables", form: "at most 64", good: "[{ mode = \"none\" }]", bad: "[{ mode = \"none\", link = \"x\" }]" },
        Nothing("none"), NextStart, By(|tenant| format!("{:?}", tenant.nics)),
        "network interfaces; a list replaces the profile's"
    }
}

/// What counts where neither a file nor its profile says anything.
pub fn defaults() -> &'static Fragment {
    static DEFAULTS: LazyLock<Fragment> = LazyLock::new(|| {
        let value = |key: &Key| match key.absent {
            Is(value) => Some(format!("{} = {value}\n", key.name)),
            Image | Host(_) | Nothing(_) => None,
        };
        let text: String = KEYS.iter().filter_map(value).collect();
        toml::from_str(&text).expect("a test reads every default")
    });
    &DEFAULTS
}

/// The row of a key, which may be dotted or numbered: `env.LANG`, `nic[0].mode`.
pub fn key(name: &str) -> Option<&'static Key> {
    let top = name.split(['.', '[']).next()?.trim();
    KEYS.iter().find(|key| key.name == top)
}

impl Fragment {
    /// The limits among the keys.
    pub fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        for key in KEYS.iter().filter(|key| key.is_limit()) {
            if let Some(limit) = (key.number)(self) {
                limits.set(key.name, limit);
            }
        }
        limits
    }

    /// Looks whether every number is within the bounds of its key.
    ///
    /// # Errors
    /// The first that is not.
    pub(super) fn check_bounds(&self) -> Result<(), ConfigError> {
        let refused = |key: &&Key| Some((key.name, key.range.refuse((key.number)(self)?)?));
        match KEYS.iter().find_map(|key| refused(&key)) {
            Some((name, reason)) => Err(ConfigError::new(name, reason)),
            None => Ok(()),
        }
    }
}

impl Tenant {
    /// The value of a key, as a file would write it where that is one word.
    pub fn value(&self, key: &Key) -> String {
        match key.shown {
            By(show) => show(self),
            Shown::Limit => {
                self.limits.get(key.name).map_or("none".to_owned(), |limit| key.range.show(limit))
            }
        }
    }
}

/// The keys in which two configurations of a tenant differ and that take effect at its next start only.
pub fn waiting(before: &Tenant, after: &Tenant) -> Vec<&'static str> {
    let waits = |key: &&Key| key.effect == NextStart && before.value(key) != after.value(key);
    KEYS.iter().filter(waits).map(|key| key.name).collect()
}
