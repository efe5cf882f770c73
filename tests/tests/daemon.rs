//! The daemon: what it does with clients that hang up, are slow or hostile, with tenants that are large or whose
//! records are damaged, and what clients do with a daemon that hangs.

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

/// Gives a tenant so many files, `wide` in each directory, as it could make them itself.
fn fill(tenant: &Tenant<'_>, host: &Host, files: usize, wide: usize) {
    let top = host.path(format!("var/lib/tenantry/tenants/{}/dirs/root/many", tenant.name()));
    for dir in 0..files / wide {
        let dir = top.join(dir.to_string());
        fs::create_dir_all(&dir).expect("a directory can be made");
        for file in 0..wide {
            fs::File::create_new(dir.join(file.to_string())).expect("a file can be made");
        }
    }
}

/// What there is of removed tenants.
fn trash(host: &Host) -> Vec<String> {
    let entries = fs::read_dir(host.path("var/lib/tenantry/tenants")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with('.')).collect()
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
fn removing_a_large_tenant_delays_no_other_request() {
    let host = Host::start();
    let big = host.create("big", &["--image", "busybox"]);
    host.create("set", &["--image", "busybox"]);
    fill(&big, &host, 100_000, 1000);
    let mut destroy = big.ctl("destroy", &["--yes"]).spawn();
    let (mut meanwhile, mut slowest) = (0, Duration::ZERO);
    poll::until_true("big is gone from the list", || !host.names().contains(&"big".to_owned()));
    while goes_on(&mut destroy) {
        let name = format!("t{meanwhile}");
        for args in [
            &["create", &name, "--image", "busybox"][..],
            &["set", "set", &format!("description={name}")],
            &["destroy", &name, "--yes"],
        ] {
            let took = host.ctl(args).ok().took;
            slowest = slowest.max(took);
        }
        meanwhile += 1;
    }
    eprintln!("{meanwhile} rounds meanwhile, the slowest step took {slowest:?}");
    assert!(meanwhile >= 3, "only {meanwhile} rounds");
    assert!(slowest < AT_ONCE, "a step took {slowest:?}");
    assert!(trash(&host).is_empty(), "destroy answers when the last file is gone: {:?}", trash(&host));
}

#[test]
fn a_hostd_that_is_killed_in_a_removal_answers_first_and_finishes_it_then() {
    let host = Host::start();
    let stays = host.boot("stays", &["--image", "busybox"]);
    let boot = stays.boot_id();
    let big = host.create("big", &["--image", "busybox"]);
    let number = big.field("/index");
    fill(&big, &host, 100_000, 1000);
    let mut destroy = big.ctl("destroy", &["--yes"]).spawn();
    poll::until_true("its files are going", || !trash(&host).is_empty());
    host.kill_hostd();
    poll::until("the client gives up", || destroy.try_wait().expect("a child"));
    assert!(!trash(&host).is_empty(), "there was nothing left to do");
    let begin = Instant::now();
    host.start_hostd();
    let took = begin.elapsed();
    let left = trash(&host);
    // The same name is free at once, and gets another number.
    let again = host.create("big", &["--image", "busybox"]);
    if !left.is_empty() {
        assert_ne!(again.field("/index"), number);
    }
    poll::until_true("the rest is removed", || trash(&host).is_empty());
    assert!(took < 3 * AT_ONCE, "hostd answered after {took:?}, with {left:?} to be removed");
    assert!(host.names().contains(&"big".to_owned()));
    assert_eq!(stays.boot_id(), boot);
}

#[test]
fn what_an_admin_has_mounted_is_named_and_survives() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let dir = host.path("var/lib/tenantry/tenants/alice/dirs/root/a b");
    fs::create_dir(&dir).expect("a directory");
    Run::new("mount", ["-t", "tmpfs", "tmpfs"]).args([&dir]).ok();
    fs::write(dir.join("precious"), "").expect("a file");
    let said = alice.ctl("destroy", &["--force", "--yes"]).output().refused(REFUSED);
    let point = dir.to_string_lossy().into_owned();
    assert!(said.contains(&point) && said.contains("help: umount"), "{said}");
    assert!(!said.contains("os error"), "{said}");
    assert_eq!(alice.phase(), "running", "nothing was done to it");
    assert!(dir.join("precious").exists());
    Run::new("umount", [&dir]).ok();
    alice.ctl("destroy", &["--force", "--yes"]).ok();
}

