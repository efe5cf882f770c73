//! Versions share the files that did not change, and stay what their digests say.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use rootfs_tools::{
    Store, digest, inventory,
    progress::Progress,
    publish::{self, Published, Request},
    staging::Staging,
    tree,
};
use tenant::{Layout, model::image::ImageFormat};

struct Host {
    _dir: tempfile::TempDir,
    layout: Layout,
}

/// Fills a staged tree.
type Fill<'a> = &'a dyn Fn(&Path);

impl Host {
    fn new() -> Self {
        // On a disk: of a tmpfs, as /tmp may be one, the kernel mounts no file.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Self { layout: Layout::new(dir.path()), _dir: dir }
    }

    fn publish(&self, image: &str, fill: Fill<'_>) -> Published {
        self.publish_as(image, ImageFormat::Tree, fill)
    }

    fn publish_as(&self, image: &str, format: ImageFormat, fill: Fill<'_>) -> Published {
        let staging = Staging::new(&self.layout).unwrap();
        fs::create_dir(staging.tree()).unwrap();
        fill(&staging.tree());
        let (image, channel) = (image.parse().unwrap(), "stable".parse().unwrap());
        let request = Request::new(image, channel, format, "test".to_owned());
        let published = publish::publish(&self.layout, &staging, &request, &Progress::silent()).unwrap();
        drop(staging);
        assert_eq!(fs::read_dir(self.layout.staging()).unwrap().count(), 0, "nothing is left over");
        if format == ImageFormat::Tree {
            is_intact(&published);
        }
        published
    }
}

fn put(tree: &Path, path: &str, content: &str) -> PathBuf {
    let whole = tree.join(path);
    fs::create_dir_all(whole.parent().unwrap()).unwrap();
    fs::write(&whole, content).unwrap();
    whole
}

fn aged(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + seconds);
    File::open(path).unwrap().set_modified(time).unwrap();
}

fn inode(published: &Published, path: &str) -> (u64, u64) {
    let meta = fs::symlink_metadata(published.path.join("tree").join(path)).unwrap();
    (meta.dev(), meta.ino())
}

fn share(a: &Published, b: &Published, path: &str) -> bool {
    inode(a, path) == inode(b, path)
}

/// Its files are what its digest and its inventory say.
fn is_intact(published: &Published) {
    let root = published.path.join("tree");
    let entries = tree::walk(&root).unwrap();
    let contents = digest::contents(&root, &entries).unwrap();
    assert_eq!(digest::combine(&entries, &contents), published.digest);
    let inventory = inventory::Inventory::read(&published.path).unwrap().expect("it has an inventory");
    assert_eq!(inventory, inventory::Inventory::of(&entries, &contents));
}

#[test]
fn a_new_version_costs_what_it_changes() {
    let host = Host::new();
    let fill = |extra: &'static str, age: u64| {
        move |tree: &Path| {
            aged(&put(tree, "usr/bin/same", "unchanged"), age);
            put(tree, "usr/bin/changed", extra);
            put(tree, "usr/bin/empty", "");
            put(tree, "etc/crontab", "unchanged as well");
            put(tree, "var/lib/dpkg/info/a.list", "/.");
        }
    };
    let old = host.publish("img", &fill("1", 0));
    let new = host.publish("img", &fill("2", 5));
    assert_eq!((old.shared.files, old.shared.bytes), (0, 0));
    assert_eq!((new.shared.files, new.shared.bytes), (1, 9));
    assert!(share(&old, &new, "usr/bin/same"));
    assert!(!share(&old, &new, "usr/bin/changed") && !share(&old, &new, "usr/bin/empty"));
    assert!(!share(&old, &new, "etc/crontab"), "cron refuses a file with two links");
    assert!(!share(&old, &new, "var/lib/dpkg/info/a.list"), "tenants with a /var of their own see the links");
    is_intact(&old);
}

#[test]
fn images_share_with_each_other_and_paths_may_differ() {
    let host = Host::new();
    let one = host.publish("one", &|tree| drop(put(tree, "usr/bin/a", "program")));
    let other = host.publish("other", &|tree| {
        put(tree, "usr/libexec/b", "program");
    });
    assert_eq!(inode(&one, "usr/bin/a"), inode(&other, "usr/libexec/b"));
}

