//! What somebody who works in a tenant finds there: tools, jobs, and text in UTF-8.

use tenantry_tests::{Host, Terminal, debian, host::Place, poll};

#[test]
fn an_admin_finds_an_editor_cron_sudo_and_tools() {
    let host = Host::start_in(debian::admin(&Place::prepared()));
    for profile in ["shared-os", "os"] {
        let alice = host.boot(profile, &["--image", debian::ADMIN, "--profile", profile]);
        assert_eq!(alice.says("systemctl is-system-running --wait"), "running", "{profile}");
        alice.says("useradd --create-home --groups sudo ann");
        // As a user types it, under a name that was set a moment ago.
        alice.says("echo 'ann ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/ann; hostname changed");
        let said = alice.shell("su - ann -c 'sudo id -u; sudo -l > /dev/null'").ok();
        assert_eq!((said.stdout.trim(), said.stderr.as_str()), ("0", ""), "{profile}");

        alice.says("printf 'one\\n' > /root/text; vi -e -s -c '%s/one/two/' -c wq /root/text");
        assert_eq!(alice.says("cat /root/text"), "two", "{profile}");
        for tool in ["nano", "less", "curl", "rsync", "wget", "lsof", "file", "unzip", "ip", "ss"] {
            alice.says(&format!("command -v {tool}"));
        }
        alice
            .says("mkdir /srv/from; touch /srv/from/file; rsync -a /srv/from/ /srv/to; test -e /srv/to/file");
    }
}

#[test]
fn a_line_of_a_users_crontab_runs_in_utf_8() {
    let host = Host::start_in(debian::admin(&Place::prepared()));
    let alice = host.boot("alice", &["--image", debian::ADMIN]);
    alice.says("useradd --create-home ann; echo '@reboot locale charmap > ~/ran' | crontab -u ann -");
    alice.ctl("restart", &[]).ok();
    poll::until_true("the line ran", || alice.shell("cat /home/ann/ran").output().stdout.trim() == "UTF-8");
}

#[test]
fn every_session_is_in_utf_8_unless_the_tenant_says_otherwise() {
    let host = Host::start();
    let alice = host.boot("alice", &[]);
    let seen = || alice.says("echo $LANG $(locale charmap)");
    assert_eq!(seen(), "C.UTF-8 UTF-8");
    let mut shell = Terminal::open(&alice.ctl("shell", &[]));
    shell.type_until("\r", "alice:~#");
    shell.type_in("echo =$(locale charmap)=\r");
    shell.expect("=UTF-8=");
    let mut tty = alice.console(&["-t", "1"]);
    tty.type_until("\r", "login:");
    tty.type_in("root\r");
    tty.type_until("\r", "alice:~#");
    tty.type_in("echo =$(locale charmap)=\r");
    tty.expect("=UTF-8=");

    // Without any file, and for what joins a tenant of another kind.
    alice.says("rm -f /etc/default/locale /etc/locale.conf");
    assert_eq!(seen(), "C.UTF-8 UTF-8");
    let bob = host.boot("bob", &["--image", "busybox"]);
    assert_eq!(bob.says("echo $LANG"), "C.UTF-8");

    // The host's admin, then the tenant's own, then who asks.
    alice.ctl("set", &["env.LANG=C"]).ok();
    alice.ctl("restart", &[]).ok();
    assert_eq!(alice.says("echo $LANG"), "C");
    alice.says("echo LANG=POSIX > /etc/locale.conf");
    assert_eq!(alice.says("echo $LANG"), "POSIX");
    alice.says("echo 'LANG=\"C.UTF-8\"' > /etc/default/locale");
    assert_eq!(seen(), "C.UTF-8 UTF-8");
    let asked = alice.ctl("exec", &["-e", "LANG=C", "--", "sh", "-c", "echo $LANG"]).ok();
    assert_eq!(asked.text(), "C");
    // What is no file of this kind stops no command.
    alice.says("rm /etc/default/locale /etc/locale.conf; mkfifo /etc/default/locale; ln -s /dev/zero /etc/locale.conf");
    assert_eq!(alice.says("echo $LANG"), "C");
}

#[test]
fn what_a_tenant_has_stored_is_told_where_the_filesystem_does_not_count() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    alice.says("dd if=/dev/zero of=/root/large bs=1M count=8");
    let disk = poll::until("it is measured", || {
        let disk = alice.show()["disk"].clone();
        disk["used_bytes"].as_u64().map(|_| disk)
    });
    assert!(disk["used_bytes"].as_u64().is_some_and(|bytes| (8 << 20..10 << 20).contains(&bytes)), "{disk}");
    assert!(disk["inodes"].as_u64().is_some_and(|inodes| inodes > 1), "{disk}");
    let said = alice.ctl("show", &[]).ok();
    assert!(
        said.text().lines().any(|line| line.starts_with("disk") && line.contains("(measured ")),
        "{}",
        said.text()
    );
}
