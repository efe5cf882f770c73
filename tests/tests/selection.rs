//! One command for many tenants: names, patterns, filters, what is said of all, and lists as people want them.

use serde_json::Value;
use tenantry_tests::{Host, Output, Terminal};

const NOT_FOUND: i32 = 3;
const REFUSED: i32 = 4;

/// A host with tenants that are not started.
fn host(names: &[&str]) -> Host {
    let host = Host::start();
    host.ctl(&["create", "--image", "busybox"]).args(names).ok();
    host
}

/// The names of those that are in a state.
fn in_state(host: &Host, state: &str) -> Vec<String> {
    lines(&host.ctl(&["list", "-q", "--state", state]).ok())
}

fn lines(said: &Output) -> Vec<String> {
    said.stdout.lines().map(str::to_owned).collect()
}

/// The last line that was printed.
fn last(said: &Output) -> &str {
    said.stdout.lines().last().unwrap_or_default()
}

#[test]
fn a_pattern_and_filters_choose_for_every_verb() {
    let host = host(&["db", "web1", "web2", "web10"]);
    host.ctl(&["create", "--image", "debian", "big"]).ok();
    let started = host.ctl(&["start", "web*"]).ok();
    assert_eq!(last(&started), "3 started", "{}", started.stdout);
    assert_eq!(in_state(&host, "running"), ["web1", "web10", "web2"]);
    for (args, expected) in [
        (&["list", "-q", "web[12]"][..], &["web1", "web2"][..]),
        (&["list", "-q", "web?", "db"], &["db", "web1", "web2"]),
        (&["list", "-q", "--image", "debian"], &["big"]),
        (&["list", "-q", "--state", "stopped"], &["big", "db"]),
        (&["list", "-q", "--running", "web1*"], &["web1", "web10"]),
    ] {
        assert_eq!(lines(&host.ctl(args).ok()), expected, "{args:?}");
    }
    assert_eq!(last(&host.ctl(&["freeze", "--running", "--image", "busybox"]).ok()), "3 frozen");
    assert_eq!(last(&host.ctl(&["thaw", "web1", "web2", "web10"]).ok()), "3 thawed");
    assert_eq!(last(&host.ctl(&["wait", "web*"]).ok()), "3 running");
    let shown = host.ctl(&["--json", "show", "web*"]).ok().json();
    assert_eq!(shown.as_array().map(Vec::len), Some(3), "{shown}");
    let used = host.ctl(&["--json", "stat", "--running"]).ok().json();
    assert_eq!(used.as_array().map(Vec::len), Some(3), "{used}");
    assert_eq!(last(&host.ctl(&["set", "web*", "db", "tasks_max=99"]).ok()), "4 set");
    assert_eq!(host.ctl(&["--json", "stat", "db"]).ok().json()["limits"]["tasks_max"], 99);
    assert_eq!(last(&host.ctl(&["enable", "web*"]).ok()), "3 enabled");
    assert_eq!(last(&host.ctl(&["disable", "web*"]).ok()), "3 disabled");
    assert_eq!(last(&host.ctl(&["disable", "web*"]).ok()), "3 unchanged");
    assert_eq!(last(&host.ctl(&["reboot", "web1", "web2"]).ok()), "2 restarted");
    assert_eq!(last(&host.ctl(&["kill", "web1", "-9"]).args(["web2"]).ok()), "2 signalled");
    assert_eq!(last(&host.ctl(&["wait", "web1", "web2", "--for", "stopped"]).ok()), "2 stopped");
    assert_eq!(last(&host.ctl(&["poweroff", "web*", "--timeout", "5"]).ok()), "1 stopped, 2 unchanged");
    assert_eq!(
        last(&host.ctl(&["rm", "--image", "busybox", "--image", "debian", "--yes"]).ok()),
        "5 destroyed"
    );
    assert_eq!(host.names(), Vec::<String>::new());
}

