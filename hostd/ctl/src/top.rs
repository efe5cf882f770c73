//! `top`: what tenants use, live on a terminal, or as tables for scripts.

mod frame;
mod machine;
mod sample;
mod screen;

use std::{process::ExitCode, time::Duration};

use clap::Args;
use tokio::time::{Instant, sleep_until};
use wire::{Code, Failure};

use self::{
    frame::{Frame, Key},
    sample::{Meter, Sample},
    screen::{Event, Screen},
};
use super::{Context, output, select::Selection};

/// How long after the first look the second one comes, from which rates are known.
const FIRST: Duration = Duration::from_millis(500);

/// Show the resource usage of running tenants, the busiest first, updated continuously
///
/// Keys: c, m, t, n, i and d order by CPU, memory, tasks, name, network and disk; q or Ctrl-C ends.
#[derive(Debug, Args)]
pub(super) struct Top {
    #[command(flatten)]
    selection: Selection,
    /// Seconds between updates
    #[arg(long, short, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    delay: Duration,
    /// Sort by this key
    #[arg(long, value_enum, default_value = "cpu")]
    sort: Key,
    /// Exit after COUNT updates
    #[arg(long, short = 'n', value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    iterations: Option<u32>,
    /// Print tables without controlling the terminal; the default if input or output is not a terminal, then once
    /// unless -n is given
    #[arg(long, short)]
    batch: bool,
    /// Print one sample and exit: the same as --batch -n 1
    #[arg(long, conflicts_with_all = ["iterations", "batch"])]
    once: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a number of seconds from 0.1 to 3600 is needed".to_owned())
}

impl Top {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let is_live = !(self.once || self.batch || context.output.json) && screen::is_terminal();
        let meter = Meter::new(context, &self.selection);
        if is_live { self.live(meter).await } else { self.tables(context, meter).await }
    }

    /// Tables for scripts.
    async fn tables(&self, context: &Context, mut meter: Meter<'_>) -> super::Result {
        let endless = self.batch && self.iterations.is_none();
        let mut left = self.iterations.unwrap_or(1);
        meter.look().await?;
        let mut due = Instant::now() + FIRST.min(self.delay);
        loop {
            sleep_until(due).await;
            due = Instant::now() + self.delay;
            let mut sample = meter.look().await?;
            frame::sort(&mut sample.tenants, self.sort);
            if context.output.json {
                context.output.value(&sample.tenants);
            } else {
                output::write(&frame::table(&sample));
            }
            left -= u32::from(!endless);
            if left == 0 {
                return Ok(ExitCode::SUCCESS);
            }
            if !context.output.json {
                output::write("\n");
            }
        }
    }

    /// A screen that is drawn until a key ends it.
    async fn live(&self, mut meter: Meter<'_>) -> super::Result {
        let failed =
            |error: std::io::Error| Failure::new(Code::Failed, format!("cannot use the terminal: {error}"));
        let mut screen = Screen::open().map_err(failed)?;
        let mut events = screen.events().map_err(failed)?;
        let (mut sort, mut left, mut due) = (self.sort, self.iterations, Instant::now());
        let mut delay = FIRST.min(self.delay);
        let mut last: Option<Sample> = None;
        loop {
            let mut look = Box::pin(async {
                sleep_until(due).await;
                meter.look().await
            });
            let sample = loop {
                let event = tokio::select! {
                    sample = &mut look => break sample?,
                    event = events.next() => event,
                };
                match event {
                    Event::Quit => return Ok(ExitCode::SUCCESS),
                    Event::Sort(key) => sort = key,
                    Event::Resized | Event::Other => {}
                }
                if let Some(sample) = &mut last {
                    screen.draw(&Frame::new(sample, sort)).map_err(failed)?;
                }
            };
            drop(look);
            let sample = last.insert(sample);
            screen.draw(&Frame::new(sample, sort)).map_err(failed)?;
            if sample.has_rates {
                left = left.map(|left| left - 1);
                delay = self.delay;
            }
            if left == Some(0) {
                return Ok(ExitCode::SUCCESS);
            }
            due = Instant::now() + delay;
        }
    }
}
