//! Who waits for a tenant is told when its state may be another one: when its supervisor writes `state.json`, see
//! inotify(7), and when hostd itself changes something.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::CStr,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};
use tenant::{Layout, TenantName};
use tokio::{
    io::unix::AsyncFd,
    sync::{Notify, watch},
};

/// What happens in the directory of runtime directories.
const ABOVE: WatchFlags =
    WatchFlags::CREATE.union(WatchFlags::MOVED_TO).union(WatchFlags::DELETE).union(WatchFlags::ONLYDIR);
/// What happens in the runtime directory of a tenant.
const OWN: WatchFlags = WatchFlags::MOVED_TO.union(WatchFlags::ONLYDIR);

/// The states of tenants that a process waits for.
#[derive(Debug)]
pub(crate) struct Changes {
    layout: Layout,
    watched: Mutex<Watched>,
    /// Told when a name has been put among those of [`Watched::all`].
    wake: Notify,
}

#[derive(Debug, Default)]
struct Watched {
    inotify: Option<Arc<OwnedFd>>,
    /// The watch of the directory of runtime directories.
    above: Option<i32>,
    /// The tenants whose runtime directories are watched.
    names: HashMap<i32, TenantName>,
    waiting: HashMap<TenantName, Waiting>,
    /// The tenants of which something was told, for who reads of all; none where nobody does.
    all: Option<BTreeSet<TenantName>>,
    /// Whether some tenant could not be watched.
    is_blind: bool,
}

#[derive(Debug)]
struct Waiting {
    tell: watch::Sender<()>,
    count: usize,
    watch: Option<i32>,
}

/// Kept by who waits for one tenant.
#[derive(Debug)]
pub(crate) struct Subscription {
    changes: Arc<Changes>,
    name: TenantName,
    told: watch::Receiver<()>,
    /// Whether the files are watched: otherwise only what hostd does itself is told.
    pub(crate) is_watched: bool,
}

impl Subscription {
    /// Waits until the state may be another one than when this was last called.
    pub(crate) async fn changed(&mut self) {
        // The other end lives as long as this does.
        let _ = self.told.changed().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.changes.held().leave(&self.name);
    }
}

/// Kept by the reader of what happens to all tenants.
#[derive(Debug)]
pub(crate) struct AllChanges(Arc<Changes>);

impl AllChanges {
    /// Waits until something has happened; to which tenants.
    pub(crate) async fn changed(&self) -> Vec<TenantName> {
        loop {
            let told = self.0.wake.notified();
            let names = self.0.held().all.as_mut().map(std::mem::take).unwrap_or_default();
            if !names.is_empty() {
                return names.into_iter().collect();
            }
            told.await;
        }
    }
}

impl Changes {
    pub(crate) fn new(layout: Layout) -> Arc<Self> {
        Arc::new(Self { layout, watched: Mutex::default(), wake: Notify::new() })
    }

    /// Begins to watch all tenants: these, and those that come.
    pub(crate) fn watch_all<'a>(
        self: &Arc<Self>,
        names: impl IntoIterator<Item = &'a TenantName>,
    ) -> AllChanges {
        let mut watched = self.held();
        watched.all = Some(BTreeSet::new());
        let started = watched.start(self);
        let looked = started.and_then(|()| {
            names.into_iter().try_for_each(|name| watched.look(&self.layout.runtime(name), name))
        });
        if let Err(error) = looked {
            log::warn!("states of tenants cannot be watched, and are looked at now and then: {error}");
            watched.is_blind = true;
        }
        AllChanges(self.clone())
    }

    /// Whether what happens to all tenants is told.
    pub(crate) fn is_watching(&self) -> bool {
        let watched = self.held();
        watched.all.is_some() && !watched.is_blind
    }

    fn held(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to watch a tenant. What happens from now on is told.
    pub(crate) fn subscribe(self: &Arc<Self>, name: &TenantName) -> Subscription {
        let mut watched = self.held();
        let started = watched.start(self);
        if let Err(error) = &started {
            log::debug!("cannot watch the states of tenants: {error}");
        }
        let waiting = watched.waiting.entry(name.clone()).or_insert_with(|| Waiting {
            tell: watch::Sender::new(()),
            count: 0,
            watch: None,
        });
        waiting.count += 1;
        let told = waiting.tell.subscribe();
        let is_watched = started.is_ok() && watched.look(&self.layout.runtime(name), name).is_ok();
        Subscription { changes: self.clone(), name: name.clone(), told, is_watched }
    }

    /// The state of a tenant may be another one.
    pub(crate) fn tell(&self, name: &TenantName) {
        self.held().tell(name);
        self.wake.notify_one();
    }

    /// Handles what has happened until no process waits any more.
    async fn listen(self: Arc<Self>, inotify: AsyncFd<Arc<OwnedFd>>) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        loop {
            let Ok(mut ready) = inotify.readable().await else { return };
            let mut events = inotify::Reader::new(inotify.get_ref(), &mut buffer);
            loop {
                match events.next() {
                    Ok(event) => {
                        self.held().happened(&self.layout, event.wd(), event.events(), event.file_name());
                        self.wake.notify_one();
                    }
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => break,
                    Err(errno) => return log::error!("cannot watch the states of tenants: {errno}"),
                }
            }
            ready.clear_ready();
        }
    }
}

