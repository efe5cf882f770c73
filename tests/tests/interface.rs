//! systemd's container interface, row by row; `docs/reference/container-interface.md` is the table.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use serde_json::Value;
use tenantry_tests::{Host, Tenant, poll};

const REFERENCE: &str = include_str!("../../docs/reference/container-interface.md");

/// Boots a tenant whose process 1 first notes, with this script, what it finds, and becomes systemd.
fn seen_at_birth(host: &Host, script: &str) -> String {
    let init =
        serde_json::json!(["/bin/sh", "-c", format!("{{ {script}; }} > /root/seen 2>&1; exec /sbin/init")]);
    let alice = host.boot("alice", &["--set", &format!("init={init}"), "--set", "hostname=wonderland"]);
    assert_eq!(alice.says("systemctl is-system-running"), "running");
    alice.says("cat /root/seen")
}

fn mount<'a>(seen: &'a Value, at: &str) -> &'a Value {
    let mounts = seen["mounts"].as_array().expect("a list of mounts");
    mounts.iter().rfind(|mount| mount["at"] == at).unwrap_or_else(|| panic!("nothing is mounted on {at}"))
}

fn has(options: &Value, wanted: &str) -> bool {
    options.as_str().is_some_and(|options| options.split(',').any(|option| option == wanted))
}

/// Puts credentials of a tenant where the host's admin does.
fn give(host: &Host, tenant: &str, credentials: &[(&str, &str)]) {
    let dir = host.path("etc/tenantry/credentials").join(tenant);
    fs::create_dir_all(&dir).expect("the directory can be made");
    fs::set_permissions(&dir, Permissions::from_mode(0o700)).expect("its mode can be set");
    for (name, contents) in credentials {
        fs::write(dir.join(name), contents).expect("a credential can be written");
    }
}

fn boots(tenant: &Tenant<'_>, count: u64) {
    poll::until_true(&format!("boot {count}"), || {
        let state = tenant.run_state();
        state["phase"] == "running" && state["boots"] == count
    });
}

#[test]
fn the_hostname_is_set_before_init() {
    assert_eq!(seen_at_birth(&Host::start(), "cat /proc/sys/kernel/hostname"), "wonderland");
}

#[test]
fn proc_and_sys_are_mounted_before_init_and_sys_is_read_only() {
    let host = Host::start();
    let script =
        "cat /proc/1/comm; ls /sys/class/net; touch /sys/x || echo no; [ -w /proc/1/comm ] && echo its own";
    let seen = seen_at_birth(&host, script);
    assert!(seen.starts_with("sh\n") && seen.contains("eth0\nlo") && seen.ends_with("no\nits own"), "{seen}");
    let seen = Tenant::new(&host, "alice").probe(&["mounts"]);
    assert_eq!(mount(&seen, "/proc")["type"], "proc");
    assert_eq!(mount(&seen, "/sys")["type"], "sysfs");
    assert!(has(&mount(&seen, "/sys")["options"], "ro"), "{}", mount(&seen, "/sys"));
}

#[test]
fn dev_is_a_tmpfs_of_the_tenants_own() {
    let host = Host::start();
    let (alice, bob) = (host.boot("alice", &[]), host.boot("bob", &[]));
    let seen = alice.probe(&["mounts"]);
    assert_eq!(mount(&seen, "/dev")["type"], "tmpfs");
    assert_eq!(mount(&seen, "/dev/pts")["type"], "devpts");
    alice.says("touch /dev/mine; for n in null zero full random urandom tty; do test -c /dev/$n; done");
    assert_eq!(bob.shell("test -e /dev/mine").output().code(), 1);
}

#[test]
fn the_console_is_a_pty_whose_master_stays_open() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    assert_eq!(alice.says("stat -c '%F %Hr' /dev/console"), "character special file 136");
    // Nobody is attached. Without a master open(2) would fail with EIO, and a full buffer would block.
    let flood =
        "i=0; while [ $i -lt 2000 ]; do echo 'a line of some length, again and again'; i=$((i+1)); done";
    alice.says(&format!("test -t 0 < /dev/console && ({flood}; echo the last line) > /dev/console"));
    poll::until_true("the console's log has it", || {
        alice.ctl("logs", &["-n", "1"]).ok().stdout.contains("the last line")
    });
    let _answer = alice.exec(&["systemctl", "reboot"]).output();
    boots(&alice, 2);
    alice.says("echo after a reboot > /dev/console");
    poll::until_true("the console's log goes on", || {
        alice.ctl("logs", &[]).ok().stdout.contains("after a reboot")
    });
}

