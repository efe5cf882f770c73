use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::Args;
use wire::LogLines;

use super::{Context, journal, output};

/// How often a followed log is looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// Print what a tenant's console printed, or what a journal has of it
///
/// The console's log without an option. With --journal the tenant's own journal, read by its own journalctl
/// inside; with --host what the host's journal says about it.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Name of the tenant
    name: String,
    /// Go on with what it prints from now on
    #[arg(long, short)]
    follow: bool,
    /// So many of the last lines
    #[arg(long, short = 'n', value_name = "LINES", default_value_t = 100)]
    lines: usize,
    /// Terminal: console, tty1 or a number
    #[arg(long, short, default_value = "console", conflicts_with = "source")]
    tty: String,
    /// The tenant's own journal; it must be running
    #[arg(long, short, group = "source")]
    journal: bool,
    /// What the host's journal says about the tenant, its console included
    #[arg(long, group = "source")]
    host: bool,
    /// With --journal: entries of this unit of the tenant
    #[arg(long, short, value_name = "UNIT", requires = "journal", conflicts_with = "host")]
    unit: Option<String>,
    /// More arguments for journalctl, after --
    #[arg(last = true, value_name = "ARGUMENT", requires = "source")]
    arguments: Vec<OsString>,
}

impl Logs {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let ask = journal::Ask {
            name: &self.name,
            lines: self.lines,
            follow: self.follow,
            unit: self.unit.as_deref(),
            arguments: &self.arguments,
        };
        if self.journal {
            return journal::inside(&ask, context);
        }
        if self.host {
            return journal::of_host(&ask, context);
        }
        let query = format!("/logs?tty={}", client::segment(&self.tty));
        let path = client::tenant(&self.name, &query);
        let mut answer: LogLines = context.client.get(&format!("{path}&lines={}", self.lines)).await?;
        print(context, &answer, !self.follow);
        if !self.follow {
            return Ok(ExitCode::SUCCESS);
        }
        loop {
            tokio::time::sleep(INTERVAL).await;
            answer = context.client.get(&format!("{path}&after={}", answer.position)).await?;
            print(context, &answer, false);
        }
    }
}

fn print(context: &Context, answer: &LogLines, even_if_empty: bool) {
    if answer.lines.is_empty() && !even_if_empty {
        return;
    }
    context.output.print(answer, |answer| {
        answer.lines.iter().map(|line| format!("{}\n", output::clean(line))).collect()
    });
}
