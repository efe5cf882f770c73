//! Another version of the image beneath tenants that are running.

use std::{fs, path::Path};

use serde_json::Value;
use tenantry_tests::{Host, Running, Tenant, Terminal, poll};

/// Exit code of what is refused in a tenant's state.
const REFUSED: i32 = 4;
/// How often the base is swapped beneath the processes that walk through it.
const SWAPS: usize = 200;
/// How many path walks there must be meanwhile.
const WALKS: u64 = 1_000_000;
/// Where the files are in which the versions differ.
const GENERATION: &str = "usr/lib/generation";

/// A host with a store of its own, and in it two more versions of an image: `:one` and `:two`.
fn with_versions(image: &str) -> Host {
    let host = Host::bare();
    host.copy_images();
    for version in ["one", "two"] {
        let to = format!("{image}:{version}");
        host.another_version(image, &to, |tree| write_generation(tree, version));
    }
    host.start_hostd();
    host
}

fn write_generation(tree: &Path, version: &str) {
    let dir = tree.join(GENERATION);
    fs::create_dir_all(&dir).expect("a directory in the copy");
    for number in 0..20 {
        fs::write(dir.join(number.to_string()), version).expect("a file of the version");
    }
    fs::write(tree.join("etc/generation"), version).expect("a file of the version");
    let status = tree.join("var/lib/dpkg/status");
    if let Ok(text) = fs::read_to_string(&status) {
        let own = format!(
            "\nPackage: generation\nStatus: install ok installed\nMaintainer: x <x@x>\nArchitecture: all\n\
             Version: 9999{version}\nDescription: x\n"
        );
        fs::write(&status, text + &own).expect("the database of packages");
    }
}

fn generation(tenant: &Tenant<'_>) -> String {
    tenant.says(&format!("cat /{GENERATION}/7"))
}

fn rebase(tenant: &Tenant<'_>, more: &[&str]) -> Value {
    let mut words = vec!["--json"];
    words.extend(more);
    tenant.ctl("rebase", &words).ok().json()
}

fn median(mut figures: Vec<u64>) -> u64 {
    figures.sort_unstable();
    figures[figures.len() / 2]
}

#[test]
fn two_hundred_swaps_beneath_a_debian_fail_no_open_and_reach_every_service() {
    let host = with_versions("debian");
    let debian = host.boot("deb", &["--image", "debian:one"]);
    let services = Services::start(&debian);
    assert_eq!(services.see(), "one one one");
    // What is open stays what it was.
    let mut old = Running::start(&debian.exec(&[
        "sh",
        "-c",
        &format!("cd /{GENERATION}; echo here; read x; cat 7; echo"),
    ]));
    old.expect("here");
    let answer = rebase(&debian, &["--to", ":two"]);
    assert_eq!(
        (&answer["applied"], &answer["swapped"]),
        (&"live".into(), &serde_json::json!(["/usr", "/var/lib/dpkg"]))
    );
    assert_eq!(generation(&debian), "two");
    assert_eq!(services.see(), "two two two");
    old.say("");
    old.expect("one");
    assert_eq!(debian.says("dpkg-query -W -f '${Version}' generation"), "9999two");
    assert_eq!(debian.says("cat /etc/generation"), "one", "what a restart brings");
    let refused = debian.shell("mount -o remount,bind,dev /usr").output();
    assert!(!refused.status.success(), "the flags of the new base are not locked");

    debian.bring_probe();
    let dir = format!("/{GENERATION}");
    let start = || Running::start(&debian.exec(&["/root/probe", "walk", &dir]));
    let mut walkers = [start(), start(), start()];
    walkers.iter_mut().for_each(|walker| walker.expect("walking"));
    let mut took = Vec::new();
    for number in 0..SWAPS {
        let to = if number % 2 == 0 { ":one" } else { ":two" };
        let answer = rebase(&debian, &["--to", to]);
        assert_eq!(answer["applied"], "live", "{answer}");
        took.push(answer["swap_us"].as_u64().expect("a figure"));
    }
    println!("swap: median {} us, worst {:?} us", median(took.clone()), took.iter().max());
    let mut walks = 0;
    for walker in &mut walkers {
        let tally: Value = serde_json::from_str(&walker.end()).expect("a tally");
        println!("{tally}");
        assert_eq!((&tally["failed"], &tally["mixed"]), (&0.into(), &0.into()), "{tally}");
        assert!(tally["changes"].as_u64() > Some(1), "it saw no swap: {tally}");
        walks += tally["walks"].as_u64().unwrap_or_default();
    }
    assert!(walks >= WALKS, "{walks} walks are too few");
    assert_eq!(services.see(), "two two two");
    let mounts = debian.says("grep -c ' /usr ' /proc/self/mountinfo");
    assert_eq!(mounts, "1", "old versions stay mounted");

    // A reboot from inside boots the new version, whole.
    let _answer = debian.shell("systemctl reboot").output();
    poll::until_true("it has rebooted", || {
        let state = debian.run_state();
        state["phase"] == "running" && state["boots"] == 2
    });
    assert_eq!(debian.says(&format!("cat /etc/generation; cat /{GENERATION}/1")), "twotwo");
}

