//! Files of a tenant's own that hide files of its image: listed, noted, merged in a tenant that is not running.

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

use wire::{DriftFix, DriftKind, DriftMerge, DriftMergeRequest, DriftNode, DriftSource};

use super::*;
use crate::drift::lineage::Boot;

const OLD: [u8; 32] = [7; 32];
const NEW: [u8; 32] = [9; 32];

/// A tenant of a version that has `/etc/a` and `/etc/b`, and another version in which `a` has changed.
struct Case {
    trial: Trial,
    store: Store,
    name: TenantName,
}

impl Case {
    fn new() -> Self {
        let trial = Trial::new();
        let image = "debian".parse().unwrap();
        trial.publish("debian", Digest::from_bytes(NEW));
        let channel = trial.layout.channel(&image, &tenant::model::image::ChannelName::stable());
        fs::write(channel, format!("{}\n", Digest::from_bytes(OLD))).unwrap();
        for (digest, a) in [(OLD, "old"), (NEW, "new")] {
            let tree = trial.layout.tree(&image, &Digest::from_bytes(digest));
            for (file, text) in [("etc/a", a), ("etc/b", "same")] {
                fs::write(tree.join(file), text).unwrap();
                fs::set_permissions(tree.join(file), fs::Permissions::from_mode(0o644)).unwrap();
            }
        }
        let store = trial.open();
        let name: TenantName = "alice".parse().unwrap();
        store.create(&name, &NewTenant::default()).unwrap();
        Self { trial, store, name }
    }

    fn upper(&self, file: &str) -> PathBuf {
        self.store.layout.tenant(&self.name).join("dirs/etc/upper").join(file)
    }