#[test]
fn a_selection_without_tenants_is_said_and_changes_nothing() {
    let host = host(&["web1"]);
    for args in [
        &["start", "zz*"][..],
        &["start", "web1", "zz*"],
        &["stop", "--running"],
        &["destroy", "--yes", "--image", "debian"],
        &["show", "--state", "frozen"],
        &["list", "zz*"],
        &["list", "web1", "ghost"],
    ] {
        host.ctl(args).output().refused(NOT_FOUND);
    }
    assert_eq!(in_state(&host, "stopped"), ["web1"]);
    for args in [&["start"][..], &["set", "web1"], &["set", "ttys=2"], &["start", "--all", "web1"]] {
        assert_eq!(host.ctl(args).output().code(), 2, "{args:?}");
    }
    // A filter that lets no tenant pass is an answer of a list.
    assert_eq!(host.ctl(&["list", "-q", "--running"]).ok().stdout, "");
    host.ctl(&["rm", "web1", "-y"]).ok();
    host.ctl(&["start", "--all"]).output().refused(NOT_FOUND);
}

#[test]
fn each_failure_is_named_and_the_worst_is_the_exit_code() {
    let host = host(&["a", "b", "c"]);
    host.ctl(&["start", "b"]).ok();
    let said = host.ctl(&["start", "a", "ghost", "b"]).output();
    assert_eq!(said.code(), NOT_FOUND, "{}", said.stderr);
    assert_eq!(last(&said), "1 started, 1 failed (ghost), 1 unchanged");
    assert!(said.stderr.contains("\"ghost\""), "{}", said.stderr);
    let said = host.ctl(&["freeze", "c", "ghost"]).output();
    assert_eq!(said.code(), REFUSED, "{}", said.stderr);
    assert_eq!(last(&said), "0 frozen, 2 failed (c, ghost)");
    assert!(said.stderr.contains("\"c\"") && said.stderr.contains("\"ghost\""), "{}", said.stderr);
}

#[test]
fn a_list_is_a_list_and_its_elements_are_what_one_answers() {
    let host = host(&["a", "b"]);
    let one = host.ctl(&["--json", "start", "a"]).ok().json();
    assert_eq!((&one["name"], &one["result"]), (&"a".into(), &"created".into()), "{one}");
    let many = host.ctl(&["--json", "start", "a", "b", "ghost"]).output().json();
    let results: Vec<(&Value, &Value, bool)> = many
        .as_array()
        .map(|list| list.iter().map(|one| (&one["name"], &one["result"], one["error"].is_object())).collect())
        .unwrap_or_default();
    assert_eq!(
        results,
        [
            (&"a".into(), &"unchanged".into(), false),
            (&"b".into(), &"created".into(), false),
            (&"ghost".into(), &Value::Null, true),
        ]
    );
    // A pattern is answered by a list, also where one tenant matches.
    for verb in ["show", "stat", "list", "status", "ps", "logs", "stop"] {
        let said = host.ctl(&["--json", verb, "a*"]).ok().json();
        assert!(said.is_array(), "{verb}: {said}");
    }
    for verb in ["show", "stat", "status", "start"] {
        let said = host.ctl(&["--json", verb, "b"]).ok().json();
        assert_eq!(said["name"], "b", "{verb}: {said}");
    }
}

#[test]
fn a_question_before_a_removal_lists_what_it_would_take() {
    let host = host(&["web1", "web2", "db"]);
    let said = host.ctl(&["destroy", "web*"]).output();
    assert_eq!(said.code(), 2, "{}", said.stderr);
    assert!(said.stderr.contains("--yes"), "{}", said.stderr);
    let mut terminal = Terminal::open(&host.ctl(&["destroy", "web*"]));
    terminal.expect("web1");
    terminal.expect("web2");
    terminal.expect("Destroy 2 tenants and all data? [y/N]");
    terminal.type_in("n\r");
    assert_eq!(terminal.ended(), 1);
    assert_eq!(host.names(), ["db", "web1", "web2"]);
    let mut terminal = Terminal::open(&host.ctl(&["destroy", "web*"]));
    terminal.expect("[y/N]");
    terminal.type_in("y\r");
    assert_eq!(terminal.ended(), 0);
    assert_eq!(host.names(), ["db"]);
}

