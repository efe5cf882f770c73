//! A tenant that is parked when it is idle, and wakes.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{freeze::says_frozen, lifecycle};
use crate::{
    cause::chain,
    files::state::{ParkedState, Phase, Woken},
    kernel::{packets::PacketTrap, wait_for_events},
    model::park::WakeReason,
    plan::Plan,
    supervisor::{
        error::RunError,
        park::{
            idle::{Busy, Watch},
            look,
            parked::{Blink, Parked, Parking, Then},
        },
        process::{Supervisor, wall_clock_ms},
    },
};

/// How long the processes of a tenant that does nothing may take to come to rest.
const REST: Duration = Duration::from_millis(500);
/// What is due sooner than this is waited for.
const SOON: Duration = Duration::from_secs(3);

impl Supervisor {
    fn payload(&self) -> Option<PathBuf> {
        self.plan.as_ref().map(|plan| plan.cgroup.payload.clone())
    }

    /// The tenant is up: from now on it is looked at whether it is idle.
    pub(in crate::supervisor) fn watch_idleness(&mut self, now: Instant) {
        let after = self.plan.as_ref().and_then(|plan: &Plan| plan.idle.as_ref()).map(|idle| idle.after);
        let away = self.parking.away.take();
        self.parking =
            Parking { watch: after.map(|after| Watch::new(after, now)), away, ..Parking::default() };
        if let Some(state) = &mut self.state {
            state.parks = after.is_some();
        }
    }

    /// Does what is due about parking.
    pub(in crate::supervisor) fn tick_parking(&mut self, now: Instant) -> Result<(), RunError> {
        match self.phase() {
            Phase::Running => self.look_for_idleness(now),
            Phase::Parked => self.tick_parked(now),
            _ => Ok(()),
        }
    }

    fn look_for_idleness(&mut self, now: Instant) -> Result<(), RunError> {
        let Some(mut watch) = self.parking.watch.take_if(|watch| now >= watch.next()) else { return Ok(()) };
        let busy = self.why_busy(&mut watch, now);
        let is_idle = watch.judge(busy, now);
        self.parking.watch = Some(watch);
        if !is_idle {
            return Ok(());
        }
        if let Err(refusal) = self.park(SOON, now)? {
            if let Some(watch) = &mut self.parking.watch {
                watch.stir(now);
            }
            if let Refusal::Kernel(error) = refusal
                && !std::mem::replace(&mut self.parking.is_told, true)
            {
                log::warn!("cannot park tenant {:?}: {error}", self.name.as_str());
            }
        }
        Ok(())
    }

    /// Why the tenant is not idle at this moment; what is cheap is looked at first.
    fn why_busy(&self, watch: &mut Watch, now: Instant) -> Option<Busy> {
        let Some(payload) = self.payload() else { return Some(Busy::Unknown) };
        let Ok(counters) = look::counters(&payload) else { return Some(Busy::Unknown) };
        watch.compare(counters, now).or_else(|| self.unneeded(&payload).err())
    }

    /// Its processes, if it is neither used from outside nor waits for something that is not a timer.
    fn unneeded(&self, payload: &Path) -> Result<BTreeSet<i32>, Busy> {
        if self.consoles.are_used() {
            return Err(Busy::Viewer);
        }
        let init = self.init.as_ref().ok_or(Busy::Unknown)?;
        let pids = look::processes(payload)?;
        look::busy_processes(&pids, init.pid).map_or(Ok(()), Err)?;
        look::connections(&pids)?;
        Ok(pids)
    }

    /// Parks the tenant on request, whether it is idle or not.
    pub(in crate::supervisor) fn park_now(&mut self) -> Result<Result<(), Refusal>, RunError> {
        self.park(Duration::ZERO, Instant::now())
    }

    /// Parks the tenant, unless it is being used or something is due in it sooner than that.
    fn park(&mut self, soon: Duration, now: Instant) -> Result<Result<(), Refusal>, RunError> {
        let Some(payload) = self.payload() else { return Ok(Err(Refusal::Busy(Busy::Unknown))) };
        if fs::read_to_string(payload.join("cgroup.freeze")).is_ok_and(|text| text.trim() == "1") {
            return Ok(Err(Refusal::Busy(Busy::Frozen)));
        }
        // Set first: a packet that comes while the processes come to rest is seen.
        let trap = match PacketTrap::set(&payload) {
            Ok(trap) => trap,
            Err(error) => return Ok(Err(Refusal::Kernel(chain(&error)))),
        };
        let due = match self.come_to_rest(&payload, soon) {
            Ok(due) => due,
            Err(busy) => return Ok(Err(Refusal::Busy(busy))),
        };
        if self.leave(&trap, now)? {
            self.thaw();
            return Ok(Ok(()));
        }
        if trap.has_caught() {
            self.thaw();
            return Ok(Err(Refusal::Busy(Busy::Connection)));
        }
        self.parking.parked = Some(Parked::new(trap, due, now));
        if let Some(state) = &mut self.state {
            state.parked =
                Some(ParkedState { since_ms: wall_clock_ms(), due_ms: due.map(due_ms), stopped: false });
        }
        self.enter(lifecycle::Event::Parked)?;
        self.tell_status();
        self.report_parked();
        Ok(Ok(()))
    }

