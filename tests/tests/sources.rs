//! What a start is made from is read once, and what was planned is what is shown.

use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tenantry_tests::Host;

/// How often a file is opened while something is done.
fn opens(file: &Path, work: impl FnOnce()) -> usize {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK).expect("inotify");
    // With the closes in between, for the kernel makes one of two events that are alike.
    let flags = AddWatchFlags::IN_OPEN | AddWatchFlags::IN_CLOSE_NOWRITE;
    inotify.add_watch(file, flags).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    work();
    let mut count = 0;
    while let Ok(events) = inotify.read_events() {
        count += events.iter().filter(|event| event.mask.contains(AddWatchFlags::IN_OPEN)).count();
    }
    count
}

#[test]
fn a_start_reads_the_tenants_file_once_in_hostd_and_once_in_the_supervisor() {
    let host = Host::start();
    let alice = host.create("alice", &["--image", "busybox"]);
    let file = host.path("etc/tenantry/tenants/alice.toml");
    assert_eq!(opens(&file, || drop(alice.ctl("start", &[]).ok())), 2);
    assert_eq!(alice.phase(), "running");
    assert_eq!(opens(&file, || drop(alice.ctl("stop", &[]).ok())), 1, "for its deadline");
}

#[test]
fn the_plan_of_a_running_tenant_is_the_one_it_was_started_with() {
    let host = Host::start();
    let alice = host.create("alice", &["--image", "busybox", "--set", "ttys=2"]);
    let before = host.ctl(&["plan", "alice"]).ok().stdout;
    alice.ctl("start", &[]).ok();
    let started = host.ctl(&["plan", "alice"]).ok().stdout;
    assert_eq!(started, before, "what was planned is what was done, and nothing is pending");
    alice.ctl("set", &["ttys=3"]).ok();
    let pending = host.ctl(&["plan", "alice"]).ok().stdout;
    let (plan, differences) = pending.split_once("pending, from the next start:\n").expect("a difference");
    assert_eq!(plan.trim_end(), before.trim_end());
    assert!(differences.contains("- terminals   console and 2 ttys\n"), "{differences}");
    assert!(differences.contains("+ terminals   console and 3 ttys\n"), "{differences}");
    let as_data = host.ctl(&["--json", "plan", "alice"]).ok().json();
    assert_eq!(as_data["ttys"], 2);
    alice.ctl("stop", &[]).ok();
    let next = host.ctl(&["plan", "alice"]).ok().stdout;
    assert!(next.contains("terminals   console and 3 ttys\n") && !next.contains("pending"), "{next}");
}
