//! What is kept of a tenant that is parked and stopped.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::packet::{Call, Held, is_awaited};
use crate::{
    kernel::stand_in::{Service, StandIn},
    model::park::WakeReason,
};

/// A tenant in which something is due sooner than this is frozen and not stopped: it would be there again at once.
const WORTH: Duration = Duration::from_secs(30 * 60);
/// It boots so long before what is due in it.
const LEAD: Duration = Duration::from_secs(10);
/// How often it is looked at what its processes listen for, while a packet waits for that.
const GLANCE: Duration = Duration::from_millis(10);
/// How long its packets are looked after once it is ready: a service may begin to listen a moment later.
const SETTLED: Duration = Duration::from_secs(1);
/// The longest time for which a packet waits for its service then: of a tenant whose init says when it is ready, and of
/// others.
const GRACE: Duration = Duration::from_secs(2);
const GRACE_UNTOLD: Duration = Duration::from_secs(10);

/// Where such a tenant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Stage {
    /// Its init has been asked to end.
    Leaving,
    /// It is not there.
    Gone,
    /// It boots, or has just booted; since when it is ready.
    Coming(Option<Instant>),
}

/// What woke a tenant that is parked and stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) struct Wanted {
    pub(in crate::supervisor) why: WakeReason,
    /// The packet that did, if it was one.
    pub(in crate::supervisor) call: Option<Call>,
}

/// A tenant that is parked and stopped, and until it is back.
#[derive(Debug)]
pub(in crate::supervisor) struct Away {
    /// What stands for its interfaces; none for a tenant without any.
    pub(in crate::supervisor) stand_in: Option<StandIn>,
    pub(in crate::supervisor) stage: Stage,
    /// Packets that wait for it.
    pub(in crate::supervisor) held: Held,
    /// What woke it.
    pub(in crate::supervisor) wanted: Option<Wanted>,
    /// It has to boot then, because something will be due in it.
    pub(in crate::supervisor) due: Option<Instant>,
    /// What its processes listened for when it was there.
    known: BTreeSet<Service>,
    /// What they listen for, as it was looked at last, and what they did at the look before that too.
    seen: BTreeSet<Service>,
    open: BTreeSet<Service>,
    /// When they are looked at next.
    next: Instant,
}

/// Whether a tenant in which something is due after so long is worth being stopped.
pub(in crate::supervisor) fn is_worth(due: Option<Duration>) -> bool {
    due.is_none_or(|due| due >= WORTH)
}

/// How long before it has to boot.
pub(in crate::supervisor) fn boots_in(due: Duration) -> Duration {
    due.saturating_sub(LEAD)
}

impl Away {
    /// One whose init has been asked to end. `due` is when something will be due in it, `known` what its processes
    /// listen for.
    pub(in crate::supervisor) fn new(
        stand_in: Option<StandIn>,
        due: Option<Duration>,
        known: BTreeSet<Service>,
        now: Instant,
    ) -> Self {
        Self {
            stand_in,
            stage: Stage::Leaving,
            held: Held::default(),
            wanted: None,
            due: due.and_then(|due| now.checked_add(boots_in(due))),
            known,
            seen: BTreeSet::new(),
            open: BTreeSet::new(),
            next: now,
        }
    }

    /// It is needed; the first that says so is remembered.
    pub(in crate::supervisor) fn want(&mut self, why: WakeReason, call: Option<Call>) {
        self.wanted.get_or_insert(Wanted { why, call });
    }

    /// Whether a packet is for it to answer. A datagram is if something waited for it: others are the answers to what the
    /// tenant has asked itself.
    pub(in crate::supervisor) fn is_for_it(&self, service: Service) -> bool {
        service.is_tcp() || is_awaited(&self.known, service)
    }

