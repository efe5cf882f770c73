//! Mounts of a tenant's own, on and below its base.

use tenantry_tests::Terminal;

use crate::versions::{GENERATION, REFUSED, generation, rebase, with_versions};

#[test]
fn frozen_tenants_and_locks_and_mounts_of_the_tenant_are_as_before() {
    let host = with_versions("busybox");
    let (alice, bob) =
        (host.boot("alice", &["--image", "busybox:one"]), host.boot("bob", &["--image", "busybox:one"]));
    alice.ctl("freeze", &[]).ok();
    assert_eq!(rebase(&alice, &["--to", ":two"])["applied"], "live");
    assert_eq!(alice.phase(), "frozen");
    alice.ctl("thaw", &[]).ok();
    rebase(&bob, &["--to", ":two"]);
    assert_eq!((generation(&alice), generation(&bob)), ("two".to_owned(), "two".to_owned()));
    // Two tenants share no inode of the new base either.
    let file = format!("/{GENERATION}/7");
    let mut held = Vec::new();
    for tenant in [&alice, &bob] {
        tenant.bring_probe();
        let mut terminal = Terminal::open(&tenant.exec(&["/root/probe", "lock", &file]));
        terminal.expect("locked");
        held.push(terminal);
    }
    assert!(!alice.probe_again(&["lock", &file]).status.success(), "inside one tenant a lock holds");
    drop(held);
    // What the tenant has mounted below stays, and what is in it.
    alice.says(&format!("mount -t tmpfs own /{GENERATION} && echo mine > /{GENERATION}/7"));
    rebase(&alice, &["--to", ":one"]);
    assert_eq!(generation(&alice), "mine");
    alice.says(&format!("umount /{GENERATION}"));
    assert_eq!(generation(&alice), "one");
    // Over all of it: refused, by name, and nothing is changed.
    alice.says("cp -a /usr /tmp/usr && mount --bind /tmp/usr /usr");
    let said = alice.ctl("rebase", &["--to", ":two"]).output().refused(REFUSED);
    assert!(said.contains("/usr"), "{said}");
    alice.says("umount -l /usr");
    assert_eq!(generation(&alice), "one");
    rebase(&alice, &["--to", ":two"]);
    assert_eq!(generation(&alice), "two");
    // Mounts that nothing reaches any more: refused, and nothing is left mounted beneath.
    alice.says("mount --make-rprivate /");
    let said = alice.ctl("rebase", &["--to", ":one"]).output().refused(REFUSED);
    assert!(said.contains("private"), "{said}");
    assert_eq!(
        (generation(&alice), alice.says("grep -c ' /usr ' /proc/mounts")),
        ("two".to_owned(), "1".to_owned())
    );
    assert_eq!(rebase(&alice, &["--to", ":one", "--restart"])["applied"], "restarted");
    assert_eq!(generation(&alice), "one");
}

#[test]
fn a_mount_whose_name_is_no_text_comes_along() {
    let host = with_versions("busybox");
    let tenant = host.boot("box", &["--image", "busybox:one"]);
    tenant.says(&format!("{ODD} mount -t tmpfs own \"$odd\" && echo mine > \"$odd/7\""));
    for to in [":two", ":one"] {
        assert_eq!(rebase(&tenant, &["--to", to])["applied"], "live");
        assert_eq!(tenant.says(&format!("{ODD} cat \"$odd/7\"")), "mine");
    }
    assert_eq!(generation(&tenant), "one");
}

/// Names the odd directory in a shell.
const ODD: &str = r#"odd=/usr/lib/$(printf 'caf\351 \134 \nx') odd=${odd%x};"#;

#[test]
fn binds_of_the_base_on_one_another_are_no_obstacle() {
    let host = with_versions("debian");
    let tenant = host.boot("deb", &["--image", "debian:one"]);
    // A bind of /usr on a bind of /usr appears over /usr itself as well, for all three are one peer group.
    tenant.says(&format!(
        "mkdir -p /srv/a /srv/b /srv/root; for time in 1 2 3; do mount --bind /usr /srv/a; mount --bind /{GENERATION} /srv/b; done; \
         mount --bind /usr/bin /usr/local/bin; mount --rbind / /srv/root"
    ));
    let binds = "-p BindPaths=/usr:/mnt -p BindReadOnlyPaths=/usr/lib:/opt -p TemporaryFileSystem=/usr/local -p ProtectSystem=strict";
    tenant.says(&format!("systemd-run --quiet {binds} --unit=binds sleep infinity"));
    tenant.says(
        "systemd-run --quiet -p PrivateTmp=yes --unit=stacks sh -c 'for time in 1 2 3; do mount --bind /usr /mnt; mount --bind /usr/share /usr/share; done; exec sleep infinity'",
    );
    for number in 0..20 {
        let to = ["two", "one"][number % 2];
        assert_eq!(rebase(&tenant, &["--to", &format!(":{to}")])["applied"], "live");
        assert_eq!(generation(&tenant), to);
        assert_eq!(tenant.says("grep -c ' /usr ' /proc/self/mountinfo"), "1", "swap {number}");
    }
}
