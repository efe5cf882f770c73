//! Anything may be swapped while it is looked at. What is killed at any moment: `tests/faults/`.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use tenantry_tests::{Host, Tenant, tenant::assert_mounts_of_the_host};

#[test]
fn a_stored_directory_swapped_for_a_link_during_starts_leads_nowhere() {
    let host = Host::start();
    let tiny = host.create("tiny", &["--image", "busybox"]);
    let (inside, outside, link) = (
        host.path("var/lib/tenantry/tenants/tiny/dirs/root"),
        host.path("outside"),
        host.path("var/lib/tenantry/tenants/tiny/dirs/link"),
    );
    fs::create_dir(&outside).expect("a directory outside");
    // So that the tenant would see what is in it.
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o755)).expect("its mode");
    fs::write(outside.join("tripwire"), "untouched").expect("the tripwire can be laid");
    symlink(&outside, &link).expect("a link can be planted");
    let look = |path: &Path| {
        let meta = fs::metadata(path).expect("it is there");
        (meta.uid(), meta.gid(), meta.mode(), meta.ctime_nsec())
    };
    let before = look(&outside);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _keeps_trying =
                    renameat2(AT_FDCWD, &inside, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE);
            }
        });
        for _ in 0..40 {
            // Either it starts with its own directory, or it is refused.
            if tiny.ctl("start", &[]).output().status.success() {
                let seen = tiny.shell("ls /root").output().stdout;
                assert!(!seen.contains("tripwire"), "{seen}");
            }
            let _may_be_down = tiny.ctl("stop", &[]).output();
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(look(&outside), before);
    assert_eq!(fs::read_to_string(outside.join("tripwire")).expect("the tripwire"), "untouched");
}

/// Where the mounts of a tenant are, and of which type.
fn judge(tenant: &Tenant<'_>, what: &str) {
    assert_mounts_of_the_host(&tenant.probe(&["mounts"]), what);
    assert_eq!(tenant.says("cat /run/host/container-manager"), "tenantry", "{what}");
}

#[test]
fn an_image_with_links_for_what_the_host_mounts_is_refused_or_harmless() {
    let host = Host::bare();
    host.tool("rootfsctl", &["build", "busybox"]).ok();
    let outside = host.path("outside");
    fs::create_dir(&outside).expect("a directory outside");
    host.start_hostd();
    let swap = |tree: &Path, name: &str| {
        fs::remove_dir_all(tree.join(name)).expect("the directory can be removed");
        symlink(&outside, tree.join(name)).expect("a link can be planted");
    };
    let (mut started, mut refused) = (Vec::new(), Vec::new());
    for name in ["dev", "proc", "sys", "run", "tmp", "etc", "var"] {
        // An image that somebody has built so, and one whose tree has become so.
        for (kind, is_built) in [("built", true), ("became", false)] {
            let copy = host.changed_tree("busybox", |tree| {
                fs::write(tree.join("usr/mark"), format!("{name} {kind}")).expect("a file of its own");
                if is_built {
                    swap(tree, name);
                }
            });
            let (image, copy) = (format!("{name}-{kind}"), copy.to_string_lossy().into_owned());
            if !host.tool("rootfsctl", &["import", &copy, "--name", &image]).output().status.success() {
                assert!(is_built, "{image} is not taken");
                refused.push(format!("import of {image}"));
                continue;
            }
            if !is_built {
                swap(&host.version(&image).join("tree"), name);
            }
            for profile in ["shared-os", "os"] {
                let what = format!("{image} as {profile}");
                let tenant = Tenant::new(&host, "tenant");
                let made = tenant.ctl("create", &["--image", &image, "--profile", profile]).output();
                if made.status.success() && tenant.ctl("start", &[]).output().status.success() {
                    judge(&tenant, &what);
                    started.push(what.clone());
                } else {
                    refused.push(what.clone());
                }
                let _may_not_be_there = tenant.ctl("destroy", &["--force", "--yes"]).output();
                assert_eq!(fs::read_dir(&outside).expect("the directory").count(), 0, "{what}");
            }
        }
    }
    println!("started: {started:?}, refused: {refused:?}");
    assert!(started.len() > 4 && refused.len() > 4, "started: {started:?}, refused: {refused:?}");
}
