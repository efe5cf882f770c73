//! A host that is not there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tenant::model::{
    ids::Digest,
    image::{ChannelName, ImageName},
};
use tokio::sync::Notify;
use wire::{RebaseMode, RolloutRequest, TenantState};

use crate::rollout::{
    Active, Policy, Record, Tenants, World,
    begin::{self, Start},
    machine::Told,
    policy::Gate,
    record::Channel,
    run,
    seen::{Marks, Seen},
};

pub(super) fn digest(digit: &str) -> Digest {
    format!("sha256:{}", digit.repeat(64)).parse().unwrap()
}

/// What a gate does in a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Holds,
    Fails,
    /// It fails in the version `b`.
    FailsInNew,
    Never,
}

/// A tenant that is not there.
#[derive(Clone, Debug)]
pub(super) struct FakeTenant {
    pub(super) seen: Seen,
    pub(super) answer: Answer,
    /// Whether it can be rebased.
    pub(super) rebases: bool,
    /// Whether it is destroyed (`t01`) or stopped (others) while it is moved first.
    pub(super) breaks: bool,
    /// What happens to it when it has been given the version `b`.
    pub(super) then: Option<fn(&mut FakeTenant)>,
    pub(super) units: Option<Vec<String>>,
    /// The versions that it was given, one after the other.
    pub(super) given: Vec<Digest>,
    pub(super) starts: usize,
}

pub(super) struct Inner {
    pub(super) tenants: BTreeMap<String, FakeTenant>,
    pub(super) disk: BTreeMap<u64, Record>,
    pub(super) elsewhere: BTreeSet<String>,
    pub(super) channel: Option<Digest>,
    pub(super) told: Vec<Told>,
    pub(super) failed: Vec<(String, String)>,
    pub(super) clock: Duration,
    pub(super) boot: String,
    /// At how many tenants it was looked, and how often at all of them.
    pub(super) looks: usize,
    pub(super) looks_at_all: usize,
    /// So many writes of records fail.
    pub(super) full: usize,
    /// How many tenants are being moved, and the most that were at once.
    moving: (usize, usize),
    /// How many points at which hostd can die were passed, and those at which it does.
    pub(super) points: usize,
    pub(super) deaths: BTreeSet<usize>,
    /// Called at each point.
    pub(super) meanwhile: Option<fn(&mut Inner)>,
}

/// A host that is not there.
pub(super) struct Fake {
    inner: Mutex<Inner>,
    died: Notify,
}

pub(super) fn uuid(number: usize) -> String {
    format!("uuid{number:02}")
}

impl Fake {
    /// One with so many running tenants of the version `a` that follow `stable`.
    pub(super) fn with(count: usize) -> Arc<Self> {
        let tenants = (0..count).map(|number| (uuid(number), Self::tenant(&format!("t{number:02}"))));
        let inner = Inner {
            tenants: tenants.collect(),
            disk: BTreeMap::new(),
            elsewhere: BTreeSet::new(),
            channel: Some(digest("a")),
            told: Vec::new(),
            failed: Vec::new(),
            clock: Duration::ZERO,
            boot: "one".to_owned(),
            looks: 0,
            looks_at_all: 0,
            full: 0,
            moving: (0, 0),
            points: 0,
            deaths: BTreeSet::new(),
            meanwhile: None,
        };
        Arc::new(Self { inner: Mutex::new(inner), died: Notify::new() })
    }

