//! Whenever the power fails in the middle of a change, the next hostd finds what there was before, or what there was to
//! be; whole, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use rootfs_tools::{digest, tree};
use tenantry_tests::power_cut::{Recording, State, names_below};

use super::{super::copies::Taking, *};

/// So many faults of each verb are shown.
const SHOWN: usize = 3;

/// What is done to the tenants of a host. Done again it has nothing to do, and says so.
struct Verb {
    name: &'static str,
    before: &'static [fn(&Store)],
    act: fn(&Store),
}

const VERBS: &[Verb] = &[
    Verb { name: "create the first", before: &[], act: create },
    Verb { name: "create another", before: &[|store| drop(made(store, "bob"))], act: create },
    Verb {
        name: "create one with a root of its own",
        before: &[],
        act: |store| drop(store.create(&name("alice"), &with(&["profile=os"])).unwrap()),
    },
    Verb { name: "configure", before: &[create], act: configure },
    Verb {
        name: "destroy",
        before: &[create],
        act: |store| {
            if store.has(&name("alice")) {
                store.destroy(&name("alice")).unwrap().wait().unwrap();
            }
        },
    },
    Verb {
        name: "rename",
        before: &[create, furnish],
        act: |store| {
            let [old, new] = ["alice", "carol"].map(name);
            if store.has(&old) {
                store.rename(&old, &new).unwrap();
                store.settle(&old, &new).unwrap();
            }
        },
    },
    Verb {
        name: "rebase",
        before: &[create],
        act: |store| {
            let target = "alpine:stable".parse().unwrap();
            let mut repinned = store.propose_rebase(&name("alice"), &target, true).unwrap();
            store.commit_rebase(&mut repinned, None).unwrap();
        },
    },
    Verb { name: "snapshot", before: &[create, furnish], act: snapshot },
    Verb {
        name: "restore",
        before: &[create, furnish, snapshot, |store| {
            fs::remove_dir_all(store.layout().dirs(&name("alice")).join("root")).unwrap();
            configure(store);
        }],
        act: |store| {
            store.restore(&name("alice"), ("one", false), &mut |_| Ok(())).unwrap();
        },
    },
    Verb {
        name: "remove a snapshot",
        before: &[create, snapshot],
        act: |store| {
            if !store.snapshots(&name("alice")).unwrap().is_empty() {
                store.remove_snapshot(&name("alice"), "one").unwrap();
            }
        },
    },
    Verb {
        name: "reset",
        before: &[create, furnish],
        act: |store| {
            store.reset(&name("alice"), &["/etc".to_owned()]).unwrap();
        },
    },
    Verb {
        name: "clone",
        before: &[create, furnish],
        act: |store| {
            let [from, to] = ["alice", "bob"].map(name);
            if !store.has(&to) {
                store.clone_tenant(&from, &to, (&NewTenant::default(), &[]), &mut |_| Ok(())).unwrap();
            }
        },
    },
];

fn made(store: &Store, tenant: &str) -> Allocation {
    store.create(&name(tenant), &NewTenant::default()).unwrap().0
}

fn create(store: &Store) {
    made(store, "alice");
}

/// Something of the tenant's own, and something that an admin gave it.
fn furnish(store: &Store) {
    let (layout, alice) = (store.layout(), name("alice"));
    fs::write(layout.dirs(&alice).join("etc/upper/motd"), "hello").unwrap();
    fs::create_dir_all(layout.credentials(&alice)).unwrap();
    fs::set_permissions(layout.credentials(&alice), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(layout.credentials(&alice).join("key"), "secret").unwrap();
    fs::write(layout.nic_table(), "[[nic]]\nlink = \"eth7\"\ntenant = \"alice\"\n").unwrap();
}

fn configure(store: &Store) {
    let alice = name("alice");
    let base = store.config_text(&alice).unwrap();
    let pairs = ["dirs.\"/data\"=private".to_owned(), "image=alpine".to_owned(), "ttys=3".to_owned()];
    let text = edit::apply(&base, &pairs, &[]).unwrap();
    store.configure(&alice, &base, &text, false).unwrap();
}

fn snapshot(store: &Store) {
    let alice = name("alice");
    if store.snapshots(&alice).unwrap().is_empty() {
        let taking = Taking { name: Some("one".to_owned()), ..Taking::default() };
        store.take_snapshot(&alice, &taking, &mut |_| Ok(())).unwrap();
    }
}

fn open(layout: &Layout) -> Result<Store, String> {
    static FACTS: OnceLock<HostFacts> = OnceLock::new();
    let facts = FACTS.get_or_init(facts).clone();
    let (store, findings) =
        Store::open(layout.clone(), facts, Ok(())).map_err(|error| wire::chain(&error))?;
    if !findings.is_empty() {
        return Err(format!("{findings:?}"));
    }
    if let Some(broken) = store.broken().values().next() {
        return Err(broken.reason.clone());
    }
    // As hostd does when it begins.
    let half: Vec<_> =
        store.records().values().filter(|record| record.state != RecordState::Ready).cloned().collect();
    for record in half {
        drop(store.destroy(&record.name).map_err(|error| wire::chain(&error))?);
    }
    store.trash.settle();
    Ok(store)
}

/// A tenant as a user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    text: String,
    /// The digests of its directories.
    stored: BTreeMap<String, Digest>,
}

