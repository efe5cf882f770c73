//! The command line: what it refuses and how, and programs run inside.

use std::{fs, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tenantry_tests::{Host, Run, Terminal, poll};

/// Exit codes.
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const REFUSED: i32 = 4;

#[test]
fn bad_input_is_refused_with_a_remedy_and_changes_nothing() {
    let host = Host::start();
    host.create("alice", &["--image", "busybox"]);
    host.boot("runs", &["--image", "busybox"]);
    let long = "x".repeat(200);
    // What is asked, how it is refused, and a word of the answer.
    let table: &[(&[&str], i32, &str)] = &[
        (&["create", "Alice"], USAGE, "name"),
        (&["create", "../x"], USAGE, "name"),
        (&["create", "a b"], USAGE, "name"),
        (&["create", "a\nb"], USAGE, "name"),
        (&["create", "a/b"], USAGE, "name"),
        (&["create", "."], USAGE, "name"),
        (&["create", ""], USAGE, "name"),
        (&["create", &long], USAGE, "name"),
        (&["create", "new", "--image", "nothing"], NOT_FOUND, "nothing"),
        (&["create", "new", "--image", "busybox:nowhere"], NOT_FOUND, "nowhere"),
        (&["create", "new", "--image", "busybox@sha256:0123456789"], NOT_FOUND, "0123456789"),
        (&["create", "new", "--image", "Bad Image"], USAGE, "image"),
        (&["create", "new", "--profile", "nothing"], NOT_FOUND, "nothing"),
        (&["create", "new", "--image", "busybox", "--set", "memory_mx=1G"], USAGE, "memory_max"),
        (&["create", "new", "--image", "busybox", "--set", "memory_max=lots"], USAGE, "lots"),
        (&["create", "new", "--image", "busybox", "--set", "hostname=-x"], USAGE, "hostname"),
        (&["create", "new", "--image", "busybox", "--set", "init=[\"sh\"]"], USAGE, "init"),
        (&["create", "new", "--image", "busybox", "--set", "nonsense"], USAGE, "key=value"),
        (&["create", "new", "--image", "busybox", "--set", "ttys=64"], USAGE, "ttys"),
        (&["create", "alice", "--image", "busybox", "--set", "ttys=2"], REFUSED, "alice"),
        (&["set", "alice", "no_such_key=1"], USAGE, "no_such_key"),
        (&["set", "alice", "stop_timeout_sec=0"], USAGE, "stop_timeout_sec"),
        (&["set", "nobody", "ttys=2"], NOT_FOUND, "nobody"),
        (&["start", "nobody"], NOT_FOUND, "nobody"),
        (&["stop", "nobody"], NOT_FOUND, "nobody"),
        (&["show", "nobody"], NOT_FOUND, "nobody"),
        (&["exec", "nobody", "--", "true"], NOT_FOUND, "nobody"),
        (&["console", "nobody"], NOT_FOUND, "nobody"),
        (&["destroy", "nobody", "--yes"], NOT_FOUND, "nobody"),
        (&["destroy", "runs", "--yes"], REFUSED, "runs"),
        (&["exec", "alice", "--", "true"], REFUSED, "alice"),
        (&["freeze", "alice"], REFUSED, "alice"),
        (&["kill", "alice"], REFUSED, "alice"),
        (&["kill", "runs", "--signal", "SIGNOTHING"], USAGE, "SIGNOTHING"),
    ];
    let look = || {
        let list = host.names();
        let find = ["var/lib/tenantry/tenants", "etc/tenantry"].map(|dir| host.path(dir));
        (list, Run::new("find", find).args(["-maxdepth", "3"]).ok().stdout)
    };
    let before = look();
    let mut faults = Vec::new();
    for (args, code, word) in table {
        let said = host.ctl(args).output();
        let stderr = &said.stderr;
        // The parser of the command line has its own form of help.
        let helps = stderr.contains("help:") || stderr.contains("--help") || stderr.contains("Usage:");
        if said.code() != *code || !stderr.contains("error") || !helps || !stderr.contains(word) {
            faults
                .push(format!("{args:?}: exit code {} instead of {code}, or no help: {stderr}", said.code()));
        }
        if look() != before {
            faults.push(format!("{args:?} changed something"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_typing_error_in_a_file_is_named_with_the_nearest_key() {
    let host = Host::start();
    let alice = host.create("alice", &["--image", "busybox"]);
    let path = host.path("etc/tenantry/tenants/alice.toml");
    let text = fs::read_to_string(&path).expect("a tenant has a file");
    fs::write(&path, format!("memory_mx = \"1G\"\n{text}")).expect("an admin may edit it");
    let said = alice.ctl("start", &[]).output();
    assert_ne!(said.code(), 0);
    assert!(said.stderr.contains("memory_max") && said.stderr.contains("help:"), "{}", said.stderr);
    fs::write(&path, text).expect("an admin may edit it");
    alice.start();
}

#[test]
fn an_image_in_use_is_not_removed() {
    let mut host = Host::bare();
    host.tool("rootfsctl", &["build", "busybox"]).ok();
    host.start_hostd();
    let alice = host.create("alice", &["--image", "busybox"]);
    let said = host.tool("rootfsctl", &["rm", "busybox", "--channels"]).output().refused(REFUSED);
    assert!(said.contains("alice"), "{said}");
    alice.start();
    alice.ctl("destroy", &["--force", "--yes"]).ok();
    host.tool("rootfsctl", &["rm", "busybox", "--channels"]).ok();
    let _still_here = &mut host;
}

#[test]
fn a_pool_that_is_used_up_is_named() {
    let host = Host::bare();
    host.tool("rootfsctl", &["build", "busybox"]).ok();
    fs::create_dir_all(host.path("etc/tenantry")).expect("a directory");
    for (name, settings, word) in
        [("uids", "uid_ranges = 2\n", "uid"), ("addresses", "pool4 = \"10.9.0.0/30\"\n", "pool4")]
    {
        fs::write(host.path("etc/tenantry/hostd.toml"), settings).expect("the settings can be written");
        host.start_hostd();
        host.create("one", &["--image", "busybox"]);
        host.create("two", &["--image", "busybox"]);
        let said = host.ctl(&["create", "three", "--image", "busybox"]).output().refused(REFUSED);
        assert!(said.contains(word), "{name}: {said}");
        assert_eq!(host.names(), ["one", "two"]);
        for tenant in ["one", "two"] {
            host.ctl(&["destroy", tenant, "--yes"]).ok();
        }
        host.kill_hostd();
    }
}

#[test]
fn hostd_that_is_not_there_is_named() {
    let host = Host::bare();
    let said = host.ctl(&["list"]).output().refused(FAILED);
    assert!(said.contains("hostd"), "{said}");
}

#[test]
fn a_second_hostd_is_refused() {
    let host = Host::start();
    let said = host.tool("hostd", &[]).limit(Duration::from_secs(10)).output();
    assert_ne!(said.code(), 0);
    assert!(said.stderr.contains("help:"), "{}", said.stderr);
    assert_eq!(host.names(), Vec::<String>::new());
}

#[test]
fn only_root_may_give_orders() {
    let host = Host::start();
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let ctl = host.program("tenantctl");
    let run = Run::new("setpriv", nobody).args([ctl.as_os_str()]).args(["list"]);
    let said = run.env("TENANTRY_ROOT", host.root()).output();
    assert_ne!(said.code(), 0, "{}", said.stdout);
}

#[test]
fn exec_passes_on_exit_codes_and_signals() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    for code in [0, 1, 7, 255] {
        assert_eq!(alice.shell(&format!("exit {code}")).output().code(), code);
    }
    assert_eq!(alice.shell("kill -TERM $$").output().code(), 128 + 15);
    assert_eq!(alice.shell("kill -KILL $$").output().code(), 128 + 9);
    assert_eq!(alice.exec(&["/bin/no-such-program"]).output().code(), 127);
    assert_eq!(alice.exec(&["/etc/passwd"]).output().code(), 126);
}

#[test]
fn exec_keeps_the_streams_apart_and_every_byte() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let said = alice.shell("echo out; echo err >&2").ok();
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("out\n", "err\n"));
    let bytes: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let sum = alice.shell("sha256sum").stdin(bytes.clone()).ok();
    let own = Run::new("sha256sum", [""; 0]).stdin(bytes).ok();
    assert_eq!(sum.stdout, own.stdout);
}

#[test]
fn exec_hands_signals_to_the_program() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let script = "trap 'echo told > /run/told; exit 9' TERM; echo > /run/ready; while :; do sleep 0.05; done";
    let mut client = alice.shell(script).spawn();
    poll::until_true("the program runs", || alice.shell("test -e /run/ready").output().code() == 0);
    let pid = i32::try_from(client.id()).expect("a pid");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("the client runs");
    let status = poll::until("the client ends", || client.try_wait().expect("a child"));
    assert_eq!(status.code(), Some(9));
    assert_eq!(alice.says("cat /run/told"), "told");
}

#[test]
fn exec_on_a_terminal_gives_the_program_a_terminal_inside() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let mut terminal = Terminal::open(&alice.exec(&["/bin/sh", "-c", "tty; stty size; ps; read x; exit 5"]));
    terminal.expect("/dev/pts/");
    terminal.expect("24 80");
    terminal.type_in("\r");
    assert_eq!(terminal.ended(), 5);
}

#[test]
fn a_shell_is_one_of_the_tenant() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let mut terminal = Terminal::open(&alice.ctl("shell", &[]));
    terminal.type_until("hostname\r", "alice");
    terminal.type_in("exit 3\r");
    assert_eq!(terminal.ended(), 3);
}