    /// When something is to be done without an event. `says_ready` is whether its init says when it is ready.
    pub(in crate::supervisor) fn deadline(&self, says_ready: bool) -> Option<Instant> {
        match self.stage {
            Stage::Leaving => None,
            Stage::Gone => self.due.filter(|_| self.wanted.is_none()),
            Stage::Coming(None) => (!self.held.is_empty()).then_some(self.next),
            Stage::Coming(Some(since)) if self.held.is_empty() => Some(since + SETTLED),
            Stage::Coming(Some(since)) => Some(self.next.min(since + grace(says_ready))),
        }
    }

    /// Whether it is to be looked at what its processes listen for.
    pub(in crate::supervisor) fn is_look_due(&self, now: Instant) -> bool {
        matches!(self.stage, Stage::Coming(_)) && !self.held.is_empty() && now >= self.next
    }

    /// What they listen for. A server that listens for IPv4 may do so for IPv6 a moment later: it is taken for there
    /// when it has been seen twice.
    pub(in crate::supervisor) fn saw(&mut self, now: Instant, listeners: BTreeSet<Service>) {
        self.open = listeners.intersection(&self.seen).copied().collect();
        self.seen = listeners;
        self.next = now + GLANCE;
    }

    /// Whether something listens for a call.
    pub(in crate::supervisor) fn is_open(&self, service: Service) -> bool {
        is_awaited(&self.open, service)
    }

    /// Whether the tenant takes its packets by itself from now on.
    pub(in crate::supervisor) fn is_over(&self, says_ready: bool, now: Instant) -> bool {
        match self.stage {
            Stage::Coming(Some(since)) => {
                now >= since + SETTLED && self.held.is_empty() || now >= since + grace(says_ready)
            }
            _ => false,
        }
    }
}

fn grace(says_ready: bool) -> Duration {
    if says_ready { GRACE } else { GRACE_UNTOLD }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn a_packet_waits_until_its_service_has_been_seen_twice_and_not_for_ever() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let service = Service { protocol: 6, port: 80, is_six: false };
        let mut away = Away::new(None, None, BTreeSet::new(), begin);
        assert_eq!(away.deadline(true), None);
        away.stage = Stage::Gone;
        away.held.keep(IpAddr::from([10, 0, 0, 1]), service, b"packet");
        assert!(!away.is_look_due(at(0)) && away.deadline(true).is_none());
        away.stage = Stage::Coming(None);
        assert!(away.is_look_due(at(0)));
        away.saw(at(0), BTreeSet::from([service]));
        assert!(!away.is_open(service) && !away.is_look_due(at(9)) && away.is_look_due(at(10)));
        away.stage = Stage::Coming(Some(at(10)));
        assert!(
            !away.is_over(true, at(2009)) && away.is_over(true, at(2010)) && !away.is_over(false, at(2010))
        );
        away.saw(at(10), BTreeSet::from([service]));
        assert!(away.is_open(service));
        assert_eq!(away.held.take(|_| true).len(), 1);
        assert!(!away.is_over(true, at(1009)) && away.is_over(true, at(1010)));
        assert_eq!(away.deadline(true), Some(at(1010)));
    }

    #[test]
    fn it_boots_before_what_is_due_and_is_not_stopped_for_a_short_while() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        assert!(is_worth(None) && is_worth(Some(minutes(30))) && !is_worth(Some(minutes(29))));
        let begin = Instant::now();
        let datagrams = Service { protocol: 17, port: 53, is_six: false };
        let mut away = Away::new(None, Some(minutes(60)), BTreeSet::from([datagrams]), begin);
        away.stage = Stage::Gone;
        assert_eq!(away.deadline(true), Some(begin + minutes(60) - LEAD));
        assert!(away.is_for_it(datagrams) && !away.is_for_it(Service { port: 40_000, ..datagrams }));
        assert!(away.is_for_it(Service { protocol: 6, port: 40_000, is_six: true }));
        away.want(WakeReason::Exec, None);
        away.want(WakeReason::Admin, None);
        assert_eq!(away.wanted.map(|wanted| wanted.why), Some(WakeReason::Exec));
    }
}