#[test]
fn a_set_that_fails_changes_nothing_of_a_running_tenant() {
    let host = Host::start();
    let limits = ["--image", "busybox", "--set", "memory_max=200M", "--set", "tasks_max=100"];
    host.boot("holder", &["--image", "busybox", "--set", "ports=8080:80"]);
    let alice = host.boot("alice", &limits);
    let unit: Value = serde_json::from_str(
        &fs::read_to_string(host.path("run/tenantry/tenants/alice/unit.json")).expect("unit.json"),
    )
    .expect("JSON");
    let v1 = |controller: &str, file: &str| {
        let dir = unit["v1"][controller].as_str()?;
        fs::read_to_string(Path::new(dir).join(file)).ok()
    };
    let v2 = |file: &str| fs::read_to_string(Path::new(unit["v2"].as_str()?).join(file)).ok();
    let look = || {
        let files =
            [v1("memory", "memory.limit_in_bytes"), v1("pids", "pids.max"), v2("memory.max"), v2("pids.max")];
        (files, fs::read_to_string(host.path("run/tenantry/tenants/alice/filter.json")).expect("filter.json"))
    };
    let before = look();
    assert!(before.0.iter().any(Option::is_some), "this host enforces neither limit");
    let taken = ["memory_max=100M", "tasks_max=50", "net_rate=10M", "ports=8080:80"];
    alice.ctl("set", &taken).output().refused(REFUSED);
    assert_eq!(look(), before, "after a set that failed");
    // The same by hand.
    let file = host.path("etc/tenantry/tenants/alice.toml");
    let text = fs::read_to_string(&file).expect("a file");
    let edited =
        text.replace("200M", "100M").replace("tasks_max = 100", "tasks_max = 50\nports = \"8080:80\"");
    assert_ne!(edited, text);
    fs::write(&file, edited).expect("an admin may edit it");
    alice.ctl("reload", &[]).output().refused(REFUSED);
    assert_eq!(look(), before, "after a reload that failed");
    fs::write(&file, text).expect("an admin may edit it");
    alice.ctl("set", &["memory_max=100M"]).ok();
    assert_ne!(look().0, before.0);
}

