mod mounts;

use std::io;

use proptest::prelude::*;
use tenant::config::parse_toml;

use super::*;

const BETA: &str = include_str!("../../../../tests/fixtures/lxc/beta.conf");

fn nothing(_: &str) -> io::Result<Found> {
    Err(io::ErrorKind::NotFound.into())
}

fn absent(_: &str) -> io::Result<Source> {
    Err(io::ErrorKind::NotFound.into())
}

fn load(name: Option<&ProfileName>) -> Result<(ProfileName, Fragment), String> {
    let name = name.cloned().unwrap_or_else(|| "shared-os".parse().unwrap());
    let kind =
        if name.as_str() == "os" { "kind = \"os\"\nroot = \"overlay\"" } else { "kind = \"shared-os\"" };
    let profile = parse_toml(&format!("{kind}\nimage = \"debian\"\n[[nic]]\nmode = \"routed\"\n"));
    Ok((name, profile.unwrap()))
}

fn wanted<'a>(name: Option<&str>, look: Look<'a>) -> Wanted<'a> {
    let name = name.map(|name| name.parse().unwrap());
    Wanted { name, image: None, profile: None, arch: "x86_64", look, probe: &absent, load: &load }
}

fn translated(text: &str) -> Import {
    import("/var/lib/lxc/web/config", text, wanted(None, &nothing)).unwrap()
}

/// The only row of a text of one line.
fn row(text: &str) -> Row {
    let import = translated(text);
    let mut rows: Vec<Row> = import.rows.into_iter().filter(|row| row.line == 1).collect();
    assert_eq!(rows.len(), 1, "{text}");
    rows.remove(0)
}

fn warnings(import: &Import) -> Vec<&str> {
    import.rows.iter().filter(|row| row.fate == Fate::Warning).map(|row| row.key.as_str()).collect()
}

#[test]
fn the_talks_configuration_is_imported_without_a_warning() {
    let import = translated(BETA);
    assert_eq!(warnings(&import), Vec::<&str>::new());
    assert_eq!(import.name.as_str(), "beta");
    assert_eq!(import.rootfs.as_deref(), Some("/foo/bifrost-6.1-beta1"));
    assert_eq!(
        import.text(),
        r#"devices = ["c 136:* rw", "c 5:2 rw", "c 1:3 rw", "c 1:5 rw", "c 1:8 rw", "c 1:9 rw"]
hostname = "beta"
image = "bifrost-6.1-beta1"
profile = "os"
pts_max = 256
ttys = 6

[[nic]]
addresses = ["10.0.0.2/24", "2003:db8:1:0:214:1234:fe0b:3597/64"]
link = "veth1"
mac = "4a:49:43:49:79:bf"
mode = "phys"
"#
    );
    assert_eq!(parse_toml::<Fragment>(&import.text()).unwrap(), import.fragment);
    let prefix = import.rows.iter().find(|row| row.key == "lxc.network.ipv6").unwrap();
    assert!(prefix.text.contains("/64"), "{}", prefix.text);
}

