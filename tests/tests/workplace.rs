//! What somebody who works in a tenant finds there: tools, jobs, and text in UTF-8.

use tenantry_tests::{Host, debian, host::Place, poll};

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
