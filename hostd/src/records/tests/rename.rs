//! A tenant that gets another name.

use super::super::rename::{Renaming, Step};
use super::*;

/// Everything that must be the same after a renaming, whatever it is called.
fn identity(store: &Store, name: &TenantName) -> (Allocation, u64, String, String) {
    let (layout, record) = (store.layout(), store.record(name).unwrap());
    let inode = fs::metadata(layout.dirs(name)).unwrap().ino();
    let log = fs::read_to_string(layout.log(name).join("console.log")).unwrap();
    let secret = fs::read_to_string(layout.credentials(name).join("key")).unwrap();
    let nameless = Allocation { name: self::name("x"), generation: 0, ..record };
    (nameless, inode, log, secret)
}

/// A tenant with everything that is called by its name.
fn furnish(trial: &Trial) -> Store {
    let store = trial.open();
    let alice = name("alice");
    store.create(&alice, &NewTenant { set: vec!["ttys=3".to_owned()] }).unwrap();
    let layout = &trial.layout;
    fs::write(layout.log(&alice).join("console.log"), "hello\n").unwrap();
    fs::create_dir_all(layout.credentials(&alice)).unwrap();
    fs::set_permissions(layout.credentials(&alice), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(layout.credentials(&alice).join("key"), "secret").unwrap();
    fs::create_dir_all(layout.runtime(&alice)).unwrap();
    fs::write(layout.run_state(&alice), "{}").unwrap();
    fs::write(layout.applied_config(&alice), "text = \"\"\n").unwrap();
    let ports = "# mine\n[[port]]\nlink = \"eth7\"\ntenant = \"alice\" # hers\n[[port]]\nlink = \"eth8\"\ntenant = \"bob\"\n";
    fs::write(layout.nic_table(), ports).unwrap();
    store
}

fn assert_nothing_is_called(trial: &Trial, name: &TenantName) {
    let layout = &trial.layout;
    for path in
        [layout.tenant(name), layout.tenant_config(name), layout.credentials(name), layout.runtime(name)]
    {
        assert!(!path.exists(), "{}", path.display());
    }
    let ports = fs::read_to_string(layout.nic_table()).unwrap();
    assert!(!ports.contains(&format!("\"{name}\"")), "{ports}");
}

#[test]
fn a_renamed_tenant_keeps_everything_but_its_name() {
    let trial = Trial::new();
    let store = furnish(&trial);
    let [alice, carol] = ["alice", "carol"].map(name);
    let before = identity(&store, &alice);
    store.rename(&alice, &carol).unwrap();
    store.settle(&alice, &carol).unwrap();
    assert_eq!(identity(&store, &carol), before);
    assert_nothing_is_called(&trial, &alice);
    let ports = fs::read_to_string(trial.layout.nic_table()).unwrap();
    assert!(ports.contains("# mine") && ports.contains("\"carol\" # hers"), "{ports}");
    assert_eq!(store.record(&alice).unwrap_err().code(), Code::NoTenant);
    assert_eq!(store.tenant(&carol).unwrap().hostname, "carol", "it followed the name");
    let record = store.record(&carol).unwrap();
    assert_eq!((record.state, &record.renaming), (RecordState::Ready, &None));
    drop(store);
    assert_eq!(identity(&trial.open(), &carol), before);
}

#[test]
fn a_crash_after_any_step_of_a_renaming_is_finished() {
    for crash_after in 0..=Step::ALL.len() {
        let trial = Trial::new();
        let store = furnish(&trial);
        let [alice, carol] = ["alice", "carol"].map(name);
        let before = identity(&store, &alice);
        let mut allocation = store.record(&alice).unwrap();
        let mut renaming =
            Renaming { layout: &trial.layout, allocation: &mut allocation, name: carol.clone() };
        for step in &Step::ALL[..crash_after] {
            renaming.step(*step).unwrap();
        }
        drop(store);
        // Twice: a crash while it is finished, so to speak.
        drop(trial.open());
        let store = trial.open();
        let (now, other) = if crash_after == 0 { (&alice, &carol) } else { (&carol, &alice) };
        assert_eq!(identity(&store, now), before, "after {crash_after} steps");
        assert_eq!(store.records().len(), 1, "after {crash_after} steps");
        assert_nothing_is_called(&trial, other);
        assert_eq!(store.ready(now).unwrap().name, *now);
        store.plan(now, None).unwrap();
    }
}

#[test]
fn a_step_that_fails_is_undone_with_those_before_it() {
    let trial = Trial::new();
    let store = furnish(&trial);
    let [alice, carol] = ["alice", "carol"].map(name);
    let before = (identity(&store, &alice), trial.paths());
    // A table that can be read and not edited: its rows are an inline list.
    fs::write(trial.layout.nic_table(), "port = [{ link = \"eth7\", tenant = \"alice\" }]\n").unwrap();
    store.rename(&alice, &carol).unwrap_err();
    assert_eq!((identity(&store, &alice), trial.paths()), before);
    let record = store.ready(&alice).unwrap();
    assert_eq!((record.name, record.renaming), (alice.clone(), None));
    assert_eq!(store.record(&carol).unwrap_err().code(), Code::NoTenant);
    drop(store);
    assert_eq!(trial.open().ready(&alice).unwrap().name, alice);
}

#[test]
fn a_name_that_something_has_is_refused() {
    let trial = Trial::new();
    let store = furnish(&trial);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(name);
    store.create(&bob, &NewTenant::default()).unwrap();
    assert_eq!(store.rename(&alice, &bob).unwrap_err().code(), Code::NameTaken);
    assert_eq!(store.rename(&carol, &bob).unwrap_err().code(), Code::NoTenant);
    for path in [trial.layout.tenant_config(&carol), trial.layout.credentials(&carol).join("x")] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(store.rename(&alice, &carol).unwrap_err().code(), Code::NameTaken, "{}", path.display());
        fs::remove_file(path).unwrap();
    }
    assert_eq!(store.ready(&alice).unwrap().name, alice);
}

#[test]
fn a_renaming_that_cannot_be_finished_leaves_the_tenant_with_a_reason() {
    let trial = Trial::new();
    let store = furnish(&trial);
    let [alice, carol] = ["alice", "carol"].map(name);
    let mut allocation = store.record(&alice).unwrap();
    Renaming { layout: &trial.layout, allocation: &mut allocation, name: carol.clone() }
        .step(Step::Record)
        .unwrap();
    drop(store);
    fs::write(trial.layout.tenant_config(&carol), "# somebody else's\n").unwrap();
    let store = trial.open();
    let broken = store.broken();
    assert!(
        broken[&alice].reason.contains("carol.toml") || broken[&alice].reason.contains("rename"),
        "{:?}",
        broken[&alice]
    );
    assert_eq!(fs::read_to_string(trial.layout.tenant_config(&carol)).unwrap(), "# somebody else's\n");
}