#[test]
fn the_cgroup_tree_is_v2_starts_at_the_tenants_own_and_is_delegated() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let seen = alice.probe(&["mounts", "process"]);
    assert_eq!(mount(&seen, "/sys/fs/cgroup")["type"], "cgroup2");
    assert_eq!(mount(&seen, "/sys/fs/cgroup")["root"], "/");
    assert!(has(&mount(&seen, "/sys/fs/cgroup")["options"], "rw"));
    // A hybrid host's v1 hierarchies are there as well, seen from the tenant's own cgroup too.
    let cgroups = seen["process"]["init_cgroup"].as_str().expect("its cgroups");
    assert_eq!(cgroups.lines().last(), Some("0::/init.scope"), "{cgroups}");
    assert!(cgroups.lines().rev().skip(1).all(|line| line.ends_with(":/")), "{cgroups}");
    for file in ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
        assert_eq!(alice.says(&format!("stat -c %u /sys/fs/cgroup/{file}")), "0", "{file}");
    }
    alice.says("mkdir /sys/fs/cgroup/own && echo $$ > /sys/fs/cgroup/own/cgroup.procs");
    let service = alice.says("systemd-run --quiet --pipe --wait tail -n 1 /proc/self/cgroup");
    assert!(service.starts_with("0::/system.slice/") && service.ends_with(".service"), "{service}");
    // Where the host's v2 tree has controllers (a hybrid host's has none) the tenant's has them too.
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if controllers.contains("memory") && controllers.contains("pids") {
        let inside = alice.says("cat /sys/fs/cgroup/cgroup.controllers");
        assert!(inside.contains("memory") && inside.contains("pids"), "{inside}");
    }
}

#[test]
fn the_environment_of_init_says_what_it_is_in() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let seen = alice.probe(&["environment"]);
    let init = &seen["environment"]["init"];
    assert_eq!(init["container"], "tenantry");
    assert_eq!(init["container_uuid"], alice.says("cat /run/host/container-uuid"));
    assert_eq!(
        alice.says("systemd-detect-virt --container; cat /run/systemd/container"),
        "container-other\ntenantry"
    );
}

#[test]
fn the_uuid_stays_over_reboots_and_is_new_for_a_new_tenant() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let uuid = |tenant: &Tenant<'_>| {
        let seen = tenant.probe(&["environment"]);
        seen["environment"]["init"]["container_uuid"].as_str().expect("a UUID").to_owned()
    };
    let first = uuid(&alice);
    assert!(first.len() == 32 && first.bytes().all(|b| b.is_ascii_hexdigit()), "{first}");
    assert_eq!(alice.says("cat /etc/machine-id"), first);
    let _answer = alice.exec(&["systemctl", "reboot"]).output();
    boots(&alice, 2);
    assert_eq!(uuid(&alice), first);
    alice.ctl("restart", &[]).ok();
    assert_eq!(uuid(&alice), first);
    assert_ne!(uuid(&host.boot("bob", &[])), first);
    alice.ctl("destroy", &["--force", "--yes"]).ok();
    assert_ne!(uuid(&host.boot("alice", &[])), first);
}

#[test]
fn no_login_program_is_running_on_a_tty_without_clients() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    assert_eq!(alice.probe(&["environment"])["environment"]["init"]["container_ttys"], Value::Null);
    assert_eq!(alice.says("ls /dev/tty[1-9]* | wc -l; cat /proc/*/comm | grep -c getty || true"), "6\n0");
    let mut terminal = alice.console(&["-t", "2"]);
    terminal.expect("login:");
}

