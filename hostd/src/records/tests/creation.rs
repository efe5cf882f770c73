//! Tenants that are made.

use super::*;

#[test]
fn a_new_tenant_has_its_directories_and_its_own_identity() {
    let trial = Trial::new();
    let store = trial.open();
    let alice = name("alice");
    let (allocation, change) = store.create(&alice, &with(&["hostname=a.example.org"])).unwrap();
    assert_eq!(change, Change::Created);
    let dirs = trial.layout.dirs(&alice);
    let read = |path: &str| fs::read_to_string(dirs.join(path)).unwrap();
    assert!(!dirs.join("etc/upper/hostname").exists(), "the name comes with each start");
    assert_eq!(read("etc/upper/machine-id"), format!("{}\n", allocation.uuid));
    assert!(read("etc/upper/hosts").contains("127.0.1.1\ta.example.org a\t"));
    assert_eq!(read("root/.profile"), "umask 077\n");
    assert!(fs::symlink_metadata(dirs.join("root/link")).unwrap().is_symlink());
    let mode = |path: PathBuf| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(dirs.join("root")), 0o700);
    assert_eq!(mode(dirs.join("etc/upper")), 0o755);
    assert!(dirs.join("var/work").is_dir());
    // Its setuid files are on the host's disk: only root may reach them.
    assert_eq!(mode(trial.layout.tenants()), 0o700);
    assert_eq!(mode(trial.layout.tenant(&alice)), 0o700);
    assert_eq!(allocation.pinned.digest, trial.digest);
    assert_eq!(store.create(&name("bob"), &NewTenant::default()).unwrap().0.index.get(), 2);
}

#[test]
fn an_image_that_was_meant_for_the_host_cannot_make_hostd_write_there() {
    let trial = Trial::new();
    let outside = tempfile::tempdir().unwrap();
    let etc = trial.layout.tree(&"debian".parse().unwrap(), &trial.digest).join("etc");
    fs::remove_dir_all(&etc).unwrap();
    symlink(outside.path(), &etc).unwrap();
    let store = trial.open();
    store.create(&name("alice"), &NewTenant::default()).unwrap_err();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(trial.paths().is_empty(), "{:?}", trial.paths());
}

#[test]
fn creating_is_idempotent_and_a_taken_name_is_refused() {
    let trial = Trial::new();
    let store = trial.open();
    let alice = name("alice");
    store.create(&alice, &with(&["ttys=2"])).unwrap();
    assert_eq!(store.create(&alice, &with(&["ttys=2"])).unwrap().1, Change::Unchanged);
    assert_eq!(store.create(&alice, &NewTenant::default()).unwrap().1, Change::Unchanged);
    let error = store.create(&alice, &with(&["ttys=3"])).unwrap_err();
    assert_eq!(error.code(), Code::NameTaken);
}

#[test]
fn what_cannot_be_made_changes_nothing_and_says_why() {
    let trial = Trial::new();
    let store = trial.open();
    let alice = name("alice");
    for (pairs, code, says) in [
        (&["memorymax=1G"][..], Code::Invalid, "did you mean `memory_max`"),
        (&["image=arch"], Code::NoImage, "image \"arch\" does not exist"),
        (&["image=debian:edge"], Code::NoImage, "has no channel \"edge\""),
        (&["image=debian@abcdef0"], Code::NoImage, "has no version"),
        (
            &["profile=nonsense"],
            Code::NoProfile,
            "there is no profile \"nonsense\": it is not a shipped one, and not in /",
        ),
        (&["ttys=99"], Code::Invalid, "cannot set ttys of \"alice\": 99 is outside 0 to 63"),
        (&["memory_max=lots"], Code::Invalid, "cannot set memory_max of \"alice\": \"lots\" is not a size"),
        (&["autostart=maybe"], Code::Invalid, "cannot set autostart of \"alice\": \"maybe\" is neither"),
        (&["memory_high=2G", "memory_max=1G"], Code::Invalid, "key `memory_high`: 2G is above memory_max"),
    ] {
        let failure = Failure::from(store.create(&alice, &with(pairs)).unwrap_err());
        assert_eq!(failure.code, code, "{failure}");
        assert!(failure.message.contains(says), "{failure}");
        assert!(failure.help.is_some(), "{failure}");
    }
    assert!(trial.paths().is_empty(), "{:?}", trial.paths());
}

