//! `tenantctl top` on a terminal and for scripts.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};

use serde_json::Value;
use tenantry_tests::{Host, Run, Terminal, poll};

/// What shows that the screen was left as it was found: the cursor, and the first screen.
const LEFT: &str = "\u{1b}[?25h\u{1b}[?1049l";

#[test]
fn it_fits_the_terminal_sorts_and_leaves_it_clean() {
    let host = Host::start();
    host.ctl(&["create", "--image", "busybox", "--start", "web1", "web2"]).ok();
    for end in ["q", "\u{3}"] {
        // The shell says afterwards what the terminal is like.
        let program = host.program("tenantctl");
        let script = "before=$(stty -g); \"$0\" top -d 0.1; code=$?; [ \"$(stty -g)\" = \"$before\" ] && echo same=$code";
        let run =
            Run::new("sh", ["-c", script]).args([program.as_os_str()]).env("TENANTRY_ROOT", host.root());
        let mut terminal = Terminal::open(&run);
        terminal.expect("\u{1b}[?1049h");
        terminal.expect("host: cpu");
        terminal.expect("2 tenants: 2 running; by cpu");
        terminal.expect("web1");
        terminal.type_in("n");
        terminal.expect("by name");
        terminal.type_in("m");
        terminal.expect("by memory");
        terminal.type_in(end);
        terminal.expect(LEFT);
        terminal.expect("same=0");
        let shown = terminal.shown().replace("\u{1b}[H", "\r\n").replace(LEFT, "\r\n");
        for line in shown.split("\r\n") {
            let codes = ["\u{1b}[K", "\u{1b}[J", "\u{1b}[7m", "\u{1b}[0m", "\u{1b}[?1049h\u{1b}[?25l"];
            let text = codes.iter().fold(line.to_owned(), |text, code| text.replace(code, ""));
            assert!(text.chars().count() <= 80, "wider than the terminal: {line:?}");
        }
    }
}

#[test]
fn it_follows_the_size_of_the_terminal() {
    let host = Host::start();
    host.ctl(&["create", "--image", "busybox", "--start", "web1"]).ok();
    let program = host.program("tenantctl");
    let narrow =
        Run::new("sh", ["-c", "stty cols 30 rows 10; exec \"$0\" top -d 0.1"]).args([program.as_os_str()]);
    let mut terminal = Terminal::open(&narrow.env("TENANTRY_ROOT", host.root()));
    terminal.expect("web1");
    assert!(!terminal.shown().contains("WRITE/s"), "{:?}", terminal.shown());
    terminal.resize(24, 120);
    terminal.expect("WRITE/s");
    terminal.type_in("q");
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn scripts_get_tables_and_lists() {
    let host = Host::start();
    host.ctl(&["create", "--image", "busybox", "--start", "web1", "db"]).ok();
    let said = host.ctl(&["top", "--batch", "-n", "2", "-d", "0.1", "web*"]).ok().stdout;
    assert_eq!(said.matches("host: cpu").count(), 2, "{said}");
    assert!(said.contains("web1") && !said.contains("db ") && !said.contains('\u{1b}'), "{said}");
    let load = host.ctl(&["--json", "top", "-n", "1", "--sort", "name"]).ok().json();
    let names: Vec<_> = load.as_array().expect("a list").iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["db", "web1"]);
    assert!(load[0]["cpu_percent"].is_number() && load[0]["usage"]["memory_bytes"].is_number(), "{load}");
}

