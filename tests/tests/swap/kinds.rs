//! Kinds of images and of tenants.

use std::fs;

use tenantry_tests::{Running, Terminal};

use crate::versions::{GENERATION, NOT_MERGED, generation, rebase, with_versions, with_versions_of};

#[test]
fn an_application_gets_its_paths_of_the_new_version() {
    let host = with_versions("busybox");
    let paths = format!("paths=[\"/bin\", \"/lib\", \"/{GENERATION}/7\", \"/usr/lib\"]");
    let options = [
        "--image",
        "busybox:one",
        "--profile",
        "app",
        "--set",
        &paths,
        "--set",
        "init=[\"/bin/sleep\", \"1000\"]",
    ];
    let app = host.boot("app", &options);
    assert_eq!(generation(&app), "one");
    let answer = rebase(&app, &["--to", ":two"]);
    assert_eq!((&answer["applied"], generation(&app)), (&"live".into(), "two".to_owned()), "{answer}");
}

#[test]
fn an_image_that_is_one_file_is_exchanged_for_another_one() {
    let host = with_versions_of("busybox", &["--format", "erofs"], |_| ());
    assert!(host.tool("rootfsctl", &["list"]).ok().stdout.contains("erofs"));
    let (alice, bob) =
        (host.boot("alice", &["--image", "busybox:one"]), host.boot("bob", &["--image", "busybox:two"]));
    for to in ["two", "one", "two", "one"] {
        let answer = rebase(&alice, &["--to", &format!(":{to}")]);
        assert_eq!((&answer["applied"], generation(&alice)), (&"live".into(), to.to_owned()), "{answer}");
    }
    assert_eq!(generation(&bob), "two", "a neighbour has what it had");
}

#[test]
fn an_image_that_is_not_merged_changes_in_all_its_directories() {
    let host = with_versions_of("busybox", &[], |tree| {
        for top in NOT_MERGED {
            fs::remove_file(tree.join(top)).expect("a link at the top");
            fs::rename(tree.join("usr").join(top), tree.join(top)).expect("a directory in usr");
            fs::create_dir(tree.join("usr").join(top)).expect("an empty one in its place");
        }
    });
    let tenant = host.boot("box", &["--image", "busybox:one"]);
    let see =
        || tenant.says(&format!("cat /bin/generation /lib/generation /sbin/generation /{GENERATION}/7"));
    assert_eq!(see(), "oneoneoneone");
    for to in ["two", "one", "two"] {
        let answer = rebase(&tenant, &["--to", &format!(":{to}")]);
        assert_eq!(answer["swapped"], serde_json::json!(["/bin", "/lib", "/sbin", "/usr"]), "{answer}");
        assert_eq!(see(), to.repeat(4));
    }
}

#[test]
fn sessions_go_on_and_see_the_new_version() {
    let host = with_versions("debian");
    let alice = host.boot("alice", &["--image", "debian:one"]);
    let mut tty = alice.console(&["-t", "1"]);
    tty.type_until("\r", "login:");
    tty.type_in("root\r");
    tty.type_until("\r", "alice:~#");
    tty.type_in(&format!("cd /{GENERATION}; mark=kept-$((40+2))\r"));
    let mut shell = Terminal::open(&alice.exec(&["sh"]));
    shell.type_until("cat 7; echo from-$PWD\r", "from-/");
    let mut exec = Running::start(&alice.exec(&["sh", "-c", "while read -r word; do eval \"$word\"; done"]));
    for to in ["two", "one", "two"] {
        assert_eq!(rebase(&alice, &["--to", &format!(":{to}")])["applied"], "live");
        let see = format!("cat /{GENERATION}/7");
        // A directory that a shell is in stays the one that it was.
        tty.type_until(&format!("echo $mark-$({see})-$(cat 7)\r"), &format!("kept-42-{to}-one"));
        shell.type_until(&format!("echo shell-$({see})\r"), &format!("shell-{to}"));
        exec.say(&format!("echo exec-$({see})"));
        exec.expect(&format!("exec-{to}"));
    }
}