/// Services with mount namespaces of their own.
struct Services<'a> {
    tenant: &'a Tenant<'a>,
}

impl<'a> Services<'a> {
    const UNITS: [(&'static str, &'static str); 3] = [
        ("strict", "-p ProtectSystem=strict -p ProtectHome=yes"),
        ("tmp", "-p PrivateTmp=yes -p PrivateDevices=yes"),
        ("full", "-p ProtectSystem=full -p ReadOnlyPaths=/opt"),
    ];

    fn start(tenant: &'a Tenant<'a>) -> Self {
        for (name, properties) in Self::UNITS {
            tenant.shell(&format!("systemd-run --quiet {properties} --unit={name} sleep infinity")).ok();
        }
        Self { tenant }
    }

    /// The generation that each of them sees.
    fn see(&self) -> String {
        let see = |(name, _): (&str, &str)| {
            let pid = format!("$(systemctl show -P MainPID {name})");
            self.tenant.says(&format!("cat /proc/{pid}/root/{GENERATION}/3"))
        };
        Self::UNITS.map(see).join(" ")
    }
}

#[test]
fn a_version_comes_live_by_a_restart_or_from_the_next_start_and_goes_back() {
    let host = with_versions("busybox");
    let box1 = host.create("box1", &["--image", "busybox:one"]);
    // One that is down.
    let answer = rebase(&box1, &["--to", ":two"]);
    assert_eq!((&answer["applied"], &answer["result"]), (&"stopped".into(), &"changed".into()));
    assert_eq!(rebase(&box1, &["--to", ":two"])["result"], "unchanged");
    box1.start();
    assert_eq!(generation(&box1), "two");
    let boot = box1.boot_id();
    let answer = rebase(&box1, &["--to", ":one", "--next-start"]);
    assert_eq!((&answer["applied"], generation(&box1)), (&"next-start".into(), "two".to_owned()));
    assert_eq!(box1.field("/booted_digest").len(), "sha256:".len() + 64);
    // What waits is brought at once by the same request without a word.
    let answer = rebase(&box1, &["--to", ":one"]);
    assert_eq!((&answer["applied"], &answer["result"]), (&"live".into(), &"changed".into()));
    assert_eq!((generation(&box1), box1.boot_id()), ("one".to_owned(), boot));
    let answer = rebase(&box1, &["--to", ":two", "--restart"]);
    assert_eq!((&answer["applied"], generation(&box1)), (&"restarted".into(), "two".to_owned()));
    assert_ne!(box1.boot_id(), boot);
    assert_eq!(rebase(&box1, &["--to", ":two", "--restart"])["result"], "unchanged");
    let back = box1.ctl("rollback", &[]).ok();
    assert!(back.text().starts_with("box1: rolled back to busybox@"), "{}", back.text());
    assert_eq!(generation(&box1), "one");
    box1.ctl("rollback", &[]).ok();
    assert_eq!(generation(&box1), "two");
    // It has booted that very version; of one that came live a restart brings the rest.
    assert_eq!(rebase(&box1, &["--to", ":one"])["applied"], "live");
    assert_eq!(box1.says("cat /etc/generation"), "two");
    assert_eq!(rebase(&box1, &["--to", ":one", "--restart"])["applied"], "restarted");
    assert_eq!(box1.says("cat /etc/generation"), "one");
    assert_eq!(rebase(&box1, &["--to", ":two"])["applied"], "live");
    // The version that it has left is not removed while processes may have it.
    let one = host.tool("rootfsctl", &["--json", "show", "busybox:one"]).ok().json();
    let one = one["manifest"]["digest"].as_str().expect("a digest").replace("sha256:", "busybox@");
    host.tool("rootfsctl", &["channel", "busybox", "one", "--remove"]).ok();
    let said = host.tool("rootfsctl", &["rm", &one]).output().refused(REFUSED);
    assert!(said.contains("box1"), "{said}");
    let events = host.ctl(&["--json", "events", "--since", "1h", "--no-follow"]).ok();
    assert!(events.text().contains("image-changed"), "{}", events.text());
}

