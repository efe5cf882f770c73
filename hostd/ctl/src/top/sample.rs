//! One look at all tenants, and the rates since the look before.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use serde::Serialize;
use wire::{Failure, HostMemory, Stat, StatList};

use super::machine::{Machine, Ticks};
use crate::{Context, listed::Listed, select::Selection};

/// What a tenant uses, in total and now.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Load {
    #[serde(flatten)]
    pub(super) stat: Stat,
    #[serde(flatten)]
    pub(super) rates: Rates,
}

/// Rates since the last look; absent where that did not have the figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Rates {
    /// Percent of one CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) received_bytes_per_sec: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sent_bytes_per_sec: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) read_bytes_per_sec: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) written_bytes_per_sec: Option<f64>,
}

/// One look.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) machine: Machine,
    pub(super) memory: HostMemory,
    pub(super) tenants: Vec<Load>,
    /// Whether there was a look before.
    pub(super) has_rates: bool,
}

/// Looks, and remembers the last look.
#[derive(Debug)]
pub(super) struct Meter<'a> {
    context: &'a Context,
    selection: &'a Selection,
    before: Option<(Instant, HashMap<String, Stat>, Ticks)>,
}

impl<'a> Meter<'a> {
    pub(super) fn new(context: &'a Context, selection: &'a Selection) -> Self {
        Self { context, selection, before: None }
    }

    /// Looks at the selected tenants that are up.
    pub(super) async fn look(&mut self) -> Result<Sample, Failure> {
        let listed: Vec<Listed> = self.selection.choose(self.context.client.get("/v1/tenants").await?)?;
        let names: HashSet<String> = listed
            .into_iter()
            .filter(|tenant| tenant.summary.state.is_up())
            .map(|tenant| tenant.summary.name)
            .collect();
        // One that has gone meanwhile has no figures.
        let StatList { tenants: mut stats, host } = self.context.client.get("/v1/stat").await?;
        stats.retain(|stat: &Stat| names.contains(&stat.name));
        let (now, ticks) = (Instant::now(), Ticks::read());
        let before = self.before.take();
        let load = |stat: &Stat| {
            let then = before.as_ref().and_then(|(at, stats, _)| Some((now - *at, stats.get(&stat.name)?)));
            let rates = then.map(|(passed, then)| Rates::between(then, stat, passed.as_secs_f64()));
            Load { stat: stat.clone(), rates: rates.unwrap_or_default() }
        };
        let tenants = stats.iter().map(load).collect();
        let machine = Machine::read(ticks, before.as_ref().map(|(_, _, ticks)| *ticks));
        let has_rates = before.is_some();
        self.before = Some((now, stats.into_iter().map(|stat| (stat.name.clone(), stat)).collect(), ticks));
        Ok(Sample { machine, memory: host, tenants, has_rates })
    }
}

impl Rates {
    /// What happened between two looks. A counter that is smaller than before began again: its tenant was rebooted.
    fn between(then: &Stat, now: &Stat, seconds: f64) -> Self {
        let rate = |then: Option<u64>, now: Option<u64>| {
            let (then, now) = (then?, now?);
            let passed = if now < then { now } else { now - then };
            (seconds > 0.0).then(|| passed as f64 / seconds)
        };
        let traffic =
            |stat: &Stat| stat.traffic.as_ref().map(|traffic| (traffic.received_bytes, traffic.sent_bytes));
        let (net_then, net_now) = (traffic(then), traffic(now));
        Self {
            cpu_percent: rate(then.usage.cpu_us, now.usage.cpu_us).map(|micros| micros / 10_000.0),
            received_bytes_per_sec: rate(net_then.map(|net| net.0), net_now.map(|net| net.0)),
            sent_bytes_per_sec: rate(net_then.map(|net| net.1), net_now.map(|net| net.1)),
            read_bytes_per_sec: rate(then.usage.io_read_bytes, now.usage.io_read_bytes),
            written_bytes_per_sec: rate(then.usage.io_write_bytes, now.usage.io_write_bytes),
        }
    }
}

/// A tenant for tests of what is drawn.
#[cfg(test)]
pub(super) fn load(name: &str, cpu_percent: f64, memory_bytes: u64, tasks: u64) -> Load {
    let stat = serde_json::from_value(serde_json::json!({
        "name": name, "state": "running", "limits": {},
        "usage": { "memory_bytes": memory_bytes, "cpu_us": 0, "tasks": tasks },
    }));
    Load { stat: stat.unwrap(), rates: Rates { cpu_percent: Some(cpu_percent), ..Rates::default() } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(cpu_us: u64, received: Option<u64>) -> Stat {
        let traffic = received.map(|bytes| {
            serde_json::json!({
                "sent_packets": 0, "sent_bytes": 10, "received_packets": 0, "received_bytes": bytes,
                "refused_packets": 0, "limited_packets": 0,
            })
        });
        serde_json::from_value(serde_json::json!({
            "name": "a", "state": "running", "limits": {}, "usage": { "cpu_us": cpu_us }, "traffic": traffic,
        }))
        .unwrap()
    }

    #[test]
    fn rates_are_differences_over_time() {
        let rates = Rates::between(&stat(1_000_000, Some(100)), &stat(2_000_000, Some(300)), 2.0);
        assert_eq!(rates.cpu_percent, Some(50.0));
        assert_eq!(rates.received_bytes_per_sec, Some(100.0));
        assert_eq!((rates.sent_bytes_per_sec, rates.read_bytes_per_sec), (Some(0.0), None));
        // Rebooted: the counters began again.
        let rates = Rates::between(&stat(9_000_000, None), &stat(500_000, Some(300)), 1.0);
        assert_eq!((rates.cpu_percent, rates.received_bytes_per_sec), (Some(50.0), None));
    }
}
