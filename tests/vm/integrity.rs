//! Images whose every block is checked when it is read: a flipped bit is an I/O error, never wrong data.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use tenantry_tests::{
    Output,
    disk::Disk,
    machine::{Unit, run, tenantctl, until},
};

/// Bytes of the file that is damaged, and of the block in it where that happens.
const SIZE: usize = 4 << 20;
const BLOCK: usize = 4096;
/// Reads the file that is damaged; the good one beside it.
const READ: &str = "cat /usr/share/damaged > /dev/null";
const READ_GOOD: &str = "cat /usr/share/good > /dev/null";

/// The busybox image with two more files, as a directory.
struct Tree(PathBuf);

impl Tree {
    /// `mark` is what the block that is to be damaged begins with, and no other.
    fn new(mark: &str) -> Self {
        let dir = PathBuf::from(format!("/var/tmp/tree-{mark}"));
        let versions = "/payload/images/var/lib/tenantry/images/busybox/versions";
        let version = fs::read_dir(versions).unwrap().flatten().next().unwrap().path();
        run(&["cp", "-a"]).args([version.join("tree"), dir.clone()]).ok();
        fs::create_dir_all(dir.join("usr/share")).unwrap();
        // No two blocks are alike, and none of zeroes.
        let mut bytes: Vec<u8> = (0..SIZE).map(|at| (at / BLOCK) as u8 ^ (at as u8) | 1).collect();
        fs::write(dir.join("usr/share/good"), &bytes).unwrap();
        let middle = SIZE / 2;
        bytes[middle..middle + mark.len()].copy_from_slice(mark.as_bytes());
        fs::write(dir.join("usr/share/damaged"), &bytes).unwrap();
        Self(dir)
    }

    fn path(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Flips one bit of the block that begins with `mark`, in a file or a disk, and empties the caches.
fn flip(file: &Path, mark: &str) {
    run(&["sync"]).ok();
    let disk = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut chunk = vec![0; 1 << 20];
    let mut found = 0;
    for start in (0..fs::metadata(file).unwrap().len()).step_by(chunk.len()) {
        let length = disk.read_at(&mut chunk, start).unwrap();
        for (number, block) in chunk[..length].chunks(BLOCK).enumerate() {
            if block.starts_with(mark.as_bytes()) || block.starts_with(flipped(mark).as_slice()) {
                let at = start + (number * BLOCK) as u64;
                disk.write_at(&[block[0] ^ 1], at).unwrap();
                found += 1;
            }
        }
    }
    assert_eq!(found, 1, "blocks that begin with {mark} in {}", file.display());
    disk.sync_all().unwrap();
    fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
}

fn flipped(mark: &str) -> Vec<u8> {
    let mut bytes = mark.as_bytes().to_vec();
    bytes[0] ^= 1;
    bytes
}

/// The file of an erofs image.
fn erofs(image: &str) -> PathBuf {
    let versions = format!("/var/lib/tenantry/images/{image}/versions");
    fs::read_dir(versions).unwrap().flatten().next().unwrap().path().join("image.erofs")
}

/// The kernel takes a device away a moment after its last mount.
fn no_device_is_left() {
    until("no device is left", || devices().is_empty());
}

/// Devices through which images are read, and the loop devices below them.
fn devices() -> Vec<String> {
    let disks = fs::read_dir("/sys/block").unwrap().flatten();
    let names = disks.filter_map(|entry| fs::read_to_string(entry.path().join("dm/name")).ok());
    let mut found: Vec<String> = names.filter(|name| name.starts_with("tenantry-")).collect();
    let loops = run(&["losetup", "--noheadings", "--output", "BACK-FILE"]).ok().stdout;
    found.extend(loops.lines().filter(|line| line.contains("/image.")).map(str::to_owned));
    found
}

fn is_io_error(read: &Output) {
    assert!(!read.status.success(), "wrong data was read");
    assert!(
        read.stderr.contains("Input/output error") || read.stderr.contains("I/O error"),
        "{}",
        read.stderr
    );
}

#[test]
fn a_flipped_bit_of_an_erofs_image_is_an_io_error_for_every_tenant() {
    let tree = Tree::new("erofs-mark");
    run(&["rootfsctl", "import", &tree.path(), "--name", "marked", "--format", "erofs", "--verity"]).ok();
    let list = run(&["rootfsctl", "list"]).ok().stdout;
    assert!(list.contains("erofs+verity"), "{list}");
    {
        let iris = Unit::start("iris", &["--image", "marked"]);
        let jan = Unit::start("jan", &["--image", "marked"]);
        assert_eq!(devices().len(), 3, "one device over two files for both tenants: {:?}", devices());
        iris.shell(READ).ok();

        flip(&erofs("marked"), "erofs-mark");
        for unit in [&iris, &jan] {
            is_io_error(&unit.shell(READ).output());
            unit.shell(READ_GOOD).ok();
        }
        let doctor = tenantctl(&["doctor"]).output();
        assert_eq!(doctor.status.code(), Some(1), "{}", doctor.stdout);
        assert!(doctor.stdout.contains("image marked@"), "{}", doctor.stdout);
        let verified = run(&["rootfsctl", "verify", "marked"]).output();
        assert_eq!(verified.status.code(), Some(1));
        assert!(
            verified.stdout.contains("DAMAGED") && verified.stdout.contains("/usr/share/damaged"),
            "{}",
            verified.stdout
        );

        flip(&erofs("marked"), "erofs-mark");
        iris.shell(READ).ok();
        let verified = run(&["rootfsctl", "verify", "marked"]).ok().stdout;
        assert!(verified.starts_with("intact"), "{verified}");
    }
    run(&["rootfsctl", "rm", "marked", "--channels"]).ok();
    no_device_is_left();
}

#[test]
fn an_image_damaged_at_its_root_starts_no_tenant_and_leaves_no_device() {
    run(&["rootfsctl", "build", "busybox", "--name", "rooted", "--format", "erofs", "--verity"]).ok();
    {
        let unit = Unit::create("karl", &["--image", "rooted"]);
        // The superblock of erofs.
        let file = OpenOptions::new().read(true).write(true).open(erofs("rooted")).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 1024 + 100).unwrap();
        file.write_all_at(&[byte[0] ^ 1], 1024 + 100).unwrap();
        file.sync_all().unwrap();
        fs::write("/proc/sys/vm/drop_caches", "3").unwrap();

        let refused = unit.ctl("start", &[]).output();
        assert!(!refused.status.success());
        assert!(
            refused.stderr.contains("image.erofs") && refused.stderr.contains("help:"),
            "{}",
            refused.stderr
        );
        assert_ne!(unit.active_state(), "active");
        no_device_is_left();

        file.write_all_at(&byte, 1024 + 100).unwrap();
        file.sync_all().unwrap();
        fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
        unit.ctl("start", &[]).ok();
    }
    run(&["rootfsctl", "rm", "rooted", "--channels"]).ok();
    no_device_is_left();
}

/// Below Linux 6.12 an erofs image must be on a block device, and one with a hash tree is.
#[test]
fn an_erofs_image_without_a_hash_tree_is_run_or_refused_with_the_kernel_it_needs() {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse().unwrap_or(0));
    let is_old = (numbers.next(), numbers.next()) < (Some(6), Some(12));
    run(&["rootfsctl", "build", "busybox", "--name", "plain", "--format", "erofs"]).ok();
    let create = tenantctl(&["create", "ludwig", "--image", "plain", "--start"]).output();
    if is_old {
        assert_eq!(create.status.code(), Some(4), "{}", create.stderr);
        assert!(create.stderr.contains("an erofs image needs Linux 6.12"), "{}", create.stderr);
        assert!(!Path::new("/etc/tenantry/tenants/ludwig.toml").exists(), "nothing is left of it");
    } else {
        create.succeeded();
        tenantctl(&["destroy", "ludwig", "--force", "--yes"]).ok();
    }
    run(&["rootfsctl", "rm", "plain", "--channels"]).ok();
}

