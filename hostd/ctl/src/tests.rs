//! Lines that parse, and lines that do not.

use super::*;

#[test]
fn the_definition_of_one_verb_reads_a_line_as_the_whole_does() {
    let words = |line: &str| -> Vec<OsString> {
        ["tenantctl"].into_iter().chain(line.split(' ')).map(Into::into).collect()
    };
    let whole = |line: &str| {
        let matches = command().try_get_matches_from(words(line)).ok()?;
        Some(format!("{:?}", Cli::from_arg_matches(&matches).ok()?))
    };
    let mut used = std::collections::BTreeSet::new();
    for line in [
        "start alice --allow-unenforced",
        "start --json alice bob --root /srv/x",
        "start --label role=web --running",
        "stop alice --timeout 5",
        "stop --all",
        "list",
        "list web* --state running --image debian --json",
        "status alice",
        "get alice memory_max",
        "exec alice -u root -t -- ls --json -l",
        "exec -it alice sh",
        "wait alice --for stopped --timeout 10",
    ] {
        let quick = quickly(&words(line)).map(|cli| format!("{cli:?}"));
        assert!(quick.is_some(), "{line} is not read by one verb alone");
        assert_eq!(quick, whole(line), "{line}");
        used.insert(line.split(' ').next());
    }
    assert_eq!(used.len(), QUICK.len(), "a verb has no line above");
    // The whole definition tells these: errors, help, and what is not among the quick verbs.
    for line in
        ["start", "start --all alice", "start --nonsense a", "start --help", "--json list", "ls", "top"]
    {
        assert!(quickly(&words(line)).is_none(), "{line}");
    }
}

#[test]
fn the_definitions_are_sound() {
    command().debug_assert();
}

/// Whether a line is one.
fn parses(line: &str) -> bool {
    let words = ["tenantctl"].into_iter().chain(line.split(' ')).map(Into::into);
    command().try_get_matches_from(kill::spelled_out(words)).is_ok()
}

#[test]
fn every_other_name_is_of_a_verb_and_parses() {
    for (verb, others) in ALIASES {
        assert!(command().find_subcommand(verb).is_some(), "{verb}");
        for other in *others {
            let found = command().find_subcommand(other).map(|verb| verb.get_name().to_owned());
            assert_eq!(found.as_deref(), Some(*verb), "{other}");
        }
    }
}

#[test]
fn every_verb_is_described() {
    for verb in command().get_subcommands() {
        assert!(verb.get_about().is_some(), "{} has no description", verb.get_name());
        for argument in verb.get_arguments() {
            assert!(argument.get_help().is_some(), "{} of {}", argument.get_id(), verb.get_name());
        }
    }
}

#[test]
fn common_lines_parse_and_wrong_ones_do_not() {
    for line in [
        "create alice --image debian:stable --profile os --set ttys=2 --set env.A=1",
        "--root /tmp/x --json list",
        "start alice bob --allow-unenforced",
        "stale",
        "stale web* --exit-code",
        "refresh alice bob --sessions --yes",
        "refresh --all",
        "drift",
        "drift web* --fixes --exit-code",
        "drift alice --diff /etc/ssh/sshd_config",
        "merge alice /etc/motd /etc/issue",
        "merge alice /etc/motd --mine",
        "merge alice --theirs /etc/motd",
        "merge alice /etc/motd --edit",
        "stop --all --timeout 5",
        "exec alice -u root -t -- systemctl is-system-running",
        "exec alice id",
        "reload alice bob",
        "console alice -t 3 --read-only",
        "logs alice -f -n 20",
        "logs alice --journal --unit ssh -n 5 -f",
        "logs alice --host -- --since today",
        "logs alice --since 10min --tail 5 -f",
        "logs web* -f",
        "top --batch -n 3 --sort memory web*",
        "destroy alice --force --yes",
        "kill alice --signal SIGHUP",
        "kill alice -s KILL",
        "list alice bob --wide",
        "list web* --state running --state frozen --image debian --kind os --label role=web",
        "list --sort memory --reverse --no-header",
        "ls -o name,memory -q",
        "start --label role=web --running",
        "rm web* -y",
        "info alice",
        "reboot alice",
        "poweroff --all",
        "status",
        "status web*",
        "ps alice",
        "enable web* db",
        "disable --all",
        "kill -9 alice",
        "set web* db memory_max=1G ttys=2",
        "set --label role=web memory_max=1G",
        "exec -it alice sh",
        "shell alice -- id -u",
        "shell www@alice",
        "wait alice --for stopped --timeout 10",
        "set alice memory_max=1G --unset ttys",
        "top --once",
        "events web* --since 10m --no-follow",
        "rename alice carol",
        "clone alice bob --set memory_max=1G --unset ports --live --start",
        "export alice",
        "export alice - --live",
        "export alice /srv/alice.tar --force",
        "import alice.tar.zst",
        "import - bob --base debian:stable --set ttys=2 --start",
        "cp alice:/etc/hosts .",
        "cp -a site alice:/srv",
        "cp - alice:/srv",
        "snapshot alice before-upgrade --comment text",
        "snapshots alice --remove before-upgrade",
        "restore alice before-upgrade --keep-base",
        "reset alice /var /etc --yes",
        "rebase alice --to :candidate --live",
        "rollout start debian --to :candidate --waves 1,10%,50%,100% --live --gate systemd --gate exec:true --gate tcp:22 --bake 60s --max-failures 1",
        "rollout start debian web* --label tier=web --restart --max-unavailable 2 --channel edge --watch",
        "rollout start -f policy.toml",
        "rollout status",
        "rollout status 3 --watch",
        "rollout pause 3",
        "rollout rollback 3 --waves 1,100%",
        "rollout history",
        "rollout show 3",
        "rebase web* --restart",
        "rebase --all --next-start",
        "rebase alice --to 0123456789ab --plan",
        "rollback alice --restart",
        "get alice memory_max labels.tier --source",
        "doctor --repair",
        "doctor --tenants 1000 --fix --repair",
        "nics --all",
        "nics set eth2.100 edge --name wan --address 192.0.2.1/24 --address fd00::1/64",
        "nics unset eth2",
        "import-lxc /var/lib/lxc/web/config --name web --dry-run",
    ] {
        assert!(parses(line), "{line}");
    }
    for line in [
        "start",
        "refresh",
        "start --all alice",
        "create",
        "exec alice",
        "show",
        "list -o nonsense",
        "list --sort nonsense",
        "start --kind nonsense",
        "logs alice --journal --host",
        "logs alice -t 1 --journal",
        "logs alice -- -b",
        "logs alice --unit ssh",
        "wait alice --for what",
        "rebase alice --live --restart",
        "rebase alice --live --plan",
        "rollout",
        "rollout start",
        "rollout start debian --live --restart",
        "rollout pause",
        "rollout show three",
        "rollback alice --to :stable",
        "merge alice",
        "merge alice /etc/motd --mine --theirs",
        "doctor --tenants 0",
    ] {
        assert!(!parses(line), "{line}");
    }
}
