//! What happened to tenants, for all clients that read it. The last [`KEPT`] events are kept once for all readers: one
//! that is slow costs no memory, and is told how many it has missed.
//!
//! What hostd itself does is told by who does it. What a tenant does, or systemd with it, is told by its supervisor's
//! `state.json`: [`watch`] looks at that when it has changed.

pub(crate) mod state;
mod watch;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use tenant::TenantName;
use tokio::sync::watch as channel;
use wire::{Event, EventKind};

use crate::records::guard::held;

/// How many events are kept, about 300 bytes each.
const KEPT: usize = 4096;
/// Longest reason, bytes.
const REASON: usize = 512;

/// What an event says besides its number, its time and its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct What {
    kind: EventKind,
    reason: Option<String>,
    count: Option<u64>,
    keys: Vec<String>,
    change: Option<(String, String)>,
    to: Option<String>,
    rollout: Option<u64>,
}

impl What {
    pub(crate) fn new(kind: EventKind) -> Self {
        Self { kind, reason: None, count: None, keys: Vec::new(), change: None, to: None, rollout: None }
    }

    /// With the reason for it, which may come from a tenant.
    pub(crate) fn because(self, reason: impl AsRef<str>) -> Self {
        let mut reason: String = reason.as_ref().chars().filter(|char| !char.is_control()).collect();
        let end = (0..=REASON.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
        reason.truncate(end.unwrap_or(0));
        Self { reason: Some(reason), ..self }
    }

    pub(crate) fn count(self, count: u64) -> Self {
        Self { count: Some(count), ..self }
    }

    pub(crate) fn keys(self, keys: Vec<String>) -> Self {
        Self { keys, ..self }
    }

    pub(crate) fn change(self, from: impl ToString, to: impl ToString) -> Self {
        Self { change: Some((from.to_string(), to.to_string())), ..self }
    }

    pub(crate) fn to(self, to: impl ToString) -> Self {
        Self { to: Some(to.to_string()), ..self }
    }

    pub(crate) fn rollout(self, id: u64) -> Self {
        Self { rollout: Some(id), ..self }
    }
}

#[derive(Debug)]
struct Ring {
    /// The number of the next event.
    next: u64,
    kept: VecDeque<Arc<Event>>,
}

/// The events of one hostd.
#[derive(Debug)]
pub(crate) struct Events {
    ring: Mutex<Ring>,
    /// The number of the first event: greater than that of all events of earlier ones.
    first: u64,
    /// The number of the next event; none when there will be no more.
    tell: channel::Sender<Option<u64>>,
}

/// The place up to which one client has read.
#[derive(Debug)]
pub(crate) struct Reader {
    events: Arc<Events>,
    next: u64,
    told: channel::Receiver<Option<u64>>,
}

/// Milliseconds and microseconds since 1970 UTC.
pub(crate) fn now() -> (u64, u64) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let figure = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
    (figure(since.as_millis()), figure(since.as_micros()))
}

fn render(seq: u64, time_ms: u64, tenant: Option<&TenantName>, what: What) -> Event {
    let What { kind, reason, count, keys, change, to, rollout } = what;
    let (from, changed) = change.unzip();
    let to = changed.or(to);
    let time = crate::records::date_ms(time_ms);
    Event {
        seq,
        time_ms,
        time,
        event: kind,
        tenant: tenant.map(ToString::to_string),
        reason,
        count,
        keys,
        from,
        to,
        rollout,
    }
}

impl Events {
    pub(crate) fn new() -> Arc<Self> {
        // Microseconds since 1970: far below 2^53, and greater than every number that an earlier hostd reached, which
        // tells less than a million events a second.
        Self::beginning_with(now().1)
    }

    fn beginning_with(first: u64) -> Arc<Self> {
        let ring = Ring { next: first, kept: VecDeque::new() };
        let events =
            Arc::new(Self { ring: Mutex::new(ring), first, tell: channel::Sender::new(Some(first)) });
        events.add(None, What::new(EventKind::HostdStarted));
        events
    }

    /// Tells of a tenant.
    pub(crate) fn tell(&self, name: &TenantName, what: What) {
        self.add(Some(name), what);
    }

    /// Tells of the host, or of a rollout.
    pub(crate) fn tell_all(&self, what: What) {
        self.add(None, what);
    }

    fn add(&self, tenant: Option<&TenantName>, what: What) {
        let mut ring = held(&self.ring);
        let event = render(ring.next, now().0, tenant, what);
        ring.next += 1;
        ring.kept.push_back(Arc::new(event));
        if ring.kept.len() > KEPT {
            ring.kept.pop_front();
        }
        let next = ring.next;
        self.tell.send_if_modified(|told| match told {
            Some(told) => {
                *told = next;
                true
            }
            None => false,
        });
    }

