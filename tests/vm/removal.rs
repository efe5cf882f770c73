//! The last program: the package is upgraded, removed, purged, and comes back.

use std::{fs, path::Path};

use tenantry_tests::{
    Output,
    machine::{Unit, alone, hostd_answers, journal, package, property, run, systemctl, tenantctl},
};

const IMAGES: &str = "/var/lib/tenantry/images";

fn install(is_newer: bool) -> Output {
    let installed = run(&["dpkg", "--install", &package(is_newer)]).output();
    if installed.status.success() {
        hostd_answers();
    }
    installed
}

fn is_installed() -> bool {
    let status = ["dpkg-query", "--show", "--showformat", "${db:Status-Status}", "tenantry"];
    run(&status).output().text() == "installed"
}

/// The package is there, with no tenant.
fn bare() {
    if !is_installed() {
        install(false).succeeded();
    }
    tenantctl(&["destroy", "--all", "--force", "--yes"]).output();
}

#[test]
fn a_removal_is_refused_while_tenants_run_and_a_purge_leaves_them_for_the_next_installation() {
    let _alone = alone();
    bare();
    let one = Unit::start("one", &["--image", "debian"]);
    let two = Unit::start("two", &[]);
    one.systemctl("enable").ok();
    let before = (one.boot(), two.boot(), property("hostd.service", "MainPID"));
    let refused = run(&["dpkg", "--remove", "tenantry"]).output();
    assert!(!refused.status.success());
    let said = format!("{}{}", refused.stdout, refused.stderr);
    for part in ["    one\n", "    two\n", "tenantctl stop --all"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert_eq!((one.boot(), two.boot(), property("hostd.service", "MainPID")), before);
    assert!(is_installed());

    run(&["env", "TENANTRY_REMOVE=force", "dpkg", "--remove", "tenantry"]).ok();
    for unit in ["hostd.service", "hostd.socket", "tenants.target", "tenants.slice"] {
        assert_ne!(property(unit, "ActiveState"), "active", "{unit}");
    }
    let said = journal(&["-u", &one.unit(), "-t", "systemd", "-t", "tenant"]);
    assert!(said.contains("Stopped tenant@one.service"), "{said}");
    assert!(!said.contains("SIGKILL") && !said.contains("timed out"), "{said}");
    for gone in ["/usr/bin/tenantctl", "/usr/libexec/tenantry", "/lib/systemd/system/tenant@.service"] {
        assert!(!Path::new(gone).exists(), "{gone} is still there");
    }
    assert!(Path::new("/etc/tenantry/hostd.toml").exists());

    let said = run(&["dpkg", "--purge", "tenantry"]).ok();
    assert!(said.stdout.contains("/var/lib/tenantry is left"), "{}", said.stdout);
    assert!(!Path::new("/etc/tenantry/hostd.toml").exists() && !Path::new("/var/cache/tenantry").exists());
    for kept in ["/etc/tenantry/tenants/one.toml", "/var/lib/tenantry/tenants/one/allocation.toml"] {
        assert!(Path::new(kept).exists(), "{kept} is gone");
    }

    install(true).succeeded();
    one.awaits("active");
    assert_eq!(two.active_state(), "inactive");
    two.systemctl("start").ok();
}

/// The images of this machine, which lie on another disk; they come back when this is dropped.
struct Unmounted;

impl Unmounted {
    fn new() -> Self {
        run(&["umount", IMAGES]).ok();
        Self
    }
}

impl Drop for Unmounted {
    fn drop(&mut self) {
        let _ = fs::create_dir_all(IMAGES);
        run(&["mount", IMAGES]).output();
    }
}

#[test]
fn a_purge_without_tenants_and_images_leaves_nothing() {
    let _alone = alone();
    bare();
    let _images = Unmounted::new();
    run(&["dpkg", "--purge", "tenantry"]).ok();
    for dir in ["/etc", "/usr", "/lib", "/var/lib", "/var/cache", "/var/log", "/run/systemd"] {
        let find = run(&["find", dir, "-xdev", "-name", "*tenant*", "-not", "-path", "/var/lib/dpkg/*"]);
        // The mount is this machine's, the journal's and machined's files are theirs.
        let others = ["/var/log/journal/*", "/run/systemd/machines/*", "*.mount"];
        let find = others.iter().fold(find, |find, other| find.args(["-not", "-path", other]));
        let left = find.output().stdout;
        assert_eq!(left, "", "left below {dir}");
    }
    assert!(!run(&["nft", "list", "tables"]).ok().stdout.contains("tenantry"));
    let units = run(&["systemctl", "list-units", "--all", "--no-legend", "tenant*", "hostd*"]).ok().stdout;
    assert_eq!(units.trim(), "");
}

#[test]
fn an_upgrade_disturbs_no_tenant_and_keeps_what_was_disabled_and_edited() {
    let _alone = alone();
    bare();
    let unit = Unit::start("three", &[]);
    let settings = "/etc/tenantry/hostd.toml";
    let edited = format!("{}# mine\n", fs::read_to_string(settings).unwrap());
    fs::write(settings, &edited).unwrap();
    systemctl(&["disable", "tenants.target"]).ok();
    let (boot, hostd) = (unit.boot(), property("hostd.service", "MainPID"));
    // From whichever is there to the other: a way back is an upgrade as well.
    let version = run(&["dpkg-query", "--show", "--showformat", "${Version}", "tenantry"]).ok().stdout;
    install(!version.contains("+newer")).succeeded();
    assert_eq!(property("tenants.target", "UnitFileState"), "disabled");
    assert_eq!(fs::read_to_string(settings).unwrap(), edited);
    assert_eq!((unit.boot(), unit.says("hostname")), (boot, "three".to_owned()));
    assert_ne!(property("hostd.service", "MainPID"), hostd, "hostd is the installed one");
    systemctl(&["enable", "tenants.target"]).ok();
    unit.systemctl("restart").ok();
}
