//! The daemon: what it does with clients that hang up, are slow or hostile, with tenants that are large or whose
//! records are damaged, and what clients do with a daemon that hangs.

mod files;
mod hangups;
mod removal;
mod storms;

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::MetadataExt as _, fs::PermissionsExt as _, net::UnixStream},
    path::Path,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tenantry_tests::{Host, Run, Tenant, poll};

use self::removal::trash;

/// Exit codes.
const FAILED: i32 = 1;
const NOT_FOUND: i32 = 3;
const REFUSED: i32 = 4;

/// What a request of somebody else may take while hostd is busy with something large.
const AT_ONCE: Duration = Duration::from_secs(1);

fn connect(host: &Host) -> UnixStream {
    UnixStream::connect(host.path("run/tenantry/hostd.sock")).expect("hostd takes connections")
}

/// A request as it goes over the wire.
fn request(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: hostd\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// Makes a request and hangs up at once.
fn hang_up(host: &Host, method: &str, path: &str, body: &str) {
    let mut stream = connect(host);
    stream.write_all(request(method, path, body).as_bytes()).expect("hostd reads");
}

/// Everything that hostd says until it hangs up, or for so long.
fn hear(stream: &mut UnixStream, limit: Duration) -> String {
    stream.set_read_timeout(Some(limit)).expect("a limit can be set");
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn goes_on(child: &mut Child) -> bool {
    child.try_wait().expect("a child can be asked").is_none()
}

#[test]
fn a_client_that_hangs_up_cuts_no_change_in_half() {
    let host = Host::start();
    hang_up(&host, "POST", "/v1/tenants", r#"{"name":"alice","image":"busybox"}"#);
    poll::until_true("alice is made", || host.names() == ["alice"]);
    let alice = Tenant::new(&host, "alice");
    hang_up(&host, "POST", "/v1/tenants/alice/start", "{}");
    alice.awaits("running");
    hang_up(&host, "PATCH", "/v1/tenants/alice/config", r#"{"set":["description=cut"]}"#);
    let file = host.path("etc/tenantry/tenants/alice.toml");
    poll::until_true("the key is set", || fs::read_to_string(&file).expect("a file").contains("cut"));
    let text = fs::read_to_string(&file).expect("a file");
    let body = serde_json::json!({"base": text, "text": text.replace("cut", "whole")}).to_string();
    hang_up(&host, "PUT", "/v1/tenants/alice/config", &body);
    poll::until_true("the file is replaced", || fs::read_to_string(&file).expect("a file").contains("whole"));
    hang_up(&host, "POST", "/v1/doctor", "{}");
    // It is killed first: the client is gone long before that is done.
    hang_up(&host, "DELETE", "/v1/tenants/alice?force=true", "");
    poll::until_true("alice is removed", || host.names().is_empty());
    poll::until_true("and her files are", || trash(&host).is_empty());
}

#[test]
fn a_hostd_that_ends_finishes_a_change_whose_client_has_hung_up() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    // Nothing of her ends while her supervisor sleeps.
    let (init, supervisor) = alice.pids();
    let supervisor = Pid::from_raw(supervisor);
    kill(supervisor, Signal::SIGSTOP).expect("the supervisor runs");
    hang_up(&host, "DELETE", "/v1/tenants/alice?force=true", "");
    let status = || fs::read_to_string(format!("/proc/{init}/status")).unwrap_or_default();
    poll::until_true("she is being killed", || status().contains("State:\tZ"));
    thread::scope(|scope| {
        let ending = scope.spawn(|| host.end_hostd());
        poll::until_true("hostd ends", || host.hostd_log().contains("shutting down; tenants keep running"));
        kill(supervisor, Signal::SIGCONT).expect("the supervisor is there");
        ending.join().expect("hostd ends in time");
    });
    let log = host.hostd_log();
    assert!(!log.contains("aborting requests"), "{log}");
    assert!(!host.path("etc/tenantry/tenants/alice.toml").exists(), "her file is gone: {log}");
    assert!(!host.path("var/lib/tenantry/tenants/alice").exists(), "she is gone: {log}");
    assert_eq!(trash(&host), [""; 0], "and her files are");
    host.start_hostd();
    assert!(host.names().is_empty());
}

#[test]
fn a_hostd_that_follows_a_killed_one_waits_for_the_lock() {
    let host = Host::start();
    host.create("alice", &["--image", "busybox"]);
    // Somebody else still has it open, as a dying process would, for a moment.
    host.kill_hostd();
    let lock = host.path("var/lib/tenantry/hostd.lock");
    let mut holder = Run::new("flock", [lock.as_os_str()]).args(["sleep", "1"]).spawn();
    poll::until_true("the lock is taken", || {
        let tried = Run::new("flock", ["--nonblock"]).args([&lock]).args(["true"]).output();
        !tried.status.success()
    });
    host.start_hostd();
    assert_eq!(host.names(), ["alice"]);
    holder.wait().expect("a child");
}

#[test]
fn a_hostd_that_hangs_is_told_of_within_seconds() {
    let host = Host::start();
    let alice = host.create("alice", &["--image", "busybox"]);
    let pid = Pid::from_raw(i32::try_from(host.hostd_pid()).expect("a pid"));
    kill(pid, Signal::SIGSTOP).expect("hostd can be stopped");
    let said = host.ctl(&["list"]).limit(Duration::from_secs(30)).output();
    let asked = alice.ctl("set", &["description=late"]).limit(Duration::from_secs(30)).output();
    kill(pid, Signal::SIGCONT).expect("hostd can go on");
    assert!(said.took < Duration::from_secs(15), "{:?}", said.took);
    let text = said.refused(FAILED);
    assert!(text.contains("does not respond"), "{text}");
    assert!(asked.refused(FAILED).contains("may still perform the request"));
    poll::until_true("hostd answers again", || host.names() == ["alice"]);
}

#[test]
fn a_hostd_that_is_busy_for_long_is_waited_for() {
    let host = Host::start();
    let alice = host.create("alice", &["--image", "busybox"]);
    let begin = Instant::now();
    let said = alice.ctl("wait", &["--for", "running", "--timeout", "12"]).output();
    assert_eq!(said.code(), FAILED);
    assert!(said.stderr.contains("after 12 s"), "{}", said.stderr);
    assert!(begin.elapsed() >= Duration::from_secs(12));
}

/// How often the threads of hostd have gone to sleep.
fn switches(host: &Host) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", host.hostd_pid())).expect("hostd runs").flatten();
    let of = |entry: fs::DirEntry| -> Option<u64> {
        let text = fs::read_to_string(entry.path().join("status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse().ok()
    };
    tasks.filter_map(of).sum()
}

#[test]
fn a_wait_does_not_keep_hostd_busy_and_ends_at_once() {
    let host = Host::start();
    let alice = host.create("alice", &["--image", "busybox"]);
    let before = switches(&host);
    let said = alice.ctl("wait", &["--for", "running", "--timeout", "4"]).output();
    assert_eq!(said.code(), FAILED, "{}", said.stderr);
    let slept = switches(&host) - before;
    assert!(slept < 100, "hostd woke up {slept} times in 4 s in which nothing happened");
    // Whatever ends a wait is told, not found out.
    thread::scope(|scope| {
        let waits = scope.spawn(|| alice.ctl("wait", &["--for", "running"]).ok());
        alice.start();
        assert!(waits.join().expect("it does not panic").stdout.contains("running"));
        let waits = scope.spawn(|| alice.ctl("wait", &["--for", "stopped"]).ok());
        let (_, supervisor) = alice.pids();
        kill(Pid::from_raw(supervisor), Signal::SIGKILL).expect("it can be killed");
        waits.join().expect("it does not panic");
    });
}

#[test]
fn hostile_and_hung_clients_delay_no_other_client() {
    let host = Host::start();
    host.create("alice", &["--image", "busybox"]);
    let half = "POST /v1/tenants HTTP/1.1\r\nhost: hostd\r\n";
    let many: Vec<UnixStream> = (0..300)
        .map(|number| {
            let mut stream = connect(&host);
            // Nothing at all, half a head, a head without its body, an answer that nobody reads.
            let begin = match number % 4 {
                0 => String::new(),
                1 => half.to_owned(),
                2 => format!("{half}content-type: application/json\r\ncontent-length: 1000\r\n\r\n{{"),
                _ => request("GET", "/v1/openapi.json", "").repeat(20),
            };
            stream.set_nonblocking(true).expect("it can be set");
            let _may_be_cut = stream.write(begin.as_bytes());
            stream
        })
        .collect();
    let deep = format!(r#"{{"name":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let bodies = [
        format!("{half}content-type: application/json\r\ncontent-length: 99000000\r\n\r\n{{"),
        "\0".repeat(10_000),
        format!("GET /v1/tenants/{}\0 HTTP/1.1\r\n\r\n", "\0".repeat(100)),
        request("POST", "/v1/tenants", &deep),
        request("POST", "/v1/tenants", "{\"name\":\"a\\u0000b\"}"),
        request("POST", "/v1/tenants", &"{\"name\":".repeat(20_000)),
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20)),
        "x".repeat(1 << 20),
        "POST /v1/tenants HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_owned(),
    ];
    for body in &bodies {
        let mut stream = connect(&host);
        let _may_be_cut = stream.write_all(body.as_bytes());
        let said = hear(&mut stream, Duration::from_secs(2));
        assert!(!said.starts_with("HTTP/1.1 200"), "{said}");
    }
    let took: Vec<Duration> = (0..20).map(|_| host.ctl(&["list"]).ok().took).collect();
    let slowest = took.iter().max().expect("there are some");
    assert!(*slowest < AT_ONCE, "a list took {slowest:?} meanwhile");
    assert_eq!(host.names(), ["alice"]);
    drop(many);
}

#[test]
fn slow_clients_are_not_waited_for_for_ever() {
    let host = Host::start();
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", host.hostd_pid())).expect("hostd runs").count();
    // What the clients before had open goes within moments.
    let before =
        (0..20).map(|_| (thread::sleep(Duration::from_millis(10)), descriptors()).1).min().expect("counts");
    // One that asks a lot and reads nothing.
    let mut deaf = connect(&host);
    deaf.set_nonblocking(true).expect("it can be set");
    let asks = request("GET", "/v1/openapi.json", "");
    while deaf.write(asks.as_bytes()).is_ok() {}
    let mut silent = connect(&host);
    let mut half = connect(&host);
    half.write_all(b"GET /v1/tenants HTTP/1.1\r\nhost:").expect("hostd reads");
    let mut bodiless = connect(&host);
    let head = "POST /v1/tenants HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    bodiless.write_all(head.as_bytes()).expect("hostd reads");
    poll::until_true("hostd has them all", || descriptors() >= before + 4);
    let limit = Duration::from_secs(60);
    thread::scope(|scope| {
        let ends = [&mut silent, &mut half, &mut bodiless].map(|stream| {
            scope.spawn(move || {
                let begin = Instant::now();
                let said = hear(stream, limit);
                (said, begin.elapsed())
            })
        });
        for end in ends {
            let (said, took) = end.join().expect("nothing panics");
            assert!(took < limit, "hostd still waits after {took:?}; it said {said:?}");
        }
    });
    poll::within(limit, "hostd lets go of all", || (descriptors() <= before).then_some(()));
    drop((deaf, silent, half, bodiless));
}

#[test]
fn signals_are_given_as_kill_takes_them() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let said = alice.ctl("kill", &["-s", "NOTHING"]).output().refused(2);
    assert!(said.contains("\"NOTHING\" is not a signal") && !said.contains("stop_signal"), "{said}");
    alice.ctl("kill", &["-s", "0"]).output().refused(2);
    for words in [&["-9", "alice"][..], &["alice", "-s", "KILL"], &["-KILL", "alice"], &["-s", "9", "alice"]]
    {
        let boot = alice.boot_id();
        host.ctl(&["kill"]).args(words).ok();
        alice.ctl("wait", &["--for", "stopped"]).ok();
        alice.start();
        assert_ne!(alice.boot_id(), boot, "{words:?}");
    }
}

#[test]
fn list_takes_names_and_usage_lines_leave_the_environment_out() {
    let host = Host::start();
    host.create("alice", &["--image", "busybox"]);
    host.create("bob", &["--image", "busybox"]);
    let said = host.ctl(&["list", "bob"]).ok();
    assert!(said.stdout.contains("bob") && !said.stdout.contains("alice"), "{}", said.stdout);
    assert_eq!(host.ctl(&["list", "--quiet", "bob", "alice"]).ok().text(), "alice\nbob");
    assert!(host.ctl(&["list", "carol"]).output().refused(NOT_FOUND).contains("carol"));
    let root = host.root().to_string_lossy().into_owned();
    for args in [&["start"][..], &["nonsense"], &["set"]] {
        let said = host.ctl(args).output();
        assert_eq!(said.code(), 2);
        assert!(!said.stderr.contains("--root") && !said.stderr.contains(&root), "{}", said.stderr);
    }
    let log = host.hostd_log();
    for line in log.lines() {
        let (time, rest) = line.split_once(' ').unwrap_or_default();
        assert!(time.ends_with('Z') && time.len() == 24 && rest.starts_with("hostd: "), "{line}");
        for word in ["Unchanged", "Created", "Changed", " Stopped", " Failed"] {
            assert!(!line.contains(word), "{line}");
        }
    }
    assert!(!log.is_empty());
}