/// The "complex configuration" of lxc.container.conf(5), and what LXC 5 writes itself.
#[test]
fn a_present_configuration_is_imported() {
    let text = "\
lxc.uts.name = complex
lxc.net.0.type = veth
lxc.net.0.flags = up
lxc.net.0.link = br0
lxc.net.0.hwaddr = 4a:49:43:49:79:bf
lxc.net.0.ipv4.address = 10.2.3.5/24 10.2.3.255
lxc.net.0.ipv4.gateway = 10.2.3.1
lxc.net.0.ipv6.address = 2003:db8:1:0:214:1234:fe0b:3597
lxc.net.0.ipv6.address = 2003:db8:1:0:214:5432:feab:3588
lxc.net.1.type = macvlan
lxc.net.1.link = eth0
lxc.net.1.hwaddr = 00:16:3e:xx:xx:xx
lxc.net.1.ipv4.address = 192.168.10.125
lxc.net.2.type = vlan
lxc.net.2.link = eth1
lxc.net.2.vlan.id = 100
lxc.net.3.type = veth
lxc.net.3.ipv4.address = 10.9.0.2/32
lxc.cgroup2.memory.max = 512M
lxc.cgroup2.cpu.max = 150000 100000
lxc.cgroup.cpu.shares = 2048
lxc.cgroup.pids.max = 200
lxc.mount.auto = cgroup:mixed proc:mixed sys:mixed
lxc.mount.entry = /srv/data mnt/data none ro,bind,create=dir 0 0
lxc.mount.entry = tmpfs var/cache tmpfs size=32m 0 0
lxc.rootfs.path = dir:/var/lib/lxc/complex/rootfs
lxc.rootfs.options = idmap=container
lxc.cap.drop = sys_module mknod
lxc.cap.drop = mac_override
lxc.idmap = u 0 100000 65536
lxc.start.auto = 1
lxc.signal.halt = SIGRTMIN+3
lxc.sysctl.net.ipv4.ip_forward = 1
lxc.environment = TZ=UTC
lxc.apparmor.profile = generated
";
    let import = translated(text);
    assert_eq!(warnings(&import), Vec::<&str>::new(), "{:#?}", import.rows);
    assert_eq!(
        import.text(),
        r#"autostart = true
cpu_quota = "150%"
cpu_weight = "200"
drop_capabilities = ["CAP_SYS_MODULE", "CAP_MKNOD", "CAP_MAC_OVERRIDE"]
hostname = "complex"
image = "complex"
memory_max = "512M"
profile = "os"
stop_signal = "SIGRTMIN+3"
tasks_max = 200

[dirs]
"/mnt/data" = { bind = "/srv/data", writable = false }
"/var/cache" = { tmpfs = "32M" }

[env]
"TZ" = "UTC"

[sysctl]
"net.ipv4.ip_forward" = "1"

[[nic]]
addresses = ["10.2.3.5/24", "2003:db8:1:0:214:1234:fe0b:3597/64", "2003:db8:1:0:214:5432:feab:3588/64"]
gateways = ["10.2.3.1"]
link = "br0"
mac = "4a:49:43:49:79:bf"
mode = "bridge"

[[nic]]
addresses = ["192.168.10.125/24"]
link = "eth0"
macvlan = "private"
mode = "macvlan"

[[nic]]
link = "eth1"
mode = "vlan"
vlan = 100

[[nic]]
addresses = ["10.9.0.2/32"]
mode = "routed"
"#
    );
}

