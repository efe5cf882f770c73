//! What must not grow: a host on which a tenant is started and stopped many times, and one whose hostd is killed many
//! times. With `TENANTRY_TEST_ALL` twenty and five times as often.

use std::{
    env, fs, thread,
    time::{Duration, Instant},
};

use tenantry_tests::{
    Host, Tenant,
    host::ALL,
    leaks::{self, Snapshot},
    poll,
};

/// Memory that hostd may take more after all cycles, KiB: what its allocator has not given back.
const GROWTH: u64 = 2048;
/// How soon a console is attached when hostd has been killed.
const ATTACHED: Duration = Duration::from_secs(2);

fn times(sample: usize, all: usize) -> usize {
    if env::var_os(ALL).is_some() { all } else { sample }
}

/// Resident memory of a process, KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("hostd is running");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a_host_is_the_same_after_many_starts_and_stops() {
    let host = Host::start();
    let neighbour = host.boot("stays", &["--image", "busybox"]);
    let tiny = host.create("tiny", &["--image", "busybox", "--set", "show_limits=true"]);
    let cycles = |count: usize| {
        for _ in 0..count {
            tiny.start();
            tiny.stop();
        }
    };
    // What is made once, and what an allocator keeps.
    cycles(20);
    // hostd opens its socket to the packet filter when it first takes an ended tenant out of that.
    poll::until_true("it is out of the packet filter", || {
        !host.path("run/tenantry/tenants/tiny/filter.json").exists()
    });
    let cgroups = leaks::cgroups_of(&neighbour);
    let before = Snapshot::of(&host, &cgroups);
    let memory = resident(host.hostd_pid());
    let count = times(50, 1000);
    cycles(count);
    let end = Instant::now() + Duration::from_secs(60);
    let mut left = Snapshot::of(&host, &cgroups).since(&before);
    while !left.is_empty() && Instant::now() < end {
        thread::sleep(Duration::from_millis(100));
        left = Snapshot::of(&host, &cgroups).since(&before);
    }
    assert!(left.is_empty(), "more is there than before: {left:#?}");
    let grown = resident(host.hostd_pid()).saturating_sub(memory);
    println!("{count} starts and stops: hostd has {memory} KiB, and {grown} more afterwards");
    assert!(grown < GROWTH, "hostd had {memory} KiB, and {grown} more after {count} starts and stops");
}

#[test]
fn tenants_and_consoles_outlive_a_hostd_that_is_killed_many_times() {
    const TENANTS: usize = 20;
    let host = Host::start();
    let init = r#"init=["/bin/sh", "-c", "trap 'exit 0' TERM; while read line; do echo heard $line; done < /dev/console"]"#;
    let names: Vec<String> = (0..TENANTS).map(|number| format!("t{number}")).collect();
    let tenants: Vec<Tenant<'_>> =
        names.iter().map(|name| host.boot(name, &["--image", "busybox", "--set", init])).collect();
    let boots: Vec<_> = tenants.iter().map(Tenant::boot_id).collect();
    let mut longest = Duration::ZERO;
    let count = times(20, 100);
    for number in 0..count {
        host.kill_hostd();
        let begin = Instant::now();
        host.start_hostd();
        let mut console = tenants[number % TENANTS].console(&[]);
        console.type_until("mark\r", "heard mark");
        longest = longest.max(begin.elapsed());
        let now: Vec<_> = tenants.iter().map(Tenant::boot_id).collect();
        assert_eq!(now, boots, "after {} kills", number + 1);
        assert!(tenants.iter().all(|tenant| tenant.phase() == "running"), "after {} kills", number + 1);
    }
    println!(
        "{count} kills of hostd with {TENANTS} tenants: a console was attached after {longest:?} at most"
    );
    assert!(longest < ATTACHED, "a console was attached after {longest:?}");
}