#[test]
fn credentials_reach_the_services_and_root_alone() {
    let host = Host::start();
    let alice = host.create("alice", &[]);
    give(&host, "alice", &[("site.token", "s3same"), ("empty", "")]);
    alice.start();
    let seen = alice.probe(&["environment", "mounts"]);
    assert_eq!(seen["environment"]["init"]["CREDENTIALS_DIRECTORY"], "/run/host/credentials");
    let place = mount(&seen, "/run/host/credentials");
    assert!(place["type"] == "tmpfs" && has(&place["options"], "ro"), "{place}");
    assert_eq!(
        alice.says("cd /run/host/credentials && stat -c '%a %u %s' . * | sed 's/^500 0 .*/500 0/'"),
        "500 0\n400 0 0\n400 0 6"
    );
    assert_eq!(alice.says("systemd-creds --system cat site.token"), "s3same");
    let service = "systemd-run --quiet --pipe --wait -p DynamicUser=yes -p LoadCredential=site.token";
    assert_eq!(alice.says(&format!("{service} sh -c 'cat $CREDENTIALS_DIRECTORY/site.token'")), "s3same");
    assert_ne!(alice.shell("touch /run/host/credentials/x").output().code(), 0);
    let other = alice.exec(&[
        "setpriv",
        "--reuid=65534",
        "--clear-groups",
        "cat",
        "/run/host/credentials/site.token",
    ]);
    assert_ne!(other.output().code(), 0);
    // What is printed tells names and sizes.
    for args in [&["plan", "alice"][..], &["--json", "plan", "alice"]] {
        let plan = host.ctl(args).ok().stdout;
        assert!(plan.contains("site.token(6 B)") && !plan.contains("s3same"), "{plan}");
    }
    // Read anew at each boot.
    give(&host, "alice", &[("site.token", "changed")]);
    let _answer = alice.exec(&["systemctl", "reboot"]).output();
    boots(&alice, 2);
    assert_eq!(alice.says("systemd-creds --system cat site.token"), "changed");
}

#[test]
fn credentials_that_cannot_be_had_are_an_error_before_the_start() {
    let host = Host::start();
    let alice = host.create("alice", &["--image", "busybox"]);
    let dir = host.path("etc/tenantry/credentials/alice");
    give(&host, "alice", &[("a:b", "x")]);
    let said = alice.ctl("start", &[]).output().refused(1);
    assert!(said.contains("a:b") && said.contains("name of a credential"), "{said}");
    fs::remove_file(dir.join("a:b")).expect("it can be removed");
    give(&host, "alice", &[("large", &"x".repeat((1 << 20) + 1))]);
    let said = alice.ctl("start", &[]).output().refused(1);
    assert!(said.contains("1 MiB"), "{said}");
    give(&host, "alice", &[("large", &"x".repeat(1 << 20))]);
    fs::set_permissions(&dir, Permissions::from_mode(0o755)).expect("its mode can be set");
    let said = alice.ctl("start", &[]).output().refused(1);
    assert!(said.contains("inaccessible to other users"), "{said}");
    fs::set_permissions(&dir, Permissions::from_mode(0o700)).expect("its mode can be set");
    alice.start();
    assert_eq!(alice.says("wc -c < /run/host/credentials/large"), (1 << 20).to_string());
}

#[test]
fn sigrtmin_plus_3_and_plus_4_power_off() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    for signal in ["RTMIN+3", "RTMIN+4"] {
        let _answer = alice.shell(&format!("kill -s {signal} 1")).output();
        alice.awaits("stopped");
        assert_eq!(alice.run_state()["exit"], "poweroff", "{signal}");
        alice.start();
    }
    // And this is what a stop sends: systemd goes down in order instead of being killed. No program is started for it.
    alice.stop();
    assert_eq!(alice.run_state()["exit"], "poweroff");
    assert!(alice.ctl("plan", &[]).ok().stdout.contains("with SIGRTMIN+4,"));
}

#[test]
fn of_what_init_notifies_ready_and_status_alone_go_on() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    alice.bring_probe();
    let message = "STATUS=hello MAINPID=7 ERRNO=5 STOPPING=1 EXTEND_TIMEOUT_USEC=1 WATCHDOG=trigger READY=1";
    let init = serde_json::json!(["/root/probe", "notify", message]);
    let set = [&format!("init={init}"), "ready=notify", "stop_timeout_sec=1"];
    alice.ctl("set", &set).ok();
    alice.ctl("restart", &[]).ok();
    assert_eq!(alice.phase(), "running");
    assert_eq!(alice.run_state()["status"], "hello");
    assert_eq!(alice.field("/status"), "hello");
    // A child of init is not init.
    let socket = "NOTIFY_SOCKET=/run/host/notify";
    alice.ctl("exec", &["-e", socket, "--", "/root/probe", "notify-once", "STATUS=forged"]).ok();
    // The supervisor has seen it when it answers: it reads that socket first.
    host.tool("tenant", &["control", "alice", "status"]).ok();
    assert_eq!(alice.run_state()["status"], "hello");
}

