//! Another version of its image for a tenant. First the record says so, then the world: a crash between the two leaves
//! a tenant that has the version from its next start on, and the same request again does the rest.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tenant::{
    Allocation, Plan, TenantName,
    model::{allocation::Pinned, ids::Digest, image::ImageRef},
};
use tokio::time::timeout;
use wire::{Applied, Changed, EventKind, Failure, RebaseMode, RebasePlan, Rebased};

use super::{Host, Result, blocking, events::What};
use crate::{
    records::{Repinned, StoreError},
    units::limits::Enforce,
};

/// How long a swap waits for the one before it, which takes a few milliseconds.
const SWAP_TURN: Duration = Duration::from_millis(100);

/// How a version came to a tenant.
struct Delivery {
    applied: Applied,
    swapped: Vec<String>,
    rest: Vec<String>,
    killed: Option<String>,
    swap_us: Option<u64>,
}

impl Delivery {
    fn by(applied: Applied) -> Self {
        Self { applied, swapped: Vec::new(), rest: Vec::new(), killed: None, swap_us: None }
    }
}

fn named(name: &TenantName, to: &impl ToString) -> impl Fn(Failure) -> Failure {
    let (name, to) = (name.clone(), to.to_string());
    move |failure| Failure {
        message: format!("cannot rebase tenant \"{name}\" to {to}: {}", failure.message),
        help: failure.help.map(|help| help.replace("NAME", name.as_str())),
        ..failure
    }
}

/// A version that a tenant has or had.
fn version_of(record: &Allocation, digest: Digest) -> Pinned {
    let history = record.history();
    let known = history.iter().rev().find(|one| one.digest == digest);
    let image = known.map_or(&record.pinned.image, |one| &one.image).clone();
    Pinned { image, digest }
}

/// What is wrong with the tenant itself says so without more words.
fn refused(error: StoreError, named: &impl Fn(Failure) -> Failure) -> Failure {
    match error {
        StoreError::NoTenant(_) | StoreError::Broken { .. } | StoreError::HalfRemoved(_) => error.into(),
        other => named(other.into()),
    }
}

impl Host {
    /// The version that a request means, see [`crate::records::Store::rebase_target`].
    ///
    /// # Errors
    /// The words name no version.
    pub async fn rebase_target(self: &Arc<Self>, name: &TenantName, to: Option<&str>) -> Result<ImageRef> {
        let (host, own, to) = (self.clone(), name.clone(), to.map(str::to_owned));
        let target = blocking(move || host.store.rebase_target(&own, to.as_deref())).await?;
        target.map_err(|error| match error {
            StoreError::NoPrevious(_) => {
                let failure = Failure::from(error);
                Failure {
                    message: format!("cannot roll tenant \"{name}\" back: {}", failure.message),
                    help: failure.help.map(|help| help.replace("NAME", name.as_str())),
                    ..failure
                }
            }
            error => error.into(),
        })
    }

