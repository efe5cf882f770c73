//! The admin's verbs that hostd answers: labels and lists, what is pending, get, events, rename.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use serde_json::Value;
use tenantry_tests::{Host, poll};

/// Exit codes.
const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const REFUSED: i32 = 4;

const BUSYBOX: &[&str] = &["--image", "busybox"];

fn json(host: &Host, args: &[&str]) -> Value {
    let args: Vec<_> = ["--json"].iter().chain(args).copied().collect();
    host.ctl(&args).ok().json()
}

/// `tenantctl events`, while it is running.
struct Events {
    child: Child,
    lines: Receiver<Value>,
}

impl Events {
    fn follow(host: &Host, args: &[&str]) -> Self {
        let mut child = Command::new(host.program("tenantctl"))
            .arg("--root")
            .arg(host.root())
            .args(["--json", "events"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = tell.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, lines }
    }

    /// Reads on until such an event comes; it.
    fn until(&self, event: &str, tenant: &str) -> Value {
        let mut seen = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(Duration::from_secs(60)) else {
                panic!("no event {event} of {tenant}: {seen:#?}")
            };
            if line["event"] == event && (tenant.is_empty() || line["tenant"] == tenant) {
                return line;
            }
            seen.push(line);
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn labels_change_a_running_tenant_at_once_and_lists_are_filtered_by_them() {
    let host = Host::start();
    let web = host.boot("web1", BUSYBOX);
    host.create("web2", BUSYBOX);
    host.create("db", BUSYBOX);
    let boot = web.boot_id();
    let set = host.ctl(&["set", "web1", "labels.tier=gold", "labels.owner=ops"]).ok();
    assert!(!set.stdout.contains("next start"), "{}", set.stdout);
    host.ctl(&["set", "web2", "labels.tier=tin"]).ok();
    assert_eq!(web.boot_id(), boot);
    assert_eq!(json(&host, &["show", "web1"])["labels"]["tier"], "gold");
    assert!(web.ctl("show", &[]).ok().stdout.contains("owner=ops tier=gold"));
    assert_eq!(web.ctl("get", &["labels.tier"]).ok().stdout, "gold\n");
    assert_eq!(web.ctl("get", &["labels"]).ok().stdout, "labels.owner=ops\nlabels.tier=gold\n");
    host.ctl(&["set", "web1", "--unset", "labels.owner"]).ok();
    assert_eq!(json(&host, &["list", "web1"])[0]["labels"], serde_json::json!({"tier": "gold"}));
    assert_eq!(json(&host, &["list", "web1"])[0]["pending"], false);
    assert_eq!(host.ctl(&["set", "web1", "labels.tier=a b"]).output().code(), USAGE);
}

#[test]
fn show_tells_what_is_pending_with_both_values_until_the_next_start() {
    let host = Host::start();
    let alice = host.boot("alice", BUSYBOX);
    host.ctl(&["set", "alice", "ttys=3", "memory_max=64M", "--allow-unenforced"]).ok();
    alice.says("echo said >/dev/console");
    let mut show = String::new();
    poll::until_true("its console's last lines are shown", || {
        show = alice.ctl("show", &[]).ok().stdout;
        show.lines().any(|line| line.starts_with("console") && line.ends_with("said"))
    });
    assert!(show.contains("ttys: 6 now, 3 at the next start"), "{show}");
    assert!(!show.contains("memory_max:"), "a limit takes effect at once: {show}");
    let detail = json(&host, &["show", "alice"]);
    assert_eq!(detail["waiting"], serde_json::json!([{"key": "ttys", "running": "6", "next": "3"}]));
    assert_eq!(detail["limits"]["memory_max_bytes"], 64 << 20);
    assert!(detail["usage"]["tasks"].as_u64().unwrap() > 0 && detail["since"].is_string(), "{detail}");
    alice.ctl("restart", &[]).ok();
    assert_eq!(json(&host, &["list"])[0]["pending"], false);
}

#[test]
fn get_ends_with_a_code_for_each_mistake() {
    let host = Host::start();
    host.create("alice", BUSYBOX);
    let get = |args: &[&str]| host.ctl(&[&["get"], args].concat());
    assert_eq!(get(&["alice", "ttys", "image"]).ok().stdout, "6\nbusybox\n");
    assert_eq!(get(&["alice", "ttys", "--source"]).ok().stdout, "6\tprofile\n");
    assert_eq!(json(&host, &["get", "alice", "image"])[0]["source"], "tenant");
    assert_eq!(get(&["nobody", "ttys"]).output().code(), NOT_FOUND);
    assert!(get(&["alice", "tty"]).output().refused(USAGE).contains("did you mean ttys?"));
    assert_eq!(get(&["alice"]).output().code(), USAGE);
}

#[test]
fn events_tell_a_life_whoever_leads_it_and_survive_hostd() {
    let host = Host::start();
    let events = Events::follow(&host, &["a*"]);
    // It reads along from now on; when it does so is not known.
    poll::until_true("the first event", || {
        host.ctl(&["create", "another", "--image", "busybox"]).ok();
        let told = events.lines.try_recv().is_ok();
        if !told {
            host.ctl(&["destroy", "another", "--yes"]).ok();
        }
        told
    });
    let alice = host.boot("alice", BUSYBOX);
    host.create("bob", BUSYBOX);
    events.until("created", "alice");
    let started = events.until("started", "alice");
    let ready = events.until("ready", "alice");
    assert!(ready["seq"].as_u64() > started["seq"].as_u64(), "{started} {ready}");
    host.ctl(&["set", "alice", "ttys=2"]).ok();
    assert_eq!(events.until("set", "alice")["keys"], serde_json::json!(["ttys"]));
    alice.ctl("freeze", &[]).ok();
    events.until("frozen", "alice");
    alice.ctl("thaw", &[]).ok();
    events.until("thawed", "alice");
    // From inside.
    alice.exec(&["reboot"]).output();
    assert_eq!(events.until("reboot", "alice")["count"], 2);
    events.until("ready", "alice");
    // While another hostd is there.
    host.kill_hostd();
    host.start_hostd();
    events.until("hostd-started", "");
    alice.exec(&["poweroff"]).output();
    assert_eq!(events.until("stopped", "alice")["reason"], "powered off");
    // The supervisor, which has said so, is about to end.
    poll::until_true("alice can be destroyed", || {
        host.ctl(&["destroy", "alice", "--yes"]).output().status.success()
    });
    events.until("destroyed", "alice");
    let kept = host.ctl(&["events", "--no-follow", "--since", "1h"]).ok().stdout;
    assert!(kept.contains("alice stopped: powered off") && !kept.contains("bob"), "{kept}");
}

#[test]
fn hostd_ends_in_time_although_somebody_reads_its_events() {
    let host = Host::start();
    let _events = Events::follow(&host, &[]);
    host.create("alice", BUSYBOX);
    let begin = std::time::Instant::now();
    host.end_hostd();
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    host.start_hostd();
}

#[test]
fn a_renamed_tenant_is_the_same_under_another_name() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    alice.says("echo kept >/root/mine");
    let refused = host.ctl(&["rename", "alice", "carol"]).output().refused(REFUSED);
    assert!(refused.contains("is running") && refused.contains("tenantctl stop alice"), "{refused}");
    let before = json(&host, &["show", "alice"]);
    alice.stop();
    host.ctl(&["rename", "alice", "carol"]).ok();
    assert_eq!(host.ctl(&["show", "alice"]).output().code(), NOT_FOUND);
    host.ctl(&["start", "carol"]).ok();
    let after = json(&host, &["show", "carol"]);
    for key in ["index", "uids", "uuid", "ipv4", "ipv6", "created", "digest"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    let inside = |command: &str| host.ctl(&["exec", "carol", "--", "sh", "-c", command]).ok().stdout;
    assert_eq!(inside("cat /root/mine; hostname; grep -c carol /etc/hosts"), "kept\ncarol\n1\n");
    assert_eq!(
        inside("grep -c alice /etc/hosts || true"),
        "0\n",
        "a host name that followed the name follows"
    );
    assert!(host.ctl(&["logs", "carol"]).ok().stdout.len() > 1, "its log goes with it");
    host.create("alice", BUSYBOX);
    let doctor = host.ctl(&["--json", "doctor"]).output().json();
    let is_bad = |found: &&Value| found["check"] == "records" && found["health"] != "ok";
    assert_eq!(doctor["findings"].as_array().unwrap().iter().find(is_bad), None);
    host.ctl(&["stop", "carol"]).ok();
    assert_eq!(host.ctl(&["rename", "carol", "alice"]).output().code(), REFUSED, "that name is taken");
    assert_eq!(host.ctl(&["rename", "carol", "Not a name"]).output().code(), USAGE);
    let left: Vec<_> = fs::read_dir(host.path("etc/tenantry/tenants")).unwrap().flatten().collect();
    assert_eq!(left.len(), 2, "{left:?}");
    host.ctl(&["destroy", "carol", "--yes"]).ok();
}
