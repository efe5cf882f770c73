//! Tunings, on small trees.

use std::{collections::BTreeSet, fs};

use super::*;

#[test]
fn every_row_has_its_own_id_and_a_reason() {
    let ids: BTreeSet<_> = table().map(|row| row.id).collect();
    assert_eq!(ids.len(), table().count());
    for row in table() {
        assert!(row.reason.len() > 10, "{} has no reason", row.id);
        let well_formed = row.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        assert!(well_formed, "{}", row.id);
    }
}

#[test]
fn no_unit_is_masked_and_wanted_at_once() {
    let masked: BTreeSet<_> = table()
        .filter_map(|row| if let Action::Mask(units) = row.action { Some(units) } else { None })
        .flatten()
        .collect();
    for row in table() {
        let used = match row.action {
            Action::Want { unit, .. } => vec![unit],
            Action::DropIn { units, .. } => units.to_vec(),
            _ => Vec::new(),
        };
        assert!(!used.iter().any(|unit| masked.contains(unit)), "{} is masked and used", row.id);
    }
}

fn debian_like() -> (tempfile::TempDir, RootDir) {
    let dir = tempfile::tempdir().unwrap();
    let root = RootDir::open(dir.path()).unwrap();
    let units = "usr/lib/systemd/system";
    for unit in ["fstrim.timer", "dbus.service", "ssh.service", "ssh.socket", "systemd-journald.service"] {
        root.write(format!("{units}/{unit}"), b"", 0o644).unwrap();
    }
    root.write("usr/lib/systemd/systemd", b"", 0o755).unwrap();
    root.write("usr/lib/systemd/system-generators/systemd-sysv-generator", b"", 0o755).unwrap();
    root.symlink("../dbus.service", format!("{units}/multi-user.target.wants/dbus.service")).unwrap();
    root.symlink("/lib/systemd/system/ssh.service", "etc/systemd/system/multi-user.target.wants/ssh.service")
        .unwrap();
    (dir, root)
}

#[test]
fn the_tuning_is_undone_in_etc_alone_and_done_only_once() {
    let (dir, root) = debian_like();
    assert!(!missing(&root).is_empty());
    assert!(apply(&root).unwrap().contains(&"ssh-on-demand"));
    assert_eq!(apply(&root).unwrap(), Vec::<&str>::new());
    assert!(missing(&root).is_empty());

    let null = Path::new("/dev/null");
    let etc = "etc/systemd/system";
    assert_eq!(root.link(format!("{etc}/fstrim.timer")).unwrap(), null);
    assert_eq!(root.link(format!("{etc}/multi-user.target.wants/dbus.service")).unwrap(), null);
    assert!(!root.has(format!("{etc}/multi-user.target.wants/ssh.service")));
    assert!(root.has(format!("{etc}/sockets.target.wants/ssh.socket")));
    assert!(!root.has(format!("{etc}/systemd-pstore.service")), "a unit the image lacks is masked");
    assert!(fs::symlink_metadata(dir.path().join("usr/lib/systemd/system/fstrim.timer")).unwrap().is_file());
}

#[test]
fn no_unit_wants_a_masked_one() {
    let (_dir, root) = debian_like();
    let (usr, etc) = ("usr/lib/systemd/system", "etc/systemd/system");
    root.write(format!("{usr}/systemd-udevd.service"), b"", 0o644).unwrap();
    let wanted = [
        (usr, "sockets.target.wants", "systemd-udevd.service"),
        (usr, "later.target.requires", "systemd-udevd.service"),
        (etc, "timers.target.wants", "fstrim.timer"),
        (etc, "timers.target.wants", "own.timer"),
    ];
    for (dir, target, unit) in wanted {
        root.symlink(format!("/usr/lib/systemd/system/{unit}"), format!("{dir}/{target}/{unit}")).unwrap();
    }
    assert!(apply(&root).unwrap().contains(&"devices"));
    let target = |path: &str| root.link(format!("{etc}/{path}")).unwrap().display().to_string();
    assert_eq!(target("sockets.target.wants/systemd-udevd.service"), "/dev/null");
    assert_eq!(target("later.target.requires/systemd-udevd.service"), "/dev/null");
    // One that was enabled is not: with a link in its place `systemctl enable` would fail.
    assert!(!root.has(format!("{etc}/timers.target.wants/fstrim.timer")));
    assert_eq!(target("timers.target.wants/own.timer"), "/usr/lib/systemd/system/own.timer");
    // A tree that was tuned before lacks them, which is seen.
    assert!(missing(&root).is_empty());
    root.remove(format!("{etc}/sockets.target.wants/systemd-udevd.service")).unwrap();
    assert_eq!(missing(&root).iter().map(|row| row.id).collect::<Vec<_>>(), ["devices"]);
}

#[test]
fn what_holds_for_a_shared_usr_asks_for_it() {
    for row in table().filter(|row| row.scope == Scope::SharedUsr) {
        let asks = match row.action {
            Action::DropIn { text, .. } => text == USR_IS_OWN,
            Action::File { text, .. } => text.contains("test -w /usr"),
            // Only the files ask before they run it.
            Action::Program { text, .. } => text.contains("[ -w /usr ]") || row.id == "package-tools",
            _ => false,
        };
        assert!(asks, "{} holds where packages are installed, too", row.id);
    }
}

#[test]
fn nothing_is_masked_that_a_package_may_bring() {
    for row in table().filter(|row| row.scope != Scope::Everywhere) {
        assert!(!matches!(row.action, Action::Mask(_) | Action::Unwant { .. }), "{}", row.id);
    }
}

