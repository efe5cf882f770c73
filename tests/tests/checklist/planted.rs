//! What a tenant leaves where the host mounts things at its next start.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tenantry_tests::{Host, Tenant, poll, tenant::assert_mounts_of_the_host};

use crate::BUSYBOX;

/// Places in the root of a tenant where the host mounts, opens or writes something.
const PLACES: [&str; 14] = [
    "dev",
    "dev/null",
    "dev/console",
    "dev/pts",
    "dev/ptmx",
    "dev/shm",
    "proc",
    "proc/self",
    "sys",
    "sys/fs/cgroup",
    "run",
    "run/host",
    "tmp",
    "etc/hostname",
];

/// What a hostile tenant puts there.
#[derive(Clone, Copy, Debug)]
enum Shape {
    LinkAbsolute,
    LinkUpwards,
    File,
    Directory,
    Fifo,
    Socket,
}

const SHAPES: [Shape; 6] =
    [Shape::LinkAbsolute, Shape::LinkUpwards, Shape::File, Shape::Directory, Shape::Fifo, Shape::Socket];

impl Shape {
    fn plant(self, at: &Path, outside: &Path) {
        fs::create_dir_all(at.parent().expect("a place has a parent")).expect("directories");
        let node = |kind| mknodat(CWD, at, kind, Mode::from_raw_mode(0o666), 0).expect("a node");
        match self {
            Self::LinkAbsolute => symlink(outside, at).expect("a link"),
            Self::LinkUpwards => {
                let up = "../".repeat(40);
                let target = PathBuf::from(up).join(outside.strip_prefix("/").expect("an absolute path"));
                symlink(target, at).expect("a link");
            }
            Self::File => fs::write(at, "planted").expect("a file"),
            Self::Directory => fs::create_dir(at).expect("a directory"),
            Self::Fifo => node(FileType::Fifo),
            Self::Socket => node(FileType::Socket),
        }
    }
}

/// All below a directory, with contents.
fn look(dir: &Path) -> String {
    let script = "find . -printf '%p %y %m %u %l\\n' | sort; cat file";
    tenantry_tests::Run::new("sh", ["-c", script]).current_dir(dir).ok().stdout
}

/// What is where the host mounts, as the tenant sees it.
fn judge(tenant: &Tenant<'_>) {
    let seen = tenant.probe(&["mounts", "devices"]);
    assert_mounts_of_the_host(&seen, "planted");
    assert_eq!(seen["devices"]["null"], "c 1:3");
    assert!(
        seen["devices"]["console"].as_str().is_some_and(|node| node.starts_with("c 136:")),
        "{}",
        seen["devices"]
    );
    assert_eq!(tenant.says("cat /run/host/container-manager"), "tenantry");
}

#[test]
fn what_a_tenant_plants_for_its_next_start_is_covered_or_refused() {
    let host = Host::start();
    let outside = host.path("outside");
    fs::create_dir(&outside).expect("a directory outside");
    fs::write(outside.join("file"), "untouched").expect("a file outside");
    let before = look(&outside);
    let alice = host.create("alice", &[&BUSYBOX[..], &["--profile", "os"]].concat());
    let upper = host.path("var/lib/tenantry/tenants/alice/dirs/root-overlay/upper");
    alice.start();
    alice.stop();
    let (mut started, mut refused) = (0, Vec::new());
    for place in PLACES {
        for shape in SHAPES {
            let at = upper.join(place);
            let top = upper.join(place.split('/').next().expect("a word"));
            let kept = top.with_extension("kept");
            let had = fs::rename(&top, &kept).is_ok();
            shape.plant(&at, &outside);
            let said = alice.ctl("start", &[]).output();
            if said.status.success() {
                started += 1;
                judge(&alice);
                alice.ctl("kill", &[]).ok();
                alice.awaits("stopped");
            } else {
                assert!(said.stderr.contains("cannot"), "{place} as {shape:?}: {}", said.stderr);
                refused.push(format!("{place} as {shape:?}"));
            }
            assert_eq!(look(&outside), before, "{place} as {shape:?}");
            poll::until_true("what was planted is gone", || {
                fs::remove_dir_all(&top).or_else(|_| fs::remove_file(&top)).is_ok()
            });
            if had {
                fs::rename(&kept, &top).expect("what was there comes back");
            }
        }
    }
    println!("{started} starts, refused: {refused:?}");
    assert!(started > 20, "{refused:?}");
    alice.start();
    judge(&alice);
}
