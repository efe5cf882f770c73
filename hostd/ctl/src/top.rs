use std::{
    collections::HashMap,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use wire::{Stat, Summary};

use super::{Context, output, stat};

/// Show the resource usage of running tenants, updated continuously
#[derive(Debug, Args)]
pub(super) struct Top {
    /// Seconds between updates
    #[arg(long, short, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    delay: u64,
    /// Print one sample and exit; the default if the output is not a terminal
    #[arg(long)]
    once: bool,
}

impl Top {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let delay = Duration::from_secs(self.delay);
        let once = self.once || context.output.json || !output::is_terminal();
        let mut before: HashMap<String, u64> = HashMap::new();
        let mut at = Instant::now();
        let mut looks = 0;
        loop {
            let mut tenants: Vec<Summary> = context.client.get("/v1/tenants").await?;
            tenants.retain(|tenant| tenant.state.is_up());
            let names: Vec<_> = tenants.into_iter().map(|tenant| tenant.name).collect();
            let mut stats = stat::all(context, &names).await?;
            let passed = at.elapsed().as_micros() as f64;
            at = Instant::now();
            let load = |stat: &Stat| {
                let (now, then) = (stat.usage.cpu_us?, *before.get(&stat.name)?);
                Some(now.saturating_sub(then) as f64 * 100.0 / passed)
            };
            stats.sort_by(|a, b| load(b).unwrap_or(0.0).total_cmp(&load(a).unwrap_or(0.0)));
            let loads: Vec<_> = stats.iter().map(load).collect();
            looks += 1;
            if !once {
                // Home, print, and clear what an earlier, longer table left.
                output::write(&format!("\x1b[H\x1b[2J{}", stat::table(&stats, &loads)));
            } else if looks == 2 {
                context.output.print(&stats, |stats| stat::table(stats, &loads));
                return Ok(ExitCode::SUCCESS);
            }
            before = stats.iter().filter_map(|stat| Some((stat.name.clone(), stat.usage.cpu_us?))).collect();
            tokio::time::sleep(if once { Duration::from_millis(500) } else { delay }).await;
        }
    }
}
