use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use wire::{Code, Failure};

use super::{Applet, Common, Lxc, Named, Result, state::State};

/// Polling interval of a tenant's state.
const INTERVAL: Duration = Duration::from_millis(50);

/// Wait until a tenant is in one of some states
#[derive(Debug, Parser)]
#[command(version)]
pub(super) struct Wait {
    #[command(flatten)]
    named: Named,
    /// States joined by |: STOPPED, STARTING, RUNNING, STOPPING, ABORTING, FREEZING, FROZEN, THAWED
    #[arg(short = 's', long = "state", value_name = "STATES", required = true)]
    states: String,
    /// Give up after this many seconds; -1 waits for ever
    #[arg(short = 't', long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true)]
    timeout: i64,
    #[command(flatten)]
    common: Common,
}

impl Applet for Wait {
    fn run(self, lxc: &Lxc) -> Result<ExitCode> {
        let name = self.named.get()?;
        let wanted: Vec<State> = self
            .states
            .split('|')
            .map(|word| {
                word.parse()
                    .map_err(|error| Failure::of(Code::Invalid, &error).help("e.g. -s 'STOPPED|RUNNING'"))
            })
            .collect::<Result<_>>()?;
        let patience = u64::try_from(self.timeout).ok().map(Duration::from_secs);
        let since = Instant::now();
        loop {
            // What does not exist is stopped: that is what LXC answers too.
            let state = lxc.find(&name)?.map_or(State::Stopped, |detail| detail.summary.state.into());
            if wanted.iter().any(|wanted| state.meets(*wanted)) {
                return Ok(ExitCode::SUCCESS);
            }
            if patience.is_some_and(|patience| since.elapsed() >= patience) {
                return Ok(ExitCode::FAILURE);
            }
            std::thread::sleep(INTERVAL);
        }
    }
}
