//! The loop of a rollout: it looks, asks [`super::machine`] what comes next, does it, and notes what came of it.

use std::{sync::Arc, time::Duration};

use tenant::model::{ids::Digest, image::ImageName};
use tokio::task::JoinSet;
use wire::{RebaseMode, TenantState};

use super::{
    active::Active,
    ask::{self, Question},
    gates::{self, Verdict},
    machine::{self, Next},
    policy::{Gate, Policy},
    record::{Before, Member, Record, Wanted},
    seen::{Marks, Tenants},
    world::World,
};

/// How many tenants are asked at the same time.
const ASKED_AT_ONCE: usize = 32;
/// How many outcomes are noted by one write of the record.
const NOTED_AT_ONCE: usize = 64;
/// How long outcomes may wait for that.
const NOTED_WITHIN: Duration = Duration::from_millis(250);
/// How long it is waited where the record cannot be written.
const RETRY: Duration = Duration::from_secs(5);
/// How often a wave is looked at while it is watched.
const WATCH: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];
/// How long tenants that were up are waited for after a boot of the machine.
const BOOT: Duration = Duration::from_secs(120);

/// How long it is waited for a tenant that stops or boots while it is moved, and how often it is looked at.
const SETTLED: Duration = Duration::from_secs(120);
const BETWEEN: Duration = Duration::from_millis(100);

/// Outcomes for one tenant each, to be noted in the record.
type Noted<T> = (usize, T);

struct Run<W> {
    active: Arc<Active>,
    world: Arc<W>,
    policy: Arc<Policy>,
    /// Whether nothing was done yet by this hostd: what an earlier one began may be half done.
    is_resumed: bool,
}

/// Goes on with a rollout until it has ended.
pub async fn run<W: World>(active: Arc<Active>, world: Arc<W>) {
    let policy = match Policy::parse(&active.record().policy) {
        Ok(policy) => Arc::new(policy),
        // A record is read only where its policy is valid.
        Err(failure) => return log::error!("rollout {}: {failure}", active.record().id),
    };
    let mut run = Run { active, world, policy, is_resumed: true };
    run.after_boot().await;
    while run.go_on().await {}
}

impl<W: World> Run<W> {
    /// Changes the record, and tells of tenants that have failed by that; as long as it cannot be written, nothing goes
    /// on.
    async fn note<T>(&self, change: impl Fn(&mut Record) -> T) -> T {
        loop {
            let before = self.active.record();
            match self.active.change(&*self.world, &change).await {
                Ok(answer) => {
                    self.tell_failures(&before);
                    return answer;
                }
                Err(reason) => {
                    log::error!("rollout {} stands still: {reason}", self.active.record().id);
                    self.world.sleep(RETRY).await;
                }
            }
        }
    }

    fn image(&self) -> ImageName {
        self.active.record().image.clone()
    }

    async fn tenants(&self) -> Tenants {
        self.world.members(&self.active.record()).await
    }

    /// After a boot of the machine: tenants that were up come up again.
    async fn after_boot(&self) {
        let boot = self.world.boot();
        if self.active.record().boot == boot {
            return;
        }
        self.note(|record| machine::rebooted(record, &boot)).await;
        let end = self.world.clock() + BOOT;
        while self.world.clock() < end {
            let (record, tenants) = (self.active.record(), self.tenants().await);
            let is_missing = |place: usize| {
                let member = &record.members[place];
                let was_up = member.was_up();
                was_up
                    && tenants.get(&member.uuid).is_some_and(|seen| !seen.state.is_up() || seen.is_coming())
            };
            if !record.wave_members().any(is_missing) {
                return;
            }
            self.world.sleep(Duration::from_secs(1)).await;
        }
    }

    /// One step; false at the end.
    async fn go_on(&mut self) -> bool {
        let (mut tenants, date) = (self.tenants().await, self.world.date());
        let (mut next, mut told) =
            self.note(|record| machine::next(record, &tenants, &self.policy, &date)).await;
        let record = self.active.record();
        if next == Next::LookForMore {
            tenants = self.world.all(&record.image, record.id).await;
            let (then, more) = self.note(|record| machine::last(record, &tenants, &self.policy, &date)).await;
            next = then;
            told.extend(more);
        }
        let record = self.active.record();
        told.iter().for_each(|told| self.world.tell(&record, told));
        match next {
            Next::End => return false,
            Next::Wait => self.active.poked().await,
            Next::Prepare(places) => self.prepare(places, &tenants).await,
            Next::Move(places) => self.rebase(places, &tenants).await,
            Next::Gate(places) => self.gate(places).await,
            Next::Bake(left) => self.bake(left).await,
            Next::Back(places) => self.back(places, &tenants).await,
            Next::Explain(place) => self.explain(place, &tenants).await,
            Next::PointChannel => self.point().await,
            Next::LookForMore => {}
        }
        self.is_resumed = false;
        true
    }