    fn write(&self, file: &str, text: &str) {
        // As an editor does it: another file, with another birth.
        let _ = fs::remove_file(self.upper(file));
        fs::write(self.upper(file), text).unwrap();
        fs::set_permissions(self.upper(file), fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn rebase(&self, digest: [u8; 32]) {
        let target = self.store.rebase_target(&self.name, Some(&Digest::from_bytes(digest).hex())).unwrap();
        let mut repinned = self.store.propose_rebase(&self.name, &target, false).unwrap();
        self.store.commit_rebase(&mut repinned, None).unwrap();
    }

    fn said(&self) -> Vec<(String, DriftKind, DriftFix, DriftSource)> {
        let files = self.store.drift(&self.name, None).unwrap().files.into_iter();
        files.map(|file| (file.path, file.kind, file.fix, file.known_by)).collect()
    }

    fn merge(&self, how: DriftMerge) -> Result<wire::DriftMerged, StoreError> {
        self.ask(DriftMergeRequest { path: "/etc/a".to_owned(), how, own_sha256: None, version: None })
    }

    fn ask(&self, request: DriftMergeRequest) -> Result<wire::DriftMerged, StoreError> {
        let merge = self.store.begin_merge(&self.name, &request, (None, false))?;
        assert!(merge.placement.is_none(), "nothing is running");
        self.store.end_merge(merge)
    }
}

#[test]
fn a_file_that_is_replaced_after_the_fix_still_hides_it() {
    let case = Case::new();
    case.write("a", "own");
    case.write("b", "own");
    let a = |kind, fix, known_by| ("/etc/a".to_owned(), kind, fix, known_by);
    let b = ("/etc/b".to_owned(), DriftKind::Changed, DriftFix::None, DriftSource::Time);
    assert_eq!(case.said(), [a(DriftKind::Changed, DriftFix::None, DriftSource::Time), b.clone()]);
    case.rebase(NEW);
    // The date in the log is in whole seconds: only a note can tell which came first.
    let shadowed = a(DriftKind::Changed, DriftFix::Shadowed, DriftSource::Rebase);
    assert_eq!(case.said(), [shadowed.clone(), b.clone()]);
    case.write("a", "own again");
    assert_eq!(case.said(), [shadowed.clone(), b.clone()]);
    // And after a restart of hostd, and when the version is gone.
    let Case { trial, store, name } = case;
    drop(store);
    let case = Case { store: trial.open(), trial, name };
    assert_eq!(case.said(), [shadowed.clone(), b]);
    fs::remove_dir_all(case.store.layout.version(&"debian".parse().unwrap(), &Digest::from_bytes(OLD)))
        .unwrap();
    assert_eq!(case.said()[0], shadowed);
    let view = case.store.drift_view(&case.name, "/etc/a", None).unwrap();
    assert!(view.from.is_none() && view.now.text.as_deref() == Some("new"), "{view:?}");
    assert_eq!(case.said()[1].2, DriftFix::Unknown, "b has no note");
    case.merge(DriftMerge::Mine).unwrap();
    assert_eq!(case.said()[1], a(DriftKind::Changed, DriftFix::None, DriftSource::Merge));
}

#[test]
fn a_boot_that_is_under_way_shows_what_it_began_with() {
    let case = Case::new();
    case.rebase(NEW);
    // Made long after the version was pinned, so it would count as made from that.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    case.write("a", "own");
    assert_eq!(case.said()[0].2, DriftFix::None);
    let boot = Boot { digest: Digest::from_bytes(OLD), since_ms: 0 };
    let drift = case.store.drift(&case.name, Some(boot)).unwrap();
    assert_eq!((drift.files[0].fix, &*drift.files[0].path), (DriftFix::Shadowed, "/etc/a"));
}

#[test]
fn a_merge_is_refused_where_something_else_is_there_by_now() {
    let case = Case::new();
    case.write("a", "own");
    case.rebase(NEW);
    let view = case.store.drift_view(&case.name, "/etc/a", None).unwrap();
    let request = |own_sha256: Option<&String>, version: Option<&str>| DriftMergeRequest {
        path: "/etc/a".to_owned(),
        how: DriftMerge::Text("merged".to_owned()),
        own_sha256: own_sha256.cloned(),
        version: version.map(str::to_owned),
    };
    let code = |request| case.ask(request).map(drop).map_err(|error| error.code());
    assert_eq!(code(request(view.now.sha256.as_ref(), None)), Err(Code::Conflict));
    assert_eq!(code(request(None, Some("debian@00"))), Err(Code::Conflict));
    assert_eq!(fs::read_to_string(case.upper("a")).unwrap(), "own");
    let merged = case.ask(request(view.own.sha256.as_ref(), view.now.version.as_deref())).unwrap();
    assert_eq!(merged.kept.as_deref(), Some("/etc/a.dpkg-old"));
    let read = |file: &str| fs::read_to_string(case.upper(file)).unwrap();
    assert_eq!((read("a"), read("a.dpkg-old")), ("merged".to_owned(), "own".to_owned()));
    assert_eq!(case.said()[0].2, DriftFix::None);
    let names = fs::read_dir(case.upper("")).unwrap().flatten().map(|entry| entry.file_name());
    assert!(
        names.into_iter().all(|name| !name.to_string_lossy().contains("tenantctl")),
        "a file is left over"
    );
    // The same path by other names is none.
    for path in ["etc/a", "/etc/../etc/a", "/etc/./a/../a", "/etc/c", "/usr/bin", "/"] {
        let request = DriftMergeRequest { path: path.to_owned(), ..request(None, None) };
        assert_eq!(code(request), Err(Code::NotFound), "{path}");
    }
}

#[test]
fn what_is_taken_from_the_image_is_gone_from_the_tenant() {
    let case = Case::new();
    case.write("a", "old");
    case.rebase(NEW);
    assert_eq!(case.said()[0].1, DriftKind::Outdated);
    let merged = case.merge(DriftMerge::Theirs).unwrap();
    assert_eq!((merged.kept, case.upper("a").exists(), case.said().len()), (None, false, 0));
    let view = case.store.drift_view(&case.name, "/etc/a", None);
    assert_eq!(view.map(drop).map_err(|error| error.code()), Err(Code::NotFound));
    // Something that is no file is only taken away.
    nix::unistd::mkfifo(&case.upper("a"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let view = case.store.drift_view(&case.name, "/etc/a", None).unwrap();
    assert_eq!((view.own.what, view.own.text), (DriftNode::Other, None));
    assert_eq!(case.merge(DriftMerge::Content).map(drop).map_err(|error| error.code()), Err(Code::Invalid));
    case.merge(DriftMerge::Theirs).unwrap();
    assert!(!case.upper("a").exists());
}
