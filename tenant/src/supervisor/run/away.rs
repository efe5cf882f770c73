//! A tenant that is stopped while it is idle, and boots when it is needed.
//!
//! While it is away something stands for its interfaces: whoever calls it is kept waiting, and is let through when
//! the service that was called listens.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::{
    ending::Ending,
    lifecycle::{self, Goal},
};
use crate::{
    cause::chain,
    files::state::{ParkedState, Phase},
    kernel::{
        packets::PacketTrap,
        stand_in::{self, StandIn, StoodForPort},
    },
    model::{image::Ready, park::WakeReason},
    plan::{NicPlan, Plan, stood_for},
    supervisor::{
        error::RunError,
        park::{
            away::{Away, Stage, boots_in, is_worth},
            packet::{Packet, Purpose},
            timers::Missed,
        },
        process::{Supervisor, wall_clock_ms},
    },
};

/// Most packets that are read at a time.
const MOST: usize = 64;
/// Longest packet, bytes.
const LONGEST: usize = 64 << 10;

impl Supervisor {
    /// Stops the tenant, which is idle and at rest, if that is how it is parked and nothing is lost by it; false where it
    /// is not. `trap` is what tells whether a packet has come to it meanwhile. It is asked to end in the next turn of the loop;
    /// the caller thaws it, for it hears no signal while it is frozen.
    pub(in crate::supervisor) fn leave(&mut self, trap: &PacketTrap, now: Instant) -> Result<bool, RunError> {
        let Missed { calendar: due, sleeper } = self.parking.timers.missed();
        let Some(plan) = self.plan.as_ref().filter(|plan| plan.stand_in.is_some()) else { return Ok(false) };
        if sleeper || !is_worth(due) {
            return Ok(false);
        }
        let stand_in = match put_stand_in(plan) {
            Ok(stand_in) => stand_in,
            Err(error) => {
                if !mem::replace(&mut self.parking.is_told, true) {
                    log::warn!(
                        "cannot stop tenant {:?} while it is idle, so it is frozen: {}",
                        self.name.as_str(),
                        chain(&error)
                    );
                }
                return Ok(false);
            }
        };
        // From here on no packet comes to it. One that came before is for a tenant that is there.
        if trap.has_caught() {
            return Ok(false);
        }
        let limit = plan.init.stop_timeout;
        let known =
            self.init.as_ref().and_then(|init| stand_in::listeners(init.pid).ok()).unwrap_or_default();
        self.parking.parked = None;
        self.parking.away = Some(Away::new(stand_in, due, known, now));
        self.goal = Goal::Park;
        self.ending = Some(Ending::new(now, limit, true));
        if let Some(state) = &mut self.state {
            let due_ms = due.map(|due| wall_clock_ms() + boots_in(due).as_millis() as u64);
            let since_ms = state.parked.map_or_else(wall_clock_ms, |parked| parked.since_ms);
            state.parked = Some(ParkedState { since_ms, due_ms, stopped: false });
        }
        if self.phase() != Phase::Parked {
            self.enter(lifecycle::Event::Parked)?;
        }
        self.tell_status();
        Ok(true)
    }

    /// Its init has ended, and all of it has been taken down.
    pub(in crate::supervisor) fn gone(&mut self, mut away: Away, now: Instant) {
        (self.kept, self.network, self.memory, self.ending) = (None, None, None, None);
        self.remains.clear();
        self.unregister(now);
        away.stage = Stage::Gone;
        self.parking.away = Some(away);
        if let Some(state) = &mut self.state {
            (state.init, state.status) = (None, None);
            if let Some(parked) = &mut state.parked {
                parked.stopped = true;
            }
        }
        self.publish();
        self.tell_status();
        self.report_parked();
        self.rest_at = Some(now);
    }

    /// Whether the present boot is that of a tenant that was parked.
    pub(in crate::supervisor) fn is_coming_back(&self) -> bool {
        self.parking.away.as_ref().is_some_and(|away| matches!(away.stage, Stage::Coming(_)))
    }

    /// Whether a request that needs a running tenant has to wait for that.
    pub(in crate::supervisor) fn is_away(&self) -> bool {
        self.parking.away.is_some() && self.phase() != Phase::Running
    }

    /// A request to end or to reboot that comes while it is away; false if it is not.
    pub(in crate::supervisor) fn end_away(
        &mut self,
        goal: Goal,
        limit: Option<Duration>,
        now: Instant,
    ) -> bool {
        if self.phase() != Phase::Parked {
            return false;
        }
        let Some(away) = &mut self.parking.away else { return false };
        match (goal, away.stage) {
            (Goal::Stop, Stage::Leaving) => {
                self.goal = goal;
                if let (Some(ending), Some(limit)) = (&mut self.ending, limit) {
                    ending.limit(now, limit);
                }
            }
            (Goal::Stop, _) => self.is_called_off = true,
            _ => away.want(WakeReason::Admin, None),
        }
        if goal == Goal::Stop {
            self.manager.tell("STOPPING=1");
        }
        true
    }

