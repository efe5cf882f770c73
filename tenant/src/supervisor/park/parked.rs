//! What is kept of a tenant that is parked.

use std::time::{Duration, Instant};

use super::{
    away::Away,
    idle::{Counters, Watch},
    reclaim::Reclaim,
    timers::Timers,
};
use crate::{files::state::Phase, kernel::packets::PacketTrap};

/// How often a tenant that runs for a blink is looked at.
const GLANCE: Duration = Duration::from_millis(500);
/// CPU time in which nothing is done, between two such looks.
const NOTHING: Duration = Duration::from_millis(4);
/// So many looks in a row at which it did nothing, and it is frozen again.
const QUIET: u32 = 2;
/// A blink is no longer than that: the tenant is awake then.
const LONGEST: Duration = Duration::from_secs(15);

/// What is known of whether a tenant is idle, and of one that is parked.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Parking {
    /// Looks at one that is to be parked.
    pub(in crate::supervisor) watch: Option<Watch>,
    /// What is kept of one that is parked.
    pub(in crate::supervisor) parked: Option<Parked>,
    /// What is kept of one that is stopped then, and until it is back.
    pub(in crate::supervisor) away: Option<Away>,
    /// What is due in it.
    pub(in crate::supervisor) timers: Timers,
    /// Whether it was told that this host cannot do it.
    pub(in crate::supervisor) is_told: bool,
}

impl Parking {
    /// When something is to be done without an event. `says_ready` is whether its init says when it is ready.
    pub(in crate::supervisor) fn deadline(&self, phase: Phase, says_ready: bool) -> Option<Instant> {
        let away = self.away.as_ref().and_then(|away| away.deadline(says_ready));
        away.into_iter().chain(self.deadline_of_parked(phase)).min()
    }

    fn deadline_of_parked(&self, phase: Phase) -> Option<Instant> {
        match (phase, &self.parked, &self.watch) {
            (Phase::Parked, Some(parked), _) => parked.deadline(),
            (Phase::Running, _, Some(watch)) => Some(watch.next()),
            _ => None,
        }
    }
}

/// A tenant that is parked.
#[derive(Debug)]
pub(in crate::supervisor) struct Parked {
    /// Tells of packets for it.
    pub(in crate::supervisor) trap: PacketTrap,
    /// Its memory.
    pub(in crate::supervisor) reclaim: Reclaim,
    /// When something is due in it.
    pub(in crate::supervisor) due: Option<Instant>,
    /// It runs for a moment, because something was due.
    pub(in crate::supervisor) blink: Option<Blink>,
}

impl Parked {
    pub(in crate::supervisor) fn new(trap: PacketTrap, due: Option<Duration>, now: Instant) -> Self {
        Self { trap, reclaim: Reclaim::new(now), due: due.and_then(|due| now.checked_add(due)), blink: None }
    }

    /// When something is to be done without an event.
    pub(in crate::supervisor) fn deadline(&self) -> Option<Instant> {
        match &self.blink {
            Some(blink) => Some(blink.next),
            None => self.due.into_iter().chain(self.reclaim.at()).min(),
        }
    }
}

/// What becomes of a tenant that runs for a blink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Then {
    /// It is looked at again.
    Wait,
    /// It has done what was due.
    Rest,
    /// It has more to do than that.
    Wake,
}

/// A moment in which a parked tenant runs.
#[derive(Clone, Copy, Debug)]
pub(in crate::supervisor) struct Blink {
    since: Instant,
    next: Instant,
    last: Counters,
    quiet: u32,
}

impl Blink {
    pub(in crate::supervisor) fn new(counters: Counters, now: Instant) -> Self {
        Self { since: now, next: now + GLANCE, last: counters, quiet: 0 }
    }

    /// Whether it is to be looked at.
    pub(in crate::supervisor) fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Looks at what it has used.
    pub(in crate::supervisor) fn look(&mut self, counters: Counters, now: Instant) -> Then {
        let used = Duration::from_micros(counters.cpu_us.saturating_sub(self.last.cpu_us));
        self.last = counters;
        self.next = now + GLANCE;
        self.quiet = if used > NOTHING { 0 } else { self.quiet + 1 };
        match () {
            () if self.quiet >= QUIET => Then::Rest,
            () if now - self.since >= LONGEST => Then::Wake,
            () => Then::Wait,
        }
    }

    /// It could not be frozen again yet: it is looked at as if it had just been busy.
    pub(in crate::supervisor) fn go_on(&mut self, now: Instant) -> Then {
        self.quiet = 0;
        if now - self.since >= LONGEST { Then::Wake } else { Then::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blink_ends_when_nothing_is_done_any_more_and_a_long_one_wakes() {
        let begin = Instant::now();
        let used = |cpu_ms: u64| Counters { cpu_us: cpu_ms * 1000, io: None };
        let mut blink = Blink::new(used(10), begin);
        let mut now = begin;
        let mut look = |blink: &mut Blink, cpu_ms| {
            assert!(!blink.is_due(now));
            now += GLANCE;
            assert!(blink.is_due(now));
            blink.look(used(cpu_ms), now)
        };
        assert_eq!(look(&mut blink, 30), Then::Wait, "it works");
        assert_eq!(look(&mut blink, 33), Then::Wait, "it rests");
        assert_eq!(look(&mut blink, 50), Then::Wait, "it works again");
        assert_eq!(look(&mut blink, 51), Then::Wait);
        assert_eq!(look(&mut blink, 52), Then::Rest);
        let mut cpu = 52;
        let end = loop {
            cpu += 20;
            match look(&mut blink, cpu) {
                Then::Wait => {}
                then => break then,
            }
        };
        assert_eq!(end, Then::Wake);
        assert_eq!(blink.go_on(begin + LONGEST), Then::Wake);
    }
}
