//! Clients that are killed in the middle of a verb: it is done or it is not, and nothing stays behind.

use tenantry_tests::leaks::{self, Snapshot};

use super::*;

/// A verb that a client is killed in, and what surrounds it; a word that begins with `ROOT/` is a path of the host.
struct Verb {
    words: &'static str,
    /// What must have been done before.
    before: &'static [&'static str],
    /// What takes its work away, whether it was done or not.
    after: &'static [&'static str],
}

const NO_BOB: &str = "destroy bob --force --yes";
const STOP: &str = "stop alice";
const START: &str = "start alice";

const VERBS: &[Verb] = &[
    Verb { words: "create bob --image busybox:one", before: &[], after: &[NO_BOB] },
    Verb { words: START, before: &[], after: &[STOP] },
    Verb { words: STOP, before: &[START], after: &[STOP] },
    Verb { words: "restart alice", before: &[START], after: &[STOP] },
    Verb { words: "rebase alice --to :two", before: &[START], after: &[STOP, "rebase alice --to :one"] },
    Verb { words: "set alice description=cut", before: &[], after: &["set alice description=whole"] },
    Verb { words: "export alice ROOT/out.tar --force", before: &[], after: &[] },
    Verb { words: "export alice ROOT/out.tar --force", before: &[START], after: &[STOP] },
    Verb { words: "import ROOT/kept.tar bob", before: &[], after: &[NO_BOB] },
    Verb { words: "clone alice bob", before: &[], after: &[NO_BOB] },
    Verb { words: "cp ROOT/data alice:/root/in", before: &[], after: &[] },
    Verb { words: "cp ROOT/data alice:/root/in", before: &[START], after: &[STOP] },
    Verb { words: "cp alice:/root/data ROOT/out", before: &[START], after: &[STOP] },
    Verb { words: "snapshot alice one", before: &[], after: &["snapshots alice --remove one"] },
    Verb { words: "restore alice kept", before: &[], after: &[] },
    Verb { words: "rename alice bob", before: &[], after: &["rename bob alice"] },
    Verb {
        words: "destroy bob --force --yes",
        before: &["create bob --image busybox:one", "start bob"],
        after: &[NO_BOB],
    },
];

fn run(host: &Host, words: &str) -> Run {
    let words: Vec<String> = words
        .split(' ')
        .map(|word| match word.strip_prefix("ROOT/") {
            Some(path) => host.path(path).to_string_lossy().into_owned(),
            None => word.to_owned(),
        })
        .collect();
    host.ctl(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A host with a tenant that has something to be copied, and one that stays up.
fn furnished() -> Host {
    let host = Host::bare();
    host.two_versions_of_busybox();
    host.start_hostd();
    let alice = host.boot("alice", &["--image", "busybox:one"]);
    alice.says(
        "for i in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=/root/data$i bs=1M count=4; done 2> /dev/null",
    );
    alice.says(
        "cat /root/data? > /root/data; mkdir /root/many; for i in $(seq 500); do echo > /root/many/$i; done",
    );
    alice.stop();
    fs::write(host.path("data"), vec![7; 64 << 20]).expect("a file can be written");
    run(&host, "snapshot alice kept").ok();
    run(&host, "export alice ROOT/kept.tar").ok();
    host
}

#[test]
fn a_client_that_is_killed_in_any_verb_leaves_it_done_or_undone() {
    let host = furnished();
    let stays = host.boot("stays", &["--image", "busybox:one"]);
    let boot = stays.boot_id();
    let go = |words: &str| run(&host, words).ok();
    // What is made once is made.
    VERBS.iter().for_each(|verb| {
        [verb.before, &[verb.words], verb.after]
            .concat()
            .into_iter()
            .for_each(|words| drop(run(&host, words).output()))
    });
    [START, STOP].iter().for_each(|words| drop(go(words)));
    let cgroups = leaks::cgroups_of(&stays);
    let before = Snapshot::of(&host, &cgroups);
    for verb in VERBS {
        verb.before.iter().for_each(|words| drop(go(words)));
        let whole = go(verb.words).took;
        verb.after.iter().for_each(|words| drop(run(&host, words).output()));
        for part in [8, 4, 2] {
            let at = format!("`{}`, killed after 1/{part} of {whole:?}", verb.words);
            verb.before.iter().for_each(|words| drop(go(words)));
            let mut client = run(&host, verb.words).spawn();
            thread::sleep(whole / part);
            client.kill().expect("a client can be killed");
            client.wait().expect("its end");
            // The same again: it waits for what goes on, is done, or says that it was.
            let again = run(&host, verb.words).output();
            assert!(again.status.success() || again.stderr.contains("help:"), "{at}: {}", again.stderr);
            verb.after.iter().for_each(|words| drop(run(&host, words).output()));
            assert_eq!(host.names(), ["alice", "stays"], "{at}");
            assert_eq!(Tenant::new(&host, "alice").phase(), "stopped", "{at}");
            let mut left = Vec::new();
            let end = Instant::now() + poll::PATIENCE;
            while Instant::now() < end {
                left = Snapshot::of(&host, &cgroups).since(&before);
                if left.is_empty() {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
            assert!(left.is_empty(), "{at}: left behind: {left:#?}");
        }
    }
    let alice = Tenant::new(&host, "alice");
    alice.start();
    assert_eq!(alice.says("ls /root/many | wc -l"), "500");
    assert_eq!(stays.boot_id(), boot, "no other tenant was touched");
    assert!(!host.hostd_log().contains("panicked"), "{}", host.hostd_log());
}
