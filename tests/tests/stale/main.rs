//! What runs code of an earlier version after the base has changed beneath it, and what makes it run the present one.

mod cases;
mod inits;
mod versions;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
};

use serde_json::Value;
use tenantry_tests::{Host, Running, Tenant, poll};

use self::{
    cases::{AFTER, BEFORE, Case},
    versions::{rebase, stale},
};

/// Starts the processes and waits until each is where it stays.
fn start(tenant: &Tenant<'_>, cases: &[Case]) {
    for case in cases {
        let unit = format!("--unit={}", case.name);
        let mut run = tenant.exec(&["systemd-run", "--quiet", &unit]);
        for option in case.options {
            run = run.args(["--property", option]);
        }
        run.args(["--", "/bin/sh", "-ec", case.script]).ok();
    }
    for case in cases {
        let is_there = match case.comm {
            Some(comm) => format!("grep -qx {comm} /proc/$(systemctl show -P MainPID {})/comm", case.name),
            None => format!("test -e /run/ready-{}", case.name),
        };
        poll::until_true(&format!("{} is there", case.name), || {
            let status =
                tenant.says(&format!("systemctl is-active {} || systemctl status {}", case.name, case.name));
            assert!(
                ["active", "activating"].iter().any(|state| status.starts_with(state)),
                "{}: {status}",
                case.name
            );
            tenant.shell(&is_there).output().code() == 0
        });
    }
}

/// The stale files of each unit.
fn found(answer: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let files = |unit: &Value| -> Vec<String> {
        let all = list(&unit["processes"]).into_iter().flat_map(|process| list(&process["files"]));
        all.map(|file| text(&file["path"])).collect()
    };
    let name =
        |unit: &Value| unit["unit"].as_str().unwrap_or(unit["kind"].as_str().expect("a kind")).to_owned();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for unit in list(&answer["units"]) {
        // Processes without a unit have none of their own.
        found.entry(name(&unit)).or_default().extend(files(&unit));
    }
    found
}

fn expected(cases: &[Case]) -> BTreeMap<String, BTreeSet<String>> {
    let stale = cases.iter().filter_map(|case| Some((case, case.stale?)));
    stale.map(|(case, file)| (format!("{}.service", case.name), BTreeSet::from([file.to_owned()]))).collect()
}

#[test]
fn every_process_that_runs_code_of_an_earlier_version_is_found_and_no_other_one() {
    let host = versions::host();
    let alice = host.boot("alice", &["--image", "fix"]);
    start(&alice, BEFORE);
    assert_eq!(found(&stale(&host, "alice")), BTreeMap::new(), "it has had one version only");
    rebase(&host, "alice", ":candidate");
    start(&alice, AFTER);
    let all = [BEFORE, AFTER].concat();
    assert!(all.len() >= 25);
    let (found_now, expected_now) = (found(&stale(&host, "alice")), expected(&all));
    let missed: Vec<_> = expected_now.iter().filter(|(unit, _)| !found_now.contains_key(*unit)).collect();
    let wrong: Vec<_> = found_now.iter().filter(|(unit, _)| !expected_now.contains_key(*unit)).collect();
    assert!(missed.is_empty() && wrong.is_empty(), "missed: {missed:?}\nnot stale: {wrong:?}");
    assert_eq!(found_now, expected_now);
    println!("{} processes, {} of them stale", all.len(), expected_now.len());

    // All of them are units of the tenant: what can be started again is, with the present version.
    host.ctl(&["refresh", "alice"]).ok();
    assert_eq!(found(&stale(&host, "alice")), BTreeMap::new());

    // Back to the version that most of them were started with: what is stale now is what was started with the other one.
    rebase(&host, "alice", ":stable");
    let again = found(&stale(&host, "alice"));
    for (unit, is_stale) in [("changed-program", true), ("new-protected", true), ("same-program", false)] {
        assert_eq!(again.contains_key(&format!("{unit}.service")), is_stale, "{unit}: {again:?}");
    }
}