type View = BTreeMap<TenantName, Seen>;

impl Seen {
    /// Whether it is another one, and has at most directories besides that are a third one's.
    fn is(&self, other: &Self, third: &Self) -> bool {
        let is_known = |(name, digest): (&String, &Digest)| match other.stored.get(name) {
            Some(own) => own == digest,
            // Made for what was not committed: nothing looks at it, and the next one begins with it.
            None => name.starts_with(".new-") || third.stored.get(name) == Some(digest),
        };
        self.text == other.text
            && other.stored.keys().all(|name| self.stored.contains_key(name))
            && self.stored.iter().all(is_known)
    }
}

fn is(view: &View, other: &View, third: &View) -> bool {
    view.keys().eq(other.keys())
        && view.iter().all(|(name, seen)| seen.is(&other[name], third.get(name).unwrap_or(seen)))
}

fn stored(dirs: &Path) -> Result<Digest, String> {
    let entries = tree::walk(dirs).map_err(|error| error.to_string())?;
    digest::digest(dirs, &entries).map_err(|error| error.to_string())
}

fn view(store: &Store) -> Result<View, String> {
    let (mut view, layout) = (View::new(), store.layout());
    for (name, record) in &*store.records() {
        let told = |error: StoreError| format!("{name}: {}", wire::chain(&error));
        store.plan(name, None).map_err(told)?;
        let mut text = format!("{} {}", record.pinned, store.config_text(name).map_err(told)?);
        for snapshot in store.snapshots(name).map_err(told)? {
            if let Some(problem) = snapshot.problem {
                return Err(problem);
            }
            let dirs = layout.snapshot(name, &snapshot.name.parse().unwrap()).join("dirs");
            text += &format!("{} {}", snapshot.name, stored(&dirs)?);
        }
        let credentials = fs::read_to_string(layout.credentials(name).join("key")).ok();
        let nics = fs::read_to_string(layout.nic_table()).ok();
        text += &format!("{credentials:?} {nics:?}");
        let dirs = fs::read_dir(layout.dirs(name)).map_err(|error| error.to_string())?;
        let stored =
            dirs.flatten().map(|dir| Ok((dir.file_name().into_string().unwrap(), stored(&dir.path())?)));
        let stored = stored.collect::<Result<_, String>>()?;
        view.insert(name.clone(), Seen { text, stored });
    }
    Ok(view)
}

/// Without what says who it is, which is another one each time that it is made.
fn nameless(mut view: View) -> View {
    for seen in view.values_mut() {
        seen.stored.retain(|name, _| !["etc", "root-overlay"].contains(&name.as_str()));
    }
    view
}

/// Every name in the directories of tenants and in those of their files.
fn paths(layout: &Layout) -> BTreeSet<PathBuf> {
    let mut found = names_below(&layout.state(), &layout.tenants());
    found.extend(names_below(&layout.etc(), &layout.etc()));
    found
}

/// What is wrong after a power cut, and after the verb was done again.
fn fault(
    state: &State,
    act: fn(&Store),
    (old, new): (&View, &View),
    all: &BTreeSet<PathBuf>,
) -> Result<(), String> {
    // Where syncfs(2) costs nothing.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    state.write(dir.path());
    let layout = Layout::new(dir.path());
    let store = open(&layout)?;
    let found = view(&store)?;
    if !is(&found, new, old) && (state.is_done || !is(&found, old, new)) {
        return Err(format!("it has {found:?}\n    and not {new:?}\n    or {old:?}"));
    }
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(&store)))
        .map_err(|_| "the verb fails when it is done again".to_owned())?;
    drop(store);
    let store = open(&layout)?;
    let (found, new) = (nameless(view(&store)?), nameless(new.clone()));
    if found != new {
        return Err(format!("when it is done again it has {found:?}\n    and not {new:?}"));
    }
    drop(store);
    let left: Vec<_> = paths(&layout).difference(all).cloned().collect();
    if left.is_empty() { Ok(()) } else { Err(format!("left behind: {left:?}")) }
}

#[test]
fn a_power_cut_leaves_tenants_as_they_were_or_as_they_were_to_be() {
    let mut faults = Vec::new();
    for verb in VERBS {
        let trial = Trial::new();
        trial.publish("alpine", Digest::from_bytes([9; 32]));
        let layout = &trial.layout;
        let tree = layout.tree(&"alpine".parse().unwrap(), &Digest::from_bytes([9; 32]));
        fs::create_dir(tree.join("data")).unwrap();
        fs::write(tree.join("data/page"), "of the image").unwrap();
        for act in verb.before {
            act(&open(layout).unwrap());
        }
        let old = view(&open(layout).unwrap()).unwrap();
        let (recording, ()) = Recording::of(trial.layout.root(), || {
            (verb.act)(&open(layout).unwrap());
        });
        let new = view(&open(layout).unwrap()).unwrap();
        let all = paths(layout);
        assert_ne!(old, new, "{}", verb.name);
        let states = recording.states();
        eprintln!("{}: {} events, {} states", verb.name, recording.len(), states.len());
        let mut found = Vec::new();
        for state in states {
            if let Err(fault) = fault(&state, verb.act, (&old, &new), &all) {
                found.push(format!("{}: {state}\n    {fault}", verb.name));
            }
        }
        if !found.is_empty() {
            found.truncate(SHOWN);
            faults.push(found.join("\n"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
