//! System calls, capabilities, devices, and sysctls that are the whole host's.

use std::fs;

use serde_json::{Value, json};
use tenantry_tests::{Host, Run, Tenant};

use crate::{BUSYBOX, Pair};

/// What a tenant is answered to the calls of an attacker; and what it is answered where the filter is gone, of kernels that
/// have the call.
const CALLS: &[(&str, &str)] = &[
    ("add_key", "ENOSYS"),
    ("keyctl", "ENOSYS"),
    ("perf_event_open", "EPERM"),
    ("bpf", "EPERM"),
    ("io_uring_setup", "ENOSYS"),
    ("userfaultfd", "EPERM"),
    ("open_by_handle_at", "EPERM"),
    ("io_setup", "ENOSYS"),
    ("af_alg", "EAFNOSUPPORT"),
    ("af_vsock", "EAFNOSUPPORT"),
    ("vmsplice", "EPERM"),
    ("cachestat", "ENOSYS"),
    ("syslog", "EPERM"),
];

/// What of the host a call could change.
fn traces() -> [String; 2] {
    ["/proc/modules", "/proc/keys"].map(|file| fs::read_to_string(file).unwrap_or_default())
}

#[test]
fn calls_of_an_attacker_are_refused_and_reach_the_kernel_without_the_filter() {
    let host = Host::unprotected();
    let before = traces();
    let pair = Pair::boot(&host, "calls", &BUSYBOX, &["calls"]);
    let [guarded, open] =
        pair.both(|tenant| tenant.probe_again(&["attacks"]).succeeded().json()["attacks"].clone());
    for (call, answer) in CALLS {
        assert_eq!(guarded[call], *answer, "{call}");
    }
    assert_eq!(traces()[0], before[0], "modules");
    println!("without the filter: {open:#}");
    // What the kernel itself refuses to a user namespace, or lacks, differs; these it does for everybody.
    for call in ["add_key", "keyctl", "io_setup", "vmsplice", "cachestat"] {
        assert_eq!(open[call], "allowed", "{call} without the filter");
    }
    let differ = CALLS.iter().filter(|(call, answer)| open[call] != *answer).count();
    assert!(differ >= 8, "only {differ} answers are the filter's: {open:#}");
}

#[test]
fn the_log_of_the_kernel_is_neither_read_nor_written_inside() {
    let host = Host::start();
    let alice = host.boot("alice", &BUSYBOX);
    let inside = alice.probe(&["kernel_log"])["kernel_log"].clone();
    let refused = json!({
        "read": "EPERM", "/dev/kmsg": "ENOENT", "/dev/kmsg to write": "ENOENT", "/proc/kmsg": "EACCES",
    });
    assert_eq!(inside, refused);
    for script in ["mknod /root/kmsg c 1 11", "mknod /dev/kmsg c 1 11", "dmesg"] {
        assert!(!alice.shell(script).output().status.success(), "{script}");
    }
    // To root of the host it is open: the probe is not blind.
    let outside = Run::new(host.program("probe"), ["kernel_log"]).ok().json()["kernel_log"].clone();
    for way in ["read", "/dev/kmsg", "/dev/kmsg to write", "/proc/kmsg"] {
        assert_eq!(outside[way], "allowed", "{way}");
    }
}

fn capabilities(tenant: &Tenant<'_>) -> u64 {
    let seen = tenant.probe_again(&["process"]).succeeded().json();
    let bounding = seen["process"]["init_status"]["CapBnd"].as_str().expect("a mask").to_owned();
    u64::from_str_radix(&bounding, 16).expect("a mask")
}

