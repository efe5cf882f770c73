use std::{collections::BTreeMap, process::ExitCode};

use clap::Args;
use serde::Serialize;
use wire::{Code, Detail, Failure, HostAnswer, StatLimits, TenantState, Usage};

use super::{Context, listed::Listed, many, output, select::Selection};

/// So many of the last lines of its console are shown.
const LINES: usize = 5;
/// The exit code where a tenant is not up, as that of systemctl(1) for a unit that is not active.
const DOWN: u8 = 3;
/// The exit code where there is no such tenant.
const UNKNOWN: u8 = 4;

/// Show the state of tenants on a few lines each; without a name, that of the host
///
/// Ends as systemctl status does: 0 if all are up, 3 if one is not, 4 if one does not exist.
#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    selection: Selection,
}

/// What is told of the host.
#[derive(Debug, Serialize)]
struct OfHost {
    #[serde(flatten)]
    host: HostAnswer,
    /// How many tenants are in each state.
    states: BTreeMap<&'static str, usize>,
}

impl Status {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        if self.selection.is_nothing() {
            return of_host(context).await;
        }
        let chosen = match self.selection.resolve(&context.client).await {
            Err(failure) if failure.code == Code::NoTenant => {
                context.output.failure(&failure);
                return Ok(ExitCode::from(UNKNOWN));
            }
            chosen => chosen?,
        };
        let get =
            |api: client::Client, name: String| async move { api.get(&client::tenant(&name, "")).await };
        let outcomes = many::requests(&context.client, &chosen.names, many::LOOKS_AT_ONCE, get, |_| {}).await;
        let (mut known, mut failures): (Vec<Detail>, Vec<Failure>) = (Vec::new(), Vec::new());
        for (_, result) in outcomes {
            match result {
                Ok(detail) => known.push(detail),
                Err(failure) => failures.push(failure),
            }
        }
        match (&known[..], context.output.json && chosen.is_one) {
            ([one], true) => context.output.value(one),
            ([], true) => {}
            (known, _) => {
                context.output.print(&known, |known| known.iter().map(text).collect::<Vec<_>>().join("\n"))
            }
        }
        failures.iter().for_each(|failure| context.output.failure(failure));
        if let Some(failure) = failures.iter().find(|failure| failure.code != Code::NoTenant) {
            return Ok(ExitCode::from(failure.code.exit_code()));
        }
        let is_down = known.iter().any(|detail| !detail.summary.state.is_up());
        Ok(match (failures.is_empty(), is_down) {
            (false, _) => ExitCode::from(UNKNOWN),
            (true, true) => ExitCode::from(DOWN),
            (true, false) => ExitCode::SUCCESS,
        })
    }
}

fn text(detail: &Detail) -> String {
    let summary = &detail.summary;
    let mark = match summary.state {
        TenantState::Running => "●",
        TenantState::Failed | TenantState::Broken => "×",
        state if state.is_up() => "↻",
        _ => "○",
    };
    let since = summary.started_ms.filter(|_| summary.state.is_up());
    let since =
        since.map(|ms| format!(" for {}", output::duration(output::now_ms().saturating_sub(ms) / 1000)));
    let ready = summary.ready_us.filter(|_| summary.state.is_up());
    let ready = ready.map(|us| format!(" (ready after {:.2} s)", us as f64 / 1e6)).unwrap_or_default();
    let mut text = format!("{mark} {}\n", output::clean(&summary.name));
    let mut line = |key: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            text.push_str(&format!("{key:>10}: {}\n", output::clean(&value)));
        }
    };
    line("state", Some(format!("{}{}{ready}", summary.state.as_str(), since.unwrap_or_default())));
    let autostart =
        detail.autostart.map(|on| if on { "starts with the host" } else { "does not start with the host" });
    line("boot", autostart.map(str::to_owned));
    line("problem", summary.broken.clone().or_else(|| detail.problem.clone()));
    line("failure", detail.failure.clone());
    line("exit", detail.exit.clone());
    line("status", detail.status.clone());
    let profile = summary.profile.as_ref().map(|profile| format!(", profile {profile}")).unwrap_or_default();
    let image = format!("{}@{}{profile}", summary.image, summary.version);
    line("image", Some(image).filter(|_| !summary.image.is_empty()));
    let waiting: Vec<&str> = detail.waiting.iter().map(|waiting| waiting.key.as_str()).collect();
    line("pending", Some(waiting.join(", ")));
    let addresses = [&summary.ipv4, &summary.ipv6].map(String::as_str);
    line("address", Some(addresses.join(" ").trim().to_owned()));
    line("usage", detail.usage.as_ref().map(|usage| uses(usage, &summary.limits)));
    for shown in &detail.console[detail.console.len().saturating_sub(LINES)..] {
        text.push_str(&format!("            {}\n", output::clean(shown)));
    }
    text
}

/// `12.0M of 512.0M memory, 14 of 512 tasks, 1.23s CPU`
fn uses(usage: &Usage, limits: &StatLimits) -> String {
    let of = |limit: Option<String>| limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
    let memory = of(limits.memory_max_bytes.map(|bytes| output::size(Some(bytes))));
    let tasks = of(limits.tasks_max.map(|most| most.to_string()));
    let count = usage.tasks.map_or_else(|| "-".to_owned(), |tasks| tasks.to_string());
    let (used, cpu) = (output::size(usage.memory_bytes), output::seconds(usage.cpu_us));
    format!("{used}{memory} memory, {count}{tasks} tasks, {cpu} CPU")
}

async fn of_host(context: &Context) -> super::Result {
    let host: HostAnswer = context.client.get("/v1/host").await?;
    let tenants: Vec<Listed> = context.client.get("/v1/tenants").await?;
    let mut states = BTreeMap::new();
    for tenant in &tenants {
        *states.entry(tenant.summary.state.as_str()).or_insert(0) += 1;
    }
    context.output.print(&OfHost { host, states }, |OfHost { host, states }| {
        let uptime = output::duration(host.uptime_ms / 1000);
        let counts: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
        let counts = if counts.is_empty() { "none".to_owned() } else { counts.join(", ") };
        let mut text = format!("● hostd {} for {uptime}, pid {}\n", output::clean(&host.version), host.pid);
        text.push_str(&format!("    kernel: {}\n", output::clean(&host.kernel)));
        text.push_str(&format!("     units: {}\n", output::clean(&host.units)));
        text.push_str(&format!("   tenants: {counts}\n"));
        if host.removing > 0 {
            text.push_str(&format!("  removing: {}\n", host.removing));
        }
        if let Some(problem) = &host.problem {
            text.push_str(&format!("   problem: {}\n", output::clean(problem)));
        }
        for tenant in tenants.iter().filter(|tenant| needs_care(tenant.summary.state)) {
            text.push_str(&format!(
                "× {}: {}\n",
                output::clean(&tenant.summary.name),
                tenant.summary.state.as_str()
            ));
        }
        text
    });
    Ok(ExitCode::SUCCESS)
}

fn needs_care(state: TenantState) -> bool {
    matches!(state, TenantState::Failed | TenantState::Broken)
}
