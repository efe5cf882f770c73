//! What tenants are kept from by capability and by system call.

use std::{fmt::Write as _, path::Path, str::FromStr as _};

use serde_json::Value;
use syscalls::{x86, x86_64};
use tenantry_tests::{Host, Run, Tenant};

/// What `probe calls` prints for each call of a list.
fn answers(tenant: &Tenant<'_>, calls: &[String]) -> Vec<String> {
    let said = tenant.exec(&["/root/probe", "calls", &calls.join(" ")]).ok();
    let lines: Vec<String> = said.stdout.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), calls.len(), "{}", said.stdout);
    lines
}

/// Numbers of a row's call on an architecture, with the place of `advice`, the one argument that is not
/// everywhere the same.
fn numbers(arch: &str, call: &str) -> Vec<(u32, Option<usize>)> {
    let native = |name: &str| x86_64::Sysno::from_str(name).ok().map(|call| call.id() as u32);
    let i386 = |name: &str| x86::Sysno::from_str(name).ok().map(|call| call.id() as u32);
    let found: Vec<(Option<u32>, Option<usize>)> = match (arch, call) {
        ("i386", "fadvise64") => vec![(i386(call), Some(4)), (i386("fadvise64_64"), Some(5))],
        ("i386", "clock_settime") => vec![(i386(call), None), (i386("clock_settime64"), None)],
        ("i386", "settimeofday") => vec![(i386(call), None), (i386("stime"), None)],
        ("i386", _) => vec![(i386(call), None)],
        _ => vec![(native(call), None)],
    };
    found.into_iter().filter_map(|(number, place)| Some((number?, place))).collect()
}

/// Arguments for which a row of the plan matches, as `probe call` takes them. What is not looked at is
/// large, so that it is nobody's address and no descriptor.
fn arguments(deny: &Value, moved: Option<usize>) -> String {
    let mut arguments = [0xffff_fff0_u64; 6];
    for condition in deny["only"].as_array().expect("conditions") {
        let index = condition["index"].as_u64().expect("an index") as usize;
        let value = match (&condition["test"]["is"], &condition["test"]["none-of"]) {
            (Value::Array(pair), _) => pair[1].as_u64().expect("a value"),
            (_, Value::Array(known)) => {
                let known: Vec<_> = known.iter().map(|pair| pair[1].as_u64().expect("a value")).collect();
                (0..).find(|value| !known.contains(value)).expect("another value")
            }
            _ => panic!("{condition} is no condition"),
        };
        arguments[moved.unwrap_or(index)] = value;
    }
    arguments.map(|argument| argument.to_string()).join(",")
}

#[test]
fn every_row_of_the_table_is_refused_to_programs_of_64_and_32_bits() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    alice.bring_probe();
    let plan = alice.ctl("plan", &["--json"]).ok().json();
    let rows = plan["security"]["denied"].as_array().expect("rows");
    assert!(rows.len() > 35, "only {} rows", rows.len());
    let (mut calls, mut wanted) = (Vec::new(), Vec::new());
    for row in rows {
        let name = row["syscall"].as_str().expect("a name");
        let before = calls.len();
        for arch in ["x86_64", "i386"] {
            for (number, moved) in numbers(arch, name) {
                calls.push(format!("{arch}:{number}:{}", arguments(row, moved)));
                wanted.push((arch, row.clone(), row["errno"].as_str().expect("an errno").to_owned()));
            }
        }
        assert!(calls.len() > before, "{name} is a call of neither");
    }
    let mut faults = String::new();
    for ((arch, row, wanted), answer) in wanted.iter().zip(answers(&alice, &calls)) {
        if answer != *wanted {
            writeln!(faults, "{arch}: {answer} instead of {wanted} of {row}").expect("text");
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn numbers_that_no_table_has_are_calls_that_do_not_exist() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    alice.bring_probe();
    let getpid = x86_64::Sysno::getpid.id() as u32;
    let calls = [
        format!("x86_64:{}:", getpid | 0x4000_0000), // x32
        "x86_64:512:".to_owned(),                    // x32's own
        "x86_64:470:".to_owned(),
        "i386:470:".to_owned(),
        "x86_64:100000:".to_owned(),
    ];
    assert_eq!(answers(&alice, &calls), ["ENOSYS"; 5]);
    // And those that they have are made.
    let getpid32 = x86::Sysno::getpid.id();
    let fsync = x86_64::Sysno::fsync.id();
    let calls = [format!("x86_64:{getpid}:"), format!("i386:{getpid32}:"), format!("x86_64:{fsync}:99")];
    let said = answers(&alice, &calls);
    assert!(said[0].parse::<u32>().is_ok() && said[1].parse::<u32>().is_ok(), "{said:?}");
    assert_eq!(said[2], "EBADF", "fsync reaches the kernel");
}

#[test]
fn a_call_that_the_tenants_file_allows_reaches_the_kernel_and_no_other_does() {
    let host = Host::start();
    let alice = host.create("alice", &["--image", "busybox"]);
    alice.ctl("set", &["allow_syscalls=[\"io_setup\", \"keyctl\", \"socketcall\", \"vmsplice\"]"]).ok();
    alice.start();
    alice.bring_probe();
    let number = |call: x86_64::Sysno| call.id();
    let calls = [
        format!("x86_64:{}:0,0", number(x86_64::Sysno::io_setup)),
        format!("i386:{}:0,0", x86::Sysno::io_setup.id()),
        format!("x86_64:{}:99", number(x86_64::Sysno::vmsplice)),
        format!("x86_64:{}:99999", number(x86_64::Sysno::keyctl)),
        format!("i386:{}:1,0", x86::Sysno::socketcall.id()),
        format!("x86_64:{}:", number(x86_64::Sysno::add_key)),
        format!("x86_64:{}:", number(x86_64::Sysno::perf_event_open)),
    ];
    let said = answers(&alice, &calls);
    // What the kernel itself says to them.
    assert_eq!(said[..5], ["EFAULT", "EFAULT", "EBADF", "EOPNOTSUPP", "EFAULT"], "{said:?}");
    assert_eq!(said[5..], ["ENOSYS", "EPERM"], "{said:?}");
    let plan = alice.ctl("plan", &[]).ok().stdout;
    assert!(plan.contains("allow       keyctl\n") && !plan.contains("deny        keyctl"), "{plan}");
    assert!(alice.ctl("explain", &[]).ok().stdout.contains("allow_syscalls"));
    let said = alice.ctl("set", &["allow_syscalls=[\"bpf\"]"]).output();
    assert!(!said.status.success() && said.stderr.contains("io_setup"), "{}", said.stderr);
}

/// Whether a file has bytes that are in memory alone, without a place on the disk.
fn is_pending(file: &Path) -> bool {
    let map = Run::new("filefrag", ["-v"]).args([file]).ok().stdout;
    assert!(map.contains("eof") || map.contains("last"), "{map}");
    map.contains("delalloc")
}

#[test]
fn sync_leaves_what_others_have_pending() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let file = host.path("var/lib/tenantry/tenants/alice/dirs/root/pending");
    let write_and_sync = "rm -f /root/pending; head -c 4M /dev/zero > /root/pending && sync";
    let leaves_it_pending = || {
        alice.says(write_and_sync);
        is_pending(&file)
    };
    // Others on the machine may write everything back at the same moment; a sync that writes does so each time.
    assert!((0..20).any(|_| leaves_it_pending()), "sync wrote all that is pending");
    alice.says("sync /root/pending");
    assert!(!is_pending(&file), "fsync does not reach the disk");
    alice.ctl("set", &["allow_syscalls=[\"sync\"]"]).ok();
    alice.ctl("restart", &[]).ok();
    assert!(!leaves_it_pending(), "sync was allowed and wrote nothing");
}

