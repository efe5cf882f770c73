//! A tenant, an image and a host that do not exist.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::path::PathBuf;

use tenant::{
    Allocation, HostFacts, Layout, Plan, Tenant,
    config::{Fragment, parse_toml, profile},
    model::{
        allocation::{Pinned, RecordState},
        facts::{CgroupFacts, KernelVersion},
        host::HostConfig,
        ids::Digest,
        image::{Boot, ImageFormat, Manifest, Ready, TopEntry},
    },
    plan::{Inputs, PlanError, plan},
};

/// Compares a text with a golden file, or writes it.
pub(crate) fn assert_golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "{name} differs; look at it and run again with UPDATE_GOLDEN=1:\n{text}");
}

/// An application of the image here.
pub(crate) const APP: &str = r#"
    profile = "app"
    init = ["/usr/bin/program", "--serve"]
    paths = ["/bin/sh", "/lib/x.so", "/usr/share/data", "/usr/share/data/inner", "/etc/ssl", "/srv/www"]
    dns = ["9.9.9.9"]
    dirs."/data" = "private"
    dirs."/etc" = "overlay"
    dirs."/srv/www/up" = { bind = "/srv/up", writable = true }
    dirs."/var/cache" = { tmpfs = "1M" }
    sysctl."net.core.somaxconn" = "64"
    drop_capabilities = ["CAP_SYS_BOOT"]
    devices = ["c 1:3 rw", "c 136:* rw"]
    cpu_quota = "150%"
    cpu_quota_period_ms = 20
    memory_max = "1g"
    memory_swap_max = "max"
    tasks_max = 500
"#;

/// A tenant with an interface of every mode.
pub(crate) const ALL_MODES: &str = r#"
[[nic]]
mode = "routed"
addresses = ["10.0.0.2", "10.0.0.3/24", "2001:db8::2"]
routes = ["10.9.0.0/16"]

[[nic]]
mode = "routed"
name = "back"

[[nic]]
mode = "bridge"
link = "br0"
mac = "4a:49:43:49:79:bf"
mtu = 1400
altnames = ["uplink"]
addresses = ["10.1.0.2/24", "2003:db8:1:0:214:1234:fe0b:3597/64"]
gateways = ["10.1.0.1", "fe80::1"]
routes = ["10.2.0.0/16 via 10.1.0.7"]

[[nic]]
mode = "macvlan"
link = "eth1"
macvlan = "private"

[[nic]]
mode = "phys"
link = "eth2"
name = "wan"
addresses = ["192.0.2.2/24"]

[[nic]]
mode = "vlan"
link = "eth1"
vlan = 100
"#;

pub(crate) fn digest() -> Digest {
    Digest::from_bytes(std::array::from_fn(|i| i as u8))
}

fn dir(name: &str, mode: u32) -> TopEntry {
    TopEntry { name: name.to_owned(), mode: Some(mode), target: None }
}

fn link(name: &str, target: &str) -> TopEntry {
    TopEntry { name: name.to_owned(), mode: None, target: Some(target.to_owned()) }
}

pub(crate) fn manifest() -> Manifest {
    Manifest {
        format_version: 1,
        image: "debian".parse().unwrap(),
        digest: digest(),
        format: ImageFormat::Tree,
        created: "2026-01-02T03:04:05Z".to_owned(),
        os: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        arch: "x86_64".to_owned(),
        source: "a test".to_owned(),
        sets: Vec::new(),
        tuned: true,
        size_bytes: 1,
        files: 1,
        verity: None,
        parent: None,
        init_kind: None,
        app: None,
        boot: Boot {
            init: vec!["/sbin/init".to_owned()],
            stop_signal: "SIGRTMIN+3".to_owned(),
            ready: Ready::Notify,
            getty: vec!["/sbin/agetty".to_owned(), "-".to_owned()],
        },
        recipe: None,
        top: vec![
            link("bin", "usr/bin"),
            dir("boot", 0o755),
            dir("dev", 0o755),
            dir("etc", 0o755),
            dir("home", 0o755),
            link("lib", "usr/lib"),
            dir("opt", 0o755),
            dir("proc", 0o755),
            dir("root", 0o700),
            dir("run", 0o755),
            dir("srv", 0o755),
            dir("sys", 0o755),
            dir("tmp", 0o1777),
            dir("usr", 0o755),
            dir("var", 0o755),
        ],
    }
}

pub(crate) fn allocation() -> Allocation {
    Allocation {
        format_version: 1,
        generation: 1,
        name: "alice".parse().unwrap(),
        state: RecordState::Ready,
        renaming: None,
        uuid: "0123456789abcdef0123456789abcdef".to_owned(),
        index: 1.try_into().unwrap(),
        uid_base: 524_288.try_into().unwrap(),
        ipv4: "10.115.0.1".parse().unwrap(),
        ipv6: "fd74:656e:616e:7400::1".parse().unwrap(),
        created: "2026-01-02T03:04:05Z".to_owned(),
        pinned: Pinned { image: "debian".parse().unwrap(), digest: digest() },
        leases: Vec::new(),
        generations: Vec::new(),
    }
}

pub(crate) fn facts() -> HostFacts {
    HostFacts {
        kernel: KernelVersion { major: 6, minor: 18 },
        hostname: "host".to_owned(),
        cgroup: CgroupFacts {
            v2_mount: Some("/sys/fs/cgroup".into()),
            v2_own: "/sys/fs/cgroup/tenants.slice/tenant@alice.service".into(),
            ..CgroupFacts::default()
        },
        time_namespaces: true,
        fuse: true,
        ipv6: true,
        systemd: true,
        apparmor: Default::default(),
        name_servers: Vec::new(),
    }
}

pub(crate) fn tenant(own: &str) -> Tenant {
    let layout = Layout::new("/nonexistent");
    let own: Fragment = parse_toml(own).unwrap();
    profile::resolve(&layout, &"alice".parse().unwrap(), own).unwrap()
}

pub(crate) fn plan_of(own: &str) -> Result<Plan, PlanError> {
    plan_with(own, &allocation(), &manifest(), &facts())
}

pub(crate) fn plan_with(
    own: &str,
    allocation: &Allocation,
    manifest: &Manifest,
    facts: &HostFacts,
) -> Result<Plan, PlanError> {
    plan_on(own, allocation, manifest, facts, &HostConfig::default())
}

pub(crate) fn plan_on(
    own: &str,
    allocation: &Allocation,
    manifest: &Manifest,
    facts: &HostFacts,
    host: &HostConfig,
) -> Result<Plan, PlanError> {
    let layout = Layout::default();
    let tenant = tenant(own);
    let credentials = [];
    plan(&Inputs {
        layout: &layout,
        tenant: &tenant,
        allocation,
        manifest,
        host,
        facts,
        unit_cgroup: None,
        credentials: &credentials,
    })
}