#[test]
fn many_programs_run_inside_at_once() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    std::thread::scope(|scope| {
        for number in 0..16 {
            let alice = &alice;
            scope.spawn(move || assert_eq!(alice.says(&format!("echo {number}")), number.to_string()));
        }
    });
}

#[test]
fn every_answer_can_be_had_as_json() {
    let host = Host::start();
    host.boot("alice", &["--image", "busybox"]);
    for args in [
        &["--json", "list"][..],
        &["--json", "show", "alice"],
        &["--json", "stat", "alice"],
        &["--json", "plan", "alice"],
        &["--json", "stop", "alice"],
        &["--json", "start", "alice"],
        &["--json", "set", "alice", "ttys=2"],
    ] {
        host.ctl(args).ok().json();
    }
    let said = host.ctl(&["--json", "show", "nobody"]).output();
    assert_eq!(said.code(), NOT_FOUND);
}

#[test]
fn a_plan_can_be_read_before_the_start() {
    let host = Host::start();
    let alice = host.create("alice", &["--image", "busybox"]);
    let plan = alice.ctl("plan", &[]).ok().stdout;
    assert!(plan.contains("/usr") && plan.contains("payload"), "{plan}");
    assert_eq!(alice.phase(), "stopped");
}

#[test]
fn wait_returns_when_the_tenant_is_in_the_state() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let mut waiting = alice.ctl("wait", &["--for", "stopped"]).spawn();
    alice.stop();
    let status = poll::until("wait returns", || waiting.try_wait().expect("a child"));
    assert!(status.success());
}