/// The process ids of two services, and what tells that the tenant has not been booted again.
fn ids(tenant: &Tenant<'_>) -> [String; 4] {
    [
        tenant.says("systemctl show -P MainPID ssh"),
        tenant.says("systemctl show -P MainPID dbus"),
        tenant.says("cat /proc/sys/kernel/random/boot_id"),
        tenant.says("cut -d ' ' -f 22 /proc/1/stat"),
    ]
}

#[test]
fn a_fixed_openssl_reaches_every_service_without_a_reboot_and_stops_no_other() {
    let host = versions::host();
    let alice = host.boot("alice", &["--image", "fix:candidate"]);
    alice.says("systemctl start ssh dbus");
    let before = ids(&alice);
    rebase(&host, "alice", ":openssl");

    let answer = stale(&host, "alice");
    let units = found(&answer);
    let library = |name: &str| format!("/usr/lib/x86_64-linux-gnu/{name}.so.3");
    assert_eq!(units.get("ssh.service"), Some(&BTreeSet::from([library("libcrypto")])), "{answer:#}");
    assert!(units.contains_key("init") && !units.contains_key("dbus.service"), "{answer:#}");
    let table = host.ctl(&["stale", "alice"]).ok().text().to_owned();
    let row = table.lines().find(|line| line.contains("ssh.service")).expect("a row for it");
    assert!(row.contains(&library("libcrypto")) && row.contains("tenantctl refresh alice"), "{table}");
    assert_eq!(host.ctl(&["stale", "--exit-code"]).output().code(), 5);
    let listed = host.ctl(&["list", "-o", "name,stale"]).ok().text().to_owned();
    assert!(listed.contains(&format!("{} (", units.len())), "{listed}");

    let said = host.ctl(&["refresh", "alice"]).ok().text().to_owned();
    assert!(said.contains("ssh.service") && said.contains("init; nothing is stale"), "{said}");
    assert_eq!(host.ctl(&["stale", "--exit-code"]).ok().text(), "alice: nothing is stale");
    let after = ids(&alice);
    assert_ne!(after[0], before[0], "sshd was restarted");
    assert_eq!(after[1..], before[1..], "neither dbus nor the tenant was");
    assert_eq!(alice.says("systemctl is-system-running"), "running");
    assert_eq!(host.ctl(&["refresh", "alice"]).ok().text(), "alice: nothing was stale");
}

#[test]
fn what_users_run_is_ended_only_if_that_is_asked_for_and_a_bus_is_never_restarted() {
    let host = versions::host();
    let alice = host.boot("alice", &["--image", "fix"]);
    // A bus that has the changed library, and a command of an admin.
    alice.says(
        "mkdir -p /etc/systemd/system/dbus.service.d; \
         printf '[Service]\\nEnvironment=LD_PRELOAD=/usr/lib/fix/changed.so\\n' > /etc/systemd/system/dbus.service.d/x.conf; \
         systemctl daemon-reload; systemctl restart dbus",
    );
    let mut command = Running::start(&host.ctl(&["exec", "alice", "--", "/usr/lib/fix/changed", "100000"]));
    poll::until_true("the command is there", || alice.says("cat /proc/[0-9]*/comm").contains("changed"));
    let bus = alice.says("systemctl show -P MainPID dbus");
    rebase(&host, "alice", ":candidate");

    let answer = stale(&host, "alice");
    let kinds: Vec<_> = answer["units"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|unit| (&unit["kind"], &unit["remedy"]))
        .collect();
    let expected = [("unit", "restart-tenant"), ("command", "log-out")];
    assert_eq!(
        kinds
            .iter()
            .map(|(kind, remedy)| (kind.as_str().unwrap_or_default(), remedy.as_str().unwrap_or_default()))
            .collect::<Vec<_>>(),
        expected,
        "{answer:#}"
    );

    let left = host.ctl(&["refresh", "alice"]).output();
    assert_eq!(left.code(), 4, "{}", left.stdout);
    assert!(left.stdout.contains("still stale: dbus.service: tenantctl restart alice"), "{}", left.stdout);
    assert!(command.goes_on());
    assert!(host.ctl(&["refresh", "alice", "--sessions"]).output().refused(2).contains("--yes"));
    assert_eq!(host.ctl(&["refresh", "alice", "--sessions", "--yes"]).output().code(), 4);
    poll::until_true("the command has ended", || !command.goes_on());
    assert_eq!(alice.says("systemctl show -P MainPID dbus"), bus);
    alice.ctl("restart", &[]).ok();
    assert_eq!(found(&stale(&host, "alice")), BTreeMap::new());
}

