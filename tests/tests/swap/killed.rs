//! Swaps that are cut short: a supervisor that is killed in the middle, and a kernel that refuses a step.

use std::{fs, time::Duration};

use tenantry_tests::{Host, Run, Running, Tenant, poll};

use crate::versions::{REFUSED, generation, rebase, with_versions};

/// Calls of a swap before which the supervisor is killed, and which of their kind, from 1: before anything is attached,
/// when the first directory is beneath what is seen, when all are, and when all are seen.
const MOMENTS: [(&str, usize); 5] =
    [("unshare", 1), ("move_mount", 5), ("move_mount", 6), ("umount2", 1), ("chroot", 1)];

/// Calls of a swap that fail in a tenant with a mount of its own in `/usr`, which of their kind in each thread, from 1,
/// and whether it is done nevertheless: to see both directories at one moment, to see `/usr` on its own when the other one
/// is seen, to attach the second one, to copy the tenant's mount.
const FAULTS: [(&str, usize, bool); 5] = [
    ("move_mount", 10, true),
    ("umount2", 1, false),
    ("clone3", 2, false),
    ("move_mount", 6, false),
    ("clone3", 1, false),
];

/// strace(1) on a supervisor.
struct Strace(Running);

impl Strace {
    fn inject(tenant: &Tenant<'_>, call: &str, fault: &str) -> Self {
        let pid = tenant.pids().1.to_string();
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{fault}"));
        let run =
            Run::new("strace", ["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject, "-p", &pid]);
        let program = Running::start(&run);
        poll::until_true("strace is attached", || {
            let status =
                fs::read_to_string(format!("/proc/{pid}/status")).expect("the supervisor is running");
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        });
        Self(program)
    }

    fn ends(&mut self) {
        poll::until_true("strace has ended", || !self.0.goes_on());
    }
}

fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// The versions that a tenant's directories show, as the host sees them.
fn shown(tenant: &Tenant<'_>) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", tenant.pids().0)).expect("the tenant is up");
    let mut found: Vec<String> = Vec::new();
    for line in table.lines().filter(|line| [" /usr ", " /var/lib/dpkg "].iter().any(|at| line.contains(at)))
    {
        let source = line.split_once(" - overlay ").and_then(|(_, rest)| rest.split(' ').next());
        found.extend(source.map(str::to_owned));
    }
    found.sort();
    found
}

fn start(host: &Host) -> Tenant<'_> {
    host.boot("deb", &["--image", "debian:one"])
}

#[test]
fn a_supervisor_that_is_killed_in_a_swap_takes_its_tenant_along_and_leaves_one_version() {
    let host = with_versions("debian");
    let tenant = start(&host);
    let pinned = tenant.field("/digest");
    for (call, number) in MOMENTS {
        let what = format!("killed at {call} number {number}");
        let (init, supervisor) = tenant.pids();
        let mut strace = Strace::inject(&tenant, call, &format!("signal=KILL:when={number}"));
        let answer = tenant.ctl("rebase", &["--to", ":two"]).limit(Duration::from_secs(30)).output();
        assert!(!answer.status.success(), "{what}");
        assert!(answer.stderr.contains("cannot rebase tenant \"deb\""), "{what}: {}", answer.stderr);
        assert!(!is_alive(supervisor), "{what}");
        // Where it is said to be down, nothing of it is up.
        poll::until_true(&what, || tenant.phase() != "running");
        assert!(!is_alive(init), "{what}: it is {} and its init is running", tenant.phase());
        strace.ends();
        assert_eq!(tenant.field("/digest"), pinned, "{what}: its record has the version that it keeps");
        tenant.start();
        assert_eq!(generation(&tenant), "one", "{what}");
        let versions = shown(&tenant);
        assert!(versions.len() == 2 && versions[0] == versions[1], "{what}: {versions:?}");
        assert_eq!(rebase(&tenant, &["--to", ":two"])["applied"], "live", "{what}");
        assert_eq!(generation(&tenant), "two", "{what}");
        rebase(&tenant, &["--to", ":one"]);
    }
}

#[test]
fn a_supervisor_that_is_killed_takes_its_tenant_along_where_no_hostd_sees_it() {
    let host = Host::start();
    let tenant = host.boot("box", &["--image", "busybox"]);
    let (init, supervisor) = tenant.pids();
    host.kill_hostd();
    Run::new("kill", ["-9", &supervisor.to_string()]).ok();
    poll::until_true("its init has ended", || !is_alive(init));
    host.start_hostd();
    tenant.start();
    assert_eq!(tenant.says("echo up"), "up");
}

#[test]
fn a_step_that_the_kernel_refuses_leaves_the_old_version_and_the_next_swap_works() {
    let host = with_versions("debian");
    let tenant = start(&host);
    tenant.says("mount -t tmpfs own /usr/local");
    let before = shown(&tenant);
    for (call, number, is_harmless) in FAULTS {
        let what = format!("{call} number {number} fails");
        let strace = Strace::inject(&tenant, call, &format!("error=EAGAIN:when={number}"));
        let answer = tenant.ctl("rebase", &["--to", ":two"]).output();
        if is_harmless {
            answer.succeeded();
            drop(strace);
            assert_eq!(generation(&tenant), "two", "{what}");
            rebase(&tenant, &["--to", ":one"]);
        } else {
            let said = answer.refused(REFUSED);
            assert!(
                said.contains("temporarily unavailable") && !said.contains("cleanup failed"),
                "{what}: {said}"
            );
            drop(strace);
        }
        assert_eq!((generation(&tenant), shown(&tenant)), ("one".to_owned(), before.clone()), "{what}");
        for to in [":two", ":one"] {
            assert_eq!(rebase(&tenant, &["--to", to])["applied"], "live", "after {what}");
        }
        assert_eq!((generation(&tenant), shown(&tenant)), ("one".to_owned(), before.clone()), "after {what}");
        assert_eq!(tenant.says("stat -f -c %T /usr/local"), "tmpfs", "{what}");
    }
}
