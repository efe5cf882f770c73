//! The package on a stock Debian: what `apt install ./tenantry_….deb` makes of it. The first program that runs.

use std::{fs, path::Path};

use tenantry_tests::machine::{Unit, property, run, systemctl, tenantctl};

/// The older of the two packages on the second disk.
fn package() -> String {
    let debs =
        fs::read_dir("/payload").unwrap().flatten().map(|entry| entry.path().to_string_lossy().into_owned());
    let mut older = debs.filter(|path| path.ends_with(".deb") && !path.contains("+newer"));
    older.next().expect("the package is on the second disk")
}

#[test]
fn a_package_installs_starts_hostd_and_runs_a_tenant() {
    run(&["apt-get", "install", "--yes", "--no-install-recommends", &package()]).ok();
    for unit in ["hostd.service", "hostd.socket"] {
        assert_eq!(property(unit, "ActiveState"), "active", "{unit}");
        assert_eq!(property(unit, "UnitFileState"), "enabled", "{unit}");
    }
    assert_eq!(property("tenants.target", "UnitFileState"), "enabled");
    for unit in ["tenant@.service", "hostd.service", "tenants.slice", "tenants.target"] {
        let verified = run(&["systemd-analyze", "verify", "--man=no", &unit.replace("@.", "@some.")]).ok();
        assert_eq!(verified.stderr, "", "{unit}");
    }
    tenantctl(&["list"]).ok();
    assert!(run(&["getent", "group", "tenantry"]).ok().stdout.contains("tenantry"));
    for file in [
        "/usr/share/man/man1/tenantctl-start.1.gz",
        "/usr/share/man/man5/tenant.toml.5.gz",
        "/usr/share/man/man8/tenant@.service.8.gz",
        "/usr/share/bash-completion/completions/tenantctl",
        "/usr/libexec/tenantry/lxc/lxc-ls",
    ] {
        assert!(Path::new(file).exists(), "{file} is missing");
    }
    fs::create_dir_all("/var/lib/tenantry/images").unwrap();
    run(&["cp", "-a", "/payload/images/var/lib/tenantry/images/.", "/var/lib/tenantry/images"]).ok();
    let unit = Unit::create("first", &["--image", "debian"]);
    systemctl(&["enable", "--now", &unit.unit()]).ok();
    assert_eq!(unit.says("systemctl is-active multi-user.target"), "active");
}