#[test]
fn what_did_not_change_between_two_erofs_versions_is_not_stale() {
    let host = Host::bare();
    host.copy_images();
    for (channel, ending) in [("stable", ""), ("candidate", "changed")] {
        let to = format!("packed:{channel}");
        host.another_version_as("busybox", &to, &["--format", "erofs"], |tree| {
            let program = fs::read(tree.join("bin/busybox")).expect("busybox");
            for (name, ending) in [("same", ""), ("changed", ending)] {
                let dir = tree.join("usr/lib/fix").join(name);
                fs::create_dir_all(&dir).expect("a directory");
                let script = format!("#!/bin/sh\nwhile :; do sleep 1000; done\n# {ending}\n");
                let files = [("busybox", [&program, ending.as_bytes()].concat()), ("script", script.into())];
                for (file, content) in files {
                    fs::write(dir.join(file), content).expect("a program");
                    let mode = fs::Permissions::from_mode(0o755);
                    fs::set_permissions(dir.join(file), mode).expect("its mode");
                }
            }
        });
    }
    host.start_hostd();
    let alice = host.boot("alice", &["--image", "packed"]);
    let start = |words: &[&str]| Running::start(&alice.exec(words));
    let _all = ["same", "changed"].map(|name| {
        let dir = format!("/usr/lib/fix/{name}");
        (start(&[&format!("{dir}/busybox"), "sleep", "1000"]), start(&[&format!("{dir}/script")]))
    });
    for file in ["same/busybox", "changed/busybox", "same/script", "changed/script"] {
        poll::until_true(&format!("{file} is there"), || alice.says("ps").contains(&format!("/fix/{file}")));
    }
    rebase(&host, "alice", ":candidate");
    // A shell of the present version, whose script has the inode number that the earlier one has in the other image.
    let _new = start(&["/usr/lib/fix/changed/script", "new"]);
    poll::until_true("the new one is there", || alice.says("ps").contains("script new"));
    let answer = stale(&host, "alice");
    let scripts = answer.to_string().matches("changed/script").count();
    assert_eq!(scripts, 1, "{answer:#}");
    let units = answer["units"].as_array().expect("a list");
    let files = units.iter().flat_map(|unit| found(&serde_json::json!({ "units": [unit] })));
    let all: BTreeSet<String> = files.flat_map(|(_, files)| files).collect();
    let expected = ["/usr/lib/fix/changed/busybox", "/usr/lib/fix/changed/script"].map(str::to_owned);
    assert_eq!(all, BTreeSet::from(expected), "{answer:#}");
}

#[test]
fn a_tenant_without_units_is_shown_by_process() {
    let host = Host::start();
    let bob = host.boot("bob", &["--image", "busybox"]);
    assert_eq!(found(&stale(&host, "bob")), BTreeMap::new());
    let down = host.create("carol", &["--image", "busybox"]);
    assert!(down.ctl("stale", &[]).output().refused(4).contains("is not running"));
    assert!(host.ctl(&["stale", "nobody"]).output().refused(3).contains("nobody"));
    let all = host.ctl(&["--json", "stale"]).ok().json();
    assert_eq!(all.as_array().map(Vec::len), Some(1), "those that are down are left out: {all:#}");
    // At tenants that are not named it is not looked: what `list` tells is what a look has found.
    let others = ["dave", "erin"].map(|name| host.boot(name, &["--image", "busybox"]));
    host.ctl(&["stale", "bob", "dave"]).ok();
    let seen = |tenant: &Tenant<'_>| tenant.show().get("stale").is_some_and(|stale| !stale.is_null());
    assert_eq!([seen(&bob), seen(&others[0]), seen(&others[1])], [true, true, false]);
    for tenant in [&bob, &others[0], &others[1]] {
        tenant.stop();
    }
    assert_eq!(host.ctl(&["stale"]).ok().text(), "0 of 0 running tenants have stale units");
}
