//! Another version for a tenant: its record, and what is said beforehand.

use wire::{FileChange, RebaseRequest, Verdict};

use super::*;

const OLD: [u8; 32] = [7; 32];
const NEW: [u8; 32] = [9; 32];

/// A store with a tenant and a newer version of its image, whose `/etc` differs.
fn trial() -> (Trial, Store, TenantName) {
    let trial = Trial::new();
    trial.publish("debian", Digest::from_bytes(NEW));
    let image = "debian".parse().unwrap();
    // The channel is where it was.
    let channel = trial.layout.channel(&image, &tenant::model::image::ChannelName::stable());
    fs::write(channel, format!("{}\n", Digest::from_bytes(OLD))).unwrap();
    let tree = trial.layout.tree(&image, &Digest::from_bytes(NEW));
    for (file, text) in [("etc/motd", "new"), ("etc/issue", "new"), ("etc/ssl/openssl.cnf", "new")] {
        fs::write(tree.join(file), text).unwrap();
    }
    let store = trial.open();
    let name: TenantName = "alice".parse().unwrap();
    store.create(&name, &NewTenant::default()).unwrap();
    (trial, store, name)
}

fn target(store: &Store, name: &TenantName, to: &str) -> tenant::model::image::ImageRef {
    store.rebase_target(name, Some(to)).unwrap()
}

fn digits(bytes: [u8; 32]) -> String {
    Digest::from_bytes(bytes).hex()
}

#[test]
fn version_and_log_are_one_write_and_outlive_hostd() {
    let (trial, store, name) = trial();
    let before = store.record(&name).unwrap();
    assert_eq!(before.generations.len(), 1, "a new tenant begins its log");
    let mut repinned = store.propose_rebase(&name, &target(&store, &name, &digits(NEW)), false).unwrap();
    assert_eq!(store.record(&name).unwrap(), before, "a proposal changes nothing");
    store.commit_rebase(&mut repinned, None).unwrap();
    drop(repinned);
    drop(store);
    let store = trial.open();
    let after = store.record(&name).unwrap();
    assert_eq!((after.pinned.digest, after.generations.len()), (Digest::from_bytes(NEW), 2));
    assert_eq!(after.generation, before.generation + 1);
    assert_eq!(after.previous(), Some(before.pinned.clone()));
    // The same once more is no other generation.
    let mut same = store.propose_rebase(&name, &target(&store, &name, &digits(NEW)), false).unwrap();
    store.commit_rebase(&mut same, None).unwrap();
    assert_eq!(store.record(&name).unwrap(), after);
    drop(same);
    store.undo_rebase(&name, &before).unwrap();
    let undone = store.record(&name).unwrap();
    assert_eq!(undone, Allocation { generation: after.generation + 1, ..before });
}

#[test]
fn the_version_before_is_known_and_where_there_is_none_that_is_said() {
    let (_trial, store, name) = trial();
    let previous = || store.rebase_target(&name, Some(RebaseRequest::PREVIOUS));
    assert!(matches!(previous(), Err(StoreError::NoPrevious(_))));
    let mut repinned = store.propose_rebase(&name, &target(&store, &name, &digits(NEW)), false).unwrap();
    store.commit_rebase(&mut repinned, None).unwrap();
    assert_eq!(previous().unwrap().to_string(), format!("debian@sha256:{}", digits(OLD)));
    // Without a word it is what its file says.
    assert_eq!(store.rebase_target(&name, None).unwrap().to_string(), "debian");
}

#[test]
fn other_images_missing_versions_and_installs_are_refused() {
    let (trial, store, name) = trial();
    trial.publish("other", Digest::from_bytes([8; 32]));
    let propose = |to: &str, cross: bool| store.propose_rebase(&name, &target(&store, &name, to), cross);
    let code = |error: StoreError| error.code();
    assert_eq!(propose("other", false).map(drop).map_err(code), Err(Code::OtherImage));
    assert!(propose("other", true).is_ok());
    assert_eq!(propose(":none", false).map(drop).map_err(code), Err(Code::NoImage));
    assert_eq!(propose("0123456789", false).map(drop).map_err(code), Err(Code::NoImage));
    let whole: TenantName = "whole".parse().unwrap();
    store.create(&whole, &NewTenant { set: vec!["profile=os".to_owned()] }).unwrap();
    let refused = store.propose_rebase(&whole, &target(&store, &whole, &digits(NEW)), false);
    assert_eq!(refused.map(drop).map_err(code), Err(Code::OwnInstall));
}

#[test]
fn what_would_differ_is_said_with_what_the_tenant_hides() {
    let (_trial, store, name) = trial();
    let upper = store.layout.tenant(&name).join("dirs/etc/upper");
    fs::write(upper.join("motd"), "its own").unwrap();
    // A link that leads elsewhere is the tenant's too, and is not followed.
    symlink("/etc", upper.join("ssl")).unwrap();
    let record = store.record(&name).unwrap();
    let repinned = store.propose_rebase(&name, &target(&store, &name, &digits(NEW)), false).unwrap();
    let outlook = store.outlook(&record.pinned, &repinned, None).unwrap();
    assert_eq!(outlook.verdict, Verdict::LiveWithRest);
    assert_eq!(outlook.swapped, ["/usr", "/var/lib/dpkg"]);
    let files: Vec<_> =
        outlook.files.iter().map(|file| (file.path.as_str(), file.change, file.hidden)).collect();
    let expected = [
        ("/etc/issue", FileChange::Added, false),
        ("/etc/motd", FileChange::Added, true),
        ("/etc/ssl/openssl.cnf", FileChange::Added, true),
    ];
    assert_eq!(files, expected);
    let same = store.outlook(&repinned.after.pinned, &repinned, None).unwrap();
    assert_eq!((same.verdict, same.files.len()), (Verdict::Unchanged, 0));
}