#[test]
fn each_key_is_translated_or_says_why_not() {
    use Fate::{Note, Translated, Warning};
    for (text, fate, said) in [
        ("lxc.utsname = a_b", Warning, "host name"),
        ("lxc.uts.name = web.example.org", Translated, "hostname"),
        ("lxc.arch = amd64", Note, "this machine"),
        ("lxc.arch = i686", Warning, "x86_64"),
        ("lxc.init_cmd = /sbin/init 3", Translated, "[\"/sbin/init\", \"3\"]"),
        ("lxc.init.cmd = init", Warning, "absolute path"),
        ("lxc.haltsignal = SIGPWR", Translated, "stop_signal = \"SIGPWR\""),
        ("lxc.start.delay = 5", Warning, "in parallel"),
        ("lxc.group = onboot", Note, "lxc-autostart"),
        ("lxc.ephemeral = 1", Warning, "destroyed"),
        ("lxc.environment = PATH", Warning, "NAME=VALUE"),
        ("lxc.environment = 1A=x", Warning, "environment variable"),
        ("lxc.environment = \"].=x", Warning, "environment variable"),
        ("lxc.pts = 1", Translated, "pts_max = 16"),
        ("lxc.tty.max = 100", Warning, "ttys = 63"),
        ("lxc.console = /dev/tty7", Warning, "tenantctl console"),
        ("lxc.console.size = 1MB", Translated, "console_log = \"1M\""),
        ("lxc.rootfs = overlayfs:/a/rootfs:/b", Warning, "upper"),
        ("lxc.rootfs = /dev/vg/x", Translated, "image = \"x\""),
        ("lxc.rootfs.path = lvm:/dev/vg/x", Warning, "rootfsctl import"),
        ("lxc.mount.entry = proc proc proc nodev 0 0", Note, "its own"),
        ("lxc.mount.entry = /dev/net/tun dev/net/tun none bind,create=file", Translated, "tun = true"),
        ("lxc.mount.entry = /dev/fuse dev/fuse none bind,create=file 0 0", Translated, "fuse = true"),
        ("lxc.mount.entry = /dev/kvm dev/kvm none bind,create=file 0 0", Warning, "devices"),
        ("lxc.mount.entry = /sys/kernel/debug sys/kernel/debug none bind,optional 0 0", Note, "own"),
        ("lxc.mount.entry = /dev/sda1 mnt ext4 rw", Warning, "bind the directory"),
        ("lxc.mount.entry = /srv ../x none bind", Warning, "not a valid path"),
        ("lxc.mount.entry = /srv/a a none bind,optional", Note, "does not exist"),
        ("lxc.mount.entry = /dev/dri dev/dri none bind,optional,create=dir", Note, "does not exist"),
        ("lxc.mount.entry = /etc/resolv.conf etc/resolv.conf none bind,ro", Warning, "`dns`"),
        ("lxc.mount.entry = /srv srv none rw 0 0", Warning, "neither bind nor rbind"),
        ("lxc.mount.entry = /srv srv none bind,noexec 0 0", Warning, "noexec is not kept"),
        ("lxc.mount.entry = none tmp tmpfs size=10% 0 0", Warning, "size=10%"),
        ("lxc.mount.entry = none tmp tmpfs defaults 0 0", Warning, "half of the memory"),
        ("lxc.mount.entry = none tmp tmpfs size=32m 0 0", Translated, "tmpfs = \"32M\""),
        ("lxc.mount = /etc/fstab.web", Warning, "cannot be read"),
        ("lxc.mount.auto = cgroup-full:rw", Warning, "cannot write to"),
        ("lxc.network.link = br0", Warning, "precedes any lxc.network.type"),
        ("lxc.net.0.link = br0", Warning, "no lxc.net.N.type"),
        ("lxc.net.0.type = none", Warning, "host's network"),
        ("lxc.net.0.type = empty", Note, "loopback"),
        ("lxc.net.0.type = ipvlan", Warning, "macvlan"),
        ("lxc.net.0.type = phys", Warning, "no lxc.net.N.link"),
        ("lxc.net.0 = x", Warning, "expects a value"),
        ("lxc.cgroup.devices.allow = a", Warning, "all devices"),
        ("lxc.cgroup.devices.allow = x", Warning, "not a device rule"),
        ("lxc.cgroup.devices.deny = b 8:0 rwm", Note, "only what"),
        ("lxc.cgroup.devices.allow = c 10:200 rwm", Translated, "tun = true"),
        ("lxc.cgroup.devices.allow = c 10:229 rw", Translated, "fuse = true"),
        ("lxc.cgroup.devices.allow = c 10:232 rw", Warning, "/dev/kvm is not in a tenant's /dev"),
        ("lxc.cgroup.devices.allow = c *:* m", Translated, "c *:* m"),
        ("lxc.cgroup.devices.allow = c 4:1 rwm", Translated, "c 4:1 rwm"),
        ("lxc.cgroup.devices.allow = c 1:3 rwm", Translated, "c 1:3 rwm"),
        ("lxc.cgroup.memory.limit_in_bytes = 1M", Warning, "outside 4M"),
        ("lxc.cgroup.memory.limit_in_bytes = -1", Note, "unlimited"),
        ("lxc.cgroup.cpu.cfs_quota_us = 50000", Translated, "50%"),
        ("lxc.cgroup2.cpu.max = max", Note, "unlimited"),
        ("lxc.cgroup.cpuset.cpus = 0,1", Warning, "cpu_quota"),
        ("lxc.cgroup.blkio.weight = 1000", Translated, "io_weight = 200"),
        ("lxc.cgroup2.io.weight = default 50", Translated, "io_weight = 50"),
        ("lxc.cgroup.freezer.state = THAWED", Warning, "no key of a tenant"),
        ("lxc.cgroup.dir = x", Note, "tree"),
        ("lxc.cap.drop = sys_nothing", Warning, "not a capability"),
        ("lxc.cap.keep = chown", Translated, "all but these"),
        ("lxc.id_map = u 0 100000 65536", Note, "65536"),
        ("lxc.sysctl.kernel.panic = 1", Warning, "net."),
        ("lxc.sysctl.net.ipv4..x = 1", Warning, "not possible for a tenant"),
        ("lxc.limit.nofile = 1024", Warning, "DefaultLimitNOFILE"),
        ("lxc.hook.pre-start = /bin/x", Warning, "scripts on the host are not supported"),
        ("lxc.seccomp = /usr/share/lxc/config/common.seccomp", Note, "filter"),
        ("lxc.aa_profile = mine", Warning, "AppArmor"),
        ("lxc.no_new_privs = 1", Warning, "setuid"),
        ("lxc.loglevel = 1", Note, "hostd logs"),
        ("lxc.kmsg = 0", Note, "kernel's log"),
        ("lxc.include = /usr/share/lxc/config/common.conf", Warning, "not imported"),
        ("lxc.utsnam = x", Warning, "did you mean lxc.utsname?"),
        ("lxc.nonsense = x", Warning, "no such key"),
        ("lxc.id_map = u 0 100000 70000", Warning, "65535"),
        ("lxc.tty\nlxc.tty.max = 1", Warning, "no `=`"),
        ("tty = 6\nlxc.tty.max = 1", Note, "LXC ignores it too"),
        ("lxc.cap.drop =", Note, "nothing to clear"),
    ] {
        let row = row(text);
        assert_eq!(row.fate, fate, "{text}: {}", row.text);
        assert!(row.text.contains(said), "{text}: {}", row.text);
    }
}