#[test]
fn pages_of_the_image_stay_in_memory_when_a_tenant_would_drop_them() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let file = "usr/share/common-licenses/GPL-2";
    let digest = alice.field("/digest").replace(':', "-");
    let real = host.path(format!("var/lib/tenantry/images/debian/versions/{digest}/tree/{file}"));
    let resident =
        || Run::new("fincore", ["--bytes", "--noheadings", "--output", "PAGES"]).args([&real]).ok();
    let resident = || resident().stdout.trim().parse::<u64>().expect("a number");
    alice.says(&format!("cat /{file} > /dev/null"));
    assert!(resident() > 0, "it was read");
    alice.says(&format!("dd if=/{file} iflag=nocache count=0 status=none"));
    assert!(resident() > 0, "a tenant dropped pages of the image by posix_fadvise");
    alice.bring_probe();
    assert!(alice.exec(&["/root/probe", "page-out", &format!("/{file}")]).ok().stdout.contains("advised"));
    assert!(resident() > 0, "a tenant dropped pages of the image by madvise");
}

#[test]
fn each_capability_can_be_taken_away_and_the_tenant_is_still_entered() {
    let host = Host::start();
    let alice = host.create("alice", &["--image", "busybox"]);
    let plan = alice.ctl("plan", &["--json"]).ok().json();
    let kept = plan["security"]["capabilities"].as_array().expect("capabilities").clone();
    assert!(kept.len() > 20, "{kept:?}");
    let mut faults = String::new();
    for name in &kept {
        let name = name.as_str().expect("a name");
        alice.ctl("set", &[&format!("drop_capabilities=[\"{name}\"]")]).ok();
        let started = alice.ctl("start", &[]).output();
        if !started.status.success() {
            writeln!(faults, "{name}: start: {}", started.stderr.trim()).expect("text");
            continue;
        }
        let bounding = "grep -h CapBnd /proc/1/status /proc/self/status | sort -u";
        let sets: Vec<_> = [&[][..], &["--user", "nobody"]]
            .into_iter()
            .map(|user| {
                let said = alice.ctl("exec", user).args(["--", "sh", "-c", bounding]).output();
                if !said.status.success() {
                    writeln!(faults, "{name}: exec {user:?}: {}", said.stderr.trim()).expect("text");
                }
                said.stdout
            })
            .collect();
        if sets[0].lines().count() != 1 {
            writeln!(faults, "{name}: exec and init have {}", sets[0]).expect("text");
        }
        let login = alice.shell("cat /proc/self/status").output().stdout;
        for set in ["CapPrm", "CapEff"] {
            let mask = login.lines().find_map(|line| line.strip_prefix(set)?.strip_prefix(":\t"));
            let mask = mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(u64::MAX);
            if mask.count_ones() as usize != kept.len() - 1 {
                writeln!(faults, "{name}: {set} is {mask:x}").expect("text");
            }
        }
        alice.ctl("kill", &[]).ok();
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn a_login_on_a_tty_has_what_a_tenant_without_sys_admin_has() {
    let host = Host::start();
    let set = ["--set", r#"drop_capabilities=["CAP_SYS_ADMIN"]"#, "--set", r#"getty=["/bin/sh","-i"]"#];
    let alice = host.boot("alice", &[&["--image", "busybox"][..], &set].concat());
    let mut terminal = alice.console(&["-t", "1"]);
    let of = |pid: &str| format!("$(grep -E 'CapBnd|Seccomp' /proc/{pid}/status)");
    // Two words, so that what is typed is not what is printed.
    let compare = format!("[ \"{}\" = \"{}\" ] && echo as''-init\r", of("self"), of("1"));
    terminal.type_until(&compare, "as-init");
}
