//! Whenever the power fails in the middle of a change, the store has what it had before, or what it was to have; whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use rootfs_tools::{
    Outcome, Store, digest,
    explain::Explain as _,
    progress::Progress,
    publish::{self, Request},
    staging::{self, Staging},
    store::Way,
    tree,
};
use tenant::{
    Layout,
    model::{
        ids::Digest,
        image::{ChannelName, ImageFormat, ImageName, ImageRef},
    },
};
use tenantry_tests::power_cut::{Recording, State, names_below};

/// What is done to the store.
struct Verb {
    name: &'static str,
    before: &'static [fn(&Layout)],
    act: fn(&Layout),
}

const VERBS: &[Verb] = &[
    Verb {
        name: "publish the first version of the first image",
        before: &[],
        act: |at| put(at, "one", "stable"),
    },
    Verb {
        name: "publish another version",
        before: &[|at| put(at, "one", "stable")],
        act: |at| put(at, "two", "stable"),
    },
    Verb {
        name: "publish for a new channel",
        before: &[|at| put(at, "one", "stable")],
        act: |at| put(at, "two", "candidate"),
    },
    Verb {
        name: "move a channel",
        before: &[|at| put(at, "one", "stable"), |at| put(at, "two", "candidate")],
        act: |at| point(at, "stable", "candidate"),
    },
    Verb {
        name: "remove a channel",
        before: &[|at| put(at, "one", "stable"), |at| put(at, "two", "candidate")],
        act: |at| match Store::new(at.clone()).remove_channel(&image(), &channel("candidate")) {
            Err(error) if error.outcome() == Outcome::NotFound => {}
            other => other.unwrap(),
        },
    },
    Verb {
        name: "remove a version",
        before: &[|at| put(at, "one", "stable"), |at| put(at, "two", "stable")],
        act: |at| {
            let store = Store::new(at.clone());
            for (image, digest) in store.garbage(0).unwrap() {
                store.remove(&image, &digest).unwrap();
            }
        },
    },
    Verb {
        name: "remove the last version with its channels",
        before: &[|at| put(at, "one", "stable"), |at| put(at, "one", "candidate")],
        act: |at| {
            let store = Store::new(at.clone());
            for digest in store.versions(&image()).unwrap_or_default() {
                store.remove_with_channels(&image(), &digest).unwrap();
            }
        },
    },
    Verb {
        name: "note what a registry was sent",
        before: &[|at| put(at, "one", "stable")],
        act: |at| {
            let store = Store::new(at.clone());
            let digest = store.versions(&image()).unwrap()[0];
            store.note_pushed(&image(), "registry/img", &[digest]).unwrap();
        },
    },
];

fn image() -> ImageName {
    "img".parse().unwrap()
}

fn channel(name: &str) -> ChannelName {
    name.parse().unwrap()
}

/// Publishes a version that has some files of its own and some that all have.
fn put(layout: &Layout, content: &str, to: &str) {
    let staging = Staging::new(layout).unwrap();
    let tree = staging.tree();
    fs::create_dir_all(tree.join("usr/lib")).unwrap();
    fs::write(tree.join("usr/lib/common"), "common").unwrap();
    fs::write(tree.join("usr/file"), content).unwrap();
    std::os::unix::fs::symlink("usr/file", tree.join("link")).unwrap();
    let request = Request::new(image(), channel(to), ImageFormat::Tree, "test".to_owned());
    publish::publish(layout, &staging, &request, &Progress::silent()).unwrap();
}

fn point(layout: &Layout, from: &str, to: &str) {
    let store = Store::new(layout.clone());
    let digest = store.resolve(&format!("img:{to}").parse::<ImageRef>().unwrap()).unwrap();
    store.set_channel(&image(), &channel(from), &digest, Way::Anywhere).unwrap();
}

/// What a user sees of a store.
#[derive(Debug, PartialEq, Eq)]
struct View {
    versions: BTreeSet<Digest>,
    channels: BTreeMap<ChannelName, Digest>,
    pushed: Option<String>,
}