/// What hostd answers at a path.
fn get(host: &Host, path: &str) -> Value {
    let mut stream =
        UnixStream::connect(host.path("run/tenantry/hostd.sock")).expect("hostd takes connections");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: hostd\r\nconnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (_, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// Whether two amounts differ by 2 % at most, or by what the kernel charges in advance on each processor.
fn is_about(one: u64, other: u64) -> bool {
    one.abs_diff(other) <= one.max(other) / 50 + (1 << 20)
}

#[test]
fn memory_has_its_owners_and_tenants_and_host_are_all_that_is_used() {
    let host = Host::start();
    let tenants = ["one", "two"].map(|name| host.boot(name, &[]));
    let stats = || {
        let stats = get(&host, "/v1/stat");
        let memory = |at: usize| stats["tenants"][at]["usage"]["memory"].clone();
        ([memory(0), memory(1)], stats)
    };
    let bytes = |memory: &Value, key: &str| memory[key].as_u64().unwrap_or_else(|| panic!("{key}: {memory}"));
    let (before, _) = stats();
    tenants[0].says("head -c 20M /dev/zero > /dev/shm/held; head -c 30M /dev/zero > /var/tmp/own");
    let (after, said) = stats();
    let grown =
        |key: &str| [0, 1].map(|at| bytes(&after[at], key).saturating_sub(bytes(&before[at], key)) >> 20);
    assert!(grown("shmem_bytes")[0] >= 19 && grown("private_bytes")[0] >= 19, "{said}");
    assert!(grown("cache_bytes")[0] >= 29, "{said}");
    assert!(grown("shmem_bytes")[1] + grown("cache_bytes")[1] < 5, "it is another tenant's: {said}");
    for (at, memory) in after.iter().enumerate() {
        let parts = ["anonymous_bytes", "shmem_bytes", "kernel_bytes"].map(|key| bytes(memory, key));
        assert_eq!(parts.iter().sum::<u64>(), bytes(memory, "private_bytes"), "{memory}");
        let usage = &said["tenants"][at]["usage"];
        let all = bytes(memory, "private_bytes") + bytes(memory, "cache_bytes");
        assert!(is_about(all, bytes(usage, "memory_bytes")), "{usage}");
    }
    // Both run the same systemd of one image, whoever of them or of the host has read it first.
    assert!(after.iter().any(|memory| bytes(memory, "shared_bytes") > 1 << 20), "{said}");
    let of_host = |key: &str| bytes(&said["host"], key);
    assert!(is_about(of_host("tenants_bytes") + of_host("host_bytes"), of_host("used_bytes")), "{said}");
    let charged: u64 = (0..2).map(|at| bytes(&said["tenants"][at]["usage"], "memory_bytes")).sum();
    assert!(is_about(charged, of_host("tenants_bytes")), "{said}");
    let table = host.ctl(&["stat"]).ok().stdout;
    assert!(table.contains("PRIVATE") && table.contains("saved by sharing"), "{table}");
    let list =
        host.ctl(&["list", "-o", "name,private,shared", "--sort", "private", "--no-header"]).ok().stdout;
    assert!(list.starts_with("one"), "it has 20 MiB more: {list}");
}

#[test]
fn a_host_that_does_not_account_memory_says_nothing_of_its_owners() {
    let mut host = Host::bare();
    host.share_images();
    host.start_hostd_without_controller("memory");
    host.ctl(&["create", "--image", "busybox", "web"]).ok();
    host.ctl(&["start", "--allow-unenforced", "web"]).ok();
    let said = get(&host, "/v1/stat");
    assert_eq!(said["tenants"][0]["state"], "running", "{said}");
    assert_eq!(
        (&said["tenants"][0]["usage"]["memory"], &said["host"]["host_bytes"]),
        (&Value::Null, &Value::Null)
    );
    assert!(said["host"]["used_bytes"].is_u64(), "{said}");
    assert!(!host.ctl(&["stat"]).ok().stdout.contains("saved by sharing"));
}

#[test]
fn traffic_is_counted_without_running_nft() {
    let host = Host::start();
    host.boot("web", &["--image", "busybox"]);
    let sent = || get(&host, "/v1/stat")["tenants"][0]["traffic"]["sent_bytes"].as_u64().unwrap_or(0);
    // Its interface tells its neighbours of itself.
    poll::until_true("the tenant has sent something", || sent() > 0);
    let before = sent();
    host.kill_hostd();
    let nft = Run::new("sh", ["-c", "command -v nft || echo /usr/sbin/nft"]).output().text().to_owned();
    host.start_hostd_without(&nft);
    assert!(sent() >= before, "{before} bytes, and {} without nft", sent());
}