    /// Gives a tenant a version of an image, another one only where `cross_image` says so. Where that cannot be done,
    /// the tenant has the version that it had: after a restart that failed it is started with that again.
    ///
    /// # Errors
    /// There is no such version; [`wire::Code::OtherImage`]; [`wire::Code::NeedsRestart`] where it cannot come live; what a start
    /// says of a version that does not boot.
    pub async fn rebase(
        self: &Arc<Self>,
        name: &TenantName,
        target: &ImageRef,
        mode: RebaseMode,
        cross_image: bool,
    ) -> Result<Rebased> {
        let since = Instant::now();
        let _turn = self.turns.take(name).await;
        // Its supervisor may be about to write the record, for addresses.
        let files = self.files.take(name).await;
        let named = named(name, target);
        let (host, own, wanted) = (self.clone(), name.clone(), target.clone());
        let proposed = move || -> std::result::Result<Repinned, StoreError> {
            let mut repinned = host.store.propose_rebase(&own, &wanted, cross_image)?;
            host.store.commit_rebase(&mut repinned, host.boot(&own))?;
            Ok(repinned)
        };
        let repinned = blocking(proposed).await?.map_err(|error| refused(error, &named))?;
        drop(files);
        // Pinned: the lock of the images is let go, and the version stays.
        let Repinned { before, after, plan, .. } = repinned;
        let (to, from) = (after.pinned.clone(), self.present(name, &before));
        let is_pinned_anew = before.pinned != after.pinned;
        // One that is parked and stopped boots what it is pinned to, when it is needed.
        let is_away = self.units.state(name).is_some_and(|said| said.is_away());
        let is_running = self.units.is_running(name) && !is_away;
        let delivered = match mode {
            _ if !is_running => Ok(Delivery::by(Applied::Stopped)),
            RebaseMode::NextStart if from == to => Ok(Delivery::by(Applied::Live)),
            RebaseMode::NextStart => Ok(Delivery::by(Applied::NextStart)),
            // What came live has left the rest to a restart.
            RebaseMode::Restart if self.booted(name) != Some(to.digest) => {
                self.restart_into(name, &before, is_pinned_anew).await
            }
            _ if from == to => Ok(Delivery::by(Applied::Live)),
            RebaseMode::Live => self.swap(name, &before, plan, &to).await,
            RebaseMode::Restart => self.restart_into(name, &before, is_pinned_anew).await,
        };
        let Delivery { applied, swapped, rest, killed, swap_us } = match delivered {
            Ok(delivered) => delivered,
            Err(failure) => {
                if is_pinned_anew {
                    self.put_back(name, &before).await;
                }
                return Err(named(failure));
            }
        };
        let is_changed =
            is_pinned_anew || applied == Applied::Restarted || from != to && applied == Applied::Live;
        if is_changed {
            let what = What::new(EventKind::ImageChanged).change(&from, &to).because(applied.to_string());
            self.events.tell(name, what);
            self.changes.tell(name);
        }
        Ok(Rebased {
            name: name.to_string(),
            change: if is_changed { Changed::Changed } else { Changed::Unchanged },
            from: from.to_string(),
            to: to.to_string(),
            applied,
            swapped,
            rest,
            killed,
            swap_us,
            took_us: u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX),
        })
    }

    /// What [`Self::rebase`] would do now; nothing is changed.
    ///
    /// # Errors
    /// Those of [`Self::rebase`] that are known beforehand.
    pub async fn plan_rebase(
        self: &Arc<Self>,
        name: &TenantName,
        target: &ImageRef,
        cross_image: bool,
    ) -> Result<RebasePlan> {
        let (host, own, wanted) = (self.clone(), name.clone(), target.clone());
        let look = move || -> std::result::Result<RebasePlan, StoreError> {
            let repinned = host.store.propose_rebase(&own, &wanted, cross_image)?;
            let from = host.present(&own, &repinned.before);
            host.store.outlook(&from, &repinned, host.boot(&own))
        };
        let named = named(name, target);
        blocking(look).await?.map_err(|error| refused(error, &named))
    }

    /// The version that a tenant shows: that which its supervisor tells of, else the one that it is pinned to.
    pub(super) fn present(&self, name: &TenantName, record: &Allocation) -> Pinned {
        let said = self.units.state(name).filter(|_| self.units.is_running(name));
        let digest: Option<Digest> = said.and_then(|said| said.digest);
        digest.map_or_else(|| record.pinned.clone(), |digest| version_of(record, digest))
    }

    /// The version that a tenant which is running has booted.
    fn booted(&self, name: &TenantName) -> Option<Digest> {
        self.units.state(name).and_then(|said| said.booted())
    }

    /// Swaps go one after the other: the kernel changes mounts one at a time, and several at once only take longer each.
    /// One that does not end keeps the others waiting for no more than a moment.
    async fn swap(
        self: &Arc<Self>,
        name: &TenantName,
        before: &Allocation,
        plan: Plan,
        to: &Pinned,
    ) -> Result<Delivery> {
        let turn = timeout(SWAP_TURN, self.swaps.acquire()).await;
        let swapped = self.units.swap(name, to.clone()).await;
        drop(turn);
        let swapped = swapped?;
        let mut rest = swapped.rest;
        if let Some(booted) = self.booted(name).map(|digest| version_of(before, digest)) {
            let (host, to) = (self.clone(), to.clone());
            let differing = blocking(move || host.store.rest(&plan, &booted, &to)).await?;
            // One of a version that cannot be read any more may hold anything.
            if let Ok(differing) = differing {
                rest.retain(|dir| differing.contains(dir));
            }
        }
        Ok(Delivery {
            swapped: swapped.directories,
            rest,
            swap_us: Some(swapped.took_us),
            ..Delivery::by(Applied::Live)
        })
    }

    /// Restarts a tenant; where it does not start, once more with the version that it had.
    async fn restart_into(
        self: &Arc<Self>,
        name: &TenantName,
        before: &Allocation,
        is_pinned_anew: bool,
    ) -> Result<Delivery> {
        let failure = match self.restart_in_turn(name, Enforce::Asked).await {
            Ok(started) => {
                return Ok(Delivery { killed: started.killed, ..Delivery::by(Applied::Restarted) });
            }
            Err(failure) => failure,
        };
        if self.units.is_running(name) || !is_pinned_anew {
            return Err(failure);
        }
        self.put_back(name, before).await;
        let again = match self.start_in_turn(name, Enforce::Asked).await {
            Ok(_) => format!("it is running with {} again", before.pinned),
            Err(second) => format!("it is down: {}", second.message),
        };
        Err(Failure { message: format!("{}; {again}", failure.message), ..failure })
    }

    /// The record as it was before a rebase that failed.
    async fn put_back(self: &Arc<Self>, name: &TenantName, before: &Allocation) {
        let _files = self.files.take(name).await;
        let (host, own, record) = (self.clone(), name.clone(), before.clone());
        let restored = blocking(move || host.store.undo_rebase(&own, &record)).await;
        if let Err(failure) = restored.and_then(|restored| restored.map_err(Into::into)) {
            log::error!("tenant \"{name}\" is still pinned to the version that it could not get: {failure}");
        }
    }
}
