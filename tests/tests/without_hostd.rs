//! What an admin can find out while hostd is not running.

use tenantry_tests::{Host, Run, Terminal, poll};

const FAILED: i32 = 1;

/// A tenant whose console prints a line now and then.
const TALKS: &str = r#"init=["/bin/sh","-c","n=0; while :; do n=$((n+1)); echo line $n; sleep 0.1; done"]"#;

#[test]
fn logs_are_read_and_followed() {
    let host = Host::start();
    host.ctl(&["create", "--image", "busybox", "--set", TALKS, "--set", "ready=exec", "--start", "a", "b"])
        .ok();
    let log = |args: &[&str]| host.ctl(&["logs"]).args(args).ok().stdout;
    poll::until_true("both have printed", || ["a", "b"].iter().all(|name| log(&[name]).contains("line 3")));
    host.kill_hostd();
    assert!(log(&["a", "--tail", "2"]).lines().count() == 2);
    let both = log(&["*", "-n", "3"]);
    assert!(both.contains("a: line") && both.contains("b: line"), "{both}");
    host.ctl(&["logs", "ghost"]).output().refused(3);
    let mut terminal = Terminal::open(&host.ctl(&["logs", "-f", "-n", "1", "a", "b"]));
    for _ in 0..3 {
        terminal.expect("a: line");
        terminal.expect("b: line");
    }
    // The same command goes on with hostd.
    host.start_hostd();
    for _ in 0..3 {
        terminal.expect("a: line");
    }
    drop(terminal);
    let json = host.ctl(&["--json", "logs", "a", "-n", "1"]).ok().json();
    assert_eq!((&json["name"], json["lines"].as_array().map(Vec::len)), (&"a".into(), Some(1)), "{json}");
}

#[test]
fn doctor_names_it_first_with_the_remedy() {
    let host = Host::start();
    host.ctl(&["create", "--image", "busybox", "--start", "a"]).ok();
    host.kill_hostd();
    let said = host.ctl(&["doctor"]).output();
    assert_eq!(said.code(), FAILED);
    let first: Vec<&str> = said.stdout.lines().take(2).collect();
    assert!(first[0].starts_with("fault") && first[0].contains("hostd"), "{}", said.stdout);
    assert!(first[1].contains("help: start it"), "{}", said.stdout);
    assert!(said.stdout.contains("1 of them running without hostd"), "{}", said.stdout);
    host.configure("nonsense = 1\n");
    let findings = host.ctl(&["--json", "doctor"]).output().json();
    let settings =
        findings["findings"].as_array().and_then(|all| all.iter().find(|one| one["check"] == "settings"));
    let settings = settings.unwrap_or_else(|| panic!("{findings}"));
    assert_eq!(settings["health"], "fault", "{findings}");
    assert!(settings["message"].as_str().is_some_and(|text| text.contains("nonsense")), "{findings}");
}

#[test]
fn users_without_rights_are_told_that_hostd_is_missing() {
    let host = Host::start();
    host.ctl(&["create", "--image", "busybox", "a"]).ok();
    host.kill_hostd();
    let unprivileged = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let ctl = host.program("tenantctl");
    let run = Run::new("setpriv", unprivileged).args([ctl.as_os_str()]).args(["logs", "a"]);
    run.env("TENANTRY_ROOT", host.root()).output().refused(FAILED);
}