    /// It is ready: its packets are looked after for a moment still.
    pub(in crate::supervisor) fn arrived(&mut self, now: Instant) {
        if let Some(away) = &mut self.parking.away
            && away.stage == Stage::Coming(None)
        {
            away.stage = Stage::Coming(Some(now));
        }
    }

    pub(in crate::supervisor) fn says_ready(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.init.ready == Ready::Notify)
    }

    /// Does what is due.
    pub(in crate::supervisor) fn tick_away(&mut self, now: Instant) {
        let says_ready = self.says_ready();
        let init = self.init.as_ref().map(|init| init.pid);
        let Some(away) = &mut self.parking.away else { return };
        if away.stage == Stage::Gone && away.due.is_some_and(|due| now >= due) {
            away.want(WakeReason::Timer, None);
        }
        if away.is_look_due(now) {
            // An init that has ended is heard of otherwise.
            let listeners = init.and_then(|init| stand_in::listeners(init).ok()).unwrap_or_default();
            away.saw(now, listeners);
            let mut held = mem::take(&mut away.held);
            let packets = held.take(|service| away.is_open(service));
            away.held = held;
            self.pass(packets);
        }
        if self.parking.away.as_ref().is_some_and(|away| away.is_over(says_ready, now)) {
            self.step_aside();
        }
    }

    fn pass(&self, packets: Vec<(std::net::IpAddr, Vec<u8>)>) {
        let stand_in = self.parking.away.as_ref().and_then(|away| away.stand_in.as_ref());
        for (to, packet) in packets {
            // What is lost on the way is sent again, like anywhere.
            let _ = stand_in.map(|stand_in| stand_in.pass(to, &packet));
        }
    }

    /// Lets the tenant have its packets by itself from now on.
    fn step_aside(&mut self) {
        let Some(mut away) = self.parking.away.take() else { return };
        let Some(stand_in) = &away.stand_in else { return };
        let packets = away.held.take(|_| true);
        for (to, packet) in packets {
            let _ = stand_in.pass(to, &packet);
        }
        if let Err(error) = stand_in.step_aside() {
            log::warn!("tenant {:?}: {}", self.name.as_str(), chain(&error));
        }
        let mut buffer = vec![0; LONGEST];
        while let Ok(Some(packet)) = stand_in.receive(&mut buffer) {
            if let Some(read) = Packet::read(packet) {
                let _ = stand_in.pass(read.to, packet);
            }
        }
        if let Err(error) = stand_in.check_sources(true) {
            log::warn!("tenant {:?}: {}", self.name.as_str(), chain(&error));
        }
    }

    pub(in crate::supervisor) fn check_sources(&self, strictly: bool) {
        let stand_in = self.parking.away.as_ref().and_then(|away| away.stand_in.as_ref());
        if let Some(Err(error)) = stand_in.map(|stand_in| stand_in.check_sources(strictly)) {
            log::warn!("tenant {:?}: {}", self.name.as_str(), chain(&error));
        }
    }

    /// Packets have come to what stands for the tenant.
    pub(in crate::supervisor) fn take_packets(&mut self) {
        let Some(away) = &mut self.parking.away else { return };
        let Some(stand_in) = &away.stand_in else { return };
        let stage = away.stage;
        let is_for_it = |service| away.is_for_it(service);
        let mut calls = Vec::new();
        let mut buffer = vec![0; LONGEST];
        for _ in 0..MOST {
            let Ok(Some(bytes)) = stand_in.receive(&mut buffer) else { break };
            let Some(packet) = Packet::read(bytes) else { continue };
            match (packet.purpose, stage) {
                (Purpose::Call(call), _) if is_for_it(call.service) => {
                    calls.push((packet.to, call, bytes.to_vec()))
                }
                (Purpose::Echo, Stage::Leaving | Stage::Gone) => {
                    if let Some(reply) = packet.echo(bytes) {
                        let _ = stand_in.answer(packet.from, &reply);
                    }
                }
                (_, Stage::Gone) => {}
                (_, Stage::Leaving | Stage::Coming(_)) => {
                    let _ = stand_in.pass(packet.to, bytes);
                }
            }
        }
        for (to, call, bytes) in calls {
            if matches!(stage, Stage::Coming(_)) && away.is_open(call.service) {
                let _ = away.stand_in.as_ref().map(|stand_in| stand_in.pass(to, &bytes));
            } else {
                away.want(WakeReason::Packet, Some(call));
                away.held.keep(to, call.service, &bytes);
            }
        }
    }
}

/// Puts something in the place of a tenant's ports; none for one without any.
fn put_stand_in(plan: &Plan) -> Result<Option<StandIn>, crate::kernel::KernelError> {
    let Some(stand_in) = &plan.stand_in else { return Ok(None) };
    let ports: Vec<StoodForPort> = stood_for(&plan.nics)
        .map(|own| StoodForPort {
            link: own.port.host_name.clone(),
            mac: own.mac.bytes(),
            addresses: own.addresses.to_vec(),
            gateways: own.gateways.to_vec(),
        })
        .collect();
    if ports.is_empty() {
        return Ok(None);
    }
    let mtu = plan.nics.iter().filter_map(|nic: &NicPlan| nic.mtu).max();
    StandIn::put(&stand_in.name, stand_in.group, mtu, ports).map(Some)
}
