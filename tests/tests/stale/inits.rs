//! Systems whose init is no systemd: what is stale there, and whether what is said to be done about it makes it fresh.

use std::path::Path;

use serde_json::Value;
use tenantry_tests::{
    Host, Tenant,
    debian::{self, Change, SYSTEMS},
    host::Place,
    poll,
};

use crate::versions::{append, rebase, stale};

/// Exit code of `refresh` where something is left.
const LEFT: i32 = 4;

fn every_library(_: &Place, tree: &Path) {
    for name in ["libc.so.6", "libcrypto.so.3"] {
        append(&tree.join("usr/lib/x86_64-linux-gnu").join(name));
    }
}

/// The image of a system in two versions.
fn image(name: &str) -> String {
    format!("inits-{name}")
}

/// A host with a system in two versions, the second with another libc and another OpenSSL.
fn host(name: &str) -> Host {
    let system = SYSTEMS.into_iter().find(|system| system.name == name).expect("a system");
    let base = debian::bootstrapped(&Place::prepared(), system);
    let changes: [Change; 2] = [("stable", |_, _| ()), ("candidate", every_library)];
    Host::start_in(debian::versions(&base, name, &image(name), "libraries 1", &changes))
}

/// A tenant of it whose base has changed beneath its sshd and its init.
fn swapped<'a>(host: &'a Host, name: &str) -> Tenant<'a> {
    let alice = host.boot("alice", &["--image", &image(name)]);
    // The scripts that begin a system have ended by then.
    poll::until_true("all is up", || {
        let script = "pgrep -x sshd && ! pgrep -x 'rc|startpar|openrc|rcS|2'";
        alice.shell(script).output().status.success()
    });
    assert_eq!(found(&stale(host, "alice")), [""; 0], "it has had one version only");
    rebase(host, "alice", ":candidate");
    alice
}

/// What is stale, each as `NAME REMEDY`: of a process without a service its command.
fn found(answer: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = |unit: &Value| match (unit["unit"].as_str(), text(&unit["kind"]).as_str()) {
        (Some(name), _) => name.to_owned(),
        (None, "init") => "init".to_owned(),
        (None, _) => text(&unit["processes"][0]["command"]),
    };
    let units = answer["units"].as_array().expect("a list");
    units.iter().map(|unit| format!("{} {}", name(unit), text(&unit["remedy"]))).collect()
}

fn sshd(tenant: &Tenant<'_>) -> String {
    tenant.says("pgrep -xo sshd")
}

#[test]
fn sysvinit_executes_itself_again_and_a_service_is_restarted_by_its_script() {
    let host = host("sysvinit");
    let alice = swapped(&host, "sysvinit");
    let boot = alice.boot_id();
    assert_eq!(found(&stale(&host, "alice")), ["sshd restart-process", "init telinit-u"]);
    let said = host.ctl(&["refresh", "alice"]).output();
    let pid = sshd(&alice);
    assert_eq!(said.code(), LEFT);
    let expected = format!(
        "alice: restarted init\nalice: still stale: sshd {pid}: restart it inside, or: tenantctl restart alice"
    );
    assert_eq!(said.text(), expected);
    alice.says("service ssh restart");
    assert_eq!(host.ctl(&["stale", "--exit-code", "alice"]).ok().text(), "alice: nothing is stale");
    assert_eq!(alice.boot_id(), boot);
}

#[test]
fn services_of_openrc_are_named_and_restarted_by_it() {
    let host = host("openrc");
    let alice = swapped(&host, "openrc");
    let (boot, pid) = (alice.boot_id(), sshd(&alice));
    assert_eq!(found(&stale(&host, "alice")), ["ssh rc-service", "init telinit-u"]);
    let said = host.ctl(&["refresh", "alice"]).ok();
    assert_eq!(said.text(), "alice: restarted ssh, init; nothing is stale");
    assert_eq!(host.ctl(&["stale", "--exit-code", "alice"]).ok().text(), "alice: nothing is stale");
    assert_ne!(sshd(&alice), pid);
    assert_eq!(alice.boot_id(), boot);
}

#[test]
fn services_of_runit_are_named_and_end_to_be_started_again_and_init_needs_a_restart() {
    let host = host("runit");
    let alice = swapped(&host, "runit");
    let pid = sshd(&alice);
    let all = found(&stale(&host, "alice"));
    for unit in ["ssh sv", "default-syslog sv", "runsvdir restart-process", "init restart-tenant"] {
        assert!(all.iter().any(|one| one == unit), "{unit} is not in {all:?}");
    }
    assert_eq!(all.len(), 4, "{all:?}");
    let said = host.ctl(&["refresh", "alice"]).output();
    assert_eq!(said.code(), LEFT);
    assert!(said.text().starts_with("alice: restarted default-syslog, ssh\n"), "{}", said.text());
    assert!(said.text().ends_with("alice: still stale: init: tenantctl restart alice"), "{}", said.text());
    poll::until_true("sshd is another one", || {
        let found = alice.shell("pgrep -xo sshd").output();
        found.status.success() && found.text() != pid
    });
    host.ctl(&["restart", "alice"]).ok();
    assert_eq!(host.ctl(&["stale", "--exit-code", "alice"]).ok().text(), "alice: nothing is stale");
}

#[test]
fn a_busybox_is_shown_by_process_and_a_restart_makes_it_fresh() {
    let changes: [Change; 2] =
        [("stable", |_, _| ()), ("candidate", |_, tree| append(&tree.join("bin/busybox")))];
    let place = debian::versions(&Place::prepared(), "busybox", &image("busybox"), "program 1", &changes);
    let host = Host::start_in(place);
    let alice = host.boot("alice", &["--image", &image("busybox")]);
    alice.says("setsid sleep 98765 > /dev/null 2>&1 < /dev/null &");
    rebase(&host, "alice", ":candidate");
    assert_eq!(found(&stale(&host, "alice")), ["sleep restart-process", "init restart-tenant"]);
    let said = host.ctl(&["refresh", "alice"]).output();
    assert_eq!(said.code(), LEFT);
    let pid = alice.says("pidof sleep");
    let expected = format!(
        "alice: still stale: sleep {pid}: restart it inside, or: tenantctl restart alice\n\
         alice: still stale: init: tenantctl restart alice"
    );
    assert_eq!(said.text(), expected);
    alice.says("kill $(pidof sleep); setsid sleep 98765 > /dev/null 2>&1 < /dev/null &");
    assert_eq!(found(&stale(&host, "alice")), ["init restart-tenant"]);
    host.ctl(&["restart", "alice"]).ok();
    assert_eq!(host.ctl(&["stale", "--exit-code", "alice"]).ok().text(), "alice: nothing is stale");
}
