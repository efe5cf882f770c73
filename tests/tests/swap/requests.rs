//! What a request to rebase does, and what it refuses.

use crate::versions::{REFUSED, generation, rebase, with_versions};

#[test]
fn a_version_comes_live_by_a_restart_or_from_the_next_start_and_goes_back() {
    let host = with_versions("busybox");
    let box1 = host.create("box1", &["--image", "busybox:one"]);
    // One that is down.
    let answer = rebase(&box1, &["--to", ":two"]);
    assert_eq!((&answer["applied"], &answer["result"]), (&"stopped".into(), &"changed".into()));
    assert_eq!(rebase(&box1, &["--to", ":two"])["result"], "unchanged");
    box1.start();
    assert_eq!(generation(&box1), "two");
    let boot = box1.boot_id();
    let answer = rebase(&box1, &["--to", ":one", "--next-start"]);
    assert_eq!((&answer["applied"], generation(&box1)), (&"next-start".into(), "two".to_owned()));
    assert_eq!(box1.field("/booted_digest").len(), "sha256:".len() + 64);
    // What waits is brought at once by the same request without a word.
    let answer = rebase(&box1, &["--to", ":one"]);
    assert_eq!((&answer["applied"], &answer["result"]), (&"live".into(), &"changed".into()));
    assert_eq!((generation(&box1), box1.boot_id()), ("one".to_owned(), boot));
    // Of all directories that keep what was booted, this one differs; none does from the version that was booted.
    assert_eq!(answer["rest"], serde_json::json!(["/etc"]), "{answer}");
    let answer = rebase(&box1, &["--to", ":two"]);
    assert!(answer["rest"].as_array().is_none_or(Vec::is_empty), "{answer}");
    rebase(&box1, &["--to", ":one"]);
    let answer = rebase(&box1, &["--to", ":two", "--restart"]);
    assert_eq!((&answer["applied"], generation(&box1)), (&"restarted".into(), "two".to_owned()));
    assert_ne!(box1.boot_id(), boot);
    assert_eq!(rebase(&box1, &["--to", ":two", "--restart"])["result"], "unchanged");
    let back = box1.ctl("rollback", &[]).ok();
    assert!(back.text().starts_with("box1: rolled back to busybox@"), "{}", back.text());
    assert_eq!(generation(&box1), "one");
    box1.ctl("rollback", &[]).ok();
    assert_eq!(generation(&box1), "two");
    // It has booted that very version; of one that came live a restart brings the rest.
    assert_eq!(rebase(&box1, &["--to", ":one"])["applied"], "live");
    assert_eq!(box1.says("cat /etc/generation"), "two");
    assert_eq!(rebase(&box1, &["--to", ":one", "--restart"])["applied"], "restarted");
    assert_eq!(box1.says("cat /etc/generation"), "one");
    assert_eq!(rebase(&box1, &["--to", ":two"])["applied"], "live");
    // The version that it has left is not removed while processes may have it.
    let one = host.tool("rootfsctl", &["--json", "show", "busybox:one"]).ok().json();
    let one = one["manifest"]["digest"].as_str().expect("a digest").replace("sha256:", "busybox@");
    host.tool("rootfsctl", &["channel", "busybox", "one", "--remove"]).ok();
    let said = host.tool("rootfsctl", &["rm", &one]).output().refused(REFUSED);
    assert!(said.contains("box1"), "{said}");
    let events = host.ctl(&["--json", "events", "--since", "1h", "--no-follow"]).ok();
    assert!(events.text().contains("image-changed"), "{}", events.text());
}

#[test]
fn wrong_versions_are_refused_and_change_nothing() {
    let host = with_versions("busybox");
    let tenant = host.boot("box", &["--image", "busybox:one"]);
    let whole = host.create("whole", &["--image", "busybox:one", "--profile", "os"]);
    whole.start();
    let before = tenant.field("/digest");
    let refused = |more: &[&str], code: i32, word: &str| {
        let said = tenant.ctl("rebase", more).output().refused(code);
        assert!(said.contains(word), "{more:?}: {said}");
    };
    refused(&["--to", ":nonesuch"], 3, "nonesuch");
    refused(&["--to", "0123456789ab"], 3, "0123456789ab");
    refused(&["--to", "debian"], REFUSED, "--cross-image");
    refused(&["--to", "A B"], 2, "does not name a version");
    let said = host.ctl(&["rebase", "nobody", "--to", ":two"]).output().refused(3);
    assert!(said.contains("there is no tenant"), "{said}");
    let said = whole.ctl("rebase", &["--to", ":two"]).output().refused(REFUSED);
    assert!(said.contains("an install of its own"), "{said}");
    assert_eq!(whole.field("/digest"), before, "its record says what it has");
    let said = tenant.ctl("rollback", &[]).output().refused(3);
    assert!(said.contains("no other version"), "{said}");
    // A whole other system does not fit beneath a running one.
    let said = tenant.ctl("rebase", &["--to", "debian", "--cross-image"]).output().refused(REFUSED);
    assert!(said.contains("--restart"), "{said}");
    assert_eq!((generation(&tenant), tenant.field("/digest")), ("one".to_owned(), before));
}
