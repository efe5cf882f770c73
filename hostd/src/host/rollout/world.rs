//! This host, as rollouts work on it.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rootfs_tools::Store as ImageStore;
use tenant::{
    Allocation, TenantName,
    files::{
        record::Durability,
        state::{Exit, RunState},
    },
    model::{
        ids::Digest,
        image::{ImageName, ImageRef, VersionRef},
    },
};
use wire::{EventKind, Failure, RebaseMode, TenantState};

use super::ask;
use crate::{
    host::{
        Host, blocking,
        events::{What, state::ended},
        glance::Glance,
        inside, startup,
    },
    records,
    rollout::{
        Record, Tenants, World, files, gates,
        machine::Told,
        policy::Gate,
        record::{Channel, End},
        seen::{Marks, Seen},
    },
    units::limits::Enforce,
};

/// Lists the failed units of a systemd(1).
const FAILED_UNITS: [&str; 6] =
    ["systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager"];

/// From where the clock counts.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A host that rollouts work on.
pub(super) struct HostWorld(pub(super) Arc<Host>);

fn told(failure: Failure) -> String {
    failure.message
}

/// Whether a tenant is down because its init failed. SIGKILL is what an admin ends one with, unless its memory was
/// used up.
fn has_crashed(said: &RunState) -> bool {
    match said.exit {
        None | Some(Exit::Poweroff | Exit::Code(0)) => false,
        Some(Exit::Signal(signal)) if signal == Signal::SIGKILL as i32 => said.oom_kills.is_some(),
        Some(Exit::Code(_) | Exit::Signal(_)) => true,
    }
}

impl HostWorld {
    fn one(&self, record: &Allocation, glance: Option<&Glance>) -> Seen {
        let (mut state, said) = self.0.state(&record.name, record.state);
        if state == TenantState::Stopped && said.as_deref().is_some_and(has_crashed) {
            state = TenantState::Failed;
        }
        if state == TenantState::Parked {
            // It wakes for whatever a rollout does with it.
            state = TenantState::Running;
        }
        let failed = said.as_ref().filter(|_| state == TenantState::Failed);
        let why = failed.and_then(|said| match (&said.failure, said.exit) {
            (Some(failure), _) => Some(failure.message.clone()),
            (None, exit) => exit.map(|exit| format!("its init {}", ended(exit))),
        });
        let said = said.filter(|_| state.is_up());
        let labels = glance.map(|glance| &glance.labels).into_iter().flatten();
        Seen {
            name: record.name.to_string(),
            pinned: record.pinned.digest,
            running: match &said {
                Some(said) if said.is_away() => Some(record.pinned.digest),
                said => said.as_ref().and_then(|said| said.digest),
            },
            state,
            why,
            follow: glance.and_then(|glance| glance.follow.clone()),
            labels: labels.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            marks: said.map(|said| Marks {
                supervisor: said.supervisor.pid,
                boots: said.boots,
                oom_kills: said.oom_kills.unwrap_or_default(),
            }),
        }
    }

    /// All tenants of an image, with what their files say.
    pub(super) async fn of_image(&self, image: &ImageName) -> Tenants {
        let glances = self.0.glances(None).await.unwrap_or_default();
        let records = self.0.store.records();
        let of_image = records.values().filter(|record| record.pinned.image == *image);
        of_image
            .map(|record| {
                let glance = glances.get(&record.name).map(|glance| &**glance);
                (record.uuid.clone(), self.one(record, glance))
            })
            .collect()
    }

    fn name(name: &str) -> Result<TenantName, String> {
        wire::tenant_name(name).map_err(told)
    }

    /// Where a tenant is reached.
    fn address(&self, name: &str) -> Result<IpAddr, String> {
        let name = Self::name(name)?;
        let record = self.0.store.record(&name).map_err(|error| wire::chain(&error))?;
        let claims = self.0.store.claims().get(&name).cloned();
        let shown = claims.map(|claims| claims.shown(&record)).unwrap_or_default();
        shown.into_iter().flatten().next().ok_or_else(|| "it has no address".to_owned())
    }
}

impl World for HostWorld {
    async fn write(&self, record: &Record) -> Result<(), String> {
        let (layout, record) = (self.0.layout().clone(), record.clone());
        let write = move || files::write(&layout, &record, Durability::Durable);
        blocking(write).await.map_err(told)?.map_err(|error| wire::chain(&error))
    }

