//! Limits are properties of the unit, and what they promise is measured from outside.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use tenantry_tests::machine::{Unit, journal, systemctl, until};

#[test]
fn a_limit_set_by_tenantctl_is_the_unit_s_at_once_and_for_good() {
    let unit = Unit::start("anna", &["--set", "memory_max=256M"]);
    assert_eq!(unit.property("MemoryMax"), (256u64 << 20).to_string());
    unit.ctl("set", &["memory_max=128M", "tasks_max=99", "cpu_weight=300"]).ok();
    assert_eq!(unit.reads("memory.max", ""), 128 << 20);
    assert_eq!(unit.reads("pids.max", ""), 99);
    assert_eq!(unit.reads("cpu.weight", ""), 300);
    unit.ctl("set", &["cpu_quota=50%", "cpu_quota_period_ms=20"]).ok();
    assert_eq!(unit.property("CPUQuotaPeriodUSec"), "20ms");
    assert_eq!(unit.reads("cpu.max", "10000 "), 20_000);
    unit.ctl("set", &["--unset", "cpu_quota_period_ms"]).ok();
    assert_eq!(unit.reads("cpu.max", "50000 "), 100_000);
    systemctl(&["daemon-reload"]).ok();
    assert_eq!(unit.property("MemoryMax"), (128u64 << 20).to_string());
    unit.systemctl("restart").ok();
    assert_eq!(unit.reads("memory.max", ""), 128 << 20);
    let status = systemctl(&["status", "--no-pager", &unit.unit()]).output();
    assert!(!status.stderr.contains("changed on disk"), "{}", status.stderr);
}

#[test]
fn a_tenant_without_settings_has_the_limits_of_the_template() {
    let unit = Unit::start("anton", &[]);
    let total = fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = total.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    let half = total * 1024 / 2 / 4096 * 4096;
    assert_eq!((unit.reads("memory.max", ""), unit.reads("pids.max", "")), (half, 16_384));
    unit.ctl("set", &["memory_max=64M"]).ok();
    assert_eq!(unit.reads("memory.max", ""), 64 << 20);
    unit.ctl("set", &["--unset", "memory_max"]).ok();
    assert_eq!(unit.reads("memory.max", ""), half);
    let limits = unit.show()["unit_limits"].clone();
    assert!(!limits.to_string().contains("\"by\""), "nobody else has set any: {limits}");
}

#[test]
fn set_property_is_shown_and_outlives_a_restart() {
    let unit = Unit::start("bert", &["--set", "memory_max=512M"]);
    systemctl(&["set-property", &unit.unit(), "MemoryMax=1G"]).ok();
    assert_eq!(unit.reads("memory.max", ""), 1 << 30);
    let shown = unit.ctl("show", &[]).ok().stdout;
    assert!(shown.contains("1G") && shown.contains("512M"), "both are told:\n{shown}");
    unit.systemctl("restart").ok();
    assert_eq!(unit.reads("memory.max", ""), 1 << 30, "a start does not carry what the file has long said");
    unit.ctl("set", &["memory_max=256M"]).ok();
    assert_eq!(unit.reads("memory.max", ""), 256 << 20, "the last word counts");
}

#[test]
fn a_change_that_does_not_reach_the_unit_changes_nothing() {
    let unit = Unit::start("carsten", &["--set", "memory_max=256M"]);
    let file = "/etc/tenantry/tenants/carsten.toml";
    let before = fs::read_to_string(file).unwrap();
    // Where the drop-in of the restart policy would be: it is written after the limits are set.
    let in_the_way = "/etc/systemd/system/tenant@carsten.service.d";
    fs::write(in_the_way, "").unwrap();
    let refused = unit.ctl("set", &["memory_max=128M", "restart=always", "net_rate=8M"]).output();
    fs::remove_file(in_the_way).unwrap();
    assert!(!refused.status.success());
    assert!(refused.stderr.contains("drop-in"), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(file).unwrap(), before);
    let max = (256u64 << 20).to_string();
    assert_eq!((unit.reads("memory.max", ""), unit.property("MemoryMax")), (256 << 20, max));
    assert_eq!(unit.property("Restart"), "on-failure");
    unit.ctl("set", &["memory_max=128M", "restart=always"]).ok();
    assert_eq!((unit.reads("memory.max", ""), unit.property("Restart")), (128 << 20, "always".to_owned()));
}

