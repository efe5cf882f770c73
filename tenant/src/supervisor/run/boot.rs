//! Building a tenant.

use std::{
    io,
    time::{Duration, Instant},
};

use super::lifecycle::{self, Goal};
use crate::{
    apply,
    cause::chain,
    enter::ExecContext,
    files::{
        record::{self, Durability},
        shelter,
        sources::{LoadPlanError, Sources, load_credentials},
        state::{Phase, ProcessRef, RunState},
    },
    model::{facts::HostFacts, image::Ready},
    supervisor::{
        error::RunError,
        host::{memory::MemoryEvents, notify::extension},
        process::{Init, Supervisor, wall_clock_ms},
        resources::{cgroup::Cgroups, view::View},
        terminals::rate::Budget,
    },
};

/// Messages of an init that are read per second, and at once.
const NOTIFY_RATE: u32 = 50;
/// What this process needs beyond a tenant's own deadlines to build it and to take it down.
const GRACE: Duration = Duration::from_secs(20);

impl Supervisor {
    /// Reads every file again, removes what is left of an earlier run, and starts the tenant. False when it is to
    /// be stopped instead: nothing of it is there then.
    pub(in crate::supervisor) fn boot(&mut self) -> Result<bool, RunError> {
        self.boot_began = Instant::now();
        self.goal = Goal::Run;
        self.ending = None;
        // Its own deadlines are shorter than these, whatever the unit's are. Once for a start: a tenant that reboots
        // before it is ready gets no more time by that, and one that has been ready is not being started any more.
        if self.start_limit.deadline().is_none() {
            self.manager.tell(&extension(GRACE));
        }
        // Those that make no sense are told of below.
        self.sources = self.take_sources().ok();
        if !self.is_standalone {
            self.prepare()?;
        }
        if self.is_called_off {
            return Ok(false);
        }
        // What hostd does when it starts may be long ago, or never have been.
        shelter::close_state(&self.layout)?;
        shelter::close_names(&self.layout, self.group)?;
        let facts = HostFacts::gather().map_err(RunError::io("look at", "this host"))?;
        let credentials = load_credentials(&self.layout, &self.name, self.credentials.as_deref())?;
        let sources = self.take_sources()?;
        let mut plan = sources.plan(&self.layout, &self.name, &facts, self.unit.as_deref(), &credentials)?;
        (self.alter)(&mut plan);
        self.note_what_is_started(sources.text());
        drop(credentials);
        // At the next boot this process sits in the supervisor's cgroup, not in the unit's.
        self.unit = Some(plan.cgroup.unit.clone());
        self.v2_mount = facts.cgroup.v2_mount.unwrap_or_default();
        let comes_back = self.is_coming_back();
        if let Some(state) = &mut self.state {
            if state.phase == Phase::Queued {
                state.phase = lifecycle::next(state.phase, lifecycle::Event::Turn)
                    .map_err(|illegal| RunError::io("supervise", &self.name)(io::Error::other(illegal)))?;
            }
            *state = RunState {
                phase: state.phase,
                digest: Some(plan.digest),
                boots: state.boots + u32::from(!comes_back),
                woken: state.woken.filter(|_| comes_back),
                ..RunState::queued(state.supervisor, &plan.cgroup.unit, wall_clock_ms())
            };
            // What cannot be written at all is better known before the start than after.
            state.write(&self.layout.run_state(&self.name))?;
        }
        let context = ExecContext::of(&plan).map_err(RunError::io("look at", "this process"))?;
        // Before init is there: who finds it finds with what it was started.
        context.write(&self.layout, &self.name)?;
        drop(context);
        self.tell_status();
        let plan = self.plan.insert(plan);
        if plan.stand_in.is_none() {
            // It was to be stopped when it was parked, and is so no more: its routes are of the first order again.
            self.parking.away = None;
        }
        if self.start_limit.boots(self.boot_began, plan.init.start_timeout) {
            self.manager.tell(&extension(plan.init.start_timeout + GRACE));
        }
        if let Some(error) = apply::stop(&self.kernel, plan, self.network.as_ref()).into_iter().next() {
            return Err(RunError::Sweep(error));
        }
        self.network = None;
        // The mounts of the last boot: an upper directory is one overlay's at a time.
        self.kept = None;
        let started = apply::start(&self.kernel, plan);
        plan.forget_secrets();
        let payload = started?;
        // A child that has not been waited for is there, even if it has ended: without it the tenant could not be entered.
        let init = ProcessRef::of(payload.pid).map_err(RunError::io("look at", "its init"))?;
        self.network = payload.network;
        self.kept = payload.kept;
        // Closed last of all: see its description.
        let _remains = payload.remains;
        let now = Instant::now();
        self.consoles
            .connect(payload.terminals, &plan.init, now)
            .map_err(RunError::io("use", "the terminals"))?;
        let cgroups = Cgroups {
            unit: plan.cgroup.unit.clone(),
            payload: plan.cgroup.payload.clone(),
            v1: self.v1_cgroups.clone(),
        };
        let view = payload.files.map(|device| View::new(device, plan.uids.base(), cgroups, now));
        self.init = Some(Init {
            view,
            pid: payload.pid,
            pidfd: payload.pidfd,
            notify: payload.notify,
            budget: Budget::new(now, NOTIFY_RATE, NOTIFY_RATE),
            muted: false,
            executed: now,
        });
        let reports = plan.init.ready == Ready::Notify;
        let plan_payload = plan.cgroup.payload.clone();
        let exec_us = self.since_boot_began(now);
        if let Some(state) = &mut self.state {
            state.init = Some(init);
            state.exec_us = Some(exec_us);
        }
        self.enter(lifecycle::Event::Executed)?;
        self.memory = MemoryEvents::of(&plan_payload, self.memory_v1.as_deref());
        self.register(now);
        if reports {
            self.tell_status();
        } else {
            self.ready(now)?;
        }
        self.rest_at = Some(now);
        Ok(true)
    }

    /// What the tenant boots with: as it was read before, unless the files have changed since.
    fn take_sources(&mut self) -> Result<Sources, RunError> {
        match self.sources.take().filter(Sources::is_current) {
            Some(sources) => Ok(sources),
            None => Ok(Sources::read(&self.layout, &self.name).map_err(LoadPlanError::from)?),
        }
    }

    /// Keeps the text of the tenant's file as this boot has read it: what a later edit differs from. Without it less
    /// can be told, and nothing else is lost. The file may be for root alone.
    fn note_what_is_started(&self, text: &str) {
        let path = self.layout.started(&self.name);
        let written = record::write_private(&path, text.as_bytes(), Durability::Volatile);
        if let Err(error) = written {
            log::warn!(
                "cannot save the file that tenant {:?} was started with, so later edits are not detected: {}",
                self.name.as_str(),
                chain(&error)
            );
        }
    }
}