#[test]
fn nothing_is_coloured_in_a_pipe() {
    let host = Host::start();
    host.boot("alice", &["--image", "busybox"]);
    for args in
        [&["list"][..], &["show", "alice"], &["stat", "alice"], &["plan", "alice"], &["show", "nobody"]]
    {
        let said = host.ctl(args).output();
        assert!(!said.stdout.contains('\u{1b}') && !said.stderr.contains('\u{1b}'), "{args:?}");
    }
}

#[test]
fn what_a_tenant_prints_cannot_steer_the_terminal() {
    let host = Host::start();
    let rude = r#"init=["/bin/sh","-c","printf '\\033]0;owned\\007\\033[2J last words\\n'; exit 1"]"#;
    let rude = host.create("rude", &["--image", "busybox", "--set", rude, "--set", "ready=notify"]);
    let said = rude.ctl("start", &[]).output().refused(FAILED);
    assert!(said.contains("last words"), "{said}");
    assert!(!said.contains('\u{1b}') && !said.contains('\u{7}'), "{said:?}");
    // Nor can what other programs are told: the one layer does not rely on the other.
    let state = rude.run_state().to_string();
    assert!(
        state.contains("last words") && !state.contains("\\u001b") && !state.contains("\\u0007"),
        "{state}"
    );
}

#[test]
fn programs_without_root_say_so() {
    let host = Host::bare();
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    for (name, args) in [("hostd", &[][..]), ("rootfsctl", &["build", "busybox"][..])] {
        let program = host.program(name);
        let run = Run::new("setpriv", nobody).args([program.as_os_str()]).args(args);
        let said = run.env("TENANTRY_ROOT", host.root()).limit(Duration::from_secs(10)).output();
        assert_ne!(said.code(), 0, "{name}");
        assert!(said.stderr.contains("root") && said.stderr.contains("help:"), "{name}: {}", said.stderr);
    }
}