impl Watched {
    /// Makes the descriptor and begins to listen, once.
    fn start(&mut self, changes: &Arc<Changes>) -> Result<(), Errno> {
        if self.inotify.is_none() {
            let inotify = Arc::new(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?);
            #[expect(deprecated, reason = "the descriptor outlives its registration: both hold the Arc")]
            let listening = AsyncFd::new(inotify.clone()).map_err(|_| Errno::NOMEM)?;
            tokio::spawn(changes.clone().listen(listening));
            self.inotify = Some(inotify);
        }
        if self.above.is_none()
            && let Some(inotify) = &self.inotify
        {
            self.above = Some(inotify::add_watch(&**inotify, changes.layout.runtimes(), ABOVE)?);
        }
        Ok(())
    }

    /// Watches the runtime directory of a tenant, where there is one: a tenant that never ran has none, and that it
    /// gets one is told by the directory above.
    fn look(&mut self, dir: &PathBuf, name: &TenantName) -> Result<(), Errno> {
        let Some(inotify) = &self.inotify else { return Err(Errno::BADF) };
        match inotify::add_watch(&**inotify, dir, OWN) {
            Ok(number) => {
                self.names.insert(number, name.clone());
                if let Some(waiting) = self.waiting.get_mut(name) {
                    waiting.watch = Some(number);
                }
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn happened(&mut self, layout: &Layout, number: i32, events: ReadFlags, file: Option<&CStr>) {
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            if let Some(all) = &mut self.all {
                all.extend(self.names.values().cloned());
            }
            return self.waiting.values().for_each(|waiting| waiting.tell.send_replace(()));
        }
        let name = match self.names.get(&number) {
            Some(name) => name.clone(),
            None => match file.and_then(|file| file.to_str().ok()?.parse::<TenantName>().ok()) {
                Some(name) if self.above == Some(number) => name,
                _ => return,
            },
        };
        if events.contains(ReadFlags::IGNORED) {
            // The directory is gone; another one of its name is told by the directory above.
            self.names.remove(&number);
        }
        if self.all.is_none() && !self.waiting.contains_key(&name) {
            return;
        }
        if self.above == Some(number) && self.look(&layout.runtime(&name), &name).is_err() {
            self.is_blind = true;
        }
        self.tell(&name);
    }

    fn tell(&mut self, name: &TenantName) {
        if let Some(all) = &mut self.all {
            all.insert(name.clone());
        }
        if let Some(waiting) = self.waiting.get(name) {
            waiting.tell.send_replace(());
        }
    }

    fn leave(&mut self, name: &TenantName) {
        let Some(waiting) = self.waiting.get_mut(name) else { return };
        waiting.count -= 1;
        if waiting.count > 0 {
            return;
        }
        let watch = waiting.watch;
        self.waiting.remove(name);
        if self.all.is_some() {
            return;
        }
        if let (Some(number), Some(inotify)) = (watch, &self.inotify)
            && self.names.remove(&number).is_some()
        {
            // It may have gone with its directory.
            let _ = inotify::remove_watch(&**inotify, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use tokio::time::timeout;

    use super::*;

    async fn is_told(subscription: &mut Subscription) -> bool {
        timeout(Duration::from_secs(10), subscription.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn who_waits_is_told_of_its_own_tenant() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        fs::create_dir_all(layout.runtimes()).unwrap();
        let changes = Changes::new(layout.clone());
        let [alice, bob]: [TenantName; 2] = ["alice", "bob"].map(|name| name.parse().unwrap());
        let mut alices = changes.subscribe(&alice);
        let mut bobs = changes.subscribe(&bob);
        assert!(alices.is_watched && bobs.is_watched);
        // A tenant that never ran has no directory yet.
        fs::create_dir(layout.runtime(&alice)).unwrap();
        assert!(is_told(&mut alices).await);
        let staged = layout.runtime(&alice).join(".state");
        fs::write(&staged, "{}").unwrap();
        fs::rename(&staged, layout.run_state(&alice)).unwrap();
        assert!(is_told(&mut alices).await);
        changes.tell(&bob);
        assert!(is_told(&mut bobs).await);
        assert!(timeout(Duration::from_millis(50), bobs.changed()).await.is_err(), "that was alice's");
        fs::remove_dir_all(layout.runtime(&alice)).unwrap();
        assert!(is_told(&mut alices).await);
        let other = changes.subscribe(&alice);
        drop((alices, bobs, other));
        assert!(changes.held().waiting.is_empty());
        changes.tell(&alice);
    }
}
