use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::Args;
use wire::{Code, Failure};

use super::{
    Context,
    console_log::{Log, Printed},
    journal, many, output,
    select::Selection,
};

/// Polling interval of a followed log.
const INTERVAL: Duration = Duration::from_millis(200);

/// Print the console logs of tenants, or their journals
///
/// Without an option, the log of the console, for root also if hostd is not running. With --journal, the tenant's
/// own journal, read by its own journalctl inside; with --host, the messages about it in the host's journal. With
/// several tenants, each line begins with the name.
#[derive(Debug, Args)]
pub(super) struct Logs {
    #[command(flatten)]
    pub(super) selection: Selection,
    /// Follow new output
    #[arg(long, short)]
    pub(super) follow: bool,
    /// Number of lines to print, counted from the end
    #[arg(long, short = 'n', visible_alias = "tail", value_name = "LINES", default_value_t = 100)]
    pub(super) lines: usize,
    /// Only newer entries, e.g. 10min, 2h, today or '2026-01-31 12:00'; reads the journal, because the log of a console
    /// has no times
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Terminal: console, tty1 or a number
    #[arg(long, short, default_value = "console", conflicts_with_all = ["source", "since"])]
    tty: String,
    /// Show the tenant's own journal; it must be running
    #[arg(long, short, group = "source")]
    pub(super) journal: bool,
    /// Show the messages about the tenant in the host's journal, with its console
    #[arg(long, group = "source")]
    pub(super) host: bool,
    /// With --journal: only entries of this unit of the tenant
    #[arg(long, short, value_name = "UNIT", requires = "journal", conflicts_with = "host")]
    pub(super) unit: Option<String>,
    /// More arguments for journalctl, after --
    #[arg(last = true, value_name = "ARGUMENT", requires = "source")]
    pub(super) arguments: Vec<OsString>,
}

impl Logs {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let chosen = self.selection.resolve_or_read(&context.client, &context.layout).await?;
        let ask = journal::Ask {
            lines: self.lines,
            since: self.since.as_deref(),
            follow: self.follow,
            unit: self.unit.as_deref(),
            arguments: &self.arguments,
        };
        if self.host {
            return journal::of_host(&ask, &chosen.names, context);
        }
        if self.journal || self.since.is_some() {
            return journal::inside(&ask, &chosen, context);
        }
        let mut failures: Vec<Failure> = Vec::new();
        let mut logs: Vec<Log> = Vec::new();
        let mut printed: Vec<Printed> = Vec::new();
        for name in &chosen.names {
            let mut log = Log::new(context, name, &self.tty);
            match log.last(self.lines).await {
                Ok(lines) => {
                    printed.push(lines);
                    logs.push(log);
                }
                Err(failure) if chosen.is_one => return Err(failure),
                Err(failure) => failures.push(failure),
            }
        }
        match (&printed[..], context.output.json) {
            ([one], true) if chosen.is_one => context.output.value(one),
            (printed, true) => context.output.value(&printed),
            (printed, false) => printed.iter().for_each(|one| output::write(&one.text(!chosen.is_one))),
        }
        failures.iter().for_each(|failure| context.output.failure(failure));
        while self.follow && !logs.is_empty() {
            tokio::time::sleep(INTERVAL).await;
            for log in &mut logs {
                let more = match log.more().await {
                    // A tenant that is removed while many are followed has said everything.
                    Err(failure) if failure.code == Code::NoTenant && !chosen.is_one => continue,
                    more => more?,
                };
                if !more.is_empty() {
                    context.output.print(&more, |more| more.text(!chosen.is_one));
                }
            }
        }
        Ok(if failures.is_empty() { ExitCode::SUCCESS } else { many::worst(failures.iter()) })
    }
}