    /// Freezes the tenant and looks once more; how long until something is due in it. It goes on if it is needed, or
    /// something is due sooner than that.
    fn come_to_rest(&mut self, payload: &Path, soon: Duration) -> Result<Option<Duration>, Busy> {
        let Some(init) = self.init.as_ref().map(|init| init.pid) else { return Err(Busy::Unknown) };
        let mut look = || {
            self.set_frozen(true).map_err(|_| Busy::Unknown)?;
            if !wait_for_events(payload, says_frozen, REST).unwrap_or(false) {
                return Err(Busy::Restless);
            }
            let pids = self.unneeded(payload)?;
            let due = self.parking.timers.earliest(&pids, init);
            if due.is_some_and(|due| due < soon) { Err(Busy::Timer) } else { Ok(due) }
        };
        let result = look();
        if result.is_err() {
            self.thaw();
        }
        result
    }

    /// Lets its processes go on. Where that fails, it is tried by the next that needs it.
    pub(in crate::supervisor) fn thaw(&mut self) {
        self.parking.timers.catch_up(Instant::now());
        if let Err(error) = self.set_frozen(false)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("cannot thaw tenant {:?}: {error}", self.name.as_str());
        }
    }

    /// Wakes the tenant if it is parked. In any case it is not idle now.
    pub(in crate::supervisor) fn wake(&mut self, reason: WakeReason, now: Instant) -> Result<(), RunError> {
        if let Some(watch) = &mut self.parking.watch {
            watch.stir(now);
        }
        if self.phase() != Phase::Parked {
            return Ok(());
        }
        if let Some(away) = &mut self.parking.away {
            // It boots when what is at work now is done.
            away.want(reason, None);
            return Ok(());
        }
        self.thaw();
        self.parking.parked = None;
        if let Some(state) = &mut self.state {
            state.parked = None;
            state.woken = Some(Woken { at_ms: wall_clock_ms(), why: reason });
        }
        self.enter(lifecycle::Event::Woken)?;
        self.tell_status();
        self.report_woken(reason, None);
        Ok(())
    }

    /// What was due in the tenant is done: it may be worth stopping now.
    fn leave_later(&mut self, due: Option<Duration>, now: Instant) -> Result<(), RunError> {
        let Some(Parked { trap, .. }) = self.parking.parked.take() else { return Ok(()) };
        if self.leave(&trap, now)? {
            self.thaw();
        } else {
            self.parking.parked = Some(Parked::new(trap, due, now));
        }
        Ok(())
    }

    fn tick_parked(&mut self, now: Instant) -> Result<(), RunError> {
        let (Some(payload), Some(parked)) = (self.payload(), &mut self.parking.parked) else { return Ok(()) };
        let Some(blink) = &mut parked.blink else {
            if parked.due.is_some_and(|due| now >= due) {
                let counters = look::counters(&payload).unwrap_or_default();
                parked.blink = Some(Blink::new(counters, now));
                self.thaw();
            } else {
                parked.reclaim.tick(&payload, self.memory_v1.as_deref(), now);
            }
            return Ok(());
        };
        if !blink.is_due(now) {
            return Ok(());
        }
        let mut then = match look::counters(&payload) {
            Ok(counters) => blink.look(counters, now),
            Err(_) => Then::Wake,
        };
        if then == Then::Rest {
            let rest = self.come_to_rest(&payload, SOON);
            let Some(parked) = &mut self.parking.parked else { return Ok(()) };
            match (rest, &mut parked.blink) {
                (Ok(due), _) => {
                    (parked.blink, parked.due) = (None, due.and_then(|due| now.checked_add(due)));
                    if let Some(said) = self.state.as_mut().and_then(|state| state.parked.as_mut()) {
                        said.due_ms = due.map(due_ms);
                    }
                    self.publish();
                    return self.leave_later(due, now);
                }
                (Err(Busy::Timer), Some(blink)) => then = blink.go_on(now),
                (Err(_), _) => then = Then::Wake,
            }
        }
        if then == Then::Wake { self.wake(WakeReason::Timer, now) } else { Ok(()) }
    }
}

/// Why a tenant is not parked.
#[derive(Debug)]
pub(in crate::supervisor) enum Refusal {
    /// It is used.
    Busy(Busy),
    /// This kernel cannot.
    Kernel(String),
}

/// When that will be, milliseconds since 1970 UTC.
fn due_ms(left: Duration) -> u64 {
    wall_clock_ms().saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
}
