//! The mounts of the one tenant that a fake host has. Descriptors are named by their numbers.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    kernel::MountEntry,
    model::mountinfo::{Device, Subtree},
};

/// What is mounted, and where the trees are that descriptors stand for.
#[derive(Debug, Default)]
pub(super) struct FakeMounts {
    entries: RefCell<Vec<MountEntry>>,
    /// What an overlay is called, by the number of its descriptor.
    names: RefCell<BTreeMap<usize, String>>,
    /// Where the root of a tree is in the tenant and the number of its mount, by the number of its descriptor.
    roots: RefCell<BTreeMap<usize, (PathBuf, Option<u64>)>>,
    next: Cell<u64>,
}

fn join(base: &Path, at: &Path) -> PathBuf {
    if at == Path::new("") { base.to_owned() } else { base.join(at) }
}

/// The place that a place is in; none where that is the root.
fn above(at: &Path) -> Option<&Path> {
    at.parent().filter(|above| *above != Path::new(""))
}

impl FakeMounts {
    pub(super) fn name(&self, tree: usize, source: &str) {
        self.names.borrow_mut().insert(tree, source.to_owned());
    }

    /// A part of a tree is called as the tree is.
    pub(super) fn name_as(&self, part: usize, tree: usize) {
        if let Some(name) = self.called(tree) {
            self.name(part, &name);
        }
    }

    fn called(&self, tree: usize) -> Option<String> {
        self.names.borrow().get(&tree).cloned()
    }

    /// A descriptor stands for the mount at a place of another tree.
    pub(super) fn root(&self, tree: usize, of: usize, at: &Path) {
        let (base, _) = self.place(of);
        let at = join(&base, at);
        let id = self.bottom(&at).map_or(0, |mount| mount.id);
        self.roots.borrow_mut().insert(tree, (at, Some(id)));
    }

    /// Where a tree is, and the number of its mount: none where it is the whole root.
    fn place(&self, root: usize) -> (PathBuf, Option<u64>) {
        self.roots.borrow().get(&root).cloned().unwrap_or_default()
    }

    /// Beneath what is there already, as a mount that propagates.
    pub(super) fn attach(&self, root: usize, at: &Path, tree: usize) {
        let (base, mount) = self.place(root);
        let at = join(&base, at);
        let source = self.called(tree).unwrap_or_else(|| "none".to_owned());
        let above = above(&at).and_then(|above| self.top(above));
        let parent = mount.unwrap_or_else(|| above.map_or(0, |above| above.id));
        let id = self.insert(at.clone(), parent, source);
        self.roots.borrow_mut().insert(tree, (at, Some(id)));
    }

    fn insert(&self, at: PathBuf, parent: u64, source: String) -> u64 {
        let id = self.next.get() + 1;
        self.next.set(id);
        let kind = if source.contains('@') { "overlay" } else { "tmpfs" }.to_owned();
        let mut entries = self.entries.borrow_mut();
        for entry in entries.iter_mut().filter(|entry| entry.at == at && entry.parent == parent) {
            entry.parent = id;
        }
        let shows = Subtree { device: Device { major: 0, minor: id as u32 }, root: "/".into() };
        entries.push(MountEntry { id, parent, at, shows, kind, source });
        id
    }

    /// Beneath all that is at a place.
    pub(super) fn slide(&self, at: &Path, source: &str) {
        let parent = self.bottom(at).map_or(0, |bottom| bottom.parent);
        self.insert(at.to_owned(), parent, source.to_owned());
    }

    /// On top of what a path leads to.
    pub(super) fn cover(&self, at: &Path, source: &str) {
        let parent = self.top(at).map_or(0, |top| top.id);
        self.insert(at.to_owned(), parent, source.to_owned());
    }

    fn bottom(&self, at: &Path) -> Option<MountEntry> {
        let entries = self.entries.borrow();
        let here = |id: u64| entries.iter().any(|entry| entry.id == id && entry.at == at);
        entries.iter().find(|entry| entry.at == at && !here(entry.parent)).cloned()
    }

    /// The mount that a path leads to.
    fn top(&self, at: &Path) -> Option<MountEntry> {
        let over = |under: &MountEntry| {
            let entries = self.entries.borrow();
            entries.iter().find(|entry| entry.at == at && entry.parent == under.id).cloned()
        };
        let mut top = self.bottom(at);
        while let Some(next) = top.as_ref().and_then(over) {
            top = Some(next);
        }
        top.or_else(|| above(at).and_then(|above| self.top(above)))
    }

    pub(super) fn withdraw(&self, root: usize, at: &Path) {
        let (base, parent) = self.place(root);
        let at = join(&base, at);
        let is_it = |entry: &&MountEntry| entry.at == at && Some(entry.parent) == parent;
        let found = self.entries.borrow().iter().find(is_it).map(|entry| entry.id);
        if let Some(id) = found {
            self.detach(id);
        }
    }

    /// Takes away what covers the mount of a tree. What has mounts in it stays.
    pub(super) fn reveal(&self, tree: usize) {
        let (at, id) = self.place(tree);
        let entries = self.entries.borrow();
        let cover = entries.iter().find(|entry| Some(entry.parent) == id && entry.at == at);
        let has_mounts = |id: u64| entries.iter().any(|entry| entry.parent == id && entry.at != at);
        let gone = cover.map(|cover| cover.id).filter(|id| !has_mounts(*id));
        drop(entries);
        gone.into_iter().for_each(|id| self.detach(id));
    }

    /// With what is mounted in it; what covers it takes its place.
    pub(super) fn detach(&self, id: u64) {
        let mut entries = self.entries.borrow_mut();
        let Some(gone) = entries.iter().find(|entry| entry.id == id).cloned() else { return };
        for entry in entries.iter_mut().filter(|entry| entry.parent == id && entry.at == gone.at) {
            entry.parent = gone.parent;
        }
        let mut gone = vec![id];
        while let Some(id) = gone.pop() {
            entries.retain(|entry| entry.id != id);
            gone.extend(entries.iter().filter(|entry| entry.parent == id).map(|entry| entry.id));
        }
    }

    /// All of them, those of one place from the bottom to the top.
    pub(super) fn all(&self) -> Vec<MountEntry> {
        let mut all = self.entries.borrow().clone();
        let depth = |entry: &MountEntry| {
            let mut parent = entry.parent;
            let mut depth = 0;
            while let Some(over) = all.iter().find(|other| other.id == parent && other.at == entry.at) {
                (parent, depth) = (over.parent, depth + 1);
            }
            depth
        };
        let depths: BTreeMap<u64, usize> = all.iter().map(|entry| (entry.id, depth(entry))).collect();
        all.sort_by_key(|entry| (entry.at.clone(), depths[&entry.id]));
        all
    }
}