#[test]
fn a_file_that_is_for_root_alone_stays_so() {
    let host = Host::start();
    let alice = host.create("alice", &["--image", "busybox"]);
    let file = host.path("etc/tenantry/tenants/alice.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("an admin may do so");
    alice.ctl("set", &["env.TOKEN=hidden"]).ok();
    let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o7777;
    assert_eq!(mode(&file), 0o600);
    alice.start();
    for path in ["started.toml", "state.json"] {
        let path = host.path(format!("run/tenantry/tenants/alice/{path}"));
        if fs::read_to_string(&path).expect("a file").contains("hidden") {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
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
fn a_damaged_record_breaks_its_tenant_and_nothing_else() {
    let host = Host::start();
    let other = host.boot("other", &["--image", "busybox"]);
    let alice = host.boot("alice", &["--image", "busybox", "--set", "ports=8080:80"]);
    let (before, boot) = (alice.show(), alice.boot_id());
    let record = host.path("var/lib/tenantry/tenants/alice/allocation.toml");
    host.kill_hostd();
    fs::write(&record, "nonsense\n").expect("it can be damaged");
    host.start_hostd();

    let list = host.ctl(&["--json", "list"]).ok().json();
    assert_eq!((&list[0]["name"], &list[0]["state"]), (&"alice".into(), &"broken".into()), "{list}");
    let table = host.ctl(&["list"]).ok();
    assert!(table.stdout.contains("broken") && table.stderr.contains("allocation.toml"), "{}", table.stderr);
    for verb in [&["show"][..], &["restart"], &["set", "ttys=1"], &["destroy", "--yes"]] {
        let said = host.ctl(&[verb[0], "alice"]).args(&verb[1..]).output().refused(REFUSED);
        assert!(said.contains("is broken") && said.contains("doctor --repair"), "{verb:?}: {said}");
    }
    // What it has stays its own.
    for number in 0..3 {
        let new = host.create(&format!("new{number}"), &["--image", "busybox"]);
        for key in ["index", "uids", "ipv4", "ipv6"] {
            assert_ne!(new.show()[key], before[key], "{key}");
        }
    }
    let said = host.ctl(&["create", "thief", "--image", "busybox", "--set", "ports=8080:80"]);
    assert!(said.output().refused(REFUSED).contains("alice"));
    // It goes on, and what is its own is no leftover of a dead one.
    let doctor = host.ctl(&["doctor"]).output();
    assert!(doctor.stdout.contains("alice") && doctor.stdout.contains("broken"), "{}", doctor.stdout);
    assert!(!doctor.stdout.contains("left behind:"), "{}", doctor.stdout);
    host.ctl(&["doctor", "--repair"]).ok();
    assert_eq!(alice.boot_id(), boot, "it did not notice");
    for key in ["index", "uids", "ipv4", "ipv6", "uuid", "digest", "state"] {
        assert_eq!(alice.show()[key], before[key], "{key}");
    }
    alice.ctl("restart", &[]).ok();
    assert_eq!(other.phase(), "running");
    assert_eq!(host.ctl(&["doctor"]).output().stdout.matches("broken").count(), 0);

    // And one that nobody wants any more.
    alice.stop();
    host.kill_hostd();
    fs::remove_file(&record).expect("it can be removed");
    host.start_hostd();
    assert!(alice.ctl("start", &[]).output().refused(REFUSED).contains("is missing"));
    alice.ctl("destroy", &["--force", "--yes"]).ok();
    host.create("alice", &["--image", "busybox"]);
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
fn a_fifo_in_place_of_any_file_blocks_nothing() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    alice.stop();
    let bob = host.create("bob", &["--image", "busybox"]);
    let fifo = |path: &Path| {
        let _may_be_absent = fs::remove_file(path);
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO can be made");
    };
    let tenant = |path: &str| host.path(format!("var/lib/tenantry/tenants/alice/{path}"));
    let runtime = |path: &str| host.path(format!("run/tenantry/tenants/alice/{path}"));
    for path in [
        host.path("etc/tenantry/tenants/alice.toml"),
        host.path("etc/tenantry/hostd.toml"),
        host.path("etc/tenantry/ports.toml"),
        host.path("etc/tenantry/profiles/shared-os.toml"),
        host.path("run/tenantry/nics/eth9.json"),
        host.path("run/tenantry/autostarted"),
        tenant("allocation.toml"),
        tenant("allocation.copy.toml"),
        tenant("carried.toml"),
        tenant("log/console.log"),
        runtime("state.json"),
        runtime("unit.json"),
        runtime("started.toml"),
        runtime("filter.json"),
        runtime("stderr"),
    ] {
        fs::create_dir_all(path.parent().expect("a directory")).expect("it can be made");
        let aside = path.with_extension("aside");
        let was_there = fs::rename(&path, &aside).is_ok();
        fifo(&path);
        let limit = Duration::from_secs(20);
        for verb in [
            &["list"][..],
            &["show", "alice"],
            &["start", "alice"],
            &["logs", "alice"],
            &["stop", "alice"],
            &["doctor"],
        ] {
            // Whatever it says of alice: it says it.
            host.ctl(verb).limit(limit).output();
        }
        bob.ctl("set", &["description=x"]).limit(limit).output();
        host.kill_hostd();
        host.start_hostd();
        assert!(host.names().contains(&"bob".to_owned()), "with {}", path.display());
        let _may_be_replaced = fs::remove_file(&path);
        if was_there {
            fs::rename(&aside, &path).expect("it can be put back");
        }
        host.ctl(&["doctor", "--repair"]).output();
    }
    host.kill_hostd();
    host.start_hostd();
    alice.start();
}

#[test]
fn a_full_disk_and_a_full_run_are_told_as_such() {
    let mut host = Host::bare();
    host.small_disk("64M");
    fs::create_dir_all(host.path("run/tenantry")).expect("a directory");
    let run = host.small_run("1m");
    host.share_images();
    host.start_hostd();
    let alice = host.create("alice", &["--image", "busybox"]);
    let full = |path: &Path| {
        Run::new("dd", ["if=/dev/zero", "bs=4k"]).args([format!("of={}", path.display())]).output()
    };
    let blob = host.path("var/lib/tenantry/blob");
    full(&blob);
    let said = host.ctl(&["create", "bob", "--image", "busybox"]).output().refused(FAILED);
    assert!(said.contains("No space left") && said.contains("free space or inodes"), "{said}");
    let started = alice.ctl("start", &[]).output();
    if !started.status.success() {
        assert!(started.stderr.contains("free space or inodes"), "{}", started.stderr);
        assert!(!started.stderr.contains("check its image"), "{}", started.stderr);
    }
    fs::remove_file(&blob).expect("it can be removed");
    alice.ctl("stop", &[]).ok();
    let blob = run.join("blob");
    full(&blob);
    let said = alice.ctl("start", &[]).output().refused(FAILED);
    assert!(said.contains("No space left") && said.contains("free space or inodes"), "{said}");
    fs::remove_file(&blob).expect("it can be removed");
    alice.start();
    alice.ctl("destroy", &["--force", "--yes"]).ok();
    host.end_hostd();
}

#[test]
fn a_mistyped_key_of_a_file_can_be_removed() {
    let host = Host::start();
    let alice = host.create("alice", &["--image", "busybox"]);
    let file = host.path("etc/tenantry/tenants/alice.toml");
    let text = fs::read_to_string(&file).expect("a file");
    fs::write(&file, format!("memory_mx = \"1G\"\n{text}")).expect("an admin may edit it");
    alice.ctl("start", &[]).output().refused(2);
    alice.ctl("set", &["--unset", "memory_mx"]).ok();
    assert_eq!(fs::read_to_string(&file).expect("a file"), text);
    alice.start();
    let said = alice.ctl("set", &["--unset", "memory_mx"]).output().refused(2);
    assert!(said.contains("memory_max"), "{said}");
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