impl View {
    /// Looks at a store, every file of it.
    fn of(layout: &Layout) -> Result<Self, String> {
        let store = Store::new(layout.clone());
        let images = store.images().map_err(|error| format!("images: {error}"))?;
        store.list(&images).map_err(|error| format!("list: {error}"))?;
        let mut view = Self {
            versions: BTreeSet::new(),
            channels: store.channels(&image()).map_err(|error| format!("channels: {error}"))?,
            pushed: fs::read_to_string(layout.pushed(&image())).ok(),
        };
        for image in images {
            for digest in store.versions(&image).map_err(|error| format!("versions: {error}"))? {
                let tree = layout.tree(&image, &digest);
                let entries = tree::walk(&tree).map_err(|error| format!("walk: {error}"))?;
                let found = digest::digest(&tree, &entries).map_err(|error| format!("digest: {error}"))?;
                if digest::of_version(&found, ImageFormat::Tree, false) != digest {
                    return Err(format!("version {digest} is damaged"));
                }
                view.versions.insert(digest);
            }
        }
        match view.channels.iter().find(|(_, digest)| !view.versions.contains(digest)) {
            Some((channel, digest)) => {
                Err(format!("channel {channel} leads to {digest}, which is not there"))
            }
            None => Ok(view),
        }
    }

    /// Whether each thing is as in one of two.
    fn is_between(&self, old: &Self, new: &Self) -> bool {
        let versions: BTreeSet<_> = old.versions.union(&new.versions).copied().collect();
        let kept: BTreeSet<_> = old.versions.intersection(&new.versions).copied().collect();
        let names: BTreeSet<_> = [self, old, new].into_iter().flat_map(|view| view.channels.keys()).collect();
        self.versions.is_subset(&versions)
            && self.versions.is_superset(&kept)
            && [&old.pushed, &new.pushed].contains(&&self.pushed)
            && names.into_iter().all(|name| {
                let [own, old, new] = [self, old, new].map(|view| view.channels.get(name));
                own == old || own == new
            })
    }
}

/// Every name in the state directory.
fn paths(layout: &Layout) -> BTreeSet<PathBuf> {
    names_below(&layout.state(), &layout.state())
}

/// What is wrong with a store after a power cut, and after the verb was done again.
fn fault(
    state: &State,
    act: fn(&Layout),
    (old, new): (&View, &View),
    all: &BTreeSet<PathBuf>,
) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    state.write(dir.path());
    let layout = Layout::new(dir.path());
    let view = match View::of(&layout) {
        Ok(view) => view,
        Err(error) => return Some(error),
    };
    if !view.is_between(old, new) || (state.is_done && view != *new) {
        return Some(format!("it has {view:?}"));
    }
    let again = std::panic::catch_unwind(|| act(&layout));
    if again.is_err() {
        return Some("the verb fails when it is done again".to_owned());
    }
    staging::sweep(&layout).unwrap();
    Store::new(layout.clone()).sweep().unwrap();
    match View::of(&layout) {
        Ok(view) if view == *new => {}
        other => return Some(format!("when it is done again it has {other:?}")),
    }
    let left: Vec<_> = paths(&layout).difference(all).cloned().collect();
    (!left.is_empty()).then(|| format!("left behind: {left:?}"))
}

#[test]
fn a_power_cut_leaves_a_store_with_the_old_or_the_new_and_no_remains() {
    let mut faults = Vec::new();
    for verb in VERBS {
        let host = tempfile::tempdir().unwrap();
        let layout = Layout::new(host.path());
        verb.before.iter().for_each(|act| act(&layout));
        let old = View::of(&layout).unwrap();
        let (recording, ()) = Recording::of(host.path(), || (verb.act)(&layout));
        let (new, all) = (View::of(&layout).unwrap(), paths(&layout));
        assert_ne!(old, new, "{}", verb.name);
        let states = recording.states();
        eprintln!("{}: {} events, {} states", verb.name, recording.len(), states.len());
        for state in states {
            if let Some(fault) = fault(&state, verb.act, (&old, &new), &all) {
                faults.push(format!("{}: {state}\n    {fault}", verb.name));
            }
        }
    }
    let first = faults.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(faults.is_empty(), "{} faults, the first of them\n{first}", faults.len());
}
