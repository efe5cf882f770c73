use std::{collections::HashMap, process::ExitCode};

use clap::Args;
use wire::{HostMemory, Stat as Answer, StatList};

use super::{Context, many, output, select::Selection};

/// Show the resource usage of tenants and their limits
///
/// Without a selection, of all tenants.
#[derive(Debug, Args)]
pub(super) struct Stat {
    #[command(flatten)]
    selection: Selection,
}

impl Stat {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let selection = if self.selection.is_nothing() { Selection::all() } else { self.selection.clone() };
        let chosen = selection.resolve(&context.client).await?;
        if let (true, [name]) = (chosen.is_one, &chosen.names[..]) {
            let answer: Answer = context.client.get(&client::tenant(name, "/stat")).await?;
            context.output.print(&answer, |answer| table(std::slice::from_ref(answer), &[]));
            return Ok(ExitCode::SUCCESS);
        }
        let StatList { tenants, host } = context.client.get("/v1/stat").await?;
        let mut of: HashMap<String, Answer> =
            tenants.into_iter().map(|stat: Answer| (stat.name.clone(), stat)).collect();
        let (mut stats, mut failures) = (Vec::new(), Vec::new());
        for name in &chosen.names {
            match of.remove(name) {
                Some(stat) => stats.push(stat),
                // hostd says why.
                None => match context.client.get(&client::tenant(name, "/stat")).await {
                    Ok(stat) => stats.push(stat),
                    Err(failure) => failures.push(failure),
                },
            }
        }
        context.output.print(&stats, |stats| {
            let memory = memory(&host).map(|line| line + "\n").unwrap_or_default();
            format!("{}{memory}", table(stats, &[]))
        });
        failures.iter().for_each(|failure| context.output.failure(failure));
        Ok(many::worst(failures.iter()))
    }
}

/// Whose the memory of the host is, in a line; nothing where it is not accounted.
pub(super) fn memory(host: &HostMemory) -> Option<String> {
    let size = |bytes: u64| output::size(Some(bytes));
    let (tenants, own, cache, saved) =
        (host.tenants_bytes?, host.host_bytes?, host.host_cache_bytes?, host.saved_bytes?);
    Some(format!(
        "memory: tenants {} + host {} (page cache {}) = {} of {}; saved by sharing {}",
        size(tenants),
        size(own),
        size(cache),
        size(host.used_bytes),
        size(host.total_bytes),
        size(saved)
    ))
}

fn against(used: String, limit: Option<String>) -> String {
    limit.map_or(used.clone(), |limit| format!("{used}/{limit}"))
}

/// The table of `stat` and `top`; `cpu` is the load in percent of one CPU, where it is known.
pub(super) fn table(stats: &[Answer], cpu: &[Option<f64>]) -> String {
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let row = |(at, stat): (usize, &Answer)| {
        let Answer { usage, limits, traffic, .. } = stat;
        let load =
            cpu.get(at).copied().flatten().map_or_else(|| "-".to_owned(), |load| format!("{load:.1}%"));
        let quota = limits.cpu_quota_percent.map(|percent| format!("{percent}%"));
        vec![
            output::clean(&stat.name),
            stat.state.as_str().to_owned(),
            against(
                output::size(usage.memory_bytes),
                limits.memory_max_bytes.map(|bytes| output::size(Some(bytes))),
            ),
            output::size(usage.memory.map(|memory| memory.private_bytes)),
            output::size(usage.memory.map(|memory| memory.cache_bytes)),
            output::size(usage.memory.and_then(|memory| memory.shared_bytes)),
            output::seconds(usage.cpu_us),
            against(load, quota),
            against(number(usage.tasks), limits.tasks_max.map(|most| most.to_string())),
            output::size(usage.io_read_bytes),
            output::size(usage.io_write_bytes),
            output::size(traffic.as_ref().map(|traffic| traffic.sent_bytes)),
            output::size(traffic.as_ref().map(|traffic| traffic.received_bytes)),
            number(traffic.as_ref().map(|traffic| traffic.refused_packets + traffic.limited_packets)),
        ]
    };
    output::table(
        &[
            "NAME", "STATE", "MEMORY", "PRIVATE", "CACHE", "SHARED", "CPU TIME", "CPU", "TASKS", "READ",
            "WRITTEN", "SENT", "RECEIVED", "DROPPED",
        ],
        stats.iter().enumerate().map(row).collect(),
        &[2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    )
}