/// Runs the generator in a tree with a shell, and says which generators it ran.
fn generated(root: &RootDir, dir: &Path) -> String {
    let tree = dir.display();
    let text = root.text("usr/lib/systemd/system-generators/tenantry-generators").unwrap().unwrap();
    // The tree has no shell to change the root to.
    let text = text.replace("/usr/lib", &format!("{tree}/usr/lib")).replace("/etc", &format!("{tree}/etc"));
    let output = std::process::Command::new("sh").args(["-c", &text, "sh", "a", "b", "c"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_generator_runs_where_it_has_something_to_read() {
    let (dir, root) = debian_like();
    for name in ["systemd-sysv-generator", "systemd-fstab-generator"] {
        let script = format!("#!/bin/sh\necho {name} $*\n");
        root.write(format!("usr/lib/systemd/system-generators/{name}"), script.as_bytes(), 0o755).unwrap();
    }
    root.write("etc/init.d/dbus", b"#!/bin/sh\n", 0o755).unwrap();
    root.write("etc/init.d/README", b"text", 0o644).unwrap();
    root.write("etc/fstab", b"# no mounts\n\n  # none\n", 0o644).unwrap();
    apply(&root).unwrap();
    let mask = "etc/systemd/system-generators/systemd-sysv-generator";
    assert_eq!(root.link(mask).unwrap(), Path::new("/dev/null"));
    assert_eq!(generated(&root, dir.path()), "");
    root.write("etc/init.d/legacy.sh", b"#!/bin/sh\n", 0o755).unwrap();
    assert_eq!(generated(&root, dir.path()), "systemd-sysv-generator a b c\n");
    root.write("etc/fstab", b"# one\ntmpfs /mnt tmpfs", 0o644).unwrap();
    assert_eq!(generated(&root, dir.path()), "systemd-fstab-generator a b c\nsystemd-sysv-generator a b c\n");
    // Masked units count as units; without its mask a generator runs by itself.
    root.symlink("/dev/null", "etc/systemd/system/legacy.service").unwrap();
    root.remove("etc/systemd/system-generators/systemd-fstab-generator").unwrap();
    assert_eq!(generated(&root, dir.path()), "");
}

#[test]
fn settings_of_an_imported_system_are_kept() {
    let (_dir, root) = debian_like();
    root.write("etc/sysctl.conf", b"# comment\nnet.ipv4.ip_forward=1\n", 0o644).unwrap();
    apply(&root).unwrap();
    assert!(root.has("etc/sysctl.conf"));
    root.write("etc/sysctl.conf", b"# comment\n\n", 0o644).unwrap();
    apply(&root).unwrap();
    assert!(!root.has("etc/sysctl.conf"));
}

#[test]
fn mounts_that_systemd_needs_to_its_end_are_kept_where_usr_is_not_merged() {
    let dir = tempfile::tempdir().unwrap();
    let root = RootDir::open(dir.path()).unwrap();
    root.write("lib/systemd/systemd", b"", 0o755).unwrap();
    root.write("lib64/ld-linux-x86-64.so.2", b"", 0o755).unwrap();
    root.symlink("usr/bin", "bin").unwrap();
    assert_eq!(apply(&root).unwrap(), ["unmerged-usr"]);
    assert_eq!(root.list("etc/systemd/system").unwrap(), ["lib.mount.d", "lib64.mount.d"]);
}

#[test]
fn what_the_host_mounts_is_not_unmounted_by_a_tenant_that_stops() {
    let profile = include_str!("../../../profiles/shared-os.toml");
    let dirs = profile.lines().filter_map(|line| line.strip_prefix('"')?.split_once("\" = "));
    // Others need no mount, or systemd leaves them alone by itself.
    let mounted: Vec<&str> = dirs
        .filter(|(at, policy)| !policy.starts_with("\"empty\"") && !["/etc", "/run"].contains(at))
        .map(|(at, _)| at)
        .collect();
    assert!(mounted.contains(&"/var") && mounted.contains(&"/tmp"), "{mounted:?}");
    let (_dir, root) = debian_like();
    apply(&root).unwrap();
    for at in mounted {
        let unit = at.trim_start_matches('/').replace('/', "-");
        let drop_in = root.text(format!("usr/lib/systemd/system/{unit}.mount.d/{DROP_IN}")).unwrap();
        assert_eq!(drop_in.as_deref(), Some("[Unit]\nDefaultDependencies=no\n"), "{at}");
    }
}

#[test]
fn a_tree_without_systemd_is_tuned_for_its_own_init() {
    let dir = tempfile::tempdir().unwrap();
    let root = RootDir::open(dir.path()).unwrap();
    root.write("etc/inittab", b"1:2345:respawn:/sbin/getty 38400 tty1\n", 0o644).unwrap();
    root.symlink("/etc/sv/getty-tty1", "etc/runit/runsvdir/default/getty-tty1").unwrap();
    root.symlink("/etc/sv/cron", "etc/runit/runsvdir/default/cron").unwrap();
    root.symlink("/etc/init.d/hostname", "etc/runlevels/boot/hostname").unwrap();
    assert!(missing(&root).iter().any(|row| row.id == "inittab"));
    assert_eq!(apply(&root).unwrap(), ["inittab", "runit-gettys", "openrc-hostname"]);
    assert!(missing(&root).is_empty());
    assert_eq!(root.list("etc/runit/runsvdir/default").unwrap(), ["cron"]);
    assert!(!root.has("etc/systemd") && !root.has("etc/.updated"));
    assert_eq!(apply(&root).unwrap(), Vec::<&str>::new());
}
