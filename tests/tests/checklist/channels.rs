//! The shared image as a channel between tenants.

use tenantry_tests::{Host, Tenant, Terminal};

use crate::Pair;

/// What a tenant learns of what its neighbour does with a file of the image.
#[derive(Debug, PartialEq, Eq)]
struct Learnt {
    /// That it holds a lock.
    lock: bool,
    /// That it opens the file.
    watch: bool,
    /// That it opens the file, and the neighbour waits until it may.
    lease: bool,
}

const FILE: &str = "/usr/share/common-licenses/GPL-3";

fn learn(alice: &Tenant<'_>, bob: &Tenant<'_>) -> Learnt {
    let start = |words: &[&str], begun: &str| {
        let mut terminal = Terminal::open(&alice.exec(&[&["/root/probe"], words].concat()));
        terminal.expect(begun);
        terminal
    };
    let held = start(&["lock", FILE], "locked");
    let lock = bob.exec(&["/root/probe", "try-lock", FILE]).ok().stdout.contains("taken");
    assert!(
        alice.exec(&["/root/probe", "try-lock", FILE]).ok().stdout.contains("taken"),
        "alice has no lock"
    );
    drop(held);
    let notices = |words: &[&str], begun: &str, event: &str| {
        let mut spy = start(words, begun);
        for _ in 0..2 {
            bob.says(&format!("cat {FILE} > /dev/null"));
        }
        // What has happened is shown by now: it was on its way before this.
        alice.says("true");
        let noticed = spy.shown().contains(event);
        // What she does herself she notices in any case: the spy is not blind.
        alice.says(&format!("cat {FILE} > /dev/null"));
        spy.expect(event);
        noticed
    };
    let watch = notices(&["watch", FILE], "watching", "event");
    let lease = notices(&["lease", FILE], "leased", "broken");
    Learnt { lock, watch, lease }
}

#[test]
fn locks_watches_and_leases_on_the_image_are_each_tenants_own() {
    let host = Host::unprotected();
    let [alice, bob] = ["alice", "bob"].map(|name| Pair::boot(&host, name, &[], &["overlay"]));
    let nothing = Learnt { lock: false, watch: false, lease: false };
    assert_eq!(learn(&alice.guarded, &bob.guarded), nothing);
    let all = Learnt { lock: true, watch: true, lease: true };
    assert_eq!(learn(&alice.open, &bob.open), all, "without an overlay of its own");
}
