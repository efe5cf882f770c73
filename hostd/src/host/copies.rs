//! Copies of tenants: clones, exports, snapshots. A tenant that is running is frozen while its files are copied, so that
//! a copy is what a disk is after a power cut, unless a client asks for less.

use std::{
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use filetree::Tally;
use tenant::{TenantName, model::snapshot::SnapshotName};
use tokio::{task, time::sleep};
use wire::{Code, EventKind, Failure, SnapshotInfo};

use super::{Host, Result, blocking, events::What, turns::Turn};
use crate::{
    quiet::Now,
    records::{
        NewTenant, StoreError,
        copies::{Import, Imported, Taking},
    },
    units::limits::Enforce,
};

/// A tenant whose files do not change as long as this is kept: it is down, or frozen, or a client has asked for it as it is.
#[derive(Debug)]
pub(crate) struct Still {
    host: Arc<Host>,
    name: TenantName,
    thaws: bool,
    /// Whether it is running and not frozen.
    pub(crate) is_live: bool,
    _turn: Turn,
}

impl Drop for Still {
    fn drop(&mut self) {
        if self.thaws {
            let (host, name) = (self.host.clone(), self.name.clone());
            // Also where the client has gone: no one else would.
            task::spawn(async move { host.thaw_copied(&name).await });
        }
    }
}

/// How long after the first attempt to thaw a tenant that failed the next one is made; each later one takes twice as long.
const THAWED_AGAIN: Duration = Duration::from_millis(50);
/// After a longer wait than this there is no other: the next hostd thaws it, or `tenantctl thaw`.
const LAST_THAW: Duration = Duration::from_secs(60);

/// Ends a copy when the client has gone.
fn watched(is_wanted: &AtomicBool) -> impl FnMut(&Tally) -> io::Result<()> {
    |_: &Tally| match is_wanted.load(Ordering::Relaxed) {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::Interrupted, "the client has disconnected")),
    }
}

impl Host {
    fn copied_marker(&self, name: &TenantName) -> std::path::PathBuf {
        self.layout().runtime(name).join("copied")
    }

    /// Keeps a tenant as it is while it is copied.
    ///
    /// # Errors
    /// It cannot be frozen.
    pub(crate) async fn still(self: &Arc<Self>, name: &TenantName, live: bool) -> Result<Still> {
        let turn = self.turns.take(name).await;
        self.store.ready(name)?;
        let mut still =
            Still { host: self.clone(), name: name.clone(), thaws: false, is_live: false, _turn: turn };
        if !self.units.is_running(name) {
            return Ok(still);
        }
        if live {
            still.is_live = true;
            return Ok(still);
        }
        if self.is_parked(name) {
            if self.units.state(name).and_then(|said| said.parked).is_some_and(|parked| parked.stopped) {
                return Ok(still);
            }
            // What comes for it would wake it.
            self.units.park(name, false).await?;
        }
        if self.units.look(name, Now::default()).is_frozen {
            return Ok(still);
        }
        // For the next hostd, should this one be killed meanwhile.
        let marker = self.copied_marker(name);
        std::fs::write(&marker, "").map_err(|error| {
            Failure::new(Code::Failed, format!("cannot write {}: {error}", marker.display()))
        })?;
        still.thaws = true;
        self.units.freeze(name, true).await?;
        Ok(still)
    }

    async fn thaw_copied(self: Arc<Self>, name: &TenantName) {
        let mut wait = THAWED_AGAIN;
        while self.units.is_running(name)
            && let Err(error) = self.units.freeze(name, false).await
        {
            log::error!("tenant \"{name}\" is still frozen after it was copied: {}", wire::chain(&error));
            if wait > LAST_THAW {
                return;
            }
            sleep(wait).await;
            wait *= 2;
        }
        // Without the directory it has gone itself.
        let _ = std::fs::remove_file(self.copied_marker(name));
    }

    /// Thaws the tenants that an earlier hostd was copying when it was killed.
    pub(super) async fn thaw_all_copied(self: &Arc<Self>) {
        for name in self.store.records().keys() {
            if self.units.is_running(name) && self.copied_marker(name).exists() {
                self.clone().thaw_copied(name).await;
            }
        }
    }

    /// Makes a tenant of another one.
    ///
    /// # Errors
    /// See [`crate::records::Store::clone_tenant`].
    pub async fn clone_tenant(
        self: &Arc<Self>,
        from: &TenantName,
        name: &TenantName,
        (new, unset): (NewTenant, Vec<String>),
        live: bool,
    ) -> Result<(Tally, Vec<String>)> {
        if from == name {
            return Err(Failure::new(Code::Invalid, format!("a clone of {from} needs another name")));
        }
        let still = self.still(from, live).await?;
        let _turn = self.turns.take(name).await;
        let files = self.files.take(name).await;
        let (host, source, own) = (self.clone(), from.clone(), name.clone());
        let cloned =
            blocking(move || host.store.clone_tenant(&source, &own, (&new, &unset), &mut |_| Ok(())));
        let (tally, mut warnings) = cloned.await??;
        drop(still);
        warnings.extend(self.settle_new(name, &files).await?);
        Ok((tally, warnings))
    }

    /// Writes a tenant as an archive; ends when it is no longer wanted.
    ///
    /// # Errors
    /// See [`crate::records::Store::export`].
    pub(crate) async fn export(
        self: Arc<Self>,
        still: Still,
        out: impl Write + Send + 'static,
        is_wanted: Arc<AtomicBool>,
    ) -> Result<Tally> {
        let exported = blocking(move || {
            let exported = self.store.export(&still.name, still.is_live, out, &mut watched(&is_wanted));
            drop(still);
            exported
        });
        Ok(exported.await??)
    }

