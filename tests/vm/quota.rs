//! What a tenant may store, on filesystems that count and on one that does not.

use std::{fs, path::PathBuf};

use tenantry_tests::{Output, Run, poll};

fn run(words: &[&str]) -> Run {
    Run::new(words[0], &words[1..])
}

/// A host whose state directory is on a filesystem of its own, in a file.
struct Disk {
    root: PathBuf,
    unit: String,
}

impl Disk {
    fn new(kind: &str, make: &[&str], options: &str) -> Self {
        let root = PathBuf::from(format!("/mnt/{kind}"));
        let (place, image) = (root.to_string_lossy().into_owned(), format!("/var/tmp/{kind}.img"));
        run(&["truncate", "-s", "600M", &image]).ok();
        run(make).args([&image]).ok();
        fs::create_dir_all(&root).unwrap();
        run(&["mount", "-o", options, &image, &place]).ok();
        if kind == "btrfs" {
            run(&["btrfs", "quota", "enable", &place]).ok();
        }
        let images = root.join("var/lib/tenantry/images");
        fs::create_dir_all(&images).unwrap();
        run(&["mount", "--bind", "/payload/images/var/lib/tenantry/images", &images.to_string_lossy()]).ok();
        let disk = Self { root, unit: format!("hostd-{kind}") };
        run(&["systemd-run", "--quiet", "--collect", "-p", "Delegate=yes", "--unit", &disk.unit])
            .args(["/payload/bin/hostd", "--root", &place])
            .ok();
        poll::until_true("hostd answers", || disk.ctl(&["list"]).output().status.success());
        disk
    }

    fn ctl(&self, words: &[&str]) -> Run {
        Run::new("/payload/bin/tenantctl", words).env("TENANTRY_ROOT", &self.root)
    }

    fn start(&self, name: &str, settings: &[&str]) {
        let set = settings.iter().flat_map(|setting| ["--set", setting]);
        self.ctl(&["create", name, "--image", "busybox"]).args(set).ok();
        self.ctl(&["start", name]).ok();
    }

    fn shell(&self, name: &str, script: &str) -> Output {
        self.ctl(&["exec", name, "--", "/bin/sh", "-c", script]).output()
    }

    fn disk(&self, name: &str, key: &str) -> u64 {
        self.ctl(&["--json", "show", name]).ok().json()["disk"][key].as_u64().unwrap_or_default()
    }

    /// A tenant with 20 MB has those, wherever it writes, and its neighbour has more.
    fn holds(&self) {
        self.start("alice", &["disk_max=20M"]);
        self.start("bob", &[]);
        for place in ["/root", "/etc"] {
            let script = format!(
                "dd if=/dev/zero of={place}/big bs=1M count=40; sync; stat -c %s {place}/big; rm {place}/big; sync"
            );
            let wrote = self.shell("alice", &script);
            let size: u64 =
                wrote.text().lines().last().and_then(|line| line.parse().ok()).unwrap_or(u64::MAX);
            assert!((10 << 20..=21 << 20).contains(&size), "{place}: {size} bytes; {}", wrote.stderr);
        }
        self.shell("bob", "dd if=/dev/zero of=/root/big bs=1M count=40; sync").succeeded();
        self.ctl(&["set", "alice", "disk_max=60M"]).ok();
        self.shell("alice", "dd if=/dev/zero of=/root/big bs=1M count=40; sync; rm /root/big").succeeded();
    }

    fn counts(&self) {
        assert_eq!(self.disk("alice", "max_bytes"), 60 << 20);
        assert!(self.disk("bob", "used_bytes") >= 40 << 20);
        self.start("carol", &["inodes_max=300"]);
        let made = self
            .shell("carol", "i=0; while [ $i -lt 1000 ] && echo > /root/f$i; do i=$((i+1)); done; echo $i");
        let made: u64 = made.text().parse().unwrap();
        assert!((100..=300).contains(&made), "{made} files were made");
        assert_eq!(self.disk("carol", "max_inodes"), 300);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for name in ["alice", "bob", "carol"] {
            self.ctl(&["destroy", name, "--force", "--yes"]).output();
        }
        run(&["systemctl", "stop", &self.unit]).output();
        run(&["umount", &self.root.join("var/lib/tenantry/images").to_string_lossy()]).output();
        run(&["umount", &self.root.to_string_lossy()]).output();
    }
}

#[test]
fn ext4_with_projects_keeps_a_tenant_to_its_bytes_and_inodes() {
    let disk = Disk::new("ext4", &["mkfs.ext4", "-q", "-O", "quota,project"], "loop,prjquota");
    disk.holds();
    disk.counts();
}

#[test]
fn xfs_keeps_a_tenant_to_its_bytes_and_inodes() {
    let disk = Disk::new("xfs", &["mkfs.xfs", "-q"], "loop,prjquota");
    disk.holds();
    disk.counts();
}

#[test]
fn btrfs_keeps_a_tenant_to_its_bytes_and_says_that_it_counts_no_inodes() {
    let disk = Disk::new("btrfs", &["mkfs.btrfs", "-q"], "loop");
    disk.holds();
    let said = disk.ctl(&["set", "alice", "inodes_max=1000"]).output().refused(4);
    assert!(said.contains("inodes_max") && said.contains("btrfs"), "{said}");
}

#[test]
fn a_filesystem_that_does_not_count_refuses_a_limit() {
    let disk = Disk::new("plain", &["mkfs.ext4", "-q"], "loop");
    let create = ["create", "alice", "--image", "busybox", "--set", "disk_max=20M"];
    let said = disk.ctl(&create).output().refused(4);
    assert!(said.contains("disk_max") && said.contains("project quotas"), "{said}");
    assert!(!disk.root.join("etc/tenantry/tenants/alice.toml").exists(), "nothing is left of it");
}