#[test]
fn a_list_has_the_columns_the_order_and_the_form_asked_for() {
    let host = host(&["web10", "web2", "db"]);
    host.ctl(&["start", "web2"]).ok();
    let said = host.ctl(&["list", "-o", "state,name", "--sort", "name", "--no-header"]).ok();
    let rows: Vec<Vec<&str>> = said.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [["stopped", "db"], ["running", "web2"], ["stopped", "web10"]]);
    assert_eq!(lines(&host.ctl(&["ls", "-q", "--sort", "memory"]).ok())[0], "web2");
    assert_eq!(lines(&host.ctl(&["ls", "-q", "--sort", "name", "-r"]).ok()), ["web10", "web2", "db"]);
    let wide = host.ctl(&["list", "--wide"]).ok().stdout;
    assert!(wide.starts_with("NAME") && wide.contains("IPV6") && wide.contains("KIND"), "{wide}");
    let said = host.ctl(&["list", "--sort", "nonsense"]).output();
    assert_eq!(said.code(), 2);
    assert!(said.stderr.contains("memory"), "the columns are named: {}", said.stderr);
}

#[test]
fn status_ends_as_that_of_systemctl_does() {
    let host = host(&["a", "b"]);
    host.ctl(&["start", "a"]).ok();
    let up = host.ctl(&["status", "a"]).ok().stdout;
    assert!(up.contains("● a") && up.contains("running for") && up.contains("busybox@"), "{up}");
    assert_eq!(host.ctl(&["status", "b"]).output().code(), 3);
    assert_eq!(host.ctl(&["status", "a", "b"]).output().code(), 3);
    assert_eq!(host.ctl(&["status", "ghost"]).output().code(), 4);
    assert_eq!(host.ctl(&["status", "zz*"]).output().code(), 4);
    let of_host = host.ctl(&["status"]).ok().stdout;
    assert!(of_host.contains("1 running, 1 stopped"), "{of_host}");
    assert_eq!(host.ctl(&["--json", "status"]).ok().json()["states"]["running"], 1);
}

#[test]
fn verbs_are_taken_as_people_type_them() {
    let host = host(&["a"]);
    host.ctl(&["start", "a"]).ok();
    // Of a running tenant the figures differ from one moment to the next.
    let identity = |verb: &str| {
        let shown = host.ctl(&[verb, "a"]).ok().stdout;
        shown.lines().take_while(|line| !line.starts_with("image")).map(str::to_owned).collect::<Vec<_>>()
    };
    let shown = identity("show");
    assert!(shown.len() > 4, "{shown:?}");
    assert_eq!(identity("info"), shown);
    assert_eq!(host.ctl(&["shell", "a", "--", "id", "-u"]).ok().text(), "0");
    assert_eq!(host.ctl(&["shell", "root@a", "--", "echo", "a b"]).ok().text(), "a b");
    assert_eq!(host.ctl(&["exec", "-i", "a", "cat"]).stdin("in").ok().text(), "in");
    let mut terminal = Terminal::open(&host.ctl(&["exec", "-it", "a", "tty"]));
    terminal.expect("/dev/pts/");
    assert_eq!(terminal.ended(), 0);
    let help = host.ctl(&["--help"]).ok().stdout;
    for other in ["rm", "info", "ls", "poweroff", "reboot"] {
        assert!(help.contains(&format!("alias: {other}]")), "{other}: {help}");
    }
}

#[test]
fn processes_are_shown_with_their_ids_on_both_sides() {
    let host = host(&["a", "b"]);
    host.ctl(&["start", "a"]).ok();
    let tenant = tenantry_tests::Tenant::new(&host, "a");
    let processes = host.ctl(&["--json", "ps", "a"]).ok().json();
    let (init, _) = tenant.pids();
    assert_eq!((&processes[0]["inside"], &processes[0]["pid"]), (&1.into(), &init.into()), "{processes}");
    assert_eq!(processes[0]["uid"], 0, "{processes}");
    let table = host.ctl(&["ps", "a", "b"]).ok().stdout;
    assert!(table.starts_with("TENANT") && !table.contains("\nb "), "{table}");
    host.ctl(&["ps", "b"]).output().refused(REFUSED);
}
