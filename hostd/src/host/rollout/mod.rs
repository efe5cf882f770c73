//! Rollouts of this host: begun, gone on with, told. What they are is in [`crate::rollout`].
//!
//! | file | what |
//! |---|---|
//! | `world` | this host, as rollouts work on it |
//! | `ask` | gates: a connection, a request |

mod ask;
mod world;

use std::{collections::BTreeMap, sync::Arc};

use rootfs_tools::Store as ImageStore;
use tenant::model::{
    ids::Digest,
    image::{ChannelName, ImageName, ImageRef},
};
use wire::{Code, EventKind, Failure, Rollout, RolloutRequest};

use self::world::HostWorld;
use super::{Host, Result, blocking, events::What};
use crate::{
    records::StoreError,
    rollout::{
        Record, World as _,
        begin::{self, Start},
        files, policy,
        record::Wanted,
        run, view,
    },
};

fn no_rollout(id: u64) -> Failure {
    Failure::new(Code::NotFound, format!("there is no rollout {id}"))
        .help("list them: tenantctl rollout history")
}

fn disk(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::of(Code::Failed, error)
}

impl Host {
    /// Goes on with the rollouts that an earlier hostd left. Records that cannot be read are told.
    pub async fn resume_rollouts(self: &Arc<Self>) {
        let layout = self.layout().clone();
        let found = match blocking(move || files::read(&layout)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return log::error!("cannot read rollouts: {}", wire::chain(&error)),
            Err(failure) => return log::error!("{failure}"),
        };
        for (id, reason) in &found.broken {
            log::error!("rollout {id} does not go on: {reason}");
        }
        for record in found.records.into_values().filter(|record| !record.is_over()) {
            log::info!("rollout {} goes on", record.id);
            self.go_on(record);
        }
    }

    /// A rollout goes on from here, in a task of its own.
    fn go_on(self: &Arc<Self>, record: Record) {
        let (host, id) = (self.clone(), record.id);
        let active = self.rollouts.add(record);
        tokio::spawn(async move {
            run(active, Arc::new(HostWorld(host.clone()))).await;
            host.rollouts.remove(id);
        });
    }

    /// The version that a request means.
    fn rollout_target(&self, request: &RolloutRequest) -> Result<(ImageName, Digest)> {
        let (image, version) = (policy::image(request)?, policy::target(request)?);
        let meant = self.store.version_meant(&ImageRef { image, version })?;
        Ok((meant.image, meant.digest))
    }

    /// Refuses a rollout whose channel may not be moved in the end, before a tenant is.
    async fn check_channel(self: &Arc<Self>, record: &Record) -> Result<()> {
        let Some(channel) = record.channel.clone().filter(|channel| !channel.is_moved) else { return Ok(()) };
        let (host, image) = (self.clone(), record.image.clone());
        let check = move || -> std::result::Result<(), StoreError> {
            let store = ImageStore::new(host.layout().clone());
            let way = host.store.channel_way(channel.only_from_before)?;
            Ok(store.check_way(&image, &channel.name, &channel.to, way)?)
        };
        Ok(blocking(check).await??)
    }

    /// Begins a rollout.
    ///
    /// # Errors
    /// What the request says wrong; there is no such version; a tenant is in another rollout.
    pub async fn begin_rollout(self: &Arc<Self>, request: RolloutRequest) -> Result<Rollout> {
        policy::Policy::parse(&request)?;
        let _beginning = self.rollouts.beginning.lock().await;
        let (host, asked) = (self.clone(), request.clone());
        let (image, to) = blocking(move || host.rollout_target(&asked)).await??;
        let world = HostWorld(self.clone());
        let tenants = world.of_image(&image).await;
        let (start, channels) = (self.rollout_start(&world).await?, self.channels(&image).await?);
        let record =
            begin::forward(&start, &request, to, &tenants, |name: &ChannelName| channels.get(name).copied())?;
        begin::check_apart(&record, &self.rollouts.records(), &tenants)?;
        self.check_channel(&record).await?;
        self.begin(world, record).await
    }

