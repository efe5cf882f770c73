use std::{io::IsTerminal as _, process::ExitCode};

use clap::Args;
use wire::{Code, Copied, Failure, ResetRequest};

use super::{Context, candidates, output};

/// Make directories of a tenant that is down as its image has them
///
/// What the tenant has stored in them is gone.
#[derive(Debug, Args)]
pub(super) struct Reset {
    /// Name of the tenant
    #[arg(add = candidates::of(candidates::tenants))]
    name: String,
    /// The directories, as the tenant sees them: /var; all of its own if absent
    #[arg(value_name = "DIR")]
    dirs: Vec<String>,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
}

impl Reset {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let what = if self.dirs.is_empty() { "all directories".to_owned() } else { self.dirs.join(" and ") };
        if !self.yes {
            if !std::io::stdin().is_terminal() {
                return Err(output::no_terminal());
            }
            let question = format!("Reset {} of tenant {}?", output::clean(&what), output::clean(&self.name));
            if !output::confirms(&question) {
                return Err(Failure::new(Code::Failed, "nothing was reset"));
            }
        }
        let request = ResetRequest { dirs: self.dirs.clone() };
        let done: Copied = context.client.post(&client::tenant(&self.name, "/reset"), &request).await?;
        context.output.print(&done, |done| {
            format!("{}: reset {} ({:.3} s)\n", output::clean(&done.name), what, done.took_us as f64 / 1e6)
        });
        Ok(ExitCode::SUCCESS)
    }
}
