//! Completion in the shell: bash(1) itself is asked, with a line as readline hands it over.

use std::time::Duration;

use tenantry_tests::{Host, Run, poll};

/// What bash would offer for a line with the cursor at its end.
fn offered(host: &Host, line: &str) -> Vec<String> {
    // Readline takes the line apart at COMP_WORDBREAKS too; the function goes by the line.
    let script = r#"
        eval "$(tenantctl completions bash)"
        complete -p tenantctl | grep -q _tenantctl
        COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDBREAKS=$' \t\n"\'@><=;|&(:'
        _tenantctl
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let bin = host.program("tenantctl");
    let path = format!("{}:/usr/bin:/bin", bin.parent().expect("a directory").display());
    let run = Run::new("bash", ["-c", script, "bash", line]).env("PATH", path);
    let said = run.env("TENANTRY_ROOT", host.root()).ok();
    assert_eq!(said.stderr, "", "{line}");
    said.stdout.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn names_images_keys_and_values_are_completed() {
    let host = Host::start();
    host.ctl(&["create", "--image", "busybox", "web1", "web2", "db"]).ok();
    for (line, expected) in [
        ("tenantctl start we", &["web1", "web2"][..]),
        ("tenantctl start web1 ", &["db", "web1", "web2"]),
        ("tenantctl poweroff d", &["db"]),
        ("tenantctl shell www@d", &["db"]),
        ("tenantctl logs d", &["db"]),
        ("tenantctl sho", &["show"]),
        ("tenantctl create x --image busy", &["busybox"]),
        ("tenantctl create x --image busybox:", &["stable"]),
        ("tenantctl set db memory_ma", &["memory_max="]),
        ("tenantctl set db autostart=", &["false", "true"]),
        ("tenantctl set db restart=al", &["always"]),
        ("tenantctl create x --profile shared", &["shared-os"]),
        ("tenantctl list --state fro", &["frozen"]),
        ("tenantctl list --sort mem", &["memory"]),
        ("tenantctl kill db --signal HU", &["HUP"]),
        ("tenantctl comple", &[]),
        ("tenantctl lxc", &[]),
    ] {
        let mut found = offered(&host, line);
        found.sort();
        assert_eq!(found, expected, "{line}");
    }
}

#[test]
fn a_completion_is_quick_and_silent_without_hostd() {
    let host = Host::start();
    host.ctl(&["create", "--image", "busybox", "web1"]).ok();
    host.kill_hostd();
    assert_eq!(offered(&host, "tenantctl start w"), ["web1"]);
    assert_eq!(offered(&host, "tenantctl list --label x"), Vec::<String>::new());
    // The best of several: the machine may be busy.
    let complete = || host.ctl(&["complete-words", "tenantctl", "start", "w"]).ok().took;
    let best = poll::until("a completion takes milliseconds", || {
        Some(complete()).filter(|took| *took < Duration::from_millis(50))
    });
    assert!(best < Duration::from_millis(50));
}
