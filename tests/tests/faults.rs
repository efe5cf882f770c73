//! Anything may be swapped while it is looked at. What is killed at any moment: `tests/faults/`.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use tenantry_tests::Host;

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

#[test]
fn an_image_with_links_for_what_the_host_mounts_is_refused_or_harmless() {
    let host = Host::bare();
    host.tool("rootfsctl", &["build", "busybox"]).ok();
    let outside = host.path("outside");
    fs::create_dir(&outside).expect("a directory outside");
    host.start_hostd();
    for (number, name) in ["dev", "proc", "sys", "run", "tmp", "etc"].iter().enumerate() {
        let copy = host.changed_tree("busybox", |tree| {
            fs::remove_dir_all(tree.join(name)).expect("the directory can be removed");
            symlink(&outside, tree.join(name)).expect("a link can be planted");
        });
        let image = format!("trap{number}");
        let copy = copy.to_string_lossy().into_owned();
        if !host.tool("rootfsctl", &["import", &copy, "--name", &image]).output().status.success() {
            continue;
        }
        let tenant = format!("t{number}");
        if host.ctl(&["create", &tenant, "--image", &image]).output().status.success() {
            let _may_be_refused = host.ctl(&["start", &tenant]).output();
            host.ctl(&["destroy", &tenant, "--force", "--yes"]).ok();
        }
    }
    assert_eq!(fs::read_dir(&outside).expect("the directory").count(), 0);
}