    async fn members(&self, record: &Record) -> Tenants {
        let wanted: HashSet<&str> = record.members.iter().map(|member| member.uuid.as_str()).collect();
        let records = self.0.store.records();
        let is_member = |one: &&Allocation| one.pinned.image == record.image && wanted.contains(&*one.uuid);
        records.values().filter(is_member).map(|one| (one.uuid.clone(), self.one(one, None))).collect()
    }

    async fn all(&self, image: &ImageName, rollout: u64) -> Tenants {
        let elsewhere = self.0.rollouts.elsewhere(rollout);
        let mut all = self.of_image(image).await;
        all.retain(|uuid, _| !elsewhere.contains(uuid));
        all
    }

    async fn seen(&self, uuid: &str) -> Option<Seen> {
        let records = self.0.store.records();
        let record = records.values().find(|record| record.uuid == uuid)?;
        Some(self.one(record, None))
    }

    async fn rebase(
        &self,
        name: &str,
        image: &ImageName,
        to: Digest,
        mode: RebaseMode,
    ) -> Result<Option<String>, String> {
        let (host, name) = (self.0.clone(), Self::name(name)?);
        let target = ImageRef { image: image.clone(), version: VersionRef::Prefix(to.hex()) };
        let rebased = host.rebase(&name, &target, mode, false).await.map_err(told)?;
        let rest =
            (!rebased.rest.is_empty()).then(|| format!("from its next start: {}", rebased.rest.join(", ")));
        Ok(rest.or(rebased.killed))
    }

    async fn start(&self, name: &str) -> Result<(), String> {
        let started = self.0.start(&Self::name(name)?, Enforce::Asked).await;
        started.map(|_| ()).map_err(told)
    }

    async fn failed_units(&self, name: &str) -> Option<Vec<String>> {
        let output = inside::exec(self.0.layout(), name, &FAILED_UNITS).await.ok()?;
        Some(gates::failed_units(&String::from_utf8_lossy(&output)))
    }

    async fn ask(&self, name: &str, gate: &Gate) -> Result<(), String> {
        match gate {
            Gate::Systemd => Ok(()),
            Gate::Exec(command) => {
                inside::exec(self.0.layout(), name, &["/bin/sh", "-c", command]).await.map(|_| ())
            }
            Gate::Tcp(port) => ask::tcp(self.address(name)?, *port).await.map(|_| ()),
            Gate::Http { port, path } => ask::http(self.address(name)?, *port, path).await,
        }
    }

    async fn point(&self, image: &ImageName, channel: &Channel) -> Result<(), String> {
        let store = ImageStore::new(self.0.layout().clone());
        let what = format!("{image}:{}", channel.name);
        let (host, image, channel) = (self.0.clone(), image.clone(), channel.clone());
        let work = move || -> Result<(), records::StoreError> {
            let now = store.channels(&image)?.get(&channel.name).copied();
            if channel.only_from_before && now != channel.before {
                return Ok(());
            }
            // To take a rollout back is to say that the channel leads back.
            let way = host.store.channel_way(channel.only_from_before)?;
            store.set_channel(&image, &channel.name, &channel.to, way)?;
            Ok(())
        };
        blocking(work)
            .await
            .map_err(told)?
            .map_err(|error| format!("cannot point {what} at the version: {}", wire::chain(&error)))
    }

    fn tell(&self, record: &Record, told: &Told) {
        let what = |kind| What::new(kind).rollout(record.id);
        let reason = record.reason.as_deref().unwrap_or_default();
        let id = record.id;
        let what = match told {
            Told::WaveDone(wave) => {
                log::info!("rollout {id}: wave {wave} is done");
                what(EventKind::WaveDone).count(*wave as u64)
            }
            Told::Ended(End::Finished) => {
                log::info!("rollout {id} has finished");
                what(EventKind::RolloutFinished)
            }
            Told::Ended(End::Failed) => {
                log::error!("rollout {id} has failed and its wave was put back: {reason}");
                what(EventKind::RolloutUndone).because(reason)
            }
            Told::Ended(End::Aborted) => {
                log::warn!("rollout {id} was aborted");
                what(EventKind::RolloutAborted)
            }
        };
        self.0.events.tell_all(what);
    }

    fn tell_failed(&self, record: &Record, name: &str, reason: &str) {
        log::warn!("rollout {}: tenant {name:?}: {reason}", record.id);
        if let Ok(name) = name.parse() {
            self.0.events.tell(&name, What::new(EventKind::GateFailed).rollout(record.id).because(reason));
        }
    }

    fn date(&self) -> String {
        records::now()
    }

    fn clock(&self) -> Duration {
        BEGINNING.elapsed()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn boot(&self) -> String {
        startup::boot_id()
    }
}
