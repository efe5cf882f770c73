//! Directories of removed tenants, and the thread that empties them.
//!
//! How long that takes was the tenant's choice, so only the clients that asked wait for it: no lock is held over it.
//! All of them advance in turns of `SLICE`, so that a small one is not behind a large one. What a removed tenant had
//! of the host (its number, its uid range, its addresses) stays its own until its last file is gone.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ffi::CString,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tenant::{TenantName, files::record};
use tokio::sync::oneshot;

use super::{mounts, remains::Remains, remove::Removal};
use crate::{
    assign::holding::Holding,
    records::{StoreError, guard::held},
};

/// Prefix of a removed tenant's directory. What follows is `NAME.UUID`, or `NAME` alone by an earlier release.
pub const GONE: &str = ".gone-";

/// How long the thread works on one directory at a time.
const SLICE: Duration = Duration::from_millis(50);

/// A directory that is to go.
#[derive(Clone, Debug)]
pub struct Item {
    /// Where it lies: an entry of the directory of tenants.
    pub path: PathBuf,
    /// The tenant it was of; none where that cannot be told.
    pub tenant: Option<TenantName>,
    /// What that had of the host.
    pub holding: Holding,
}

/// A removal that goes on.
#[derive(Debug)]
#[must_use = "failures to remove files are reported here"]
pub struct Leaving {
    name: String,
    ended: oneshot::Receiver<Result<(), Remains>>,
}

impl Leaving {
    /// Waits until every file is gone.
    ///
    /// # Errors
    /// [`StoreError::Remains`].
    pub async fn gone(self) -> Result<(), StoreError> {
        let name = self.name;
        Self::judge(name, self.ended.await.ok())
    }

    /// [`Leaving::gone`] for a thread that may block.
    ///
    /// # Errors
    /// [`StoreError::Remains`].
    pub fn wait(self) -> Result<(), StoreError> {
        let name = self.name;
        Self::judge(name, self.ended.blocking_recv().ok())
    }

    fn judge(name: String, ended: Option<Result<(), Remains>>) -> Result<(), StoreError> {
        match ended {
            Some(ended) => Ok(ended?),
            None => Err(StoreError::RemovalGoesOn(name)),
        }
    }
}

struct Entry {
    item: Item,
    waiting: Vec<oneshot::Sender<Result<(), Remains>>>,
    failure: Option<Remains>,
}

impl Entry {
    fn name(&self) -> String {
        let file = || self.item.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.item.tenant.as_ref().map_or_else(file, ToString::to_string)
    }
}

#[derive(Default)]
struct State {
    entries: BTreeMap<u64, Entry>,
    queue: VecDeque<u64>,
    last: u64,
    closing: bool,
}

struct Shared {
    /// The directory of tenants.
    dir: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
    /// Held by a test that wants a removal to take longer.
    #[cfg(test)]
    gate: Mutex<()>,
}