#[test]
fn a_flipped_bit_of_a_tree_on_ext4_is_an_io_error() {
    let tree = Tree::new("ext4-mark");
    let disk = Disk::new("verity", 64, &["mkfs.ext4", "-q", "-b", "4096", "-O", "verity"], "loop");
    disk.rootfsctl(&["import", &tree.path(), "--name", "marked", "--verity"]).ok();
    disk.start("mona", &["--image", "marked"]);
    disk.shell("mona", READ).succeeded();
    let versions = fs::read_dir(disk.images().join("marked/versions")).unwrap();
    let damaged = versions.flatten().next().unwrap().path().join("tree/usr/share/damaged");
    assert!(OpenOptions::new().write(true).open(&damaged).is_err(), "root can write to a published file");

    flip(disk.file(), "ext4-mark");
    is_io_error(&disk.shell("mona", READ));
    disk.shell("mona", READ_GOOD).succeeded();
    let verified = disk.rootfsctl(&["verify"]).output();
    assert_eq!(verified.status.code(), Some(1));
    assert!(verified.stdout.contains("/usr/share/damaged cannot be read"), "{}", verified.stdout);

    flip(disk.file(), "ext4-mark");
    disk.shell("mona", READ).succeeded();
    assert!(disk.rootfsctl(&["verify"]).ok().stdout.starts_with("intact"));
    // Somebody puts another file in its place.
    fs::remove_file(&damaged).unwrap();
    fs::copy(tree.0.join("usr/share/damaged"), &damaged).unwrap();
    let verified = disk.rootfsctl(&["verify"]).output();
    assert!(verified.stdout.contains("/usr/share/damaged is not protected"), "{}", verified.stdout);
}

#[test]
fn a_filesystem_that_protects_no_files_refuses_and_keeps_nothing() {
    let refused = run(&["rootfsctl", "build", "busybox", "--name", "unkept", "--verity"]).output().refused(4);
    assert!(refused.contains("fs-verity") && refused.contains("tune2fs -O verity"), "{refused}");
    assert!(!Path::new("/var/lib/tenantry/images/unkept").exists());
    let staging = fs::read_dir("/var/lib/tenantry/images/.staging").map_or(0, Iterator::count);
    assert_eq!(staging, 0);
    // Nothing else of the host is in the way of it.
    File::open("/dev/mapper/control").expect("the kernel has a device mapper");
}
