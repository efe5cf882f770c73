use super::*;

/// The commands' arguments, the refused ones with `true`.
fn flags() -> Vec<(String, String, String, bool)> {
    let mut rows = Vec::new();
    for (command, refused) in definitions() {
        for argument in command.get_arguments() {
            let short = argument.get_short().map(|short| format!("`-{short}`"));
            let long = argument.get_long().map(|long| format!("`--{long}`"));
            let word = short.is_none() && long.is_none();
            let title = argument.get_value_names().map(|names| names[0].to_string()).unwrap_or_default();
            let names: Vec<String> = short.into_iter().chain(long).collect();
            let names = if word { format!("`{title}`") } else { names.join(", ") };
            let is_refused = refused.iter().any(|flag| Some(flag.long) == argument.get_long());
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            rows.push((command.get_name().to_owned(), names, help, is_refused));
        }
    }
    rows
}

#[test]
fn the_definitions_are_sound_and_described() {
    for (command, _) in definitions() {
        command.clone().debug_assert();
        assert!(command.get_about().is_some(), "{}", command.get_name());
    }
    for (command, names, help, _) in flags() {
        assert!(!help.is_empty(), "{names} of {command}");
    }
}

#[test]
fn the_lines_that_scripts_use_are_understood() {
    for line in [
        "lxc-create -n foo -f lxc-veth.conf",
        "lxc-create foo -t debian -B dir",
        "lxc-create -n foo -t download -- -d debian -r bookworm -a amd64",
        "lxc-start -n foo /bin/bash",
        "lxc-start -n foo -d",
        "lxc-start foo -d -p /run/foo.pid",
        "lxc-start -n foo -f x.conf -s lxc.tty=2 -- /bin/sh -c 'exit 1'",
        "lxc-execute -n foo -- ls -l /",
        "lxc-stop foo -k",
        "lxc-stop -n foo -t -1 --nokill",
        "lxc-destroy -n foo -f -P /var/lib/lxc",
        "lxc-ls -1 --running",
        "lxc-ls -f -F name,STATE,IPV4",
        "lxc-info -n foo -s -H",
        "lxc-info foo -c lxc.uts.name -c lxc.tty.max",
        "lxc-console -n foo -t 1 -e ^b",
        "lxc-attach -n foo --clear-env -v A=1 -- id -u",
        "lxc-attach foo",
        "lxc-wait -n foo -s 'STOPPED|RUNNING' -t 10",
        "lxc-cgroup -n foo memory.max 512M",
        "lxc-freeze -n foo",
        "lxc-unfreeze foo -l DEBUG -o /dev/null",
        "lxc-checkconfig",
        "lxc-autostart",
        "lxc-autostart -a -s -t 30",
        "lxc-autostart -A -L",
    ] {
        let words = crate::commands::tests::words(line);
        let (command, _) =
            definitions().into_iter().find(|(command, _)| command.get_name() == words[0]).unwrap();
        let parsed = command.try_get_matches_from(&words);
        assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
    }
}

fn words(line: &str) -> Vec<String> {
    let mut quoted = false;
    let parts = line.split(|c: char| {
        quoted ^= c == '\'';
        c == ' ' && !quoted
    });
    parts.map(|part| part.replace('\'', "")).collect()
}

#[test]
fn only_the_default_path_of_lxc_is_accepted() {
    assert!(elsewhere(Some(&"/var/lib/lxc/".into())).is_ok());
    assert!(elsewhere(Some(&"/srv/lxc".into())).unwrap_err().help.unwrap().contains("TENANTRY_ROOT"));
}

#[test]
fn another_name_is_no_command_of_lxc() {
    assert!(called(["tenantctl", "list"].into_iter().map(OsString::from)).is_none());
    assert!(called(["/x/lxc-nonsense"].into_iter().map(OsString::from)).is_none());
}

/// All programs of Debian's package `lxc` (5.0.2) that are in a directory of `PATH`; its other packages bring none, but
/// for LXC's own tests. A script that finds our directory first must not reach LXC's own.
#[test]
fn no_command_of_lxc_is_passed_over() {
    let known = [
        "attach",
        "autostart",
        "cgroup",
        "checkconfig",
        "checkpoint",
        "config",
        "console",
        "copy",
        "create",
        "destroy",
        "device",
        "execute",
        "freeze",
        "info",
        "ls",
        "monitor",
        "snapshot",
        "start",
        "stop",
        "top",
        "unfreeze",
        "unpriv-attach",
        "unpriv-start",
        "unshare",
        "update-config",
        "usernsexec",
        "wait",
    ];
    let mut ours: Vec<&str> = names().collect();
    ours.sort_unstable();
    assert_eq!(ours, known.map(|name| format!("lxc-{name}")));
    for absent in absent::ABSENT {
        assert!(!NAMES.contains(&absent.name) && !absent.instead.is_empty());
        assert!(called([OsString::from(format!("/x/{}", absent.name))].into_iter()).is_some());
    }
}

/// The tables of docs/reference/lxc.md are written from the code: `UPDATE_DOCS=1 cargo test -p lxc`.
#[test]
fn the_reference_has_every_key_and_every_flag() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/lxc.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut keys = String::from("| key | before LXC 3 | becomes |\n|---|---|---|\n");
    for key in crate::conf::KEYS {
        let old = if key.old.is_empty() { String::new() } else { format!("`{}`", key.old) };
        keys.push_str(&format!("| `{}` | {old} | {} |\n", key.name, key.becomes));
    }
    let mut table = String::new();
    let mut last = String::new();
    for (command, names, help, is_refused) in flags() {
        if command != last {
            table.push_str(&format!("\n### {command}\n\n| flag | |\n|---|---|\n"));
            last = command;
        }
        let refused = if is_refused { "refused: " } else { "" };
        table.push_str(&format!("| {names} | {refused}{} |\n", help.replace('|', "\\|")));
    }
    for absent::Absent { name, why, instead } in absent::ABSENT {
        table.push_str(&format!(
            "\n### {name}\n\nRefused: {why}. Instead: {}.\n",
            instead.replace('|', "\\|")
        ));
    }
    let new = replaced(&replaced(&text, "keys", &keys), "flags", &table);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &new).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), new, "run: UPDATE_DOCS=1 cargo test -p lxc");
}

/// A text with what is between two comments replaced.
fn replaced(text: &str, mark: &str, by: &str) -> String {
    let (begin, end) = (format!("<!-- {mark}: generated -->\n"), format!("\n<!-- {mark}: end -->"));
    let (head, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no mark {mark}"));
    let (_, tail) = rest.split_once(&end).unwrap_or_else(|| panic!("no end of {mark}"));
    format!("{head}{begin}\n{}{end}{tail}", by.trim_start_matches('\n'))
}
