//! Several versions of one image on one host: what they share, and what tenants of each see.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use tenantry_tests::{Host, Run, pages::frames};

/// Disk space of directories together in KiB; a file with several names counts once.
fn kib(dirs: &[&Path]) -> u64 {
    let said = Run::new("du", ["--summarize", "--total", "--block-size=1K"]).args(dirs).ok();
    let total = said.text().lines().last().and_then(|line| line.split_whitespace().next()).map(str::to_owned);
    total.expect("a sum").parse().expect("a number")
}

/// A host with two versions of Debian: `stable`, and `candidate`, which is built again, with other times and one
/// changed program.
fn with_a_candidate() -> Host {
    let host = Host::bare();
    host.copy_images();
    let published = host.another_version("debian", "debian:candidate", |tree| {
        host.run("sh", &["-ec", "find \"$1\" -type f ! -name '*.py' -exec touch -d 2001-01-01 {} +", "sh"])
            .args([tree])
            .ok();
        let program = tree.join("usr/bin/uptime");
        fs::remove_file(&program).expect("the program is there");
        fs::write(&program, "#!/bin/sh\necho mended\n").expect("the program can be replaced");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
    });
    assert!(published["shared"]["files"].as_u64() > Some(2000), "{published:#}");
    host
}

#[test]
fn two_versions_take_the_space_of_one_and_of_what_changed() {
    let host = with_a_candidate();
    let (old, new) = (host.version("debian"), host.version("debian:candidate"));
    let (one, both) = (kib(&[&old]), kib(&[&old, &new]));
    // Directories, links, and what is below /etc and /var are there twice.
    println!("one version {one} KiB, both {both} KiB");
    assert!(both - one < one / 5, "one takes {one} KiB, both {both} KiB");
    host.tool("rootfsctl", &["verify"]).ok();
    let inode =
        |dir: &Path, path: &str| fs::metadata(dir.join("tree").join(path)).expect("it is there").ino();
    for (path, shared) in [("usr/bin/bash", true), ("usr/bin/uptime", false), ("etc/passwd", false)] {
        assert_eq!(inode(&old, path) == inode(&new, path), shared, "{path}");
    }
}

#[test]
fn tenants_of_two_versions_have_the_same_pages_of_what_did_not_change() {
    let host = with_a_candidate();
    host.start_hostd();
    let (alice, bob) = (host.boot("alice", &[]), host.boot("bob", &["--image", "debian:candidate"]));
    assert_eq!(bob.says("uptime"), "mended");
    assert_ne!(alice.says("uptime"), "mended");
    let [one, other] = [&alice, &bob].map(|tenant| frames(tenant.pids().0, "libc.so"));
    let common = one.intersection(&other).count();
    println!("{common} pages of libc are the same, of {} and {}", one.len(), other.len());
    assert!(one.len() > 20, "only {} pages of libc are mapped", one.len());
    assert!(common * 10 > one.len().min(other.len()) * 8, "{common} of {} and {}", one.len(), other.len());
}

#[test]
fn a_version_that_is_removed_takes_nothing_from_the_tenants_of_another() {
    let host = with_a_candidate();
    host.start_hostd();
    let bob = host.boot("bob", &["--image", "debian:candidate"]);
    let old = host.version("debian");
    let reference = format!("debian@{}", host.digest("debian"));
    host.tool("rootfsctl", &["rm", "--channels", &reference]).ok();
    assert!(!old.exists());
    bob.says("dpkg --verify libc6 bash");
    host.tool("rootfsctl", &["verify", "debian:candidate"]).ok();
}
