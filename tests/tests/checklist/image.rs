//! Pages of the image in memory: what one tenant changes there, all tenants execute.

use std::{fs, path::Path};

use tenantry_tests::{
    Host, Run,
    pages::{Differ, differs_from_disk},
};

use crate::BUSYBOX;

const FILE: &str = "bin/busybox";

#[test]
fn pages_of_the_image_are_those_of_the_disk_after_attacks_on_them() {
    let host = Host::start();
    let alice = host.boot("alice", &BUSYBOX);
    alice.bring_probe();
    let digest = alice.field("/digest").replace(':', "-");
    let tree = host.path(format!("var/lib/tenantry/images/busybox/versions/{digest}/tree"));
    let real = tree.join(FILE);
    let before = fs::read(&real).expect("a file of the image");
    let tried = alice.exec(&["/root/probe", "taint", &format!("/{FILE}")]).ok().json();
    // Where a way was open it led to a copy.
    assert_eq!(tried["opened"], serde_json::json!([false, false]), "{tried}");
    assert_eq!(fs::read(&real).expect("a file of the image"), before, "{tried}");
    for path in Run::new("find", [&tree]).args(["-type", "f"]).ok().stdout.lines() {
        assert_eq!(differs_from_disk(Path::new(path)), Differ::Nowhere, "{path}");
    }
}

/// Changes a block of a file behind the back of its filesystem: what a page of memory that was written to without leave
/// looks like, from the other side.
#[test]
fn a_page_that_is_not_that_of_the_disk_is_found() {
    let mut host = Host::bare();
    host.small_disk("16M");
    let file = host.path("var/lib/tenantry/file");
    fs::write(&file, vec![b'a'; 64 << 10]).expect("a file");
    Run::new("sync", ["-f"]).args([&file]).ok();
    assert_eq!(fs::read(&file).expect("a file").len(), 64 << 10);
    assert_eq!(differs_from_disk(&file), Differ::Nowhere);
    let map = Run::new("filefrag", ["-v", "-b1"]).args([&file]).ok().stdout;
    // The line of the first extent: number, logical offsets, then the physical ones.
    let line = map.lines().find(|line| line.trim_start().starts_with("0:")).expect("an extent");
    let physical = line.split(':').nth(2).and_then(|words| words.trim().split('.').next());
    let physical: u64 = physical.and_then(|word| word.parse().ok()).expect("an offset");
    let disk = fs::OpenOptions::new().write(true).open(host.path("disk")).expect("the disk's file");
    std::os::unix::fs::FileExt::write_all_at(&disk, b"tainted", physical + 8192).expect("a block");
    assert_eq!(differs_from_disk(&file), Differ::At(8192));
}
