//! Disks that are full, and filesystems that cannot carry a tenant.

use std::{fs, path::PathBuf};

use tenantry_tests::{Host, Run};

/// Fills the disk of the state directory to its last block; what to remove to have room again.
fn fill(host: &Host) -> PathBuf {
    let ballast = host.path("var/lib/tenantry/ballast");
    for size in ["bs=64k", "bs=1k"] {
        let file = format!("of={}", ballast.display());
        // It ends with the error that is wanted.
        let _full =
            Run::new("dd", ["if=/dev/zero", size, "oflag=append", "conv=notrunc,fsync", &file]).output();
    }
    ballast
}

#[test]
fn a_full_disk_refuses_a_new_tenant_and_nothing_is_half_there() {
    let mut host = Host::bare();
    host.small_disk("24M");
    host.tool("rootfsctl", &["build", "busybox"]).ok();
    host.start_hostd();
    host.create("first", &["--image", "busybox"]).start();
    let ballast = fill(&host);
    // Under whatever name.
    let seen = || {
        let dirs = ["var/lib/tenantry/tenants", "etc/tenantry/tenants"].map(|dir| host.path(dir));
        Run::new("find", dirs).args(["-maxdepth", "1"]).ok().stdout
    };
    let before = seen();
    let length = fs::metadata(&ballast).expect("the ballast").len();
    // No room at all, and some that is used up on the way.
    let mut refused = 0;
    for blocks in 0..12 {
        let file = fs::File::options().write(true).open(&ballast).expect("the ballast");
        file.set_len(length - (blocks << 12)).expect("some room");
        let said = host.ctl(&["create", "second", "--image", "busybox"]).output();
        if said.status.success() {
            break;
        }
        let said = said.refused(1);
        assert!(said.contains("space") || said.contains("full"), "{said}");
        assert_eq!(host.names(), ["first"]);
        assert_eq!(seen(), before, "with {blocks} blocks of room");
        refused += 1;
    }
    println!("{refused} were refused");
    assert!(refused > 1, "no tenant was refused on the way");
    host.ctl(&["destroy", "second", "--yes"]).output();
    fs::remove_file(ballast).expect("the ballast can be dropped");
    host.create("second", &["--image", "busybox"]).start();
}

#[test]
fn a_full_disk_does_not_keep_a_tenant_from_being_stopped_and_destroyed() {
    let mut host = Host::bare();
    host.small_disk("24M");
    host.tool("rootfsctl", &["build", "busybox"]).ok();
    host.start_hostd();
    let first = host.boot("first", &["--image", "busybox"]);
    fill(&host);
    first.stop();
    first.ctl("destroy", &["--yes"]).ok();
    assert_eq!(host.names(), Vec::<String>::new());
}

#[test]
fn a_full_disk_publishes_no_half_image() {
    let mut host = Host::bare();
    host.small_disk("24M");
    let ballast = fill(&host);
    let said = host.tool("rootfsctl", &["build", "busybox"]).output().refused(1);
    assert!(said.contains("space") || said.contains("full"), "{said}");
    fs::remove_file(ballast).expect("the ballast can be dropped");
    let list = host.tool("rootfsctl", &["--json", "list"]).ok().json();
    assert_eq!(list.as_array().map(Vec::len), Some(0), "{list:#}");
    host.tool("rootfsctl", &["build", "busybox"]).ok();
}

#[test]
fn a_disk_that_fills_up_in_a_publish_an_update_or_a_pull_leaves_what_was_there() {
    let mut host = Host::bare();
    host.small_disk("24M");
    host.tool("rootfsctl", &["build", "busybox"]).ok();
    // Neither is on the small disk.
    let layout = format!("oci:{}:1", host.path("layout").display());
    host.tool("rootfsctl", &["push", "busybox", &layout]).ok();
    let tree = host.changed_tree("busybox", |tree| {
        fs::write(tree.join("usr/more"), vec![1; 512 << 10]).expect("one more file");
    });
    let ballast = fill(&host);
    let store = host.path("var/lib/tenantry");
    let seen = || {
        let find = [
            "-ec",
            "cd \"$1\"; find . ! -name ballast -printf '%p %y %s %l\\n' | sort; cat images/*/channels/*",
            "sh",
        ];
        Run::new("sh", find).args([&store]).ok().stdout
    };
    let before = seen();
    let length = fs::metadata(&ballast).expect("the ballast").len();
    // No room at all; some that is used up on the way; all but what the last files need.
    for room in [0, 300 << 10, 1000 << 10] {
        let file = fs::File::options().write(true).open(&ballast).expect("the ballast");
        file.set_len(length - room).expect("some room");
        for words in [
            &["publish", &tree.display().to_string(), "--name", "busybox"][..],
            &["import", &tree.display().to_string(), "--name", "other", "--format", "erofs"],
            &["update", "busybox"],
            &["pull", &layout, "--name", "pulled"],
            &["push", "busybox", &layout],
        ] {
            let said = host.tool("rootfsctl", words).output().refused(1);
            assert!(said.contains("space") && said.contains("rootfsctl gc"), "{room}: {said}");
            assert_eq!(seen(), before, "{room}: {words:?}");
        }
    }
    fs::remove_file(ballast).expect("the ballast can be dropped");
    host.tool("rootfsctl", &["pull", &layout, "--name", "pulled"]).ok();
    host.tool("rootfsctl", &["verify"]).ok();
}

#[test]
fn an_unsuitable_filesystem_is_refused_at_create() {
    let mut host = Host::bare();
    host.state_on("ramfs");
    host.tool("rootfsctl", &["build", "busybox"]).ok();
    host.start_hostd();
    let said = host.ctl(&["create", "alice", "--image", "busybox"]).output().refused(1);
    assert!(said.contains("filesystem") && said.contains("var/lib/tenantry"), "{said}");
    assert_eq!(host.names(), Vec::<String>::new());
}