#[test]
fn a_file_edited_by_hand_is_applied_at_the_next_start_or_reload() {
    let unit = Unit::start("cora", &["--set", "tasks_max=100"]);
    let file = "/etc/tenantry/tenants/cora.toml";
    let edit = |from: &str, to: &str| {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(file, text.replace(from, to)).unwrap();
    };
    edit("tasks_max = 100", "tasks_max = 200");
    unit.systemctl("reload").ok();
    assert_eq!(unit.reads("pids.max", ""), 200);
    edit("tasks_max = 200", "tasks_max = 300");
    unit.systemctl("restart").ok();
    assert_eq!(unit.reads("pids.max", ""), 300);
}

#[test]
fn a_tenant_out_of_memory_harms_no_neighbour_and_is_told() {
    let eater = Unit::start("dick", &["--set", "memory_max=64M", "--set", "memory_swap_max=0"]);
    let neighbour = Unit::start("emma", &[]);
    let (eater_boot, neighbour_boot) = (eater.boot(), neighbour.boot());
    let eaten = eater.probe(&["eat", "256"]);
    assert_eq!(eaten.code(), 128 + 9, "the out-of-memory killer ends it: {}{}", eaten.stdout, eaten.stderr);
    assert!(eater.reads("memory.peak", "") <= 64 << 20);
    assert!(eater.reads("memory.events", "oom_kill ") >= 1);
    assert_eq!(neighbour.reads("memory.events", "oom_kill "), 0);
    assert_eq!((eater.boot(), neighbour.boot()), (eater_boot, neighbour_boot));
    assert_eq!(eater.active_state(), "active");
    until("tenantctl show tells of it", || eater.ctl("show", &[]).output().stdout.contains("oom kills"));
    until("the journal tells of it", || journal(&["TENANT=dick"]).to_lowercase().contains("out of memory"));
}

#[test]
fn many_small_programs_that_use_up_the_memory_cost_no_supervisor() {
    let unit = Unit::start("olga", &["--set", "memory_max=48M", "--set", "memory_swap_max=0"]);
    let score =
        |pid: &str| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().to_owned();
    let init = unit.run_state()["init"]["pid"].to_string();
    assert_eq!([score(&unit.main_pid()), score(&init)], ["-900", "0"]);
    assert_eq!(unit.says("cat /proc/self/oom_score_adj"), "0");
    assert!(!unit.shell("echo -900 > /proc/self/oom_score_adj").output().status.success());
    let boot = unit.boot();
    // Each is smaller than a supervisor.
    let many = "i=0; while [ $i -lt 2000 ]; do sleep 1000 & i=$((i+1)); done > /dev/null 2>&1";
    let _is_killed_itself = unit.shell(many).output();
    assert!(unit.reads("memory.events", "oom_kill ") >= 1);
    assert_eq!((unit.boot(), unit.active_state()), (boot, "active".to_owned()));
}

#[test]
fn tasks_beyond_the_limit_are_not_had() {
    let unit = Unit::start("finn", &["--set", "tasks_max=60"]);
    let started: u32 = unit.probe(&["fork", "300"]).text().parse().expect("a number");
    assert!((10..=60).contains(&started), "{started} tasks were had");
    assert!(unit.reads("pids.peak", "") <= 60);
}

#[test]
fn cpu_time_beyond_the_quota_is_not_had() {
    let unit = Unit::start("gina", &["--set", "cpu_quota=20%"]);
    unit.shell("(while :; do :; done) > /dev/null 2>&1 &").ok();
    let used = || unit.reads("cpu.stat", "usage_usec ");
    let (begin, before) = (Instant::now(), used());
    // A measurement needs its time; nothing is waited for.
    thread::sleep(Duration::from_secs(6));
    let share = (used() - before) as f64 / begin.elapsed().as_micros() as f64;
    assert!((0.10..=0.24).contains(&share), "{share} of a processor at 20%");
}

#[test]
fn writes_beyond_the_bandwidth_are_not_had() {
    let unit = Unit::start("hans", &[]);
    systemctl(&["set-property", &unit.unit(), "IOWriteBandwidthMax=/dev/vda 1M"]).ok();
    let begin = Instant::now();
    unit.shell("dd if=/dev/zero of=/root/block bs=256k count=24 conv=fsync").ok();
    let seconds = begin.elapsed().as_secs_f64();
    let line = std::fs::read_to_string(unit.cgroup().join("io.stat")).unwrap();
    let written: u64 = line
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix("wbytes=")?.parse::<u64>().ok())
        .sum();
    assert!(written >= 6 << 20, "the write is accounted to the tenant: {line}");
    assert!(seconds > 4.0, "6 MiB at 1 MB/s took {seconds} s");
}