#[test]
fn what_differs_in_any_way_is_not_shared() {
    let host = Host::new();
    let plain = |tree: &Path| put(tree, "usr/bin/a", "program");
    let old = host.publish("img", &|tree| drop(plain(tree)));
    type Change<'a> = (&'a str, &'a dyn Fn(&Path));
    let changes: &[Change<'_>] = &[
        ("mode", &|file| fs::set_permissions(file, fs::Permissions::from_mode(0o4755)).unwrap()),
        ("owner", &|file| std::os::unix::fs::chown(file, Some(7), None).unwrap()),
        ("group", &|file| std::os::unix::fs::chown(file, None, Some(7)).unwrap()),
        ("attributes", &|file| xattr::set(file, "user.k", b"v").unwrap()),
        ("content", &|file| fs::write(file, "progran").unwrap()),
    ];
    for (what, change) in changes {
        let new = host.publish(what, &|tree| change(&plain(tree)));
        assert!(!share(&old, &new, "usr/bin/a"), "{what}");
    }
}

#[test]
fn two_files_of_one_tree_never_become_one() {
    let host = Host::new();
    let old = host.publish("img", &|tree| {
        put(tree, "usr/a", "same");
        put(tree, "usr/old", "");
    });
    let new = host.publish("img", &|tree| {
        put(tree, "usr/a", "same");
        put(tree, "usr/b", "same");
    });
    assert!(share(&old, &new, "usr/a") && inode(&new, "usr/a") != inode(&new, "usr/b"));
    // The third has two files to take, and three to replace.
    let third = host.publish("img", &|tree| {
        for name in ["usr/a", "usr/b", "usr/c"] {
            put(tree, name, "same");
        }
    });
    assert_eq!(third.shared.files, 2);
}

#[test]
fn of_equal_files_each_is_shared_with_the_one_of_its_own_path() {
    let host = Host::new();
    let copies = |text: &'static str| {
        move |tree: &Path| {
            put(tree, "usr/a", text);
            for path in ["usr/b", "usr/c", "usr/d"] {
                put(tree, path, "the same");
            }
        }
    };
    let old = host.publish("debian", &copies("the same"));
    let new = host.publish("debian", &copies("another"));
    for path in ["usr/b", "usr/c", "usr/d"] {
        assert!(share(&old, &new, path), "{path} is the file that it was");
    }
}

#[test]
fn names_of_one_file_stay_names_of_one_file() {
    let host = Host::new();
    let linked = |tree: &Path| {
        let first = put(tree, "usr/bin/perl", "perl");
        fs::hard_link(first, tree.join("usr/bin/perl5")).unwrap();
    };
    let two = |tree: &Path| {
        put(tree, "usr/bin/perl", "perl");
        put(tree, "usr/bin/perl5", "perl");
    };
    let first = host.publish("img", &linked);
    let second = host.publish("img", &two);
    let third = host.publish("img", &|tree| {
        linked(tree);
        put(tree, "usr/other", "");
    });
    assert_eq!(inode(&third, "usr/bin/perl"), inode(&third, "usr/bin/perl5"));
    assert_ne!(inode(&second, "usr/bin/perl"), inode(&second, "usr/bin/perl5"));
    assert_eq!(third.shared.files, 1);
    is_intact(&first);
}

#[test]
fn a_name_outside_the_shared_directories_keeps_a_file_to_itself() {
    let host = Host::new();
    let fill = |tree: &Path| {
        let first = put(tree, "usr/lib/a.conf", "x=1");
        fs::create_dir(tree.join("etc")).unwrap();
        fs::hard_link(first, tree.join("etc/a.conf")).unwrap();
    };
    let old = host.publish("img", &fill);
    let new = host.publish("other", &fill);
    assert!(old.digest == new.digest && !share(&old, &new, "etc/a.conf"));
}