    /// There will be no more: readers come to their end.
    pub(crate) fn close(&self) {
        self.tell.send_replace(None);
    }

    /// Reads what comes from now on.
    pub(crate) fn from_now(self: &Arc<Self>) -> Reader {
        let next = held(&self.ring).next;
        self.reader(next)
    }

    /// Reads what came after an event, as far as it is kept.
    pub(crate) fn after(self: &Arc<Self>, seq: u64) -> Reader {
        // Of an earlier hostd: that this one started is told first.
        self.reader(seq.saturating_add(1).max(self.first))
    }

    /// Reads what came since a moment, milliseconds since 1970, as far as it is kept.
    pub(crate) fn since(self: &Arc<Self>, time_ms: u64) -> Reader {
        let ring = held(&self.ring);
        let next =
            ring.kept.iter().find(|event| event.time_ms >= time_ms).map_or(ring.next, |event| event.seq);
        drop(ring);
        self.reader(next)
    }

    fn reader(self: &Arc<Self>, next: u64) -> Reader {
        Reader { events: self.clone(), next, told: self.tell.subscribe() }
    }
}

impl Reader {
    /// What there is, at most so many; before them how many were missed. Empty when all was read.
    pub(crate) fn take(&mut self, most: usize) -> Vec<Arc<Event>> {
        let ring = held(&self.events.ring);
        // A number that no event has yet is a reader's mistake, and not one to wait for.
        self.next = self.next.min(ring.next);
        let oldest = ring.next - ring.kept.len() as u64;
        let mut taken = Vec::new();
        if self.next < oldest {
            let lost = What::new(EventKind::Lost).count(oldest - self.next);
            taken.push(Arc::new(render(oldest - 1, now().0, None, lost)));
            self.next = oldest;
        }
        let skipped = usize::try_from(self.next - oldest).unwrap_or(usize::MAX);
        taken.extend(ring.kept.iter().skip(skipped).take(most).cloned());
        self.next = taken.last().map_or(self.next, |event| event.seq + 1);
        taken
    }

    /// Waits until there is more; false when there will be no more.
    pub(crate) async fn more(&mut self) -> bool {
        let next = self.next;
        let told = self.told.wait_for(|told| told.is_none_or(|told| told > next)).await;
        told.is_ok_and(|told| told.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(taken: &[Arc<Event>]) -> Vec<(EventKind, Option<u64>)> {
        taken.iter().map(|event| (event.event, event.count)).collect()
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_how_many_it_has_missed() {
        let events = Events::beginning_with(1000);
        let alice: TenantName = "alice".parse().unwrap();
        let mut slow = events.after(0);
        let mut late = events.from_now();
        for count in 0..KEPT as u64 + 9 {
            events.tell(&alice, What::new(EventKind::OomKill).count(count));
        }
        let taken = slow.take(2);
        // The start of hostd and the first nine.
        assert_eq!(
            kinds(&taken),
            [(EventKind::Lost, Some(10)), (EventKind::OomKill, Some(9)), (EventKind::OomKill, Some(10))]
        );
        assert_eq!(taken[1].seq, 1010);
        assert_eq!(slow.take(KEPT).len(), KEPT - 2);
        assert!(slow.take(9).is_empty());
        assert_eq!(kinds(&late.take(1))[0], (EventKind::Lost, Some(9)));
        assert!(late.more().await);
        events.close();
        assert!(!slow.more().await, "it has read everything and there will be no more");
    }

    #[tokio::test]
    async fn a_reader_of_an_earlier_hostd_is_told_that_this_one_started() {
        let events = Events::beginning_with(1000);
        let alice: TenantName = "alice".parse().unwrap();
        events.tell(&alice, What::new(EventKind::Created));
        let all = events.after(17).take(9);
        assert_eq!(kinds(&all), [(EventKind::HostdStarted, None), (EventKind::Created, None)]);
        assert_eq!(all[1].tenant.as_deref(), Some("alice"));
        assert!(events.after(all[1].seq).take(9).is_empty());
        assert_eq!(events.since(all[1].time_ms).take(9).last(), all.last());
        assert!(events.since(u64::MAX).take(9).is_empty());
        assert!(events.after(u64::MAX).take(9).is_empty());
    }

    #[test]
    fn what_a_tenant_says_is_bounded_and_plain() {
        let what = What::new(EventKind::Failed).because(format!("a\u{1b}b\n{}", "ä".repeat(600)));
        let reason = what.reason.unwrap();
        assert!(reason.starts_with("abä") && reason.len() <= REASON && reason.len() > REASON - 2);
    }
}
