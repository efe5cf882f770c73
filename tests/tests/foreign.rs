//! Systems that are not the image `debian`: another release, another init, other directories. Each boots, is called
//! what its file says, reboots, powers off, and stops in its own time.
//!
//! What works, and what does not, is on the page `docs/reference/foreign-systems.md`.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::Duration,
};

use tenantry_tests::{Host, Run, Tenant, debian, host::Place, poll};

const REFERENCE: &str = include_str!("../../docs/reference/foreign-systems.md");

/// Far more than any of them needs to stop, and far less than the time after which it would be killed.
const SOON: Duration = Duration::from_secs(20);

/// What is expected of a system.
struct Expected {
    name: &'static str,
    /// What the image's manifest says of its init.
    init_kind: &'static str,
    /// Succeeds inside when all is up.
    is_up: &'static str,
    has_sshd: bool,
}

const SYSTEMD: &str = "test $(systemctl is-system-running) = running";
/// Before it runit hears no signal.
const SECOND_STAGE: &str = "pgrep -x runsvdir";
const RUNLEVEL: &str = "test \"$(runlevel)\" = 'N 2'";

const EXPECTED: [Expected; 6] = [
    Expected { name: "trixie", init_kind: "systemd", is_up: SYSTEMD, has_sshd: false },
    Expected { name: "unmerged", init_kind: "systemd", is_up: SYSTEMD, has_sshd: false },
    Expected { name: "sysvinit", init_kind: "sysv", is_up: RUNLEVEL, has_sshd: true },
    Expected { name: "openrc", init_kind: "sysv", is_up: RUNLEVEL, has_sshd: true },
    Expected { name: "runit", init_kind: "runit", is_up: SECOND_STAGE, has_sshd: true },
    Expected { name: "alpine-like", init_kind: "busybox", is_up: "test -e /run/default", has_sshd: false },
];

fn expected(name: &str) -> &'static Expected {
    EXPECTED.iter().find(|expected| expected.name == name).expect("a system")
}

fn place(name: &str) -> Place {
    let place = Place::prepared();
    match debian::SYSTEMS.into_iter().find(|system| system.name == name) {
        Some(system) => debian::bootstrapped(&place, system),
        None => debian::by_hand(&place, name, ALPINE_LIKE, alpine_like),
    }
}

/// What OpenRC does in Alpine, as far as a tenant sees it.
const ALPINE_LIKE: &str = r#"#!/bin/sh
case $1 in
boot)
    [ ! -e /etc/runlevels/boot/hostname ] || hostname "$(cat /etc/hostname 2> /dev/null || echo localhost)"
    ;;
default) : > /run/default ;;
shutdown) echo "OpenRC shuts down" ;;
esac
"#;

/// A tree as Alpine has it: busybox, directories of its own in place of links into `/usr`, gettys, a host name.
fn alpine_like(tree: &Path) {
    for dir in ["bin", "sbin", "lib", "etc/init.d", "etc/runlevels/boot", "usr/bin", "usr/sbin", "usr/lib"] {
        fs::create_dir_all(tree.join(dir)).expect("a directory");
    }
    for dir in ["dev", "proc", "root", "run", "sys", "tmp", "var/log"] {
        fs::create_dir_all(tree.join(dir)).expect("a directory");
    }
    let busybox = Run::new("sh", ["-c", "command -v busybox"]).ok();
    fs::copy(busybox.text(), tree.join("bin/busybox")).expect("busybox can be copied");
    for applet in Run::new("busybox", ["--list-full"]).ok().stdout.lines() {
        let _is_busybox = symlink("/bin/busybox", tree.join(applet));
    }
    let _is_an_applet = symlink("/bin/busybox", tree.join("sbin/init"));
    let inittab = "::sysinit:/sbin/openrc sysinit\n::sysinit:/sbin/openrc boot\n::wait:/sbin/openrc default\n\
                   tty1::respawn:/sbin/getty 38400 tty1\ntty2::respawn:/sbin/getty 38400 tty2\n\
                   ::ctrlaltdel:/sbin/reboot\n::shutdown:/sbin/openrc shutdown\n";
    let files = [
        ("sbin/openrc", ALPINE_LIKE, 0o755),
        ("etc/init.d/hostname", "", 0o755),
        ("etc/inittab", inittab, 0o644),
        ("etc/hostname", "localhost\n", 0o644),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644),
        ("etc/group", "root:x:0:\ntty:x:5:\n", 0o644),
        ("etc/shadow", "root:*:19000:0:99999:7:::\n", 0o600),
        ("etc/os-release", "ID=alpine\nPRETTY_NAME=\"Like Alpine\"\n", 0o644),
    ];
    for (path, text, mode) in files {
        fs::write(tree.join(path), text).expect("a file");
        fs::set_permissions(tree.join(path), fs::Permissions::from_mode(mode)).expect("its mode");
    }
    symlink("/etc/init.d/hostname", tree.join("etc/runlevels/boot/hostname")).expect("a service");
}

