//! Tenants that are removed.

use super::*;

/// Gives a tenant so many files, `wide` in each directory, as it could make them itself.
fn fill(tenant: &Tenant<'_>, host: &Host, files: usize, wide: usize) {
    let top = host.path(format!("var/lib/tenantry/tenants/{}/dirs/root/many", tenant.name()));
    for dir in 0..files / wide {
        let dir = top.join(dir.to_string());
        fs::create_dir_all(&dir).expect("a directory can be made");
        for file in 0..wide {
            fs::File::create_new(dir.join(file.to_string())).expect("a file can be made");
        }
    }
}

/// What there is of removed tenants.
pub(crate) fn trash(host: &Host) -> Vec<String> {
    let entries = fs::read_dir(host.path("var/lib/tenantry/tenants")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with('.')).collect()
}

#[test]
fn removing_a_large_tenant_delays_no_other_request() {
    let host = Host::start();
    let big = host.create("big", &["--image", "busybox"]);
    host.create("set", &["--image", "busybox"]);
    let files = if std::env::var_os(tenantry_tests::host::ALL).is_some() { 1_000_000 } else { 100_000 };
    fill(&big, &host, files, 1000);
    let mut destroy = big.ctl("destroy", &["--yes"]).spawn();
    let (mut meanwhile, mut slowest) = (0, Duration::ZERO);
    poll::until_true("big is gone from the list", || !host.names().contains(&"big".to_owned()));
    while goes_on(&mut destroy) {
        let name = format!("t{meanwhile}");
        for args in [
            &["create", &name, "--image", "busybox"][..],
            &["start", &name],
            &["list"],
            &["set", "set", &format!("description={name}")],
            &["destroy", &name, "--force", "--yes"],
        ] {
            let took = host.ctl(args).ok().took;
            slowest = slowest.max(took);
        }
        meanwhile += 1;
    }
    eprintln!("{meanwhile} rounds meanwhile, the slowest step took {slowest:?}");
    assert!(meanwhile >= 3, "only {meanwhile} rounds");
    assert!(slowest < AT_ONCE, "a step took {slowest:?}");
    assert!(trash(&host).is_empty(), "destroy answers when the last file is gone: {:?}", trash(&host));
}

#[test]
fn a_hostd_that_is_killed_in_a_removal_answers_first_and_finishes_it_then() {
    let host = Host::start();
    let stays = host.boot("stays", &["--image", "busybox"]);
    let boot = stays.boot_id();
    let big = host.create("big", &["--image", "busybox"]);
    let number = big.field("/index");
    fill(&big, &host, 100_000, 1000);
    let mut destroy = big.ctl("destroy", &["--yes"]).spawn();
    poll::until_true("its files are going", || !trash(&host).is_empty());
    host.kill_hostd();
    poll::until("the client gives up", || destroy.try_wait().expect("a child"));
    assert!(!trash(&host).is_empty(), "there was nothing left to do");
    let begin = Instant::now();
    host.start_hostd();
    let took = begin.elapsed();
    let left = trash(&host);
    // The same name is free at once, and gets another number.
    let again = host.create("big", &["--image", "busybox"]);
    if !left.is_empty() {
        assert_ne!(again.field("/index"), number);
    }
    poll::until_true("the rest is removed", || trash(&host).is_empty());
    assert!(took < 3 * AT_ONCE, "hostd answered after {took:?}, with {left:?} to be removed");
    assert!(host.names().contains(&"big".to_owned()));
    assert_eq!(stays.boot_id(), boot);
}

#[test]
fn what_an_admin_has_mounted_is_named_and_survives() {
    let host = Host::start();
    let alice = host.boot("alice", &["--image", "busybox"]);
    let dir = host.path("var/lib/tenantry/tenants/alice/dirs/root/a b");
    fs::create_dir(&dir).expect("a directory");
    Run::new("mount", ["-t", "tmpfs", "tmpfs"]).args([&dir]).ok();
    fs::write(dir.join("precious"), "").expect("a file");
    let said = alice.ctl("destroy", &["--force", "--yes"]).output().refused(REFUSED);
    let point = dir.to_string_lossy().into_owned();
    assert!(said.contains(&point) && said.contains("help: umount"), "{said}");
    assert!(!said.contains("os error"), "{said}");
    assert_eq!(alice.phase(), "running", "nothing was done to it");
    assert!(dir.join("precious").exists());
    Run::new("umount", [&dir]).ok();
    alice.ctl("destroy", &["--force", "--yes"]).ok();
}

#[test]
fn what_a_removed_tenant_had_is_no_others_while_a_file_of_it_is_left() {
    let mut host = Host::bare();
    host.share_images();
    host.configure("uid_ranges = 2\n");
    host.start_hostd();
    let gone = host.boot("gone", &["--image", "busybox"]);
    gone.says("echo kept > /root/stays");
    gone.stop();
    let (uids, index) = (gone.field("/uids"), gone.field("/index"));
    let stays = host.path("var/lib/tenantry/tenants/gone/dirs/root/stays");
    // What a failing disk does, too: it cannot be removed.
    Run::new("chattr", ["+i"]).args([&stays]).ok();
    gone.ctl("destroy", &["--yes"]).output().refused(1);
    assert_eq!(host.names(), Vec::<String>::new());
    let left = trash(&host);
    assert_eq!(left.len(), 1, "{left:?}");
    // There is one range more, and no third.
    let other = host.create("other", &["--image", "busybox"]);
    assert_ne!((other.field("/uids"), other.field("/index")), (uids.clone(), index.clone()));
    for _ in 0..2 {
        let said = host.ctl(&["create", "third", "--image", "busybox"]).output().refused(REFUSED);
        assert!(said.contains("uid ranges"), "{said}");
        host.kill_hostd();
        host.start_hostd();
    }
    let stays = host.path("var/lib/tenantry/tenants").join(&left[0]).join("dirs/root/stays");
    Run::new("chattr", ["-i"]).args([&stays]).ok();
    host.kill_hostd();
    host.start_hostd();
    poll::until_true("the rest is removed", || trash(&host).is_empty());
    let third = host.create("third", &["--image", "busybox"]);
    assert_eq!((third.field("/uids"), third.field("/index")), (uids, index));
}
