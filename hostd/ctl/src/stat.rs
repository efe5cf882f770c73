use std::process::ExitCode;

use clap::Args;
use wire::{Failure, Stat as Answer};

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
        let (stats, failures) = all(context, &chosen.names).await;
        context.output.print(&stats, |stats| table(stats, &[]));
        failures.iter().for_each(|failure| context.output.failure(failure));
        Ok(many::worst(failures.iter()))
    }
}

/// The figures of several tenants, and why some have none.
pub(super) async fn all(context: &Context, names: &[String]) -> (Vec<Answer>, Vec<Failure>) {
    let get =
        |api: client::Client, name: String| async move { api.get(&client::tenant(&name, "/stat")).await };
    let outcomes = many::requests(&context.client, names, many::LOOKS_AT_ONCE, get, |_| {}).await;
    let (mut stats, mut failures) = (Vec::new(), Vec::new());
    for (_, result) in outcomes {
        match result {
            Ok(answer) => stats.push(answer),
            Err(failure) => failures.push(failure),
        }
    }
    (stats, failures)
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
            "NAME", "STATE", "MEMORY", "CPU TIME", "CPU", "TASKS", "READ", "WRITTEN", "SENT", "RECEIVED",
            "DROPPED",
        ],
        stats.iter().enumerate().map(row).collect(),
        &[2, 3, 4, 5, 6, 7, 8, 9, 10],
    )
}
