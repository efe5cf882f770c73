mod addresses;
mod broken;
mod copies;
mod creation;
mod drift;
mod power_cut;
mod rebase;
mod removal;
mod rename;

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use tenant::{
    Allocation, HostFacts, Layout, Plan, TenantName,
    files::sources,
    kernel::{KernelError, image::Contents, source::View},
    model::{
        allocation::RecordState,
        host::HostConfig,
        ids::Digest,
        image::{Boot, ImageFormat, Manifest, Ready, TopEntry},
    },
};
use tenantry_tests::Elsewhere;
use wire::{Code, Failure};

use super::{create::Creation, destroy::Destruction, guard::held, *};
use crate::{
    assign::allocate::Used,
    dirs::{
        seed::{Identity, Unsynced},
        trash::Leaving,
    },
};

/// A host in a temporary directory with one image.
pub(crate) struct Trial {
    pub(crate) layout: Layout,
    pub(crate) digest: Digest,
    _dir: tempfile::TempDir,
}

pub(crate) fn facts() -> HostFacts {
    let mut facts = HostFacts::gather().unwrap();
    facts.cgroup.v2_mount.get_or_insert_with(|| PathBuf::from("/sys/fs/cgroup"));
    facts
}

fn entry(name: &str) -> TopEntry {
    TopEntry { name: name.to_owned(), mode: Some(0o755), target: None }
}

impl Trial {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let digest = Digest::from_bytes([7; 32]);
        let trial = Self { layout, digest, _dir: dir };
        trial.publish("debian", digest);
        trial
    }

    pub(crate) fn publish(&self, image: &str, digest: Digest) {
        let image = image.parse().unwrap();
        let tree = self.layout.tree(&image, &digest);
        for path in ["etc/ssl", "usr/bin", "var/log", "root", "home", "opt", "srv"] {
            fs::create_dir_all(tree.join(path)).unwrap();
        }
        fs::write(tree.join("etc/machine-id"), "shared by all, wrongly\n").unwrap();
        fs::write(tree.join("root/.profile"), "umask 077\n").unwrap();
        symlink("/etc/shadow", tree.join("root/link")).unwrap();
        fs::set_permissions(tree.join("root"), fs::Permissions::from_mode(0o700)).unwrap();
        let manifest = Manifest {
            format_version: 1,
            image: image.clone(),
            digest,
            format: ImageFormat::Tree,
            created: "2026-01-02T03:04:05Z".to_owned(),
            os: "Debian".to_owned(),
            arch: "x86_64".to_owned(),
            source: "a test".to_owned(),
            sets: Vec::new(),
            tuned: false,
            size_bytes: 0,
            files: 0,
            verity: None,
            parent: None,
            init_kind: None,
            app: None,
            boot: Boot {
                init: vec!["/sbin/init".to_owned()],
                stop_signal: "SIGRTMIN+3".to_owned(),
                ready: Ready::Notify,
                getty: Vec::new(),
            },
            recipe: None,
            top: ["etc", "home", "opt", "root", "srv", "usr", "var"].map(entry).to_vec(),
        };
        fs::write(self.layout.manifest(&image, &digest), manifest.render()).unwrap();
        let channel = self.layout.channel(&image, &tenant::model::image::ChannelName::stable());
        fs::create_dir_all(channel.parent().unwrap()).unwrap();
        fs::write(channel, format!("{digest}\n")).unwrap();
    }

    pub(crate) fn open(&self) -> Store {
        let (store, findings) = Store::open(self.layout.clone(), facts(), Ok(())).unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        store.trash.settle();
        store
    }

    /// Every path below the state and configuration directories of tenants.
    fn paths(&self) -> Vec<PathBuf> {
        fn walk(dir: &Path, paths: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                paths.push(entry.path());
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), paths);
                }
            }
        }
        let mut paths = Vec::new();
        walk(&self.layout.tenants(), &mut paths);
        walk(&self.layout.tenant_configs(), &mut paths);
        paths.sort();
        paths
    }
}

pub(crate) fn name(text: &str) -> TenantName {
    text.parse().unwrap()
}

fn with(pairs: &[&str]) -> NewTenant {
    NewTenant { set: pairs.iter().map(|pair| (*pair).to_owned()).collect() }
}