fn comes_up(tenant: &Tenant<'_>, expected: &Expected, boots: u64) {
    poll::until_true(&format!("{} is up, boot {boots}", expected.name), || {
        let state = tenant.run_state();
        state["phase"] == "running"
            && state["boots"] == boots
            && tenant.shell(expected.is_up).output().status.success()
    });
}

/// How many processes have the first tty open.
fn on_tty1(tenant: &Tenant<'_>) -> usize {
    let script = "for p in /proc/[0-9]*; do readlink $p/fd/0; done";
    let open = tenant.shell(script).output().stdout;
    open.lines().filter(|target| *target == "/dev/pts/1").count()
}

fn powers_off(tenant: &Tenant<'_>, how: &str) {
    tenant.awaits("stopped");
    assert_eq!(tenant.field("/exit"), "powered off", "{how}: {}", tenant.ctl("logs", &[]).output().stdout);
}

fn stops_in_its_own_time(tenant: &Tenant<'_>) {
    let stopped = tenant.ctl("stop", &[]).ok();
    assert!(stopped.took < SOON, "{:?}: {}", stopped.took, tenant.ctl("logs", &[]).output().stdout);
    powers_off(tenant, "stop");
}

/// All that is asked of a system, as a tenant of the default kind.
fn lives(name: &str) {
    let expected = expected(name);
    let host = Host::start_in(place(name));
    let tenant = host.boot(name, &["--image", name]);
    comes_up(&tenant, expected, 1);
    assert_eq!(tenant.says("hostname"), name);

    assert_eq!(on_tty1(&tenant), 0, "no login waits on a tty that nobody is attached to");
    let mut terminal = tenant.console(&["-t", "1"]);
    terminal.expect("login:");
    assert_eq!(on_tty1(&tenant), 1, "one login and no second one");
    drop(terminal);

    tenant.ctl("set", &["hostname=web.example.org"]).ok();
    let _cut_off = tenant.shell("reboot").output();
    comes_up(&tenant, expected, 2);
    assert_eq!(tenant.says("hostname"), "web.example.org");

    let _cut_off = tenant.shell("poweroff").output();
    powers_off(&tenant, "poweroff");
    tenant.start();
    comes_up(&tenant, expected, 1);
    stops_in_its_own_time(&tenant);
}

/// As a tenant with a whole system of its own it boots and stops, too, and it makes its own host keys.
fn lives_as_an_os(name: &str) {
    let expected = expected(name);
    let host = Host::start_in(place(name));
    let tenant = host.boot("own", &["--image", name, "--profile", "os"]);
    comes_up(&tenant, expected, 1);
    assert_eq!(tenant.says("hostname"), "own");
    if expected.has_sshd {
        poll::until_true("sshd runs", || tenant.shell("pgrep -x sshd").output().status.success());
        let key = "cat /etc/ssh/ssh_host_ed25519_key.pub";
        let other = host.boot("other", &["--image", name]);
        comes_up(&other, expected, 1);
        assert_ne!(tenant.says(key), other.says(key), "each has host keys of its own");
        assert!(tenant.says(key).ends_with("root@own"), "made inside");
    }
    stops_in_its_own_time(&tenant);
}

#[test]
fn debian_trixie_lives() {
    lives("trixie");
    lives_as_an_os("trixie");
}

#[test]
fn a_system_without_a_merged_usr_lives() {
    lives("unmerged");
    lives_as_an_os("unmerged");
}

#[test]
fn sysvinit_lives() {
    lives("sysvinit");
    lives_as_an_os("sysvinit");
}

#[test]
fn openrc_lives() {
    lives("openrc");
    lives_as_an_os("openrc");
}

#[test]
fn runit_lives() {
    lives("runit");
    lives_as_an_os("runit");
}

#[test]
fn a_system_like_alpine_lives() {
    lives("alpine-like");
    lives_as_an_os("alpine-like");
}

#[test]
fn the_manifest_says_which_init_an_image_has() {
    for Expected { name, init_kind, .. } in EXPECTED {
        let place = place(name);
        let show = Run::new(place.bin.join("rootfsctl"), ["--json", "show", name]);
        let shown = show.env("TENANTRY_ROOT", &place.images).ok().json();
        assert_eq!(
            shown.pointer("/manifest/init_kind").and_then(|kind| kind.as_str()),
            Some(init_kind),
            "{name}"
        );
    }
}

#[test]
fn the_reference_has_a_row_for_each_system() {
    for Expected { name, .. } in EXPECTED {
        assert!(REFERENCE.contains(&format!("| `{name}` |")), "{name}");
    }
}
