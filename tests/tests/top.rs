//! `tenantctl top` on a terminal and for scripts.

use tenantry_tests::{Host, Run, Terminal};

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
