use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use tenant::TenantName;
use wire::{Code, Done, Failure, KillRequest, StartRequest, StopRequest};

use super::{Applet, Common, Lxc, Named, Result};

/// Exit code of lxc-stop when the container is not running.
const NOT_RUNNING: u8 = 2;
/// Seconds before it is killed, as in LXC.
const TIMEOUT: i64 = 60;

/// Stop a tenant
///
/// Exit codes: 0 stopped, 1 failed, 2 not running
#[derive(Debug, Parser)]
#[command(version)]
pub(super) struct Stop {
    #[command(flatten)]
    named: Named,
    /// Restart it
    #[arg(short = 'r', long, conflicts_with = "kill")]
    reboot: bool,
    /// Do not wait until it is stopped
    #[arg(short = 'W', long)]
    nowait: bool,
    /// Kill it after this many seconds; 0 does not wait, -1 is the maximum
    #[arg(short = 't', long, value_name = "SECONDS", allow_negative_numbers = true, conflicts_with = "kill")]
    timeout: Option<i64>,
    /// Kill it at once
    #[arg(short = 'k', long)]
    kill: bool,
    /// Accepted: nothing is locked
    #[arg(long, requires = "kill")]
    nolock: bool,
    /// Do not kill it after the timeout
    #[arg(long, conflicts_with = "kill")]
    nokill: bool,
    #[command(flatten)]
    common: Common,
}

impl Applet for Stop {
    fn run(self, lxc: &Lxc) -> Result<ExitCode> {
        let name = self.named.get()?;
        if let Err(failure) = lxc.running(&name) {
            if failure.code != Code::NotRunning {
                return Err(failure);
            }
            if !self.common.quiet {
                super::tell("lxc-stop", &failure);
            }
            return Ok(ExitCode::from(NOT_RUNNING));
        }
        let seconds = self.timeout.unwrap_or(TIMEOUT);
        let at_once = self.nowait || seconds == 0;
        let _: Done = match () {
            () if self.kill => lxc.post(&name, "/kill", &KillRequest::default())?,
            // What init does on Ctrl-Alt-Del: it reboots.
            () if self.reboot && at_once => signal(lxc, &name, "SIGINT")?,
            () if self.reboot => lxc.post(&name, "/restart", &StartRequest::default())?,
            () if at_once => ask(lxc, &name)?,
            () if self.nokill => {
                let done = ask(lxc, &name)?;
                await_end(lxc, &name, seconds)?;
                done
            }
            () => {
                let seconds = u32::try_from(seconds).unwrap_or(3600).clamp(1, 3600);
                lxc.post(&name, "/stop", &StopRequest { timeout_sec: Some(seconds), ask_only: false })?
            }
        };
        if self.kill && !self.nowait {
            await_end(lxc, &name, TIMEOUT)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn signal(lxc: &Lxc, name: &TenantName, signal: &str) -> Result<Done> {
    lxc.post(name, "/kill", &KillRequest { signal: Some(signal.to_owned()) })
}

/// Asks it to power off, in the way that its init supports.
fn ask(lxc: &Lxc, name: &TenantName) -> Result<Done> {
    lxc.post(name, "/stop", &StopRequest { timeout_sec: None, ask_only: true })
}

/// Waits until it is stopped; negative seconds wait for ever.
fn await_end(lxc: &Lxc, name: &TenantName, seconds: i64) -> Result<()> {
    let patience = u64::try_from(seconds).ok().map(Duration::from_secs);
    let since = Instant::now();
    while lxc.find(name)?.is_some_and(|detail| detail.summary.state.is_up()) {
        if patience.is_some_and(|patience| since.elapsed() >= patience) {
            return Err(Failure::new(Code::Timeout, format!("{name} has not stopped within {seconds} s"))
                .help(format!("kill it: lxc-stop -k -n {name}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
