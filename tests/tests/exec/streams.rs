//! What goes in and comes out of a command.

use super::*;

#[test]
fn everything_a_command_has_written_arrives_however_slow_the_reader_is() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    // The pipes on the way hold all of it: the command has ended long before anybody reads.
    let run = alice.shell("head -c 60000 /dev/zero; echo end >&2");
    let mut client = piped(&run);
    let mut stderr = BufReader::new(client.stderr.take().expect("a pipe"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("it says so");
    assert_eq!(line, "end\n");
    let mut bytes = Vec::new();
    client.stdout.take().expect("a pipe").read_to_end(&mut bytes).expect("the rest");
    assert_eq!(bytes.len(), 60_000);
    assert!(client.wait().expect("a child").success());
    let run = in_bash(r#""$@" | { read -r first; sleep 1.5; cat; } | wc -c"#, &alice.shell("seq 1 100000"));
    assert_eq!(run.ok().text(), "588893");
}

/// Starts a command with pipes for all its streams.
fn piped(run: &Run) -> std::process::Child {
    let mut command = Command::new(&run.words()[0]);
    command.args(&run.words()[1..]);
    for (key, value) in run.command().get_envs() {
        command.env(key, value.unwrap_or_default());
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it can be started")
}

#[test]
fn a_command_ends_when_its_reader_is_gone() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let run = in_bash(r#""$@" | head -1; echo "${PIPESTATUS[0]}""#, &alice.exec(&["yes"])).limit(SOON);
    assert_eq!(run.ok().stdout, format!("y\n{}\n", 128 + 13));
    let run = in_bash(r#""$@" | head -1; echo "${PIPESTATUS[0]}""#, &alice.ctl("exec", &["-t", "--", "yes"]));
    assert_eq!(run.limit(SOON).ok().stdout, format!("y\r\n{}\n", 128 + 1));
    let run = in_bash(r#""$@" > /dev/full"#, &alice.exec(&["yes"])).limit(SOON).output();
    assert_eq!(run.code(), 1);
    assert!(run.stderr.contains("cannot write standard output: No space left on device"), "{}", run.stderr);
    poll::until_true("the last one has ended, too", || alice.says("pidof yes | wc -w") == "0");
    // A viewer of a console that stops looking is no error.
    let run = in_bash(
        r#""$@" | head -c 1 > /dev/null; echo "${PIPESTATUS[0]}""#,
        &alice.ctl("console", &["-t", "1"]),
    );
    let mut viewer = Running::start(&run);
    viewer.say("");
    viewer.say("");
    viewer.expect("0");
}

#[test]
fn a_command_sees_at_once_that_its_reader_is_gone() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    // tail(1) writes once and then waits, for more and for the end of whoever reads.
    alice.says("hostname > /root/name");
    let run = in_bash(r#""$@" | head -1"#, &alice.exec(&["tail", "-f", "/root/name"]));
    assert_eq!(run.limit(SOON).ok().text(), "alice");
}

#[test]
fn bytes_of_any_kind_go_both_ways_without_end_or_deadlock() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let file = host.path("bytes");
    Run::new("dd", ["if=/dev/urandom", "bs=1M", "count=48", "status=none"])
        .args([format!("of={}", file.display())])
        .ok();
    let own = Run::new("sha256sum", [&file]).ok().text()[..64].to_owned();
    let path = file.display();
    for script in [
        format!(r#""$@" < {path} | sha256sum"#),
        format!(r#"cat {path} | "$@" | sha256sum"#),
        format!(r#""$@" < {path} > {path}.copy; sha256sum < {path}.copy"#),
        format!(r#"mkfifo {path}.fifo; cat {path} > {path}.fifo & "$@" < {path}.fifo | sha256sum"#),
    ] {
        let said = in_bash(&script, &alice.exec(&["cat"])).ok();
        assert_eq!(&said.text()[..64], own, "{script}");
    }
}

#[test]
fn an_unread_stream_does_not_block_the_others() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let script = "head -c 4000000 /dev/zero & read -r line; echo \"got $line\" >&2; wait";
    let mut client = piped(&alice.shell(script));
    let stdout = client.stdout.take().expect("a pipe");
    // Both pipes on the way are full.
    poll::until_true("standard output stands still", || {
        rustix::io::ioctl_fionread(&stdout).is_ok_and(|count| count >= 60_000)
    });
    client.stdin.take().expect("a pipe").write_all(b"word\n").expect("it reads");
    let mut line = String::new();
    BufReader::new(client.stderr.take().expect("a pipe")).read_line(&mut line).expect("it answers");
    assert_eq!(line, "got word\n");
    let mut rest = Vec::new();
    fs::File::from(std::os::fd::OwnedFd::from(stdout)).read_to_end(&mut rest).expect("the rest");
    assert_eq!(rest.len(), 4_000_000);
    assert!(client.wait().expect("a child").success());
}

#[test]
fn the_end_of_the_input_is_the_end_of_the_input() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    assert_eq!(alice.exec(&["cat"]).stdin("all of it").limit(SOON).ok().stdout, "all of it");
    assert_eq!(in_bash(r#""$@" < /dev/null"#, &alice.exec(&["cat"])).limit(SOON).ok().stdout, "");
    assert_eq!(in_bash(r#""$@" <&-"#, &alice.exec(&["cat"])).limit(SOON).ok().stdout, "");
    // A terminal has no end; it is typed.
    for (typed, shown) in [("line\n", "line"), ("half a line", "half a line"), ("", "")] {
        let script = "stty -echo; cat; echo ended";
        let run = alice.ctl("exec", &["-t", "--", "/bin/sh", "-c", script]).stdin(typed).limit(SOON);
        let said = run.ok().stdout;
        assert!(said.contains(shown) && said.contains("ended"), "{said:?}");
    }
}
