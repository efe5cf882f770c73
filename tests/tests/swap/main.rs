//! Another version of the image beneath tenants that are running.

mod killed;
mod kinds;
mod mounts;
mod requests;
mod versions;

use std::time::{Duration, Instant};

use serde_json::Value;
use tenantry_tests::{Running, Tenant, poll};

use self::versions::{GENERATION, generation, rebase, with_versions};

/// How often the base is swapped beneath the processes that walk through it.
const SWAPS: usize = 200;
/// For how long at least, so that there are enough of these.
const WALKED: Duration = Duration::from_secs(30);
/// How many path walks there must be meanwhile.
const WALKS: u64 = 1_000_000;

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
    let (mut took, began) = (Vec::new(), Instant::now());
    while took.len() < SWAPS || began.elapsed() < WALKED || took.len() % 2 != 0 {
        let to = if took.len() % 2 == 0 { ":one" } else { ":two" };
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