/// The directories that are to go.
pub struct Trash {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Trash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trash").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

impl Trash {
    /// Begins with what an earlier hostd left in the directory of tenants, `dir`.
    ///
    /// # Errors
    /// There can be no more threads.
    pub fn begin(dir: PathBuf, items: Vec<Item>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            dir,
            state: Mutex::default(),
            changed: Condvar::new(),
            #[cfg(test)]
            gate: Mutex::default(),
        });
        let own = shared.clone();
        let worker = thread::Builder::new().name("trash".to_owned()).spawn(move || own.work())?;
        let trash = Self { shared, worker: Some(worker) };
        for item in items {
            drop(trash.add(item));
        }
        Ok(trash)
    }

    /// Takes a directory that is to go.
    pub fn add(&self, item: Item) -> Leaving {
        let mut state = held(&self.shared.state);
        let (tell, ended) = oneshot::channel();
        let entry = Entry { item, waiting: vec![tell], failure: None };
        let name = entry.name();
        state.last += 1;
        let id = state.last;
        state.entries.insert(id, entry);
        state.queue.push_back(id);
        self.shared.changed.notify_all();
        Leaving { name, ended }
    }

    /// What is in use by tenants whose files are not gone yet.
    pub fn holdings(&self) -> Vec<(TenantName, Holding)> {
        let state = held(&self.shared.state);
        let of = |entry: &Entry| Some((entry.item.tenant.clone()?, entry.item.holding.clone()));
        state.entries.values().filter_map(of).collect()
    }

    /// How many directories are to go.
    pub fn len(&self) -> usize {
        held(&self.shared.state).entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that cannot be removed.
    pub fn remains(&self) -> Vec<Remains> {
        held(&self.shared.state).entries.values().filter_map(|entry| entry.failure.clone()).collect()
    }

    /// Tries again to remove one of those that could not be; none where there is no such directory any more.
    pub fn retry(&self, path: &Path) -> Option<Leaving> {
        let mut state = held(&self.shared.state);
        let (id, entry) = state.entries.iter_mut().find(|(_, entry)| entry.item.path == path)?;
        let (tell, ended) = oneshot::channel();
        let (id, name, failed) = (*id, entry.name(), entry.failure.take().is_some());
        entry.waiting.push(tell);
        if failed {
            state.queue.push_back(id);
            self.shared.changed.notify_all();
        }
        Some(Leaving { name, ended })
    }

    /// Keeps the thread from working on.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> std::sync::MutexGuard<'_, ()> {
        held(&self.shared.gate)
    }

    /// Waits until nothing is left that can be removed.
    #[cfg(test)]
    pub(crate) fn settle(&self) {
        let mut state = held(&self.shared.state);
        while state.entries.values().any(|entry| entry.failure.is_none()) {
            state = self.shared.changed.wait(state).unwrap();
        }
    }
}

