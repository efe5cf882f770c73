//! What a tenant may store, on filesystems that count and on one that does not.

use tenantry_tests::{disk::Disk, machine::run};

/// What is counted on a disk.
struct Counted(Disk);

impl Counted {
    fn new(kind: &str, make: &[&str], options: &str) -> Self {
        let disk = Disk::new(kind, 600, make, options);
        if kind == "btrfs" {
            run(&["btrfs", "quota", "enable", &disk.root().to_string_lossy()]).ok();
        }
        Self(disk.with_images())
    }

    fn disk(&self, name: &str, key: &str) -> u64 {
        self.0.ctl(&["--json", "show", name]).ok().json()["disk"][key].as_u64().unwrap_or_default()
    }

    /// A tenant with 20 MB has those, wherever it writes, and its neighbour has more.
    fn holds(&self) {
        self.0.start("alice", &["--set", "disk_max=20M"]);
        self.0.start("bob", &[]);
        for place in ["/root", "/etc"] {
            let script = format!(
                "dd if=/dev/zero of={place}/big bs=1M count=40; sync; stat -c %s {place}/big; rm {place}/big; sync"
            );
            let wrote = self.0.shell("alice", &script);
            let size: u64 =
                wrote.text().lines().last().and_then(|line| line.parse().ok()).unwrap_or(u64::MAX);
            assert!((10 << 20..=21 << 20).contains(&size), "{place}: {size} bytes; {}", wrote.stderr);
        }
        self.0.shell("bob", "dd if=/dev/zero of=/root/big bs=1M count=40; sync").succeeded();
        self.0.ctl(&["set", "alice", "disk_max=60M"]).ok();
        self.0.shell("alice", "dd if=/dev/zero of=/root/big bs=1M count=40; sync; rm /root/big").succeeded();
    }

    fn counts(&self) {
        assert_eq!(self.disk("alice", "max_bytes"), 60 << 20);
        assert!(self.disk("bob", "used_bytes") >= 40 << 20);
        self.0.start("carol", &["--set", "inodes_max=300"]);
        let made = self
            .0
            .shell("carol", "i=0; while [ $i -lt 1000 ] && echo > /root/f$i; do i=$((i+1)); done; echo $i");
        let made: u64 = made.text().parse().unwrap();
        assert!((100..=300).contains(&made), "{made} files were made");
        assert_eq!(self.disk("carol", "max_inodes"), 300);
    }
}

#[test]
fn ext4_with_projects_keeps_a_tenant_to_its_bytes_and_inodes() {
    let disk = Counted::new("ext4", &["mkfs.ext4", "-q", "-O", "quota,project"], "loop,prjquota");
    disk.holds();
    disk.counts();
}

#[test]
fn xfs_keeps_a_tenant_to_its_bytes_and_inodes() {
    let disk = Counted::new("xfs", &["mkfs.xfs", "-q"], "loop,prjquota");
    disk.holds();
    disk.counts();
}

#[test]
fn btrfs_keeps_a_tenant_to_its_bytes_and_says_that_it_counts_no_inodes() {
    let disk = Counted::new("btrfs", &["mkfs.btrfs", "-q"], "loop");
    disk.holds();
    let said = disk.0.ctl(&["set", "alice", "inodes_max=1000"]).output().refused(4);
    assert!(said.contains("inodes_max") && said.contains("btrfs"), "{said}");
}

#[test]
fn a_filesystem_that_does_not_count_refuses_a_limit() {
    let disk = Counted::new("plain", &["mkfs.ext4", "-q"], "loop");
    let create = ["create", "alice", "--image", "busybox", "--set", "disk_max=20M"];
    let said = disk.0.ctl(&create).output().refused(4);
    assert!(said.contains("disk_max") && said.contains("project quotas"), "{said}");
    assert!(!disk.0.root().join("etc/tenantry/tenants/alice.toml").exists(), "nothing is left of it");
}
