//! Consoles: a prompt, and everything it survives.

use std::{fs, os::unix::fs::PermissionsExt as _};

use tenantry_tests::{Host, Tenant, Terminal, poll};

/// What detaches: Ctrl-], as in telnet(1).
const DETACH: &str = "\u{1d}";

fn log_in(terminal: &mut Terminal) {
    terminal.type_until("\r", "login:");
    terminal.type_in("root\r");
    terminal.type_until("\r", "alice:~#");
}

/// The first tty, with root logged in.
fn session(alice: &Tenant<'_>) -> Terminal {
    let mut terminal = alice.console(&["-t", "1"]);
    log_in(&mut terminal);
    terminal
}

#[test]
fn a_tty_that_somebody_attaches_to_has_a_login_prompt() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let mut terminal = session(&alice);
    terminal.type_in("tty; hostname\r");
    terminal.expect("/dev/");
    terminal.expect("alice");
}

#[test]
fn a_session_survives_detaching() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let mut terminal = session(&alice);
    terminal.type_in("mark=kept-$((40+2))\r");
    terminal.expect("#");
    terminal.type_in(DETACH);
    assert_eq!(terminal.ended(), 0);
    let mut again = alice.console(&["-t", "1"]);
    again.type_until("echo $mark\r", "kept-42");
}

#[test]
fn a_session_survives_the_end_of_hostd() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let mut terminal = session(&alice);
    terminal.type_in("mark=kept-$((40+2))\r");
    terminal.expect("#");
    host.kill_hostd();
    host.start_hostd();
    // The same client, or a new one where the way led through hostd.
    let mut again = alice.console(&["-t", "1"]);
    again.type_until("echo $mark\r", "kept-42");
}

#[test]
fn a_reboot_from_the_console_brings_the_prompt_back_to_the_same_terminal() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let mut terminal = session(&alice);
    terminal.type_in("systemctl reboot\r");
    poll::until_true("alice boots again", || {
        let state = alice.run_state();
        state["phase"] == "running" && state["boots"] == 2
    });
    log_in(&mut terminal);
    terminal.type_in("echo boot-$((1+1))\r");
    terminal.expect("boot-2");
}

#[test]
fn a_poweroff_from_the_console_ends_the_tenant_and_the_client() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let mut terminal = session(&alice);
    terminal.type_in("systemctl poweroff\r");
    terminal.ended();
    alice.awaits("stopped");
}

#[test]
fn two_viewers_see_the_same() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let mut one = alice.console(&["-t", "1"]);
    one.type_until("\r", "login");
    let mut other = alice.console(&["-t", "1"]);
    one.type_in("seen-by-both");
    other.expect("seen-by-both");
}

#[test]
fn what_the_console_printed_is_shown_on_attach_and_by_logs() {
    let host = Host::start();
    let init = r#"init=["/bin/sh","-c","echo printed-at-boot; exec sleep 1000"]"#;
    let alice = host.boot("alice", &["--image", "busybox", "--set", init]);
    alice.console(&[]).expect("printed-at-boot");
    poll::until_true("the log has it", || alice.ctl("logs", &[]).ok().stdout.contains("printed-at-boot"));
}

#[test]
fn a_tenant_that_writes_without_end_fills_no_disk() {
    let host = Host::start();
    // It says when it has printed much more than its log holds, and goes on.
    let words = "yes xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    let init = format!(r#"init=["/bin/sh","-c","{words} | head -c 1000000; : > /run/printed; {words}"]"#);
    let loud = host.boot("loud", &["--image", "busybox", "--set", &init, "--set", "console_log=64K"]);
    let mut most = 0;
    poll::until_true("it has printed a million bytes", || {
        most = most.max(size(&host));
        loud.shell("test -e /run/printed").output().code() == 0
    });
    most = most.max(size(&host));
    assert!(most > 32 << 10 && most <= 64 << 10, "{most} bytes of log");
    assert_eq!(loud.phase(), "running");
}

fn size(host: &Host) -> u64 {
    let files = std::fs::read_dir(host.path("var/lib/tenantry/tenants/loud/log")).expect("a log directory");
    files.flatten().filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

#[test]
fn a_terminal_that_the_tenant_does_not_have_has_no_log() {
    let host = Host::start();
    let alice = host.create("alice", &["--set", "ttys=2"]);
    let said = alice.ctl("logs", &["-t", "33"]).output().refused(3);
    assert!(said.contains("has no tty33") && said.contains("tty1 to tty2"), "{said}");
    alice.ctl("logs", &["-t", "2"]).ok();
}

#[test]
fn ctrl_c_is_for_the_editor_and_does_not_leave_it_alone() {
    let host = Host::start();
    let alice = host.create("alice", &[]);
    let editor = "#!/bin/sh\ntrap 'echo memory_max = 123456789 >> $1; echo caught; exit 0' INT\necho editing\nwhile :; do sleep 0.1; done\n";
    fs::write(host.path("editor"), editor).expect("the editor can be written");
    // An env(1) that knows no more than POSIX asks for.
    let tools = host.path("tools");
    fs::create_dir(&tools).expect("a directory");
    fs::write(
        tools.join("env"),
        "#!/bin/sh\ncase $1 in -*) echo unknown >&2; exit 125;; esac\nexec \"$@\"\n",
    )
    .expect("env can be written");
    fs::set_permissions(tools.join("env"), fs::Permissions::from_mode(0o755)).expect("its mode");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
    let edit = alice.ctl("edit", &[]).env("EDITOR", format!("sh {}", host.path("editor").display()));
    let edit = edit.env("PATH", path);
    let mut terminal = Terminal::open(&edit);
    terminal.expect("editing");
    terminal.type_in("\x03");
    terminal.expect("caught");
    assert_eq!(terminal.ended(), 0, "{}", terminal.shown());
    let explained = alice.ctl("explain", &["memory_max"]).ok();
    assert!(explained.text().contains("123456789"), "{explained:?}");
}
