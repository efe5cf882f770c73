//! The package on a stock Debian: what `apt install ./tenantry_….deb` makes of it. The first program that runs.

use std::{fs, path::Path, sync::Once};

use tenantry_tests::{
    Run,
    machine::{PATIENCE, Unit, package, property, run, systemctl, tenantctl},
};

/// Installs the package. The images of the second disk are where they belong already.
fn installed() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        run(&["apt-get", "install", "--yes", "--no-install-recommends", &package(false)]).ok();
    });
}

#[test]
fn a_package_installs_starts_hostd_and_runs_a_tenant() {
    installed();
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
    let unit = Unit::create("first", &["--image", "debian"]);
    systemctl(&["enable", "--now", &unit.unit()]).ok();
    assert_eq!(unit.says("systemctl is-active multi-user.target"), "active");
}

/// The commands that a program's help names.
fn commands(program: &str) -> Vec<String> {
    let help = run(&[program, "--help"]).ok().stdout;
    let list = help.split_once("\nCommands:\n").map_or("", |(_, list)| list);
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_a_page_and_every_shell_its_completions() {
    installed();
    let mut pages =
        vec!["man8/hostd.8".to_owned(), "man8/tenant.8".to_owned(), "man8/tenant@.service.8".to_owned()];
    pages.extend(["tenant", "hostd", "nics", "profile"].map(|name| format!("man5/{name}.toml.5")));
    for program in ["tenantctl", "rootfsctl"] {
        let commands = commands(program);
        assert!(commands.len() > 8, "{commands:?}");
        pages.push(format!("man1/{program}.1"));
        pages.extend(commands.iter().map(|command| format!("man1/{program}-{command}.1")));
        let bash = format!("/usr/share/bash-completion/completions/{program}");
        run(&["bash", "-n", &bash]).ok();
        for file in ["zsh/vendor-completions/_", "fish/vendor_completions.d/"] {
            let ending = if file.starts_with("fish") { ".fish" } else { "" };
            assert!(Path::new(&format!("/usr/share/{file}{program}{ending}")).exists(), "{file}{program}");
        }
    }
    for page in pages {
        let text = run(&["zcat", &format!("/usr/share/man/{page}.gz")]).ok().stdout;
        assert!(text.lines().any(|line| line.starts_with(".TH")), "{page}");
    }
    run(&["/usr/libexec/tenantry/lxc/lxc-ls"]).ok();
}

#[test]
fn a_message_is_explained_by_the_journal_s_catalog() {
    installed();
    let catalog = fs::read_to_string("/usr/lib/systemd/catalog/tenantry.catalog").unwrap();
    let ids: Vec<&str> = catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
    assert!(ids.len() > 3, "{ids:?}");
    for id in ids {
        let entry = run(&["journalctl", "--dump-catalog", id]).ok().stdout;
        assert!(entry.contains("Subject: "), "{id}: {entry}");
    }
}

#[test]
fn every_process_of_a_tenant_is_under_the_apparmor_profile_of_the_package() {
    installed();
    run(&["aa-enabled", "--quiet"]).ok();
    let reads = |unit: &Unit| unit.ctl("exec", &["--", "head", "-c", "1", "/proc/kallsyms"]).output();
    let profiles = "cat /proc/1/attr/apparmor/current /proc/self/attr/apparmor/current";
    let confined = Unit::start("confined", &["--image", "debian"]);
    assert_eq!(confined.says(profiles), "tenantry-tenant (enforce)\ntenantry-tenant (enforce)");
    assert_eq!(confined.says("systemctl is-system-running; systemctl --failed --no-legend"), "running");
    assert!(reads(&confined).stderr.contains("Permission denied"));
    let plan = confined.ctl("plan", &[]).ok().stdout;
    assert!(plan.contains("the AppArmor profile tenantry-tenant"), "{plan}");
    // A program in place of a system, beside which nothing else is executed.
    let (init, paths) = (r#"init=["/usr/bin/sleep","1000"]"#, r#"paths=["/usr"]"#);
    let app = Unit::start("app", &["--image", "debian", "--profile", "app", "--set", init, "--set", paths]);
    for process in ["2", "self"] {
        let file = format!("/proc/{process}/attr/apparmor/current");
        let said = app.ctl("exec", &["--", "/usr/bin/cat", &file]).ok();
        assert_eq!(said.text(), "tenantry-tenant (enforce)", "{process}");
    }

    let free = Unit::start("unconfined", &["--image", "debian", "--set", "apparmor=unconfined"]);
    assert_eq!(free.says(profiles), "unconfined\nunconfined");
    assert!(reads(&free).status.success(), "nothing else refuses it");
    let refused =
        tenantctl(&["create", "other", "--image", "busybox", "--set", "apparmor=not-loaded"]).output();
    assert!(!refused.status.success() && refused.stderr.contains("not-loaded"), "{}", refused.stderr);
    assert!(refused.stderr.contains("apparmor_parser"), "{}", refused.stderr);
    let doctor = tenantctl(&["doctor"]).output().stdout;
    assert!(doctor.contains("AppArmor"), "{doctor}");
    run(&["apparmor_parser", "--remove", "/etc/apparmor.d/tenantry-tenant"]).ok();
    let doctor = tenantctl(&["doctor"]).output().stdout;
    assert!(doctor.contains("apparmor_parser --replace /etc/apparmor.d/tenantry-tenant"), "{doctor}");
    run(&["apparmor_parser", "--replace", "/etc/apparmor.d/tenantry-tenant"]).ok();
}

/// Somebody of the group `tenantry`, who is nobody else.
fn carla(words: &[&str]) -> Run {
    Run::new("runuser", ["-u", "carla", "--"]).args(words).limit(PATIENCE)
}

#[test]
fn a_person_of_the_group_operates_tenants_and_nothing_else() {
    installed();
    run(&["useradd", "--groups", "tenantry", "carla"]).ok();
    let unit = Unit::create("operated", &[]);
    let name = unit.unit();
    carla(&["tenantctl", "start", "operated"]).ok();
    carla(&["systemctl", "--no-ask-password", "restart", &name]).ok();
    assert_eq!(unit.active_state(), "active");
    carla(&["systemctl", "--no-ask-password", "stop", &name]).ok();
    assert_eq!(unit.active_state(), "inactive");
    for refused in [&["stop", "hostd.service"], &["stop", "tenants.target"], &["enable", name.as_str()]] {
        let output = carla(&["systemctl", "--no-ask-password"]).args(refused).output();
        assert!(!output.status.success(), "carla may {refused:?}");
    }
    assert_eq!(property("hostd.service", "ActiveState"), "active");
}