    /// Begins a rollout that takes one back that has ended.
    ///
    /// # Errors
    /// There is none, it goes on, or nothing of it can be taken back.
    pub async fn roll_back_rollout(self: &Arc<Self>, id: u64, request: RolloutRequest) -> Result<Rollout> {
        let _beginning = self.rollouts.beginning.lock().await;
        let of = self.rollout_record(id).await?;
        let world = HostWorld(self.clone());
        let tenants = world.of_image(&of.image).await;
        let record = begin::backward(&self.rollout_start(&world).await?, &request, &of, &tenants)?;
        begin::check_apart(&record, &self.rollouts.records(), &tenants)?;
        self.begin(world, record).await
    }

    async fn begin(self: &Arc<Self>, world: HostWorld, record: Record) -> Result<Rollout> {
        let cannot = |why| Failure::new(Code::Failed, format!("cannot start a rollout: {why}"));
        world.write(&record).await.map_err(cannot)?;
        let answer = view::view(&record, true);
        let what = What::new(EventKind::RolloutStarted).rollout(record.id).count(record.members.len() as u64);
        self.events.tell_all(what.to(format!("{}@{}", answer.image, answer.to)));
        self.go_on(record);
        Ok(answer)
    }

    /// A number for a new rollout. The oldest records make room for it.
    async fn rollout_start(&self, world: &HostWorld) -> Result<Start> {
        let layout = self.layout().clone();
        let id = blocking(move || {
            let found = files::read(&layout)?;
            files::prune(&layout, &found);
            Ok(found.records.keys().chain(found.broken.keys()).max().map_or(1, |last| last + 1))
        });
        let id = id.await?.map_err(|error: tenant::files::file_error::FileError| disk(&error))?;
        Ok(Start { id, date: world.date(), boot: world.boot() })
    }

    async fn channels(&self, image: &ImageName) -> Result<BTreeMap<ChannelName, Digest>> {
        let (store, image) = (ImageStore::new(self.layout().clone()), image.clone());
        Ok(blocking(move || store.channels(&image)).await?.map_err(StoreError::from)?)
    }

    async fn rollout_record(&self, id: u64) -> Result<Record> {
        if let Some(active) = self.rollouts.active(id) {
            return Ok(Record::clone(&active.record()));
        }
        let layout = self.layout().clone();
        let damaged = |reason| {
            Failure::new(Code::Broken, format!("the record of rollout {id} is damaged: {reason}"))
                .help(format!("move it away: {}", self.layout().rollout(id).display()))
        };
        let found = blocking(move || files::one(&layout, id)).await?.map_err(damaged)?;
        found.ok_or_else(|| no_rollout(id))
    }

    /// All rollouts, the newest first, without their tenants.
    ///
    /// # Errors
    /// The records cannot be read.
    pub async fn rollouts(&self) -> Result<Vec<Rollout>> {
        let layout = self.layout().clone();
        let found = blocking(move || files::read(&layout)).await?.map_err(|error| disk(&error))?;
        let mut all: BTreeMap<u64, Rollout> =
            found.broken.iter().map(|(id, reason)| (*id, view::broken(*id, reason))).collect();
        all.extend(found.records.iter().map(|(id, record)| (*id, view::view(record, false))));
        for record in self.rollouts.records() {
            all.insert(record.id, view::view(&record, false));
        }
        Ok(all.into_values().rev().collect())
    }

    /// One rollout, with its tenants.
    ///
    /// # Errors
    /// There is none, or its record is damaged.
    pub async fn rollout(&self, id: u64) -> Result<Rollout> {
        Ok(view::view(&self.rollout_record(id).await?, true))
    }

    /// Pauses a rollout, lets it go on, or ends it where it is.
    ///
    /// # Errors
    /// There is none, it has ended, or its record cannot be written.
    pub async fn steer_rollout(self: &Arc<Self>, id: u64, wanted: Wanted) -> Result<Rollout> {
        let Some(active) = self.rollouts.active(id) else {
            let record = self.rollout_record(id).await?;
            let text = format!("rollout {id} has ended: {}", view::state(&record).as_str());
            let help = format!("see what became of it: tenantctl rollout show {id}");
            return Err(Failure::new(Code::NotRunning, text).help(help));
        };
        let world = HostWorld(self.clone());
        let failed = |why| Failure::new(Code::Failed, format!("cannot change rollout {id}: {why}"));
        active.want(&world, wanted).await.map_err(failed)?;
        Ok(view::view(&active.record(), true))
    }
}