#[test]
fn the_mac_address_stays_over_reboots_and_restarts() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let mac = || alice.says("cat /sys/class/net/eth0/address");
    let first = mac();
    let _answer = alice.exec(&["systemctl", "reboot"]).output();
    boots(&alice, 2);
    assert_eq!(mac(), first);
    alice.ctl("restart", &[]).ok();
    assert_eq!(mac(), first);
    assert_ne!(host.boot("bob", &[]).says("cat /sys/class/net/eth0/address"), first);
}

#[test]
fn run_host_tells_of_the_host() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    assert_eq!(alice.says("cat /run/host/container-manager"), "tenantry");
    assert_eq!(alice.says("cat /run/host/container-uuid"), alice.says("cat /etc/machine-id"));
    let own = fs::read_to_string("/etc/os-release").expect("this host has an os-release");
    assert_eq!(alice.says("cat /run/host/os-release"), own.trim_end());
    assert_eq!(
        alice.says("cd /run/host && stat -c '%a %U %n' container-* os-release"),
        "444 root container-manager\n444 root container-uuid\n444 root os-release"
    );
    assert_eq!(alice.says("stat -c '%F %a' /run/host/incoming; ls -A /run/host/incoming"), "directory 700");
}

#[test]
fn run_host_has_an_inaccessible_node_of_each_type() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let nodes = alice.says("cd /run/host/inaccessible && stat -c '%n: %F %a %U' *");
    let expected = "blk: block special file 0 root\nchr: character special file 0 root\ndir: directory 0 root\n\
                    fifo: fifo 0 root\nreg: regular empty file 0 root\nsock: socket 0 root";
    assert_eq!(nodes, expected);
    assert_ne!(alice.shell("touch /run/host/inaccessible/x").output().code(), 0);
    assert_eq!(alice.says("readlink -f /run/systemd/inaccessible"), "/run/host/inaccessible");
    // What they are for: a file, a directory and a device of a service are hidden.
    let service = "systemd-run --quiet --pipe --wait -p InaccessiblePaths='/etc/hosts /srv /dev/zero'";
    let look = "stat -c '%F %a' /etc/hosts /srv /dev/zero";
    let seen = alice.says(&format!("{service} {look}"));
    assert_eq!(seen, "regular empty file 0\ndirectory 0\ncharacter special file 0");
    assert!(alice.says("stat -c '%F' /dev/zero").contains("character"));
}

#[test]
fn mknod_and_sys_admin_are_kept_and_audit_is_not() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let seen = alice.probe(&["process"]);
    let bounds = seen["process"]["init_status"]["CapBnd"].as_str().expect("a set of capabilities");
    let bounds = u64::from_str_radix(bounds, 16).expect("hex digits");
    // Numbers of linux/capability.h.
    for (name, number, kept) in [
        ("CAP_SYS_ADMIN", 21, true),
        ("CAP_MKNOD", 27, true),
        ("CAP_AUDIT_WRITE", 29, false),
        ("CAP_AUDIT_CONTROL", 30, false),
        ("CAP_AUDIT_READ", 37, false),
    ] {
        assert_eq!(bounds >> number & 1 == 1, kept, "{name} in {bounds:x}");
    }
    assert_eq!(alice.says("systemctl show -P ConditionResult systemd-journald-audit.socket"), "no");
}

#[test]
fn reboot_restarts_and_poweroff_ends() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let (_, supervisor) = alice.pids();
    // -ff: reboot(2) at once, without systemd's help.
    let _answer = alice.exec(&["systemctl", "reboot", "-ff"]).output();
    boots(&alice, 2);
    assert_eq!(alice.pids().1, supervisor);
    let _answer = alice.exec(&["systemctl", "poweroff", "-ff"]).output();
    alice.awaits("stopped");
    assert_eq!(alice.run_state()["exit"], "poweroff");
    alice.start();
    let _answer = alice.exec(&["systemctl", "halt", "-ff"]).output();
    alice.awaits("stopped");
}

#[test]
fn every_row_of_the_reference_names_its_test_and_no_test_is_left_out() {
    let named: BTreeSet<&str> =
        REFERENCE.split('`').filter_map(|word| word.strip_prefix("interface::")).collect();
    let source = include_str!("interface.rs");
    let tests = source.split("#[test]\nfn ").skip(1).filter_map(|rest| rest.split('(').next());
    let tests: BTreeSet<&str> = tests.filter(|name| !name.starts_with("every_row_")).collect();
    assert_eq!(named, tests);
}
