//! Tenants that are removed, and what goes on meanwhile.

use std::{path::Path, sync::mpsc, thread, time::Duration};

use super::*;
use crate::assign::allocate::Used;

#[test]
fn no_request_waits_for_the_files_of_a_removed_tenant() {
    let trial = Trial::new();
    let store = trial.open();
    let [alice, bob] = ["alice", "bob"].map(name);
    store.create(&alice, &NewTenant::default()).unwrap();
    store.create(&bob, &NewTenant::default()).unwrap();
    let gate = store.trash.hold();
    let leaving = store.destroy(&alice).unwrap();
    assert_eq!(store.record(&alice).unwrap_err().code(), Code::NoTenant);
    // Everything else goes on, and so does the same name.
    store.create(&name("carol"), &NewTenant::default()).unwrap();
    let base = store.config_text(&bob).unwrap();
    let text = edit::apply(&base, &["ttys=2".to_owned()], &[]).unwrap();
    store.configure(&bob, &base, &text, false).unwrap();
    store.prepare_start(&bob, Path::new("/unit")).unwrap();
    store.create(&alice, &with(&["ttys=3"])).unwrap();
    let again = store.destroy(&alice).unwrap();
    assert_eq!(store.trash.len(), 2);
    drop(gate);
    leaving.wait().unwrap();
    again.wait().unwrap();
    assert_eq!(fs::read_dir(trial.layout.tenants()).unwrap().count(), 2);
    assert_eq!(fs::read_dir(trial.layout.tenant_configs()).unwrap().count(), 2);
}

#[test]
fn what_a_removed_tenant_had_is_free_when_its_last_file_is_gone() {
    let trial = Trial::new();
    fs::create_dir_all(trial.layout.etc()).unwrap();
    fs::write(trial.layout.host_config(), "uid_ranges = 2\n").unwrap();
    let store = trial.open();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(name);
    let (first, _) = store.create(&alice, &NewTenant::default()).unwrap();
    store.create(&bob, &NewTenant::default()).unwrap();
    let gate = store.trash.hold();
    let leaving = store.destroy(&alice).unwrap();
    assert_eq!(store.create(&carol, &NewTenant::default()).unwrap_err().code(), Code::PoolFull);
    drop(gate);
    leaving.wait().unwrap();
    let (third, _) = store.create(&carol, &NewTenant::default()).unwrap();
    assert_eq!((third.index, third.uid_base), (first.index, first.uid_base));
}

#[test]
fn a_number_is_kept_through_a_crash_before_the_last_file_is_gone() {
    let trial = Trial::new();
    let store = trial.open();
    let alice = name("alice");
    let (mut allocation, _) = store.create(&alice, &NewTenant::default()).unwrap();
    for steps in 1..=destroy::Step::ALL.len() {
        let mut destruction = Destruction { layout: &trial.layout, allocation: &mut allocation };
        destruction.step(destroy::Step::ALL[steps - 1]).unwrap();
        let found = recover::recover(&trial.layout).unwrap();
        let held = found.trash.iter().map(|item| &item.holding);
        assert!(
            !Used::of(&found.records, held).leaves(allocation.index, allocation.uid_base),
            "{steps} steps"
        );
    }
    // The files go in an order that keeps the record to the last.
    let hidden = destroy::hidden(&trial.layout, &alice, &allocation.uuid);
    assert!(hidden.join("allocation.toml").is_file());
    drop(store);
    let store = trial.open();
    assert!(!hidden.exists() && store.trash.is_empty());
}

#[test]
fn a_tenant_is_made_while_another_one_is_being_made() {
    let trial = Trial::new();
    // A copy of this takes as long as the image wants.
    let slow = trial.layout.tree(&"debian".parse().unwrap(), &trial.digest).join("root");
    for number in 0..3000 {
        fs::write(slow.join(number.to_string()), "x").unwrap();
    }
    let store = std::sync::Arc::new(trial.open());
    let (told, done) = mpsc::channel();
    let workers: Vec<_> = ["alice", "bob"]
        .into_iter()
        .map(|who| {
            let (store, told) = (store.clone(), told.clone());
            thread::spawn(move || {
                let (made, _) = store.create(&name(who), &NewTenant::default()).unwrap();
                told.send(()).unwrap();
                made
            })
        })
        .collect();
    // While both are at it, who decides about a third waits for neither.
    let mut most = Duration::ZERO;
    while done.try_recv().is_err() {
        let begin = std::time::Instant::now();
        drop(store.decide());
        most = most.max(begin.elapsed());
        thread::yield_now();
    }
    let made: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
    assert_ne!(made[0].index, made[1].index);
    assert_ne!(made[0].ipv4, made[1].ipv4);
    assert!(most < Duration::from_millis(250), "somebody held the lock for {most:?}");
}

#[test]
fn what_two_want_at_once_only_one_gets() {
    let trial = Trial::new();
    let store = std::sync::Arc::new(trial.open());
    let workers: Vec<_> = (0..8)
        .map(|number| {
            let store = store.clone();
            let new = with(&["ports=8080:80"]);
            thread::spawn(move || {
                store.create(&name(&format!("t{number}")), &new).map_err(|error| error.code())
            })
        })
        .collect();
    let results: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(Code::Taken))), "{results:?}");
    assert_eq!(fs::read_dir(trial.layout.tenants()).unwrap().count(), 1);
    // What came to nothing keeps nothing.
    let winner = results.into_iter().find_map(Result::ok).unwrap().0.name;
    store.destroy(&winner).unwrap().wait().unwrap();
    store.create(&name("last"), &with(&["ports=8080:80"])).unwrap();
}
