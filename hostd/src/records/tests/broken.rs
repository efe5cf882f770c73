//! Tenants whose records are damaged.

use std::path::Path;

use tenant::Allocation;

use super::*;

type Damage = fn(&Path);

/// What may become of a record.
const DAMAGES: [(&str, Damage); 9] = [
    ("empty", |path| fs::write(path, "").unwrap()),
    ("text", |path| fs::write(path, "nonsense").unwrap()),
    ("zeros", |path| fs::write(path, vec![0; 4096]).unwrap()),
    ("bytes", |path| fs::write(path, [0xff; 300]).unwrap()),
    ("half", |path| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, &text[..text.len() / 2]).unwrap();
    }),
    ("huge", |path| fs::write(path, vec![b'#'; 2 << 20]).unwrap()),
    ("missing", |path| fs::remove_file(path).unwrap()),
    ("fifo", |path| {
        fs::remove_file(path).unwrap();
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }),
    ("directory", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }),
];

#[test]
fn a_damaged_record_is_told_keeps_what_it_had_and_is_made_again_from_its_copy() {
    for (what, damage) in DAMAGES {
        let trial = Trial::new();
        let store = trial.open();
        let [alice, bob, carol] = ["alice", "bob", "carol"].map(name);
        store.create(&alice, &NewTenant::default()).unwrap();
        let forward = with(&["ports=8080:80"]);
        let (before, _) = store.create(&bob, &forward).unwrap();
        drop(store);
        damage(&trial.layout.allocation(&bob));

        let store = trial.open();
        let broken = store.broken();
        assert_eq!(broken.keys().collect::<Vec<_>>(), [&bob], "{what}");
        assert!(!broken[&bob].reason.contains('\n'), "{what}: {}", broken[&bob].reason);
        let error = Failure::from(store.record(&bob).unwrap_err());
        assert_eq!(error.code, Code::Broken, "{what}");
        assert!(error.message.contains("bob") && error.help.unwrap().contains("doctor --repair"), "{what}");
        for error in [
            store.plan(&bob, None).unwrap_err(),
            store.destroy(&bob).unwrap_err(),
            store.create(&bob, &NewTenant::default()).unwrap_err(),
            store.tenant(&bob).unwrap_err(),
        ] {
            assert_eq!(error.code(), Code::Broken, "{what}: {error}");
        }
        // Its number, its addresses and its ports are its own.
        let (third, _) = store.create(&carol, &NewTenant::default()).unwrap();
        assert!(third.index != before.index && third.uid_base != before.uid_base, "{what}");
        assert!(third.ipv4 != before.ipv4 && third.ipv6 != before.ipv6, "{what}");
        let taken = store.create(&name("dave"), &forward).unwrap_err();
        assert_eq!(taken.code(), Code::Taken, "{what}: {taken}");

        assert_eq!(store.mend(&bob, true).unwrap(), [""; 0], "{what}");
        let after = store.record(&bob).unwrap();
        assert_eq!(after, Allocation { generation: after.generation, ..before }, "{what}");
        store.plan(&bob, None).unwrap();
        drop(store);
        let store = trial.open();
        assert!(store.broken().is_empty(), "{what}");
        store.plan(&bob, None).unwrap();
    }
}

#[test]
fn a_record_without_a_copy_is_made_again_from_what_is_known() {
    for (what, damage) in DAMAGES {
        let trial = Trial::new();
        let store = trial.open();
        let [alice, bob] = ["alice", "bob"].map(name);
        store.create(&alice, &NewTenant::default()).unwrap();
        let (before, _) = store.create(&bob, &NewTenant::default()).unwrap();
        drop(store);
        damage(&trial.layout.allocation(&bob));
        fs::remove_file(trial.layout.allocation_copy(&bob)).unwrap();

        let store = trial.open();
        if what != "half" {
            // With its number unknown it must not go on running with it.
            assert_eq!(store.mend(&bob, true).unwrap_err().code(), Code::Broken, "{what}");
        }
        // What is not known is free: nothing runs with it. It gets another number then.
        let (carol, _) = store.create(&name("carol"), &NewTenant::default()).unwrap();
        let notes = store.mend(&bob, false).unwrap();
        let after = store.record(&bob).unwrap();
        assert_eq!(after.uuid, before.uuid, "{what}: its machine-id says so");
        assert_eq!(after.pinned, before.pinned, "{what}");
        for other in [store.record(&alice).unwrap(), carol] {
            assert!(after.index != other.index && after.uid_base != other.uid_base, "{what}");
            assert!(after.ipv4 != other.ipv4 && after.ipv6 != other.ipv6, "{what}");
        }
        assert_eq!(after.index == before.index, what == "half", "{what}: {notes:?}");
        assert!(notes.iter().any(|note| note.contains("number")) != (what == "half"), "{what}: {notes:?}");
        store.plan(&bob, None).unwrap();
    }
}