    /// Makes a tenant of an archive.
    ///
    /// # Errors
    /// See [`crate::records::Store::import`].
    pub async fn import(
        self: &Arc<Self>,
        how: Import,
        stream: impl Read + Send + 'static,
    ) -> Result<Imported> {
        let host = self.clone();
        let imported = blocking(move || host.store.import(&how, stream, &mut |_| Ok(())));
        let mut imported = imported.await??;
        let name = imported.name.clone();
        let _turn = self.turns.take(&name).await;
        let files = self.files.take(&name).await;
        imported.warnings.extend(self.settle_new(&name, &files).await?);
        Ok(imported)
    }

    /// Gives the unit of a tenant that was just made what its file says; what it could not be told.
    pub(super) async fn settle_new(self: &Arc<Self>, name: &TenantName, files: &Turn) -> Result<Vec<String>> {
        self.events.tell(name, What::new(EventKind::Created));
        self.tell_unit(name, files).await
    }

    /// Gives a unit what the tenant's file says; what it could not be told.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(super) async fn tell_unit(self: &Arc<Self>, name: &TenantName, files: &Turn) -> Result<Vec<String>> {
        let (host, own) = (self.clone(), name.clone());
        let read = blocking(move || -> std::result::Result<_, StoreError> {
            let text = host.store.config_text(&own)?;
            let tenant = host.store.resolve_text(&own, &text)?;
            Ok((text, tenant))
        });
        let (text, tenant) = read.await??;
        // What it lacks the next start carries, or refuses.
        let mut warnings = Vec::new();
        let applied = self.apply_config(&text, &tenant, Enforce::Asked, files).await;
        warnings.extend(applied.err().map(|failure| failure.message));
        if tenant.autostart {
            let enabled = self.units.enable(name, true).await;
            warnings.extend(enabled.err().map(|error| wire::chain(&error)));
        }
        Ok(warnings)
    }

    /// Takes a snapshot of a tenant.
    ///
    /// # Errors
    /// See [`crate::records::Store::take_snapshot`].
    pub async fn take_snapshot(
        self: &Arc<Self>,
        name: &TenantName,
        taking: Taking,
    ) -> Result<(SnapshotName, Tally)> {
        let still = self.still(name, taking.live).await?;
        let host = self.clone();
        let taken = blocking(move || {
            let taking = Taking { live: still.is_live, ..taking };
            let taken = host.store.take_snapshot(&still.name, &taking, &mut |_| Ok(()));
            drop(still);
            taken
        });
        Ok(taken.await??)
    }

    /// The snapshots of a tenant.
    ///
    /// # Errors
    /// See [`crate::records::Store::snapshots`].
    pub async fn snapshots(self: &Arc<Self>, name: &TenantName) -> Result<Vec<SnapshotInfo>> {
        let (host, own) = (self.clone(), name.clone());
        Ok(blocking(move || host.store.snapshots(&own)).await??)
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// See [`crate::records::Store::remove_snapshot`].
    pub async fn remove_snapshot(self: &Arc<Self>, name: &TenantName, snapshot: String) -> Result<()> {
        let _turn = self.turns.take(name).await;
        let (host, own) = (self.clone(), name.clone());
        Ok(blocking(move || host.store.remove_snapshot(&own, &snapshot)).await??)
    }

    /// The turn of a tenant whose directories are to be exchanged: it has to be down.
    async fn down(self: &Arc<Self>, name: &TenantName, verb: &str) -> Result<Turn> {
        let turn = self.turns.take(name).await;
        self.store.ready(name)?;
        if self.units.is_running(name) || !self.units.is_down(name).await? {
            let text = format!("cannot {verb} tenant {:?}: it is running", name.as_str());
            return Err(
                Failure::new(Code::Running, text).help(format!("stop it first: tenantctl stop {name}"))
            );
        }
        let (host, own) = (self.clone(), name.clone());
        blocking(move || host.store.refuse_mounts(&own)).await??;
        Ok(turn)
    }

    /// Puts the files of a snapshot in the place of a tenant's.
    ///
    /// # Errors
    /// [`Code::Running`]; see [`crate::records::Store::restore`].
    pub async fn restore(
        self: &Arc<Self>,
        name: &TenantName,
        (snapshot, keep_base): (String, bool),
    ) -> Result<Tally> {
        let _turn = self.down(name, "restore").await?;
        let (host, own) = (self.clone(), name.clone());
        let restored = blocking(move || host.store.restore(&own, (&snapshot, keep_base), &mut |_| Ok(())));
        let (_, tally) = restored.await??;
        self.meter.forget(&self.store.layout().tenant(name));
        self.changes.tell(name);
        Ok(tally)
    }

    /// Makes directories of a tenant as its image has them; which.
    ///
    /// # Errors
    /// [`Code::Running`]; see [`crate::records::Store::reset`].
    pub async fn reset(self: &Arc<Self>, name: &TenantName, dirs: Vec<String>) -> Result<Vec<String>> {
        let _turn = self.down(name, "reset").await?;
        let (host, own) = (self.clone(), name.clone());
        let reset = blocking(move || host.store.reset(&own, &dirs)).await??;
        self.meter.forget(&self.store.layout().tenant(name));
        Ok(reset)
    }
}