#[test]
fn a_crash_after_any_step_of_destroy_is_finished_by_the_next_one() {
    for crash_after in 0..=destroy::Step::ALL.len() {
        let trial = Trial::new();
        let store = trial.open();
        let alice = name("alice");
        let (mut allocation, _) = store.create(&alice, &NewTenant::default()).unwrap();
        let mut destruction = Destruction { layout: &trial.layout, allocation: &mut allocation };
        for step in &destroy::Step::ALL[..crash_after] {
            destruction.step(*step).unwrap();
        }
        drop(store);

        let store = trial.open();
        match store.record(&alice) {
            Ok(record) => {
                let expected = if crash_after == 0 { RecordState::Ready } else { RecordState::Destroying };
                assert_eq!(record.state, expected, "after {crash_after} steps");
                assert_eq!(store.plan(&alice, None).is_ok(), crash_after == 0);
                store.destroy(&alice).unwrap().wait().unwrap();
            }
            Err(error) => assert_eq!((crash_after, error.code()), (3, Code::NoTenant)),
        }
        assert!(trial.paths().is_empty(), "after {crash_after} steps: {:?}", trial.paths());
    }
}

#[test]
fn a_configuration_is_replaced_only_by_who_has_read_it() {
    let trial = Trial::new();
    let store = trial.open();
    let alice = name("alice");
    store.create(&alice, &NewTenant::default()).unwrap();
    let base = store.config_text(&alice).unwrap();
    let one = edit::apply(&base, &["ttys=1".to_owned()], &[]).unwrap();
    assert_eq!(store.configure(&alice, &base, &one, false).unwrap(), Change::Changed);
    assert_eq!(store.configure(&alice, &one, &one, false).unwrap(), Change::Unchanged);
    assert_eq!(store.configure(&alice, &base, &one, false).unwrap_err().code(), Code::Conflict);
    let error = store.configure(&alice, &one, "tty = 1", false).unwrap_err();
    assert_eq!(error.code(), Code::Invalid);
    assert_eq!(store.config_text(&alice).unwrap(), one);
}

#[test]
fn new_directories_and_another_image_are_there_for_the_next_start() {
    let trial = Trial::new();
    let other = Digest::from_bytes([9; 32]);
    trial.publish("alpine", other);
    let store = trial.open();
    let alice = name("alice");
    store.create(&alice, &NewTenant::default()).unwrap();
    let base = store.config_text(&alice).unwrap();
    let pairs = ["dirs.\"/data\"=private".to_owned(), "image=alpine".to_owned()];
    let text = edit::apply(&base, &pairs, &[]).unwrap();
    store.configure(&alice, &base, &text, false).unwrap();
    assert!(trial.layout.dirs(&alice).join("data").is_dir());
    assert_eq!(store.plan(&alice, None).unwrap().1.digest, other);
    drop(store);
    assert_eq!(trial.open().record(&alice).unwrap().pinned.digest, other);
}

#[test]
fn a_mended_file_asks_for_no_other_version() {
    let trial = Trial::new();
    let store = trial.open();
    let alice = name("alice");
    store.create(&alice, &NewTenant::default()).unwrap();
    let path = trial.layout.tenant_config(&alice);
    let text = store.config_text(&alice).unwrap();
    let mistyped = format!("tyts = 3\n{text}");
    fs::write(&path, &mistyped).unwrap();
    // The channel has moved since.
    trial.publish("debian", Digest::from_bytes([9; 32]));
    let mended = edit::apply(&mistyped, &[], &["tyts".to_owned()]).unwrap();
    store.configure(&alice, &mistyped, &mended, false).unwrap();
    assert_eq!(store.record(&alice).unwrap().pinned.digest, trial.digest);
    let text = store.config_text(&alice).unwrap();
    let other = edit::apply(&text, &["image=debian:stable".to_owned()], &[]).unwrap();
    store.configure(&alice, &text, &other, false).unwrap();
}

#[test]
fn a_file_that_cannot_be_written_leaves_the_record_as_it_was() {
    let trial = Trial::new();
    trial.publish("alpine", Digest::from_bytes([9; 32]));
    let store = trial.open();
    let alice = name("alice");
    store.create(&alice, &NewTenant::default()).unwrap();
    let base = store.config_text(&alice).unwrap();
    let text = edit::apply(&base, &["image=alpine".to_owned()], &[]).unwrap();
    // In the place of the temporary file.
    let temporary = format!(".alice.toml.{}.tmp", std::process::id());
    fs::create_dir(trial.layout.tenant_configs().join(temporary)).unwrap();
    store.configure(&alice, &base, &text, false).unwrap_err();
    assert_eq!(store.record(&alice).unwrap().pinned.digest, trial.digest);
    let on_disk = fs::read_to_string(trial.layout.allocation(&alice)).unwrap();
    assert_eq!(Allocation::parse(&on_disk).unwrap(), store.record(&alice).unwrap());
}

