//! Who waits for a tenant is told when its state may be another one: when its supervisor writes `state.json`, see
//! inotify(7), and when hostd itself changes something.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::CStr,
    fs,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::{
    fs::{
        inotify::{self, CreateFlags, ReadFlags, WatchFlags},
        statfs,
    },
    io::Errno,
};
use tenant::{Layout, TenantName};
use tokio::{
    io::unix::AsyncFd,
    sync::{Notify, watch},
};

use crate::quiet::{Now, Quiet};

/// What happens in the directory of runtime directories.
const ABOVE: WatchFlags = COMES_OR_GOES.union(WatchFlags::CREATE);
/// What happens in the runtime directory of a tenant: all that is read there comes by rename(2).
const OWN: WatchFlags = COMES_OR_GOES;
/// What happens in the directory of configuration files, which admins edit as they like.
const FILES: WatchFlags =
    COMES_OR_GOES.union(WatchFlags::CREATE).union(WatchFlags::MODIFY).union(WatchFlags::ATTRIB);
const COMES_OR_GOES: WatchFlags =
    WatchFlags::MOVED_TO.union(WatchFlags::MOVED_FROM).union(WatchFlags::DELETE).union(WatchFlags::ONLYDIR);
/// As many events as the kernel keeps where nobody has raised that, see inotify(7).
const QUEUED: usize = 16_384;
/// Filesystems on which only this kernel writes, as statfs(2) tells them: ext2 to ext4, XFS, Btrfs, F2FS, tmpfs, ZFS, bcachefs,
/// overlayfs. An event tells of no write by another machine.
const LOCAL: [i64; 8] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994, 0x2fc1_2fc1, 0xca45_1a4e, 0x794c_7630];

/// The states of tenants that a process waits for.
#[derive(Debug)]
pub(crate) struct Changes {
    layout: Layout,
    watched: Mutex<Watched>,
    /// Told when a name has been put among those of [`Watched::all`].
    wake: Notify,
    quiet: Quiet,
}

#[derive(Debug, Default)]
struct Watched {
    inotify: Option<Arc<OwnedFd>>,
    /// The watch of the directory of runtime directories.
    above: Option<i32>,
    /// The watch of the directory of configuration files, while all are watched.
    files: Option<i32>,
    /// Which directories those two are.
    places: Option<[Place; 2]>,
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
        Arc::new(Self { layout, watched: Mutex::default(), wake: Notify::new(), quiet: Quiet::default() })
    }

    /// Begins to watch all tenants: these, and those that come.
    pub(crate) fn watch_all<'a>(
        self: &Arc<Self>,
        names: impl IntoIterator<Item = &'a TenantName>,
    ) -> AllChanges {
        let mut watched = self.held();
        watched.all = Some(BTreeSet::new());
        let started = watched.start(self);
        if started.is_ok() {
            watched.watch_files(&self.layout);
        }
        let looked = started.and_then(|()| names.into_iter().try_for_each(|name| watched.look(self, name)));
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
        let is_watched = started.is_ok() && watched.look(self, name).is_ok();
        Subscription { changes: self.clone(), name: name.clone(), told, is_watched }
    }

    /// The state of a tenant may be another one.
    pub(crate) fn tell(&self, name: &TenantName) {
        self.held().tell(name);
        self.wake.notify_one();
    }

    /// Handles everything that inotify has told, so that no file need be looked at of which it has told nothing.
    pub(crate) fn now(&self) -> Now<'_> {
        let mut watched = self.held();
        let Some(files) = watched.files else { return Now::default() };
        let places = places(&self.layout);
        if places != watched.places {
            // Another directory has taken its name: of that one nothing was told.
            self.quiet.happened_to_all();
            if let Some(inotify) = &watched.inotify {
                let _ = inotify::remove_watch(&**inotify, files);
            }
            watched.watch_files(&self.layout);
            return Now::default();
        }
        if matches!(watched.handle(self), Ok(true)) { self.quiet.now() } else { Now::default() }
    }

    /// Handles what has happened until no process waits any more.
    async fn listen(self: Arc<Self>, inotify: AsyncFd<Arc<OwnedFd>>) {
        loop {
            let Ok(mut ready) = inotify.readable().await else { return };
            // What is read is handled before another one finds the queue empty.
            let handled = self.held().handle(&self);
            match handled {
                Ok(true) => ready.clear_ready(),
                // There is more, after those who wait for the lock.
                Ok(false) => {}
                Err(errno) => return log::error!("cannot watch the states of tenants: {errno}"),
            }
        }
    }
}

