//! Programs of the host that come near a tenant, and what it makes of them.

use std::path::Path;

use serde_json::Value;
use tenantry_tests::{Host, Run, Running};

use crate::BUSYBOX;

/// The programs under test, and what they are.
fn programs(host: &Host) -> String {
    let programs = ["tenant", "tenantctl", "hostd", "rootfsctl"].map(|name| host.program(name));
    Run::new("sha256sum", programs).ok().stdout
}

#[test]
fn no_program_of_the_host_or_the_image_is_changed_by_who_waits_for_those_who_join() {
    let host = Host::start();
    let before = programs(&host);
    let alice = host.boot("alice", &BUSYBOX);
    alice.bring_probe();
    // A program that is whatever executes it, and one that is the tenant's own.
    alice.says(
        "printf '#!/proc/self/exe\\n' > /root/trap; cp /root/probe /root/own; chmod 755 /root/trap /root/own",
    );
    let own = || alice.says("sha256sum < /root/own");
    let whole = own();
    let mut attacker = Running::start(&alice.exec(&["/root/probe", "overwrite"]));
    attacker.expect("watching");
    for _ in 0..20 {
        let _whatever_that_is = alice.exec(&["/root/trap"]).output();
        let _whatever_that_is = alice.exec(&["/root/trap", "run", "alice"]).output();
        alice.exec(&["/bin/true"]).ok();
        alice.ctl("shell", &[]).stdin("exit 0\n").output();
        alice.exec(&["/root/own", "eat", "32"]).ok();
    }
    let report: Value = serde_json::from_str(&attacker.end()).expect("a report");
    println!("{report:#}");
    assert!(report["tries"].as_u64() > Some(100), "{report:#}");
    assert_eq!(programs(&host), before);
    host.tool("rootfsctl", &["verify", "busybox"]).ok();
    let bin = host.program("tenant");
    let bin = bin.parent().and_then(Path::to_str).expect("a directory");
    let seen = report["seen"].as_array().expect("programs");
    let foreign: Vec<_> =
        seen.iter().filter_map(Value::as_str).filter(|path| path.starts_with(bin)).collect();
    assert_eq!(foreign, [""; 0], "a program of the host was opened inside");
    // What it may change is changed: the attack is one.
    assert!(seen.iter().any(|path| path == "/root/own"), "{report:#}");
    assert_ne!(own(), whole, "{report:#}");
}