#[test]
fn blank_values_clear_and_later_lines_count() {
    let import = translated(
        "lxc.cap.drop = chown\nlxc.cap.drop =\nlxc.cap.drop = kill\nlxc.tty = 1\nlxc.tty.max = 2\n",
    );
    assert_eq!(import.fragment.drop_capabilities, Some(vec!["CAP_KILL".to_owned()]));
    assert_eq!(import.fragment.ttys, Some(2));
    let texts: Vec<&str> = import.rows.iter().map(|row| row.text.as_str()).collect();
    assert_eq!(
        texts[..5],
        [
            "cleared in line 2",
            "clears 1 of the lines before it",
            "drop_capabilities: kill",
            "line 5 counts",
            "ttys = 2"
        ]
    );
    let import = translated("lxc.net.0.type = veth\nlxc.net.0.link = br0\nlxc.net =\n");
    assert_eq!(import.fragment.nic, None);
}

#[test]
fn the_devices_are_what_all_rules_make_together() {
    let devices = |text: &str| {
        let rules = translated(text).fragment.devices.unwrap_or_default();
        rules.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let allow = |rule: &str| format!("lxc.cgroup2.devices.allow = {rule}\n");
    let deny = |rule: &str| format!("lxc.cgroup2.devices.deny = {rule}\n");
    let text = deny("a") + &allow("c 1:3 r") + &allow("c 1:3 w") + &allow("c 1:5 rwm") + &deny("c 1:5 m");
    assert_eq!(devices(&text), ["c 1:3 rw", "c 1:5 rw"]);
    assert_eq!(devices(&(allow("c 1:3 rw") + &deny("a") + &allow("c 1:8 r"))), ["c 1:8 r"]);
    assert_eq!(devices(&(deny("a") + &allow("c 1:3 rw") + &allow("a"))), Vec::<String>::new());
    let open = devices(&allow("c 10:228 rwm"));
    assert!(open.contains(&"c 1:3 rwm".to_owned()) && open.contains(&"c 10:228 rwm".to_owned()));
}

#[test]
fn devices_that_have_a_key_of_their_own_are_given_by_it() {
    let given = |text: &str| {
        let fragment = translated(text).fragment;
        let rules = fragment.devices.map(|rules| rules.iter().map(ToString::to_string).collect::<Vec<_>>());
        (fragment.tun, fragment.fuse, rules)
    };
    let allow = |rule: &str| format!("lxc.cgroup2.devices.allow = {rule}\n");
    let deny = |rule: &str| format!("lxc.cgroup2.devices.deny = {rule}\n");
    let yes = Some(true);
    assert_eq!(given(&allow("c 10:200 rwm")), (yes, None, None), "the profile's list counts besides");
    let listed = vec!["c 1:3 rw".to_owned()];
    let text = deny("a") + &allow("c 1:3 rw") + &allow("c 10:229 rw") + &allow("c 10:200 rwm");
    assert_eq!(given(&text), (yes, yes, Some(listed.clone())));
    assert_eq!(given(&(text.clone() + &deny("c 10:229 rwm"))), (yes, None, Some(listed)));
    assert_eq!(given(&(text + &deny("a"))), (None, None, Some(Vec::new())));
    let file = translated(&(deny("a") + &allow("c 10:200 rwm"))).text();
    assert!(file.contains("tun = true\n") && !file.contains("10:200"), "{file}");
}

#[test]
fn what_a_shared_file_allows_to_every_container_is_not_given_to_each() {
    let common = "lxc.cgroup2.devices.deny = a\nlxc.cgroup2.devices.allow = c 10:229 rwm\n";
    let look = |path: &str| match path {
        "/usr/share/lxc/config/common.conf" => Ok(Found::File(common.to_owned())),
        _ => nothing(path),
    };
    let include = "lxc.include = /usr/share/lxc/config/common.conf\n";
    let imported = |own: &str| {
        let text = include.to_owned() + own;
        import("/var/lib/lxc/web/config", &text, wanted(None, &look)).unwrap()
    };
    let plain = imported("");
    assert_eq!(plain.fragment.fuse, None);
    assert!(plain.rows.iter().any(|row| row.fate == Fate::Note && row.text.contains("fuse = true")));
    let mount = "lxc.mount.entry = /dev/fuse dev/fuse none bind,create=file 0 0\n";
    assert_eq!(imported(mount).fragment.fuse, Some(true));
    assert_eq!(imported("lxc.cgroup2.devices.allow = c 10:229 rwm\n").fragment.fuse, Some(true));
}

#[test]
fn configurations_of_others_are_refused_whole() {
    let proxmox = "arch: amd64\ncores: 2\nhostname: web\nlxc.mount.entry: /srv srv none bind\n";
    for name in [None, Some("web")] {
        let error = import("/etc/pve/lxc/101.conf", proxmox, wanted(name, &nothing)).unwrap_err();
        assert!(
            error.to_string().contains("Proxmox") && error.help().contains("/var/lib/lxc/ID/config"),
            "{error}"
        );
    }
    let lxd = "architecture: x86_64\nconfig: {}\ndevices: {}\n";
    let error = import("web.yaml", lxd, wanted(None, &nothing)).unwrap_err();
    assert!(error.to_string().contains("LXD"), "{error}");
}

#[test]
fn ranges_of_ids_are_for_making_the_image() {
    let import =
        translated("lxc.idmap = u 0 100000 65536\nlxc.idmap = g  0  200000  65536\nlxc.idmap = x 1 2 3\n");
    assert_eq!(import.idmap, ["u:0:100000:65536", "g:0:200000:65536"]);
    assert_eq!(warnings(&import), ["lxc.idmap"]);
}

#[test]
fn a_swap_limit_is_the_difference() {
    let text = "lxc.cgroup.memory.memsw.limit_in_bytes = 3G\nlxc.cgroup.memory.limit_in_bytes = 2G\n";
    assert_eq!(translated(text).fragment.memory_swap_max, Some("1G".parse().unwrap()));
}

#[test]
fn a_name_is_made_from_the_host_name_or_the_path() {
    let name =
        |file: &str, text: &str| import(file, text, wanted(None, &nothing)).map(|i| i.name.to_string());
    assert_eq!(name("/var/lib/lxc/web/config", "").unwrap(), "web");
    assert_eq!(name("x.conf", "lxc.utsname = Mail.Example.org").unwrap(), "mail-example-org");
    assert_eq!(name("lxc-veth.conf", "").unwrap(), "lxc-veth");
    let error = name("123", "lxc.utsname = 4").unwrap_err();
    assert!(error.help().contains("--name"), "{error}");
    // Told of what stands there, not of what is left of it.
    let error = name("/etc/pve/lxc/101.conf", "").unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.starts_with("\"101\" is not a tenant name"), "{source}");
    let given = import("x", "lxc.utsname = beta", wanted(Some("other"), &nothing)).unwrap();
    assert_eq!((given.name.as_str(), given.fragment.hostname.as_deref()), ("other", Some("beta")));
}

