//! Values of a tenant's file that are meant for another reader than the one they come to.

use std::{collections::BTreeSet, fs};

use tenantry_tests::Host;

use crate::BUSYBOX;

/// As they are written in TOML: a line more, an option, a format, an end, another end of a quotation, a sequence of a
/// terminal.
const VALUES: [&str; 7] = [
    r"a\nb",
    r"a\nExecStartPre=/bin/false",
    "-x",
    "%n%s%i",
    r"a\u0000b",
    r#"a\"}; add rule inet tenantry x accept; #"#,
    r"\u001b[2Jb",
];

#[test]
fn a_value_of_any_key_is_refused_or_means_what_it_says() {
    let host = Host::start();
    let alice = host.create("alice", &BUSYBOX);
    let file = host.path("etc/tenantry/tenants/alice.toml");
    let before = fs::read_to_string(&file).expect("the tenant's file");
    let explained = host.ctl(&["--json", "explain", "alice"]).ok().json();
    let keys: BTreeSet<String> = explained
        .as_array()
        .expect("lines")
        .iter()
        .filter_map(|line| {
            line["key"].as_str().map(|key| key.split(['.', '[']).next().unwrap_or(key).to_owned())
        })
        .collect();
    assert!(keys.len() > 40, "{keys:?}");
    // The first words of a plan's lines.
    let words = |plan: &str| -> BTreeSet<String> {
        plan.lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
    };
    let known = words(&alice.ctl("plan", &[]).ok().stdout);
    let mut taken = Vec::new();
    let mut faults = Vec::new();
    for key in &keys {
        for value in VALUES {
            for form in [
                format!("{key}=\"{value}\""),
                format!("{key}=[\"{value}\"]"),
                format!("{key}.\"{value}\"=\"x\""),
                format!("{key}.x=\"{value}\""),
            ] {
                let said = alice.ctl("set", &[&form]).output();
                if said.stderr.contains(['\0', '\u{1b}']) || said.stdout.contains(['\0', '\u{1b}']) {
                    faults.push(format!("{form}: printed as it is"));
                }
                if !said.status.success() {
                    if said.code() != 2 {
                        faults.push(format!("{form}: exit code {}: {}", said.code(), said.stderr));
                    }
                    continue;
                }
                let plan = alice.ctl("plan", &[]).output();
                let new: Vec<_> = words(&plan.stdout).difference(&known).cloned().collect();
                let more = ["env", "label", "init", "hostname", "exec", "resolver", "driver"];
                if new.iter().any(|word| !more.contains(&word.as_str()))
                    || plan.stdout.contains(['\0', '\u{1b}'])
                {
                    faults.push(format!("{form}: lines of the plan begin with {new:?}"));
                }
                taken.push(form);
                fs::write(&file, &before).expect("the tenant's file");
            }
        }
    }
    println!("taken: {taken:#?}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // Free text alone is taken: no sink but people reads it.
    fs::write(&file, &before).expect("the tenant's file");
    alice.start();
    assert_eq!(host.names(), ["alice"]);
}

#[test]
fn a_file_that_is_too_large_is_refused_and_disturbs_no_other_tenant() {
    let host = Host::start();
    let (alice, bob) = (host.create("alice", &BUSYBOX), host.boot("bob", &BUSYBOX));
    let file = host.path("etc/tenantry/tenants/alice.toml");
    let before = fs::read_to_string(&file).expect("the tenant's file");
    for (key, value) in [
        ("description", "x".repeat(1 << 20)),
        ("description", "x".repeat(1 << 19)),
        ("hostname", "x".repeat(1 << 19)),
    ] {
        fs::write(&file, format!("{key} = \"{value}\"\n{before}")).expect("the tenant's file");
        let said = alice.ctl("start", &[]).output();
        assert_ne!(said.code(), 0, "{key} of {} bytes", value.len());
        assert!(
            said.stderr.len() < 16 << 10,
            "{key} of {} bytes: an error of {}",
            value.len(),
            said.stderr.len()
        );
        assert_eq!(bob.says("echo here"), "here");
    }
    fs::write(&file, before).expect("the tenant's file");
    alice.start();
}