impl Drop for Trash {
    fn drop(&mut self) {
        held(&self.shared.state).closing = true;
        self.shared.changed.notify_all();
        if let Some(worker) = self.worker.take() {
            // It stops after the slice it is at; the next hostd goes on.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut begun: HashMap<u64, Removal> = HashMap::new();
        while let Some((id, path)) = self.next() {
            #[cfg(test)]
            let _gate = held(&self.gate);
            match self.advance(&mut begun, id, &path) {
                Ok(false) => held(&self.state).queue.push_back(id),
                Ok(true) => {
                    begun.remove(&id);
                    self.end(id, None);
                }
                Err(error) => {
                    begun.remove(&id);
                    self.end(id, Some(error));
                }
            }
        }
    }

    /// The next directory to work on; none when this is to end.
    fn next(&self) -> Option<(u64, PathBuf)> {
        let mut state = held(&self.state);
        loop {
            if state.closing {
                return None;
            }
            while let Some(id) = state.queue.pop_front() {
                if let Some(entry) = state.entries.get(&id) {
                    return Some((id, entry.item.path.clone()));
                }
            }
            state = self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn advance(&self, begun: &mut HashMap<u64, Removal>, id: u64, path: &Path) -> io::Result<bool> {
        let removal = match begun.entry(id) {
            std::collections::hash_map::Entry::Occupied(begun) => begun.into_mut(),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                let name = path.file_name().unwrap_or_default().as_encoded_bytes();
                let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
                let dir = record::open_dir(&self.dir)?.into();
                // As long as the record is there, a process that finds the directory knows whose number is not free.
                vacant.insert(Removal::new(dir, &name, &[c"allocation.copy.toml", c"allocation.toml"]))
            }
        };
        removal.advance(Some(Instant::now() + SLICE))
    }

    fn end(&self, id: u64, error: Option<io::Error>) {
        let mut state = held(&self.state);
        let failure = error.map(|error| self.remains(state.entries.get(&id), &error));
        let waiting = match &failure {
            None => state.entries.remove(&id).map(|entry| entry.waiting).unwrap_or_default(),
            Some(failure) => {
                log::error!("removed tenant \"{}\": {}", failure.tenant, failure.reason);
                let entry = state.entries.get_mut(&id);
                entry
                    .map(|entry| {
                        entry.failure = Some(failure.clone());
                        std::mem::take(&mut entry.waiting)
                    })
                    .unwrap_or_default()
            }
        };
        drop(state);
        for tell in waiting {
            let _ = tell.send(failure.clone().map_or(Ok(()), Err));
        }
        self.changed.notify_all();
    }

    fn remains(&self, entry: Option<&Entry>, error: &io::Error) -> Remains {
        let path = entry.map(|entry| entry.item.path.clone()).unwrap_or_default();
        let again = "then: tenantctl doctor --repair";
        let mounted = mounts::below(&path).unwrap_or_default();
        let (reason, help) = match mounted[..] {
            [] => (error.to_string(), format!("remove the cause ({}), {again}", path.display())),
            _ => (
                format!("a filesystem is mounted there, at {}", mounts::list(&mounted)),
                format!("{}, {again}", mounts::remedy(&mounted)),
            ),
        };
        Remains { tenant: entry.map(Entry::name).unwrap_or_default(), path, kind: error.kind(), reason, help }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn item(dir: &Path, name: &str) -> Item {
        Item { path: dir.join(name), tenant: None, holding: Holding::default() }
    }

    /// Directories with so many files in each.
    fn tree(path: &Path, dirs: usize, files: usize) {
        for dir in 0..dirs {
            let dir = path.join(dir.to_string());
            fs::create_dir_all(&dir).unwrap();
            for file in 0..files {
                fs::write(dir.join(file.to_string()), "").unwrap();
            }
        }
    }

    #[test]
    fn a_small_directory_does_not_wait_for_a_large_one() {
        let dir = tempfile::tempdir().unwrap();
        let large: Vec<_> = (0..4).map(|number| format!(".gone-large{number}")).collect();
        large.iter().for_each(|name| tree(&dir.path().join(name), 20, 500));
        tree(&dir.path().join(".gone-small"), 1, 1);
        let trash =
            Trash::begin(dir.path().to_owned(), large.iter().map(|name| item(dir.path(), name)).collect());
        let trash = trash.unwrap();
        trash.add(item(dir.path(), ".gone-small")).wait().unwrap();
        assert!(!dir.path().join(".gone-small").exists());
        trash.settle();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(trash.is_empty());
    }

    #[test]
    fn what_is_left_when_hostd_ends_is_told_and_removed_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        tree(&dir.path().join(".gone-a"), 3, 100);
        fs::write(dir.path().join(".gone-a/allocation.toml"), "record").unwrap();
        let trash = Trash::begin(dir.path().to_owned(), Vec::new()).unwrap();
        let gate = trash.hold();
        let leaving = trash.add(item(dir.path(), ".gone-a"));
        held(&trash.shared.state).closing = true;
        drop(gate);
        drop(trash);
        // Either the thread had not begun, or it did one slice and was through with it.
        if let Err(error) = leaving.wait() {
            assert!(error.to_string().contains("continues"), "{error}");
            assert!(dir.path().join(".gone-a/allocation.toml").exists());
        }
        let trash = Trash::begin(dir.path().to_owned(), vec![item(dir.path(), ".gone-a")]).unwrap();
        trash.settle();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_removed_is_told_with_its_path_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join(".gone-a/etc/stays");
        fs::create_dir_all(&inner).unwrap();
        fs::write(dir.path().join(".gone-a/allocation.toml"), "record").unwrap();
        let immutable = |on: bool| {
            let file = fs::File::open(&inner).unwrap();
            let flags = rustix::fs::ioctl_getflags(&file).unwrap_or(rustix::fs::IFlags::empty());
            let flags = if on {
                flags | rustix::fs::IFlags::IMMUTABLE
            } else {
                flags - rustix::fs::IFlags::IMMUTABLE
            };
            rustix::fs::ioctl_setflags(&file, flags)
        };
        if immutable(true).is_err() {
            eprintln!("this filesystem has no immutable files: nothing to see here");
            return;
        }
        let trash = Trash::begin(dir.path().to_owned(), Vec::new()).unwrap();
        let error = trash.add(item(dir.path(), ".gone-a")).wait().unwrap_err();
        let text = wire::chain(&error);
        assert!(text.contains(".gone-a/etc/stays"), "{text}");
        assert!(error.help().unwrap().contains("doctor --repair"));
        assert_eq!(trash.remains().len(), 1);
        assert!(dir.path().join(".gone-a/allocation.toml").exists(), "whose number it is must stay known");
        immutable(false).unwrap();
        trash.retry(&dir.path().join(".gone-a")).unwrap().wait().unwrap();
        assert!(trash.is_empty() && trash.retry(&dir.path().join(".gone-a")).is_none());
    }
}