#[test]
fn capabilities_over_the_host_are_in_no_set_unless_the_plan_keeps_them() {
    let host = Host::unprotected();
    let pair = Pair::boot(&host, "powers", &BUSYBOX, &["capabilities"]);
    let [guarded, open] = pair.both(capabilities);
    // SYS_MODULE, SYS_RAWIO, SYS_TIME, AUDIT_WRITE, AUDIT_CONTROL, MAC_OVERRIDE, MAC_ADMIN, SYSLOG, WAKE_ALARM,
    // BLOCK_SUSPEND, AUDIT_READ, PERFMON, BPF, CHECKPOINT_RESTORE: linux/capability.h.
    let powers = [16, 17, 25, 29, 30, 32, 33, 34, 35, 36, 37, 38, 39, 40];
    let mask = powers.into_iter().fold(0, |mask, number| mask | 1_u64 << number);
    assert_eq!(guarded & mask, 0, "{guarded:x}");
    // What this test's own host does not have it cannot give.
    assert!((open & mask).count_ones() > 8, "{open:x}");
}

#[test]
fn a_device_that_is_not_allowed_cannot_be_opened_unless_all_are() {
    let host = Host::unprotected();
    let options = [&BUSYBOX[..], &["--set", "devices=[]"]].concat();
    let pair = Pair::boot(&host, "devices", &options, &["devices"]);
    let [guarded, open] = pair.both(|tenant| tenant.shell(": < /dev/ptmx").output().status.success());
    assert!(!guarded, "a device was opened that no rule allows");
    assert!(open, "the device cannot be opened for another reason");
}

#[test]
fn a_sysctl_of_the_whole_host_is_refused_by_the_program_on_the_cgroup_alone() {
    const LWTUNNEL: &str = "/proc/sys/net/netfilter/nf_hooks_lwtunnel";
    let host = Host::unprotected();
    let pair = Pair::boot(&host, "sysctls", &BUSYBOX, &["sysctls"]);
    // What it holds is written, so that nothing changes.
    let [guarded, open] = pair.both(|tenant| tenant.exec(&["/root/probe", "keep", LWTUNNEL]).output());
    assert!(guarded.stderr.contains("Operation not permitted"), "{}", guarded.stderr);
    assert!(open.status.success(), "{}", open.stderr);
}

/// The effective uid of a program with the set-user-ID bit, started by a user.
fn uid(tenant: &Tenant<'_>) -> String {
    tenant.says("chmod 755 /root && chmod 4755 /root/probe");
    let said = tenant.ctl("exec", &["--user", "1000"]).args(["--", "/root/probe", "process"]).ok();
    let uids = said.json()["process"]["status"]["Uid"].clone();
    uids.as_str().expect("ids").split_whitespace().nth(1).expect("four ids").to_owned()
}

#[test]
fn a_set_user_id_program_of_an_app_gives_no_user_more_rights() {
    let host = Host::unprotected();
    let options = [
        &BUSYBOX[..],
        &[
            "--profile",
            "app",
            "--set",
            "paths=[\"/bin\", \"/lib\"]",
            "--set",
            "init=[\"/bin/sleep\", \"1000000\"]",
        ],
        &["--set", "dirs.\"/root\"=private"],
    ]
    .concat();
    let pair = Pair::boot(&host, "app", &options, &["no-new-privs"]);
    assert_eq!(pair.both(uid), ["1000", "0"]);
    let status = |tenant: &Tenant<'_>| -> Value {
        let seen = tenant.probe_again(&["process"]).succeeded().json();
        ["status", "init_status"].map(|of| seen["process"][of]["NoNewPrivs"].clone()).to_vec().into()
    };
    assert_eq!(pair.both(status), [["1", "1"], ["0", "0"]].map(Value::from));
    // A whole system has set-user-ID programs, and an app whose file asks for them.
    host.leave_out(&[]);
    let system = host.boot("system", &BUSYBOX);
    system.bring_probe();
    assert_eq!(uid(&system), "0");
    pair.guarded.ctl("set", &["no_new_privs=false"]).ok();
    pair.guarded.ctl("restart", &[]).ok();
    assert_eq!(uid(&pair.guarded), "0");
}