#[test]
fn an_unfit_filesystem_is_refused_before_anything_is_made() {
    let trial = Trial::new();
    let unfit = KernelError::new("mount", "overlay", io::Error::from(io::ErrorKind::InvalidInput));
    let (store, _) = Store::open(trial.layout.clone(), facts(), Err(unfit)).unwrap();
    let failure = Failure::from(store.create(&name("alice"), &NewTenant::default()).unwrap_err());
    assert!(failure.message.contains("idmapped overlay upper"), "{failure}");
    assert!(failure.help.is_some());
    assert!(trial.paths().is_empty());
}

/// What [`Store::create`] hands to its steps.
fn creation_parts(store: &Store, name: &TenantName) -> (Allocation, Plan, Contents, String) {
    let text = edit::HEADER.to_owned();
    let tenant = store.resolve_text(name, &text).unwrap();
    let pinned = images::resolve(&store.layout, &tenant.image, &HostConfig::default()).unwrap();
    let mut cursor = held(&store.writer).cursor.clone();
    let used = Used::of(&store.records(), []);
    let at = cursor.next(&HostConfig::default(), &used, &crate::assign::holding::Taken::new()).unwrap();
    let (_, mut allocation) = crate::assign::allocate::tests::record(name.as_str(), at);
    allocation.pinned = pinned;
    let manifest = sources::read_manifest(&store.layout, &allocation.pinned).unwrap();
    let plan = store.plan_of(&tenant, &allocation, &manifest, &HostConfig::default(), None).unwrap();
    let image = images::contents(&store.layout, &manifest).unwrap();
    (allocation, plan, image, text)
}

#[test]
fn a_crash_after_any_step_of_create_leaves_a_whole_tenant_or_none() {
    for crash_after in 0..=create::Step::ALL.len() {
        let trial = Trial::new();
        let store = trial.open();
        let alice = name("alice");
        let (allocation, plan, image, config) = creation_parts(&store, &alice);
        let identity = Identity { host_name: "host" };
        let mut creation = Creation {
            layout: &trial.layout,
            allocation: &allocation,
            config: &config,
            plan: &plan,
            image,
            identity,
            disk: Default::default(),
            unsynced: Unsynced::default(),
            seed: create::Seed::Image,
        };
        for step in &create::Step::ALL[..crash_after] {
            creation.step(*step).unwrap();
        }
        drop(creation);
        drop(store);

        let store = trial.open();
        let committed = crash_after >= 5;
        assert_eq!(store.records().contains_key(&alice), committed, "after {crash_after} steps");
        if committed {
            store.plan(&alice, None).unwrap();
            assert!(trial.layout.dirs(&alice).join("etc/upper/machine-id").is_file());
        } else {
            assert!(trial.paths().is_empty(), "after {crash_after} steps: {:?}", trial.paths());
            store.create(&alice, &NewTenant::default()).unwrap();
        }
    }
}

#[test]
fn an_interrupted_write_of_the_configuration_is_forgotten() {
    let trial = Trial::new();
    fs::create_dir_all(trial.layout.tenant_configs()).unwrap();
    fs::write(trial.layout.tenant_configs().join(".alice.toml.7.tmp"), "ttys").unwrap();
    trial.open();
    assert!(trial.paths().is_empty());
}

#[test]
fn a_creation_whose_image_is_gone_meanwhile_is_undone() {
    let trial = Trial::new();
    let store = trial.open();
    let alice = name("alice");
    store.create(&alice, &NewTenant::default()).unwrap();
    drop(store);
    let staged = trial.layout.tenants().join(".new-alice");
    fs::rename(trial.layout.tenant(&alice), staged).unwrap();
    fs::remove_dir_all(trial.layout.images()).unwrap();
    let store = trial.open();
    assert!(store.records().is_empty());
    assert!(!trial.layout.tenants().join(".new-alice").exists());
}
