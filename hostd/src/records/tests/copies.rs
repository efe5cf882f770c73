//! Copies that are cut off in the middle, and archives that are none.

use super::{
    super::copies::{Import, Part, Taking, swap},
    *,
};

/// A tenant with something in its `/etc`, and a snapshot of that.
fn furnish(trial: &Trial) -> (Store, TenantName) {
    let store = trial.open();
    let alice = name("alice");
    store.create(&alice, &NewTenant::default()).unwrap();
    fs::write(trial.layout.dirs(&alice).join("etc/upper/motd"), "old").unwrap();
    let taking = Taking { name: Some("old".to_owned()), ..Taking::default() };
    store.take_snapshot(&alice, &taking, &mut |_| Ok(())).unwrap();
    fs::write(trial.layout.dirs(&alice).join("etc/upper/motd"), "new").unwrap();
    (store, alice)
}

fn motd(trial: &Trial, tenant: &TenantName) -> String {
    fs::read_to_string(trial.layout.dirs(tenant).join("etc/upper/motd")).unwrap()
}

#[test]
fn a_restore_that_is_cut_off_leaves_the_old_directories_or_the_new_ones() {
    // What is there of it when hostd is killed: its directories, what says so, and how far they were exchanged.
    for (is_committed, moved) in [(false, 0), (true, 0), (true, 1), (true, 2)] {
        let trial = Trial::new();
        let (store, alice) = furnish(&trial);
        let before = store.record(&alice).unwrap();
        let (work, dirs) = (swap::begin(&trial.layout, &alice).unwrap(), trial.layout.dirs(&alice));
        let snapshot = trial.layout.snapshot(&alice, &"old".parse().unwrap());
        fs::create_dir_all(work.join("dirs/etc/upper")).unwrap();
        fs::copy(snapshot.join("dirs/etc/upper/motd"), work.join("dirs/etc/upper/motd")).unwrap();
        let other = Digest::from_bytes([9; 32]);
        trial.publish("debian", other);
        if is_committed {
            let text = format!("[pinned]\nimage = \"debian\"\ndigest = \"{other}\"\n");
            fs::write(work.join("commit.toml"), text).unwrap();
        }
        if moved > 0 {
            fs::rename(&dirs, work.join("old")).unwrap();
        }
        if moved > 1 {
            fs::rename(work.join("dirs"), &dirs).unwrap();
        }
        drop(store);
        let store = trial.open();
        let expected = if is_committed { ("old", other) } else { ("new", before.pinned.digest) };
        let has = (motd(&trial, &alice), store.record(&alice).unwrap().pinned.digest);
        assert_eq!((has.0.as_str(), has.1), expected, "committed: {is_committed}, {moved} renames");
        assert!(!work.exists());
        assert_eq!(store.snapshots(&alice).unwrap().len(), 1);
    }
}

#[test]
fn a_restore_goes_onto_the_version_that_the_files_were_taken_from_or_says_so() {
    let trial = Trial::new();
    let (store, alice) = furnish(&trial);
    let other = Digest::from_bytes([9; 32]);
    trial.publish("debian", other);
    let target = "debian:stable".parse().unwrap();
    let repinned = store.propose_rebase(&alice, &target, false).unwrap();
    assert_eq!(repinned.after.pinned.digest, other);
    let text = repinned.after.render();
    fs::write(trial.layout.allocation(&alice), &text).unwrap();
    drop((store, repinned));
    let store = trial.open();
    let restore = |keep_base| store.restore(&alice, ("old", keep_base), &mut |_| Ok(()));
    assert_eq!(restore(true).unwrap().0.pinned.digest, other);
    assert_eq!(motd(&trial, &alice), "old");
    assert_eq!(restore(false).unwrap().0.pinned.digest, trial.digest);
    assert_eq!(store.record(&alice).unwrap().pinned.digest, trial.digest);
    // Without that version there is nothing that the files could lie over.
    fs::write(trial.layout.allocation(&alice), &text).unwrap();
    drop(store);
    fs::remove_dir_all(trial.layout.version(&"debian".parse().unwrap(), &trial.digest)).unwrap();
    let store = trial.open();
    let error = store.restore(&alice, ("old", false), &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.code(), Code::NoImage);
    assert!(error.help().unwrap().contains("--keep-base"), "{error}");
    store.restore(&alice, ("old", true), &mut |_| Ok(())).unwrap();
}