    /// Does something for each of these tenants, so many at a time, and notes what came of it; more is done while the
    /// record is written. Nothing more is begun where it is not to go on, or where a failure is still to be noted.
    async fn each<T, F>(
        &self,
        places: Vec<usize>,
        at_once: usize,
        work: impl Fn(usize, &Member) -> F,
        note: impl Fn(&mut Record, usize, T),
        is_failure: impl Fn(&T) -> bool,
        may_go_on: impl Fn(&Record) -> bool,
    ) where
        T: Clone + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        let mut due = places.into_iter();
        let mut noted: Vec<Noted<T>> = Vec::new();
        let mut since = self.world.clock();
        let mut writing = None;
        let mut is_held = false;
        loop {
            // Nor where too much is still to be noted: the record cannot be written.
            let may_begin = !is_held && noted.len() < NOTED_AT_ONCE;
            while tasks.len() < at_once && may_begin && may_go_on(&self.active.record()) {
                let Some(place) = due.next() else { break };
                let work = work(place, &self.active.record().members[place]);
                tasks.spawn(async move { (place, work.await) });
            }
            let is_time = noted.len() >= NOTED_AT_ONCE || self.world.clock() - since > NOTED_WITHIN;
            if writing.is_none() && !noted.is_empty() && (tasks.is_empty() || is_held || is_time) {
                let outcomes = std::mem::take(&mut noted);
                let note = &note;
                writing = Some(Box::pin(self.note(move |record| {
                    outcomes.iter().for_each(|(place, outcome)| note(record, *place, outcome.clone()));
                })));
                since = self.world.clock();
            }
            tokio::select! {
                Some(done) = tasks.join_next() => match done {
                    Ok(outcome) => {
                        is_held |= is_failure(&outcome.1);
                        noted.push(outcome);
                    }
                    Err(error) => log::error!("rollout {}: {error}", self.active.record().id),
                },
                () = async { writing.as_mut().expect("something is written").await }, if writing.is_some() => {
                    writing = None;
                    is_held = noted.iter().any(|(_, outcome)| is_failure(outcome));
                }
                else => return,
            }
        }
    }

    async fn prepare(&self, places: Vec<usize>, tenants: &Tenants) {
        let asks_units = self.policy.gates.contains(&Gate::Systemd);
        let timeout = self.policy.gate_timeout;
        let work = |_, member: &Member| {
            let (world, name) = (self.world.clone(), member.name.clone());
            let seen = tenants.get(&member.uuid).cloned();
            async move {
                let mut before = Before::default();
                if let Some(seen) = seen {
                    before.was_up = seen.state.is_up();
                    before.marks = seen.marks;
                    if asks_units && seen.answers() {
                        let units = ask::within(&*world, timeout, world.failed_units(&name)).await;
                        before.failed_units = gates::noted(units.flatten());
                    }
                }
                before
            }
        };
        let may_go_on = |record: &Record| record.wanted == Wanted::Run;
        self.each(places, ASKED_AT_ONCE, work, machine::prepared, |_| false, may_go_on).await;
    }

    async fn rebase(&self, places: Vec<usize>, tenants: &Tenants) {
        let (mode, max_failures, image) = (self.policy.mode, self.policy.max_failures, self.image());
        let work = |_, member: &Member| {
            let (world, name, to, image) =
                (self.world.clone(), member.name.clone(), member.to, image.clone());
            let is_up = tenants.get(&member.uuid).is_some_and(|seen| seen.state.is_up());
            let was_up = member.was_up();
            // An earlier hostd may have ended between its stop and its start.
            let starts = mode == RebaseMode::Restart && self.is_resumed && was_up && !is_up;
            let uuid = member.uuid.clone();
            async move {
                let rebased = move_one(&*world, &uuid, &name, &image, to, mode).await?;
                if starts && rebased.is_ok() {
                    return Some(world.start(&name).await.and(rebased));
                }
                Some(rebased)
            }
        };
        let note = |record: &mut Record, place, outcome| {
            // That it is gone is seen by the next look.
            if let Some(outcome) = outcome {
                machine::moved(record, place, outcome, mode);
            }
        };
        let is_failure = |outcome: &Option<Result<_, String>>| matches!(outcome, Some(Err(_)));
        let may_go_on = |record: &Record| record.wanted == Wanted::Run && record.failures < max_failures;
        self.each(places, self.policy.at_once, work, note, is_failure, may_go_on).await;
    }

    async fn gate(&self, places: Vec<usize>) {
        let max_failures = self.policy.max_failures;
        let work = |_, member: &Member| {
            let (world, policy) = (self.world.clone(), self.policy.clone());
            let question = Question::of(member);
            async move { ask::all(&*world, &policy, &question).await }
        };
        let note = |record: &mut Record, place, (verdict, marks): (Verdict, Option<Marks>)| {
            machine::gated(record, place, verdict, marks);
        };
        let is_failure = |(verdict, _): &(Verdict, Option<Marks>)| matches!(verdict, Verdict::Failed(_));
        let may_go_on = |record: &Record| record.wanted == Wanted::Run && record.failures < max_failures;
        self.each(places, ASKED_AT_ONCE, work, note, is_failure, may_go_on).await;
    }

    fn tell_failures(&self, before: &Record) {
        let record = self.active.record();
        for (old, new) in before.members.iter().zip(&record.members) {
            if old.state != new.state && new.state == wire::MemberState::Failed {
                self.world.tell_failed(&record, &new.name, new.note.as_deref().unwrap_or_default());
            }
        }
    }

    /// Waits for a part of what is left. That the tenants of the wave are looked at meanwhile is the next step's.
    async fn bake(&self, left: Duration) {
        let part = (self.policy.bake / 20).clamp(WATCH[0], WATCH[1]).min(left);
        let since = self.world.clock();
        tokio::select! {
            () = self.world.sleep(part) => {}
            () = self.active.poked() => {}
        }
        let left = left.saturating_sub(self.world.clock() - since);
        self.note(|record| machine::baked(record, left)).await;
    }

    async fn back(&self, places: Vec<usize>, tenants: &Tenants) {
        let (mode, image) = (self.policy.mode, self.image());
        let work = |_, member: &Member| {
            let (world, name, from, image) =
                (self.world.clone(), member.name.clone(), member.from, image.clone());
            let has_failed = tenants.get(&member.uuid).is_some_and(|seen| seen.state == TenantState::Failed);
            let (uuid, was_up) = (member.uuid.clone(), member.was_up());
            async move {
                let moved = move_one(&*world, &uuid, &name, &image, from, mode).await?;
                if moved.is_ok() && was_up && has_failed && mode != RebaseMode::NextStart {
                    return Some(world.start(&name).await);
                }
                Some(moved.map(drop))
            }
        };
        let note = |record: &mut Record, place, outcome| {
            // That it is gone is seen by the next look.
            if let Some(outcome) = outcome {
                machine::put_back(record, place, outcome);
            }
        };
        self.each(places, self.policy.at_once, work, note, |_| false, |_| true).await;
    }

    async fn explain(&self, place: usize, tenants: &Tenants) {
        let record = self.active.record();
        let reason = ask::explain(&*self.world, &self.policy, &record, place, tenants).await;
        self.note(|record| machine::stop(record, reason.clone())).await;
    }

    async fn point(&self) {
        let record = self.active.record();
        let Some(channel) = &record.channel else { return };
        let (outcome, date) = (self.world.point(&record.image, channel).await, self.world.date());
        let told = self.note(|record| machine::pointed(record, outcome.clone(), &date)).await;
        told.iter().for_each(|told| self.world.tell(&self.active.record(), told));
    }
}

/// Moves one tenant. One that is stopped or reboots in the middle of it is moved when it is down or up again; none is
/// the answer for one that is gone.
async fn move_one<W: World>(
    world: &W,
    uuid: &str,
    name: &str,
    image: &ImageName,
    to: Digest,
    mode: RebaseMode,
) -> Option<Result<Option<String>, String>> {
    let end = world.clock() + SETTLED;
    let mut before = world.seen(uuid).await?.state;
    loop {
        let reason = match world.rebase(name, image, to, mode).await {
            Err(reason) => reason,
            done => return Some(done),
        };
        let now = world.seen(uuid).await.filter(|seen| seen.state != TenantState::Destroying)?;
        let is_between = now.is_coming() || now.state == TenantState::Stopping;
        let has_changed = now.state != before && now.state != TenantState::Failed;
        if !(is_between || has_changed) || world.clock() > end {
            return Some(Err(reason));
        }
        before = now.state;
        world.sleep(BETWEEN).await;
    }
}