#[test]
fn a_fifo_in_place_of_any_file_delays_no_request() {
    let trial = Trial::new();
    let store = trial.open();
    let [alice, bob] = ["alice", "bob"].map(name);
    store.create(&alice, &NewTenant::default()).unwrap();
    store.create(&bob, &NewTenant::default()).unwrap();
    let layout = &trial.layout;
    let image = "debian".parse().unwrap();
    let channel = layout.channel(&image, &tenant::model::image::ChannelName::stable());
    let plan = |store: &Store| store.plan(&alice, None).map(drop);
    let create = |store: &Store| store.create(&name("carol"), &NewTenant::default()).map(drop);
    type Attempt<'a> = &'a dyn Fn(&Store) -> Result<(), StoreError>;
    let table: [(PathBuf, Attempt<'_>); 5] = [
        (layout.tenant_config(&alice), &plan),
        (layout.host_config(), &plan),
        (layout.nic_table(), &plan),
        (layout.manifest(&image, &trial.digest), &plan),
        (channel, &create),
    ];
    for (path, attempt) in table {
        let aside = path.with_extension("aside");
        let was_there = fs::rename(&path, &aside).is_ok();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = attempt(&store).unwrap_err();
        let text = wire::chain(&error);
        assert!(text.contains("FIFO"), "{}: {text}", path.display());
        fs::remove_file(&path).unwrap();
        if was_there {
            fs::rename(&aside, &path).unwrap();
        }
    }
    plan(&store).unwrap();
    drop(store);
    fs::remove_file(layout.allocation(&bob)).unwrap();
    nix::unistd::mkfifo(&layout.allocation(&bob), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let store = trial.open();
    assert!(store.broken()[&bob].reason.contains("FIFO"), "{}", store.broken()[&bob].reason);
}

/// A process that sees an empty filesystem of these options on a directory, and a directory `in` there.
fn elsewhere(dir: &Path, options: &str) -> Elsewhere {
    let dir = dir.display();
    Elsewhere::with_mounts(&format!("mount -t tmpfs -o {options} none '{dir}'; mkdir -m 755 '{dir}/in'"))
}

#[test]
fn binds_are_judged_as_those_see_them_who_start_tenants() {
    let top = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(top.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let source = top.path().canonicalize().unwrap();
    let bind = |writable: bool| {
        let source = source.join("in");
        with(&[&format!("dirs.\"/opt/in\"={{ bind = {source:?}, writable = {writable} }}")])
    };
    let quiet = elsewhere(&source, "mode=755,nosuid");
    let open = elsewhere(&source, "mode=755");
    let trial = Trial::new();
    let error = trial.open().create(&name("alice"), &bind(false)).unwrap_err();
    assert!(wire::chain(&error).contains("does not exist"), "{error}");
    let store = trial.open().seeing(View::Process(open.id()));
    store.create(&name("alice"), &bind(false)).unwrap();
    let error = wire::chain(&store.create(&name("bob"), &bind(true)).unwrap_err());
    assert!(error.contains("set-user-ID"), "{error}");
    let base = store.config_text(&name("alice")).unwrap();
    let text = edit::apply(&base, &bind(true).set, &[]).unwrap();
    let refused = store.configure(&name("alice"), &base, &text, true).unwrap_err();
    assert!(wire::chain(&refused).contains("set-user-ID"), "{refused}");
    assert_eq!(store.config_text(&name("alice")).unwrap(), base);
    drop(store);
    let store = trial.open().seeing(View::Process(quiet.id()));
    store.create(&name("bob"), &bind(true)).unwrap();
}

#[test]
fn shared_memory_follows_the_default_limit_of_the_host() {
    let trial = Trial::new();
    fs::create_dir_all(trial.layout.etc()).unwrap();
    let shm = |settings: &str, systemd: bool, text: &str| {
        fs::write(trial.layout.host_config(), settings).unwrap();
        let facts = HostFacts { systemd, ..facts() };
        let (store, _) = Store::open(trial.layout.clone(), facts, Ok(())).unwrap();
        let tenant = store.resolve_text(&name("alice"), text).unwrap();
        let memory =
            tenant.limits.get("memory_max").map(|max| tenant::model::limits::ByteSize(max).to_string());
        (tenant.shm_max.to_string(), memory)
    };
    let limit = "default_memory_max = \"600M\"\n";
    assert_eq!(shm(limit, false, ""), ("300M".to_owned(), Some("600M".to_owned())));
    assert_eq!(shm(limit, false, "memory_max = \"1G\"\n").0, "512M");
    assert_eq!(shm(limit, false, "shm_max = \"64M\"\n").0, "64M");
    assert_eq!(shm("default_memory_max = \"max\"\n", false, ""), ("256M".to_owned(), None));
    assert_eq!(shm(limit, true, ""), ("256M".to_owned(), None), "with systemd its unit has the default");
}