/// Lines that look like a configuration, more or less.
fn line() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        8 => prop::sample::select(KEYS).prop_flat_map(|key| {
            let names = [key.name, key.old].map(|name| name.replace('*', "x").replace(".N.", ".0."));
            prop::sample::select(names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>())
        }),
        1 => "lxc\\.[a-z.]{0,12}",
        1 => "[a-zA-Z0-9 .#=]{0,12}",
    ];
    let value = prop_oneof![
        Just(String::new()),
        "[0-9]{1,6}[kKmMgG%]?",
        "-?[0-9]{1,25}",
        "(dir:|overlay:)?(/[a-z.]{0,6}){1,4}",
        "[abc] ([0-9*]{1,3}:[0-9*]{1,3} )?[rwm]{0,3}",
        "(veth|phys|macvlan|vlan|empty|none|ipvlan|up|eth0|auto|dev)",
        "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}(/[0-9]{1,2})?",
        "/[a-z]{1,4} [a-z/.]{1,6} (none|tmpfs|proc) (bind|ro,bind|size=1k|optional)",
        "[ -~]{0,40}",
        "\\PC{0,20}",
    ];
    prop_oneof![
        9 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => "\\PC{0,60}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_line_is_in_the_report_once_and_the_file_is_valid(lines in prop::collection::vec(line(), 0..30)) {
        // Without any key of LXC it belongs to another program.
        let text = format!("lxc.tty.max = 1\n{}", lines.join("\n"));
        let import = import("x.conf", &text, wanted(Some("x"), &nothing)).unwrap();
        let told: Vec<usize> = import.rows.iter().map(|row| row.line).filter(|line| *line > 0).collect();
        let meant: Vec<usize> = (1..)
            .zip(text.split('\n'))
            .filter(|(_, line)| !line.trim().is_empty() && !line.trim().starts_with('#'))
            .map(|(number, _)| number)
            .collect();
        prop_assert_eq!(told, meant);
        prop_assert!(import.rows.iter().all(|row| !row.text.is_empty() && row.text != "it was not translated"));
        prop_assert_eq!(parse_toml::<Fragment>(&import.text()).unwrap(), import.fragment.clone());
        for pair in import.pairs() {
            prop_assert!(tenant::config::set(&pair).is_ok(), "{}", pair);
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        drop(import("x.conf", &text, wanted(Some("x"), &|_| Ok(Found::File(text.clone())))));
    }
}
