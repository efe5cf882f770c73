//! A tenant sees its limits where programs look how large the machine is.

use std::time::{Duration, Instant};

use tenantry_tests::{Host, Tenant};

/// What was read is good for so long.
const FRESH: Duration = Duration::from_millis(100);

/// A line of the tenant's meminfo, MiB.
fn mebibytes(tenant: &Tenant, name: &str) -> u64 {
    let line = tenant.says(&format!("grep ^{name}: /proc/meminfo"));
    let kib: u64 = line.split_ascii_whitespace().nth(1).expect("a value").parse().expect("a number");
    kib >> 10
}

fn host_meminfo() -> String {
    std::fs::read_to_string("/proc/meminfo").expect("the host's")
}

#[test]
fn programs_find_a_machine_of_the_size_that_the_limits_allow() {
    let host = Host::start();
    let alice = host.boot("alice", &["--set", "memory_max=512M", "--set", "cpu_quota=100%"]);
    assert_eq!(mebibytes(&alice, "MemTotal"), 512);
    let (free, available) = (mebibytes(&alice, "MemFree"), mebibytes(&alice, "MemAvailable"));
    assert!((100..512).contains(&free) && free <= available && available < 512, "{free} {available}");
    assert_eq!(alice.says("free -m | awk '/^Mem:/ {print $2}'"), "512");
    assert_eq!(alice.says("grep -c ^processor /proc/cpuinfo"), "1");
    assert_eq!(alice.says("grep -c '^cpu[0-9]' /proc/stat"), "1");
    assert_eq!(alice.says("getconf _NPROCESSORS_ONLN"), "1");
    assert_eq!(alice.says("cat /sys/devices/system/cpu/online"), "0");
    assert_eq!(alice.says("top -bn1 | head -5 | grep -c 'MiB Mem :    512.0 total'"), "1");
    assert_eq!(alice.says("head -c 8 /proc/swaps"), "Filename");
    let age: u64 =
        alice.says("echo $(( $(date +%s) - $(awk '/^btime/ {print $2}' /proc/stat) ))").parse().unwrap();
    assert!(age < 60, "booted {age} s ago");
    assert_eq!(alice.says("stat -c %U:%G:%a /proc/meminfo"), "root:root:444");
}

#[test]
fn a_limit_that_is_changed_and_memory_that_is_taken_are_seen_soon() {
    let host = Host::start();
    let alice = host.boot("alice", &["--set", "memory_max=512M"]);
    let free = mebibytes(&alice, "MemFree");
    alice.says("head -c 100M /dev/zero > /dev/shm/taken");
    std::thread::sleep(FRESH);
    let left = mebibytes(&alice, "MemFree");
    assert!(left + 90 < free, "{free} MiB were free, then {left}");
    assert!(mebibytes(&alice, "Shmem") >= 100);
    alice.ctl("set", &["memory_max=256M", "cpu_quota=50%"]).ok();
    std::thread::sleep(FRESH);
    assert_eq!(mebibytes(&alice, "MemTotal"), 256);
    assert_eq!(alice.says("cat /sys/devices/system/cpu/online"), "0");
}

#[test]
fn time_that_is_used_is_load() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox", "--set", "show_limits=true"]);
    let user = || -> u64 { alice.says("awk '/^cpu / {print $2 + $4}' /proc/stat").parse().expect("ticks") };
    let before = user();
    alice.says("timeout 3 sh -c 'while :; do :; done'; true");
    std::thread::sleep(FRESH);
    let used = user() - before;
    assert!((150..400).contains(&used), "{used} ticks of 3 seconds");
    let load: f64 = alice.says("cut -d' ' -f1 /proc/loadavg").parse().expect("a load");
    assert!(load > 0.02 && load < 1.5, "{load}");
}

#[test]
fn a_system_inside_can_still_mount_its_own_proc() {
    let host = Host::start();
    let alice = host.boot("alice", &["--set", "show_limits=true"]);
    assert_eq!(alice.says("unshare -Urpf --mount-proc sh -c 'ls /proc | grep -c ^1$'"), "1");
}

#[test]
fn with_the_files_unmounted_or_not_wanted_the_host_is_seen() {
    let host = Host::start();
    let alice = host.boot("alice", &["--set", "memory_max=512M"]);
    let total = |text: &str| text.lines().next().expect("a line").to_owned();
    alice.says("umount /proc/meminfo");
    assert_eq!(total(&alice.says("cat /proc/meminfo")), total(&host_meminfo()));
    alice.says("umount -l /proc/swaps /proc/cpuinfo /proc/stat /proc/loadavg /sys/devices/system/cpu/online /run/host/limits");
    // Its supervisor lives on without them.
    alice.ctl("freeze", &[]).ok();
    alice.ctl("thaw", &[]).ok();
    for (name, set) in
        [("bob", &["--set", "memory_max=512M", "--set", "show_limits=false"][..]), ("carol", &[])]
    {
        let other = host.boot(name, set);
        assert_eq!(total(&other.says("cat /proc/meminfo")), total(&host_meminfo()));
        assert_eq!(other.says("ls /run/host | grep -c -e limits -e proc || true"), "0");
    }
}

#[test]
fn readers_without_end_hinder_no_freeze_and_no_stop() {
    let host = Host::start();
    let alice = host.boot("alice", &["--set", "memory_max=512M"]);
    let files = "/proc/meminfo /proc/stat /proc/loadavg /proc/cpuinfo /sys/devices/system/cpu/online";
    for _ in 0..4 {
        // Past the page cache, each of them: every read is asked of the supervisor.
        alice.says(&format!(
            "setsid sh -c 'while :; do for file in {files}; do dd if=$file of=/dev/null iflag=direct bs=64k; done; done' \
             >/dev/null 2>&1 </dev/null &"
        ));
    }
    for _ in 0..5 {
        let begin = Instant::now();
        alice.ctl("freeze", &[]).ok();
        alice.ctl("thaw", &[]).ok();
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    }
    assert_eq!(mebibytes(&alice, "MemTotal"), 512);
    let begin = Instant::now();
    alice.ctl("stop", &[]).ok();
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}