#[test]
fn python_sources_are_shared_if_their_compiled_files_still_match() {
    let host = Host::new();
    let fill = |seconds: u64| {
        move |tree: &Path| {
            aged(&put(tree, "usr/lib/python3/a.py", "print()"), seconds);
            aged(&put(tree, "usr/lib/other/a.pl", "print"), seconds);
        }
    };
    let old = host.publish("one", &fill(0));
    let later = host.publish("two", &fill(1));
    let same = host.publish("three", &fill(0));
    assert!(!share(&old, &later, "usr/lib/python3/a.py") && share(&old, &later, "usr/lib/other/a.pl"));
    assert!(share(&old, &same, "usr/lib/python3/a.py"));
    let time = |published: &Published| {
        fs::metadata(published.path.join("tree/usr/lib/python3/a.py")).unwrap().mtime()
    };
    assert_eq!((time(&old), time(&later)), (1_000_000_000, 1_000_000_001));
}

#[test]
fn directories_keep_their_times() {
    let host = Host::new();
    let fill = |tree: &Path| {
        put(tree, "usr/share/fonts/a", "font");
        aged(&tree.join("usr/share/fonts"), 7);
    };
    host.publish("one", &fill);
    let other = host.publish("other", &fill);
    assert_eq!(other.shared.files, 1);
    assert_eq!(fs::metadata(other.path.join("tree/usr/share/fonts")).unwrap().mtime(), 1_000_000_007);
}

#[test]
fn a_damaged_file_does_not_get_into_another_version() {
    let host = Host::new();
    let fill = |tree: &Path| drop(put(tree, "usr/bin/a", "program"));
    let old = host.publish("one", &fill);
    fs::write(old.path.join("tree/usr/bin/a"), "damaged").unwrap();
    let new = host.publish("other", &fill);
    assert_eq!(fs::read_to_string(new.path.join("tree/usr/bin/a")).unwrap(), "program");
    assert_eq!(new.shared.files, 0);
}

#[test]
fn a_file_that_cannot_be_linked_to_is_copied() {
    let host = Host::new();
    let fill = |tree: &Path| {
        let first = put(tree, "usr/bin/a", "program");
        fs::hard_link(first, tree.join("usr/bin/b")).unwrap();
    };
    let old = host.publish("one", &fill);
    let file = old.path.join("tree/usr/bin/a");
    let chattr =
        |flag: &str| assert!(Command::new("chattr").arg(flag).arg(&file).status().unwrap().success());
    chattr("+i");
    let new = host.publish("other", &fill);
    chattr("-i");
    assert_eq!(new.shared.files, 0);
    assert_eq!(inode(&new, "usr/bin/a"), inode(&new, "usr/bin/b"));
}

#[test]
fn versions_of_earlier_releases_are_shared_with_and_get_an_inventory() {
    let host = Host::new();
    let old = host.publish("img", &|tree| drop(put(tree, "usr/bin/a", "program")));
    fs::remove_file(old.path.join(inventory::FILE)).unwrap();
    let new = host.publish("img", &|tree| {
        put(tree, "usr/bin/a", "program");
        put(tree, "usr/bin/b", "another");
    });
    assert!(share(&old, &new, "usr/bin/a"));
    is_intact(&old);
}

#[test]
fn the_removal_of_one_version_leaves_the_other_whole() {
    let host = Host::new();
    let fill = |extra: &'static str| {
        move |tree: &Path| {
            put(tree, "usr/bin/same", "unchanged");
            put(tree, "usr/bin/changed", extra);
        }
    };
    let old = host.publish("img", &fill("1"));
    let new = host.publish("img", &fill("2"));
    assert!(share(&old, &new, "usr/bin/same"));
    Store::new(host.layout.clone()).remove(&old.image, &old.digest).unwrap();
    assert!(!old.path.exists());
    is_intact(&new);
    assert_eq!(fs::metadata(new.path.join("tree/usr/bin/same")).unwrap().nlink(), 1);
}

#[test]
fn an_erofs_version_has_an_inventory_and_shares_nothing() {
    let host = Host::new();
    let fill = |tree: &Path| drop(put(tree, "usr/bin/a", "program"));
    let tree = host.publish("img", &fill);
    let erofs = host.publish_as("img", ImageFormat::Erofs, &fill);
    assert_eq!(erofs.shared.files, 0);
    let read = |published: &Published| inventory::Inventory::read(&published.path).unwrap().unwrap();
    assert_eq!(read(&tree), read(&erofs));
}