#[test]
fn directories_that_no_tenant_got_go_when_hostd_starts() {
    let trial = Trial::new();
    let store = trial.open();
    let part = Part::begin(&store).unwrap();
    fs::write(part.path().join("dirs/file"), "").unwrap();
    std::mem::forget(part);
    drop(store);
    drop(trial.open());
    assert!(trial.paths().is_empty(), "{:?}", trial.paths());
}

#[test]
fn a_copy_that_is_ended_leaves_nothing() {
    let trial = Trial::new();
    let (store, alice) = furnish(&trial);
    let before = trial.paths();
    let stop = &mut |_: &filetree::Tally| Err(io::Error::other("the client has gone"));
    let none = (&NewTenant::default(), &[][..]);
    store.clone_tenant(&alice, &name("bob"), none, stop).unwrap_err();
    store.take_snapshot(&alice, &Taking::default(), stop).unwrap_err();
    store.restore(&alice, ("old", false), stop).unwrap_err();
    store.trash.settle();
    assert_eq!(trial.paths(), before);
    assert_eq!(motd(&trial, &alice), "new");
}

fn exported(store: &Store, tenant: &TenantName) -> Vec<u8> {
    let mut archive = Vec::new();
    store.export(tenant, false, &mut archive, &mut |_| Ok(())).unwrap();
    archive
}

#[test]
fn an_archive_that_is_cut_off_anywhere_makes_no_tenant() {
    let trial = Trial::new();
    let (store, alice) = furnish(&trial);
    let archive = exported(&store, &alice);
    let before = trial.paths();
    let how = Import { name: Some(name("bob")), ..Import::default() };
    let import = |bytes: &[u8]| store.import(&how, bytes, &mut |_| Ok(()));
    // The end of a tar archive is two blocks of zeros; one of them is enough.
    for length in (0..archive.len() - 512).step_by(512) {
        let error = import(&archive[..length]).unwrap_err();
        assert!(error.help().is_some(), "{length}: {error}");
    }
    store.trash.settle();
    assert_eq!(trial.paths(), before);
    let imported = import(&archive).unwrap();
    assert_eq!(motd(&trial, &imported.name), "new");
    let uuids = [&alice, &imported.name].map(|name| store.record(name).unwrap().uuid);
    assert_ne!(uuids[0], uuids[1], "it is a copy on this host");
    let machine_id = trial.layout.dirs(&imported.name).join("etc/upper/machine-id");
    assert_eq!(fs::read_to_string(machine_id).unwrap().trim(), uuids[1]);
    assert_eq!(import(&archive).unwrap_err().code(), Code::NameTaken);
}

#[test]
fn an_archive_of_something_else_is_told() {
    let trial = Trial::new();
    let (store, alice) = furnish(&trial);
    let archive = exported(&store, &alice);
    let change = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let mut changed = archive.clone();
        let at = changed.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
        changed[at..at + to.len()].copy_from_slice(to.as_bytes());
        changed
    };
    let how = Import { name: Some(name("bob")), ..Import::default() };
    let refuse = |bytes: &[u8]| store.import(&how, bytes, &mut |_| Ok(())).unwrap_err();
    let newer = refuse(&change("\"format_version\": 1", "\"format_version\": 2"));
    assert!(newer.help().unwrap().contains("newer"), "{newer}");
    let digest = trial.digest.to_string();
    let other = refuse(&change(&digest, &digest.replace("07", "08")));
    assert_eq!(other.code(), Code::NoImage, "{other}");
    assert_eq!(refuse(&[0; 2048]).code(), Code::Invalid);
    assert_eq!(refuse(b"#!/bin/sh\n").code(), Code::Invalid);
    assert!(!trial.layout.tenant(&name("bob")).exists());
}