    pub(super) fn tenant(name: &str) -> FakeTenant {
        let seen = Seen {
            name: name.to_owned(),
            pinned: digest("a"),
            running: Some(digest("a")),
            state: TenantState::Running,
            why: None,
            follow: Some(ChannelName::stable()),
            labels: BTreeMap::new(),
            marks: Some(Marks { supervisor: 1, boots: 1, oom_kills: 0 }),
        };
        FakeTenant {
            seen,
            answer: Answer::Holds,
            rebases: true,
            breaks: false,
            then: None,
            units: Some(vec!["old.service".to_owned()]),
            given: Vec::new(),
            starts: 0,
        }
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(super) fn change(&self, number: usize, change: impl FnOnce(&mut FakeTenant)) {
        change(self.inner().tenants.get_mut(&uuid(number)).unwrap());
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.inner().moving.1
    }

    /// Tenants of the version that have been given exactly these, by their numbers.
    pub(super) fn given(&self, versions: &[Digest]) -> Vec<usize> {
        let inner = self.inner();
        let places = inner.tenants.values().enumerate();
        places.filter(|(_, tenant)| tenant.given == versions).map(|(place, _)| place).collect()
    }

    /// Hostd may die here; what was done until then is done.
    async fn point(&self) {
        let dies = {
            let mut inner = self.inner();
            inner.points += 1;
            if let Some(meanwhile) = inner.meanwhile {
                meanwhile(&mut inner);
            }
            let point = inner.points;
            inner.deaths.remove(&point)
        };
        if dies {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
    }

    pub(super) fn everyone(&self) -> Tenants {
        let inner = self.inner();
        inner.tenants.iter().map(|(uuid, tenant)| (uuid.clone(), tenant.seen.clone())).collect()
    }

    /// Begins a rollout of `b`.
    pub(super) fn begin(&self, request: &RolloutRequest) -> u64 {
        let id = self.inner().disk.len() as u64 + 1;
        let start = Start { id, date: "2026-01-01T00:00:00Z".to_owned(), boot: self.inner().boot.clone() };
        let image = Some("debian".to_owned());
        let request = RolloutRequest { image, ..request.clone() };
        let channel = self.inner().channel;
        let record = begin::forward(&start, &request, digest("b"), &self.everyone(), |_| channel).unwrap();
        self.inner().disk.insert(id, record);
        id
    }

    pub(super) fn record(&self, id: u64) -> Record {
        self.inner().disk[&id].clone()
    }

    /// One hostd goes on with a rollout until it is over, or until it dies.
    pub(super) async fn one_hostd(self: &Arc<Self>, id: u64) {
        self.inner().moving.0 = 0;
        let active = Active::new(Record::parse(&self.record(id).render()).unwrap());
        tokio::select! {
            () = run(active, self.clone()) => {}
            () = self.died.notified() => {}
        }
    }

    /// Hostd goes on with a rollout, is started again when it dies, until it is over.
    pub(super) async fn to_the_end(self: &Arc<Self>, id: u64) -> Record {
        for _ in 0..1000 {
            if self.record(id).is_over() {
                return self.record(id);
            }
            self.one_hostd(id).await;
        }
        panic!("it does not come to an end: {}", self.record(id).render());
    }
}

pub(super) fn request(text: &str) -> RolloutRequest {
    let request: RolloutRequest = toml::from_str(text).unwrap();
    Policy::parse(&request).unwrap();
    request
}

impl World for Fake {
    async fn write(&self, record: &Record) -> Result<(), String> {
        self.point().await;
        {
            let mut inner = self.inner();
            if inner.full > 0 {
                inner.full -= 1;
                return Err("no space left on the device".to_owned());
            }
            inner.disk.insert(record.id, record.clone());
        }
        self.point().await;
        Ok(())
    }

    async fn members(&self, record: &Record) -> Tenants {
        let mut inner = self.inner();
        inner.looks += record.members.len();
        let seen = |uuid: &String| Some((uuid.clone(), inner.tenants.get(uuid)?.seen.clone()));
        record.members.iter().filter_map(|member| seen(&member.uuid)).collect()
    }

    async fn all(&self, _: &ImageName, _: u64) -> Tenants {
        self.inner().looks_at_all += 1;
        let elsewhere = self.inner().elsewhere.clone();
        self.everyone().into_iter().filter(|(uuid, _)| !elsewhere.contains(uuid)).collect()
    }

    async fn seen(&self, uuid: &str) -> Option<Seen> {
        self.inner().tenants.get(uuid).map(|tenant| tenant.seen.clone())
    }

    async fn rebase(
        &self,
        name: &str,
        _: &ImageName,
        to: Digest,
        mode: RebaseMode,
    ) -> Result<Option<String>, String> {
        {
            let mut inner = self.inner();
            inner.moving.0 += 1;
            inner.moving.1 = inner.moving.1.max(inner.moving.0);
        }
        self.point().await;
        let outcome = {
            let mut inner = self.inner();
            inner.moving.0 -= 1;
            let broken = inner.tenants.iter().find(|(_, tenant)| tenant.breaks && tenant.seen.name == name);
            if let Some(uuid) = broken.map(|(uuid, _)| uuid.clone()) {
                if name == "t01" {
                    inner.tenants.remove(&uuid);
                } else if let Some(tenant) = inner.tenants.get_mut(&uuid) {
                    tenant.breaks = false;
                    (tenant.seen.state, tenant.seen.running) = (TenantState::Stopped, None);
                }
                return Err("the supervisor does not answer".to_owned());
            }
            match inner.tenants.values_mut().find(|tenant| tenant.seen.name == name) {
                None => Err("there is no such tenant".to_owned()),
                Some(tenant) if !tenant.rebases => Err("the kernel refuses it".to_owned()),
                Some(tenant) => {
                    let is_new = tenant.seen.pinned != to;
                    if is_new {
                        tenant.given.push(to);
                    }
                    tenant.seen.pinned = to;
                    if tenant.seen.state.is_up() && mode != RebaseMode::NextStart {
                        tenant.seen.running = Some(to);
                        if mode == RebaseMode::Restart && is_new {
                            tenant.seen.marks = Some(Marks { supervisor: 2, boots: 1, oom_kills: 0 });
                        }
                    }
                    if let Some(then) = tenant.then.filter(|_| is_new && to == digest("b")) {
                        then(tenant);
                    }
                    Ok(None)
                }
            }
        };
        self.point().await;
        outcome
    }

    async fn start(&self, name: &str) -> Result<(), String> {
        self.point().await;
        let mut inner = self.inner();
        let tenant = inner.tenants.values_mut().find(|tenant| tenant.seen.name == name);
        let tenant = tenant.ok_or("there is no such tenant")?;
        tenant.starts += 1;
        tenant.seen.state = TenantState::Running;
        tenant.seen.running = Some(tenant.seen.pinned);
        Ok(())
    }

    async fn failed_units(&self, name: &str) -> Option<Vec<String>> {
        self.point().await;
        let inner = self.inner();
        inner.tenants.values().find(|tenant| tenant.seen.name == name)?.units.clone()
    }

    async fn ask(&self, name: &str, _: &Gate) -> Result<(), String> {
        self.point().await;
        let (answer, is_new) = {
            let inner = self.inner();
            let tenant = inner.tenants.values().find(|tenant| tenant.seen.name == name);
            let tenant = tenant.ok_or("there is no such tenant")?;
            (tenant.answer, tenant.seen.pinned == digest("b"))
        };
        match answer {
            Answer::Fails => Err("it says no".to_owned()),
            Answer::FailsInNew if is_new => Err("it says no".to_owned()),
            Answer::Never => std::future::pending().await,
            Answer::Holds | Answer::FailsInNew => Ok(()),
        }
    }

    async fn point(&self, _: &ImageName, channel: &Channel) -> Result<(), String> {
        Fake::point(self).await;
        {
            let mut inner = self.inner();
            if !channel.only_from_before || inner.channel == channel.before {
                inner.channel = Some(channel.to);
            }
        }
        Fake::point(self).await;
        Ok(())
    }

    fn tell(&self, _: &Record, told: &Told) {
        self.inner().told.push(told.clone());
    }

    fn tell_failed(&self, _: &Record, name: &str, reason: &str) {
        self.inner().failed.push((name.to_owned(), reason.to_owned()));
    }

    fn date(&self) -> String {
        // The clock of the wall goes as it likes.
        let year = 1990 + self.inner().points % 80;
        format!("{year}-01-01T00:00:00Z")
    }

    fn clock(&self) -> Duration {
        self.inner().clock
    }

    async fn sleep(&self, time: Duration) {
        // What needs no time is done first.
        for _ in 0..32 {
            tokio::task::yield_now().await;
        }
        self.inner().clock += time;
    }

    fn boot(&self) -> String {
        self.inner().boot.clone()
    }
}