/// Which directory something is.
type Place = (u64, u64);

/// Which directories the runtime directories and the configuration files of tenants are in.
fn places(layout: &Layout) -> Option<[Place; 2]> {
    let place = |dir: PathBuf| fs::metadata(dir).map(|meta| (meta.dev(), meta.ino())).ok();
    Some([place(layout.runtimes())?, place(layout.tenant_configs())?])
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

    /// Watches the directory of configuration files; where it cannot, files are looked at as ever.
    fn watch_files(&mut self, layout: &Layout) {
        let Some(inotify) = &self.inotify else { return };
        let dir = layout.tenant_configs();
        let is_local = statfs(&dir).is_ok_and(|fs| LOCAL.contains(&fs.f_type));
        let watch = || inotify::add_watch(&**inotify, &dir, FILES);
        self.files = is_local.then(watch).and_then(Result::ok);
        self.places = places(layout);
    }

    /// Takes what inotify has told and handles it; whether that was all. It takes no more than the kernel keeps: one who
    /// causes events faster than they are handled holds up nobody.
    fn handle(&mut self, changes: &Changes) -> Result<bool, Errno> {
        let Some(inotify) = self.inotify.clone() else { return Err(Errno::BADF) };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&*inotify, &mut buffer);
        let mut count = 0;
        let end = loop {
            if count >= QUEUED && events.is_buffer_empty() {
                break Ok(false);
            }
            match events.next() {
                Ok(event) => self.happened(changes, event.wd(), event.events(), event.file_name()),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => break Ok(true),
                Err(errno) => break Err(errno),
            }
            count += 1;
        };
        if count > 0 {
            changes.wake.notify_one();
        }
        end
    }

    /// Watches the runtime directory of a tenant, where there is one: a tenant that never ran has none, and that it
    /// gets one is told by the directory above.
    fn look(&mut self, changes: &Changes, name: &TenantName) -> Result<(), Errno> {
        let Some(inotify) = &self.inotify else { return Err(Errno::BADF) };
        match inotify::add_watch(&**inotify, changes.layout.runtime(name), OWN) {
            Ok(number) => {
                self.names.insert(number, name.clone());
                if self.all.is_some() {
                    changes.quiet.watch(name);
                }
                if let Some(waiting) = self.waiting.get_mut(name) {
                    waiting.watch = Some(number);
                }
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn happened(&mut self, changes: &Changes, number: i32, events: ReadFlags, file: Option<&CStr>) {
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            changes.quiet.happened_to_all();
            if let Some(all) = &mut self.all {
                all.extend(self.names.values().cloned());
            }
            return self.waiting.values().for_each(|waiting| waiting.tell.send_replace(()));
        }
        if self.files == Some(number) {
            let named = file.and_then(|file| file.to_str().ok()?.strip_suffix(".toml")?.parse().ok());
            named.iter().for_each(|name| changes.quiet.happened(name));
            if events.contains(ReadFlags::IGNORED) {
                changes.quiet.happened_to_all();
                self.files = None;
            }
            return;
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
            changes.quiet.leave(&name);
        }
        changes.quiet.happened(&name);
        if self.all.is_none() && !self.waiting.contains_key(&name) {
            return;
        }
        if self.above == Some(number) {
            changes.quiet.leave(&name);
            if self.look(changes, &name).is_err() {
                self.is_blind = true;
            }
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
mod tests;
