//! Disks that are full, and filesystems that cannot carry a tenant.

use std::{fs, path::Path};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tenantry_tests::{Host, Run};

/// A filesystem mounted on a directory, for as long as this lives.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // A tenant that failed to go keeps the filesystem alive, but not in sight.
        let _reported_by_the_runner = umount2(self.0, MntFlags::MNT_DETACH);
    }
}

/// A small ext4 in a file, over a directory.
fn small_disk<'a>(file: &Path, at: &'a Path, size: &str) -> Mounted<'a> {
    Run::new("truncate", ["-s", size]).args([file]).ok();
    Run::new("mkfs.ext4", ["-q", "-F"]).args([file]).ok();
    fs::create_dir_all(at).expect("a directory");
    Run::new("mount", ["-o", "loop"]).args([file, at]).ok();
    Mounted(at)
}

#[test]
fn a_full_disk_refuses_a_new_tenant_and_nothing_is_half_there() {
    let host = Host::bare();
    host.tool("rootfsctl", &["build", "busybox"]).ok();
    let tenants = host.path("var/lib/tenantry/tenants");
    let disk = small_disk(&host.path("disk"), &tenants, "8M");
    host.start_hostd();
    host.create("first", &["--image", "busybox"]).start();
    let ballast = tenants.join("ballast");
    let _fills_it =
        Run::new("dd", ["if=/dev/zero", "bs=64k"]).args([format!("of={}", ballast.display())]).output();
    let said = host.ctl(&["create", "second", "--image", "busybox"]).output().refused(1);
    assert!(said.contains("space") || said.contains("full"), "{said}");
    assert_eq!(host.names(), ["first"]);
    assert!(!tenants.join("second").exists());
    fs::remove_file(ballast).expect("the ballast can be dropped");
    host.create("second", &["--image", "busybox"]).start();
    for name in ["first", "second"] {
        host.ctl(&["destroy", name, "--force", "--yes"]).ok();
    }
    drop(disk);
}

#[test]
fn a_full_disk_publishes_no_half_image() {
    let host = Host::bare();
    let images = host.path("var/lib/tenantry/images");
    let disk = small_disk(&host.path("disk"), &images, "8M");
    let ballast = images.join("ballast");
    let _fills_it =
        Run::new("dd", ["if=/dev/zero", "bs=64k"]).args([format!("of={}", ballast.display())]).output();
    let said = host.tool("rootfsctl", &["build", "busybox"]).output().refused(1);
    assert!(said.contains("space") || said.contains("full"), "{said}");
    fs::remove_file(ballast).expect("the ballast can be dropped");
    let list = host.tool("rootfsctl", &["--json", "list"]).ok().json();
    assert_eq!(list.as_array().map(Vec::len), Some(0), "{list:#}");
    host.tool("rootfsctl", &["build", "busybox"]).ok();
    drop(disk);
}

#[test]
fn a_filesystem_without_extended_attributes_is_refused() {
    let host = Host::bare();
    host.tool("rootfsctl", &["build", "busybox"]).ok();
    let tenants = host.path("var/lib/tenantry/tenants");
    fs::create_dir_all(&tenants).expect("a directory");
    mount(Some("ramfs"), &tenants, Some("ramfs"), MsFlags::empty(), None::<&str>)
        .expect("ramfs can be mounted");
    let mounted = Mounted(&tenants);
    host.start_hostd();
    let made = host.ctl(&["create", "alice", "--image", "busybox"]).output();
    let said = if made.status.success() { host.ctl(&["start", "alice"]).output() } else { made };
    assert!(!said.status.success(), "a tenant runs on a filesystem that cannot carry it");
    assert!(said.stderr.contains("help:") && said.stderr.contains("filesystem"), "{}", said.stderr);
    let _may_be_gone = host.ctl(&["destroy", "alice", "--yes"]).output();
    drop(mounted);
}
