//! What is below /proc/sys.

use super::*;

/// A sysctl that is the whole host's, and which every network namespace has all the same.
const LWTUNNEL: &str = "/proc/sys/net/netfilter/nf_hooks_lwtunnel";

#[test]
fn a_sysctl_of_the_whole_host_is_refused_in_every_instance_of_proc() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    alice.bring_probe();
    // Only what it holds already is written, for no other value could be taken back.
    let says = |script: String| alice.shell(&script).output();
    for script in [
        format!("/root/probe keep {LWTUNNEL}"),
        format!(
            "mount -t proc proc /mnt && /root/probe keep /mnt{}; e=$?; umount /mnt; exit $e",
            &LWTUNNEL[5..]
        ),
        format!("unshare -Urmpfn --mount-proc /root/probe keep {LWTUNNEL}"),
        format!(
            "mkdir -p /sys/fs/cgroup/below && echo $$ > /sys/fs/cgroup/below/cgroup.procs && /root/probe keep {LWTUNNEL}"
        ),
    ] {
        let said = says(script.clone());
        assert!(
            said.stderr.contains("Operation not permitted"),
            "{script}: {:?}, {}",
            said.status,
            said.stderr
        );
    }
    alice.says(&format!("cat {LWTUNNEL}"));
    alice.says("/root/probe keep /proc/sys/net/ipv4/ip_forward");
    let said = alice.ctl("set", &["sysctl.\"net.netfilter.nf_hooks_lwtunnel\"=\"1\""]).output().refused(2);
    assert!(said.contains("whole host"), "{said}");
    assert!(alice.ctl("plan", &[]).ok().stdout.contains("nf_hooks_lwtunnel read-only"));
}

#[test]
fn what_a_tenant_writes_below_proc_sys_stays_in_its_namespaces() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    alice.bring_probe();
    // A namespace that was there before, and the host's own.
    let read = |paths: &[String]| -> [String; 2] {
        let script = "for file; do echo \"$file $(cat $file)\"; done";
        let words: Vec<&str> =
            ["-c", script, "sh"].into_iter().chain(paths.iter().map(String::as_str)).collect();
        [host.run("sh", &words).output().stdout, Run::new("sh", &words).output().stdout]
    };
    let files = |key: &str, seen: &Value| -> Vec<String> {
        match &seen[key] {
            Value::Object(map) => map.keys().cloned().collect(),
            list => list
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(|path| Some(path.as_str()?.to_owned()))
                .collect(),
        }
    };
    // All that may be written, before anything is.
    let sentinels = alice.probe(&["sentinels"])["sentinels"].clone();
    let writable = files("proc_sys", &sentinels);
    let before = read(&writable);
    let seen = alice.exec(&["/root/probe", "tune"]).ok().json();
    let changed = files("changed", &seen);
    let after = read(&writable);
    // Of those that the tenant has changed: others may be set meanwhile by others. This one moves by itself.
    let is_changed = |line: &str| {
        let path = line.split(' ').next().unwrap_or_default();
        changed.iter().any(|changed| changed == path) && !path.ends_with("/ns_last_pid")
    };
    let differ = |number: usize| -> Vec<(&str, &str)> {
        let pairs = before[number].lines().zip(after[number].lines());
        pairs.filter(|(line, now)| line != now && is_changed(line)).collect()
    };
    // So that what this test finds lasts no longer than it takes.
    for (line, _) in differ(1) {
        if let Some((path, value)) = line.split_once(' ') {
            drop(fs::write(path, value));
        }
    }
    assert_eq!((differ(0), differ(1)), (Vec::new(), Vec::new()));
    let kept = files("kept", &seen);
    assert!(
        changed.len() > 300 && kept.len() < 150,
        "{} of {} were changed, not {kept:?}",
        changed.len(),
        writable.len()
    );
    assert!(kept.iter().any(|path| path == LWTUNNEL));
}
