use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::Args;
use wire::LogLines;

use super::{Context, journal, output};

/// Polling interval of a followed log.
const INTERVAL: Duration = Duration::from_millis(200);

/// Print the console log of a tenant, or its journal
///
/// Without an option, the log of the console. With --journal, the tenant's own journal, read by its own
/// journalctl inside; with --host, the messages about it in the host's journal.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Name of the tenant
    pub(super) name: String,
    /// Follow new output
    #[arg(long, short)]
    pub(super) follow: bool,
    /// Number of lines to print, counted from the end
    #[arg(long, short = 'n', value_name = "LINES", default_value_t = 100)]
    pub(super) lines: usize,
    /// Terminal: console, tty1 or a number
    #[arg(long, short, default_value = "console", conflicts_with = "source")]
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
        if self.journal {
            return journal::inside(self, context);
        }
        if self.host {
            return journal::of_host(self, context);
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
