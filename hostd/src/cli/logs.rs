use std::{process::ExitCode, time::Duration};

use clap::Args;

use super::{Context, client, output};
use crate::api::types::LogLines;

/// How often a followed log is looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// Print what a tenant's console printed
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
    #[arg(long, short, default_value = "console")]
    tty: String,
}

impl Logs {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
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
