//! What is told, and to whom.

use std::{fs, time::Duration};

use tokio::time::timeout;

use super::*;

async fn is_told(subscription: &mut Subscription) -> bool {
    timeout(Duration::from_secs(10), subscription.changed()).await.is_ok()
}

#[tokio::test]
async fn what_is_known_of_files_is_known_until_something_happens_to_them() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let [alice, bob]: [TenantName; 2] = ["alice", "bob"].map(|name| name.parse().unwrap());
    fs::create_dir_all(layout.runtime(&alice)).unwrap();
    fs::create_dir_all(layout.tenant_configs()).unwrap();
    let changes = Changes::new(layout.clone());
    assert!(changes.now().moment(&alice).is_none(), "not watched yet");
    let _all = changes.watch_all([&alice, &bob]);
    let moment = changes.now().moment(&alice);
    let lasts = || changes.now().is_as_at(moment.as_ref());
    assert!(moment.is_some() && lasts() && lasts());
    assert!(changes.now().moment(&bob).is_none(), "it has no directory that could be watched");
    // No await: what has happened is known although nobody has been told.
    fs::create_dir(layout.runtime(&bob)).unwrap();
    fs::write(layout.tenant_config(&bob), "").unwrap();
    assert!(lasts(), "that was bob's");
    let bobs = changes.now().moment(&bob);
    assert!(changes.now().is_as_at(bobs.as_ref()));
    fs::remove_dir(layout.runtime(&bob)).unwrap();
    assert!(!changes.now().is_as_at(bobs.as_ref()) && changes.now().moment(&bob).is_none());
    fs::write(layout.tenant_config(&alice), "").unwrap();
    assert!(!lasts());
}

#[tokio::test]
async fn more_than_the_kernel_keeps_is_taken_for_a_change_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let [alice, bob]: [TenantName; 2] = ["alice", "bob"].map(|name| name.parse().unwrap());
    fs::create_dir_all(layout.runtime(&alice)).unwrap();
    fs::create_dir_all(layout.tenant_configs()).unwrap();
    let changes = Changes::new(layout.clone());
    let _all = changes.watch_all([&alice]);
    let moment = changes.now().moment(&alice);
    assert!(changes.now().is_as_at(moment.as_ref()));
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let [one, other] = [layout.tenant_config(&bob), layout.tenant_configs().join("other")];
    fs::write(&one, "").unwrap();
    // Two events each.
    for _ in 0..most.trim().parse::<usize>().unwrap() {
        fs::rename(&one, &other).unwrap();
        fs::rename(&other, &one).unwrap();
    }
    while changes.now().moment(&alice).is_none() {}
    assert!(!changes.now().is_as_at(moment.as_ref()), "what was lost may have been alice's");
}

#[tokio::test]
async fn who_waits_is_told_of_its_own_tenant() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    fs::create_dir_all(layout.runtimes()).unwrap();
    let changes = Changes::new(layout.clone());
    let [alice, bob]: [TenantName; 2] = ["alice", "bob"].map(|name| name.parse().unwrap());
    let mut alices = changes.subscribe(&alice);
    let mut bobs = changes.subscribe(&bob);
    assert!(alices.is_watched && bobs.is_watched);
    // A tenant that never ran has no directory yet.
    fs::create_dir(layout.runtime(&alice)).unwrap();
    assert!(is_told(&mut alices).await);
    let staged = layout.runtime(&alice).join(".state");
    fs::write(&staged, "{}").unwrap();
    fs::rename(&staged, layout.run_state(&alice)).unwrap();
    assert!(is_told(&mut alices).await);
    changes.tell(&bob);
    assert!(is_told(&mut bobs).await);
    assert!(timeout(Duration::from_millis(50), bobs.changed()).await.is_err(), "that was alice's");
    fs::remove_dir_all(layout.runtime(&alice)).unwrap();
    assert!(is_told(&mut alices).await);
    let other = changes.subscribe(&alice);
    drop((alices, bobs, other));
    assert!(changes.held().waiting.is_empty());
    changes.tell(&alice);
}