#[test]
fn wrong_versions_are_refused_and_change_nothing() {
    let host = with_versions("busybox");
    let tenant = host.boot("box", &["--image", "busybox:one"]);
    let whole = host.create("whole", &["--image", "busybox:one", "--profile", "os"]);
    whole.start();
    let before = tenant.field("/digest");
    let refused = |more: &[&str], code: i32, word: &str| {
        let said = tenant.ctl("rebase", more).output().refused(code);
        assert!(said.contains(word), "{more:?}: {said}");
    };
    refused(&["--to", ":nonesuch"], 3, "nonesuch");
    refused(&["--to", "0123456789ab"], 3, "0123456789ab");
    refused(&["--to", "debian"], REFUSED, "--cross-image");
    refused(&["--to", "A B"], 2, "does not name a version");
    let said = host.ctl(&["rebase", "nobody", "--to", ":two"]).output().refused(3);
    assert!(said.contains("there is no tenant"), "{said}");
    let said = whole.ctl("rebase", &["--to", ":two"]).output().refused(REFUSED);
    assert!(said.contains("an install of its own"), "{said}");
    assert_eq!(whole.field("/digest"), before, "its record says what it has");
    let said = tenant.ctl("rollback", &[]).output().refused(3);
    assert!(said.contains("no other version"), "{said}");
    // A whole other system does not fit beneath a running one.
    let said = tenant.ctl("rebase", &["--to", "debian", "--cross-image"]).output().refused(REFUSED);
    assert!(said.contains("--restart"), "{said}");
    assert_eq!((generation(&tenant), tenant.field("/digest")), ("one".to_owned(), before));
}

#[test]
fn frozen_tenants_and_locks_and_mounts_of_the_tenant_are_as_before() {
    let host = with_versions("busybox");
    let (alice, bob) =
        (host.boot("alice", &["--image", "busybox:one"]), host.boot("bob", &["--image", "busybox:one"]));
    alice.ctl("freeze", &[]).ok();
    assert_eq!(rebase(&alice, &["--to", ":two"])["applied"], "live");
    assert_eq!(alice.phase(), "frozen");
    alice.ctl("thaw", &[]).ok();
    rebase(&bob, &["--to", ":two"]);
    assert_eq!((generation(&alice), generation(&bob)), ("two".to_owned(), "two".to_owned()));
    // Two tenants share no inode of the new base either.
    let file = format!("/{GENERATION}/7");
    let mut held = Vec::new();
    for tenant in [&alice, &bob] {
        tenant.bring_probe();
        let mut terminal = Terminal::open(&tenant.exec(&["/root/probe", "lock", &file]));
        terminal.expect("locked");
        held.push(terminal);
    }
    assert!(!alice.probe_again(&["lock", &file]).status.success(), "inside one tenant a lock holds");
    drop(held);
    // What the tenant has mounted below stays, and what is in it.
    alice.says(&format!("mount -t tmpfs own /{GENERATION} && echo mine > /{GENERATION}/7"));
    rebase(&alice, &["--to", ":one"]);
    assert_eq!(generation(&alice), "mine");
    alice.says(&format!("umount /{GENERATION}"));
    assert_eq!(generation(&alice), "one");
    // Over all of it: refused, by name, and nothing is changed.
    alice.says("mount --bind /usr /tmp && mount --bind /tmp /usr");
    let said = alice.ctl("rebase", &["--to", ":two"]).output().refused(REFUSED);
    assert!(said.contains("/usr"), "{said}");
    alice.says("umount -l /usr && umount -l /tmp");
    assert_eq!(generation(&alice), "one");
    rebase(&alice, &["--to", ":two"]);
    assert_eq!(generation(&alice), "two");
    // Mounts that nothing reaches any more: refused, and nothing is left mounted beneath.
    alice.says("mount --make-rprivate /");
    let said = alice.ctl("rebase", &["--to", ":one"]).output().refused(REFUSED);
    assert!(said.contains("private"), "{said}");
    assert_eq!(
        (generation(&alice), alice.says("grep -c ' /usr ' /proc/mounts")),
        ("two".to_owned(), "1".to_owned())
    );
    assert_eq!(rebase(&alice, &["--to", ":one", "--restart"])["applied"], "restarted");
    assert_eq!(generation(&alice), "one");
}

#[test]
fn an_application_gets_its_paths_of_the_new_version() {
    let host = with_versions("busybox");
    let paths = format!("paths=[\"/bin\", \"/lib\", \"/{GENERATION}/7\", \"/usr/lib\"]");
    let options = [
        "--image",
        "busybox:one",
        "--profile",
        "app",
        "--set",
        &paths,
        "--set",
        "init=[\"/bin/sleep\", \"1000\"]",
    ];
    let app = host.boot("app", &options);
    assert_eq!(generation(&app), "one");
    let answer = rebase(&app, &["--to", ":two"]);
    assert_eq!((&answer["applied"], generation(&app)), (&"live".into(), "two".to_owned()), "{answer}");
}