#[test]
fn a_machine_id_that_a_tenant_wrote_itself_is_not_another_tenants() {
    let trial = Trial::new();
    let store = trial.open();
    let [alice, bob] = ["alice", "bob"].map(name);
    let (victim, _) = store.create(&alice, &NewTenant::default()).unwrap();
    store.create(&bob, &NewTenant::default()).unwrap();
    drop(store);
    let machine_id = trial.layout.dirs(&bob).join("etc/upper/machine-id");
    fs::remove_file(&machine_id).unwrap();
    fs::write(&machine_id, format!("{}\n", victim.uuid)).unwrap();
    fs::write(trial.layout.allocation(&bob), "").unwrap();
    fs::remove_file(trial.layout.allocation_copy(&bob)).unwrap();
    let store = trial.open();
    let notes = store.mend(&bob, false).unwrap();
    assert!(notes.iter().any(|note| note.contains("new uuid")), "{notes:?}");
    assert_ne!(store.record(&bob).unwrap().uuid, victim.uuid);
    // Nor is a link followed.
    drop(store);
    fs::remove_file(&machine_id).unwrap();
    symlink("/etc/machine-id", &machine_id).unwrap();
    fs::write(trial.layout.allocation(&bob), "").unwrap();
    fs::remove_file(trial.layout.allocation_copy(&bob)).unwrap();
    trial.open().mend(&bob, false).unwrap();
}

#[test]
fn a_record_of_a_newer_release_is_left_to_that() {
    let trial = Trial::new();
    let store = trial.open();
    let alice = name("alice");
    store.create(&alice, &NewTenant::default()).unwrap();
    drop(store);
    for path in [trial.layout.allocation(&alice), trial.layout.allocation_copy(&alice)] {
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("format_version = 1", "format_version = 2")).unwrap();
    }
    let store = trial.open();
    let failure = Failure::from(store.mend(&alice, false).unwrap_err());
    assert!(failure.help.unwrap().contains("release"), "{}", failure.message);
    // Its numbers can be read all the same.
    let (bob, _) = store.create(&name("bob"), &NewTenant::default()).unwrap();
    assert_eq!(bob.index.get(), 2);
    let text = fs::read_to_string(trial.layout.allocation(&alice)).unwrap();
    assert!(text.contains("format_version = 2"));
}

#[test]
fn a_broken_tenant_can_be_removed_with_all_it_stored() {
    let trial = Trial::new();
    let store = trial.open();
    let alice = name("alice");
    store.create(&alice, &NewTenant::default()).unwrap();
    drop(store);
    fs::write(trial.layout.allocation(&alice), "nonsense").unwrap();
    let store = trial.open();
    store.discard(&alice).unwrap().wait().unwrap();
    assert!(trial.paths().is_empty(), "{:?}", trial.paths());
    store.create(&alice, &NewTenant::default()).unwrap();
    assert_eq!(store.discard(&alice).unwrap_err().code(), Code::NoTenant);
}

#[test]
fn a_record_that_is_damaged_while_hostd_runs_is_noticed_and_written_again() {
    for (what, damage) in DAMAGES {
        let trial = Trial::new();
        let store = trial.open();
        let alice = name("alice");
        store.create(&alice, &NewTenant::default()).unwrap();
        assert!(store.record_fault(&alice).is_none());
        damage(&trial.layout.allocation(&alice));
        assert!(store.record_fault(&alice).is_some(), "{what}");
        store.rewrite(&alice).unwrap();
        assert!(store.record_fault(&alice).is_none(), "{what}");
        drop(store);
        assert!(trial.open().broken().is_empty(), "{what}");
    }
}

#[test]
fn records_of_an_earlier_release_get_their_copies() {
    let trial = Trial::new();
    let store = trial.open();
    let alice = name("alice");
    let (record, _) = store.create(&alice, &NewTenant::default()).unwrap();
    let copy = trial.layout.allocation_copy(&alice);
    fs::remove_file(&copy).unwrap();
    drop(store);
    trial.open();
    assert_eq!(Allocation::parse(&fs::read_to_string(copy).unwrap()).unwrap(), record);
}
