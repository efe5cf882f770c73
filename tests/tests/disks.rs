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
    let said = host.ctl(&["create", "second", "--image", "busybox"]).output().refused(1);
    assert!(said.contains("space") || said.contains("full"), "{said}");
    assert_eq!(host.names(), ["first"]);
    assert!(!host.path("var/lib/tenantry/tenants/second").exists());
    assert!(!host.path("etc/tenantry/tenants/second.toml").exists());
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
fn an_unsuitable_filesystem_is_refused_at_create() {
    let mut host = Host::bare();
    host.state_on("ramfs");
    host.tool("rootfsctl", &["build", "busybox"]).ok();
    host.start_hostd();
    let said = host.ctl(&["create", "alice", "--image", "busybox"]).output().refused(1);
    assert!(said.contains("filesystem") && said.contains("var/lib/tenantry"), "{said}");
    assert_eq!(host.names(), Vec::<String>::new());
}
