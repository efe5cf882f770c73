use std::process::ExitCode;

use clap::Args;
use wire::PlanAnswer;

use super::{Context, candidates};

/// Print every kernel step of a tenant's next start
///
/// Of a tenant that is running, those it was started with, and how its next start differs.
#[derive(Debug, Args)]
pub(super) struct Plan {
    /// Name of the tenant
    #[arg(add = candidates::of(candidates::tenants))]
    name: String,
}

impl Plan {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let answer: PlanAnswer = context.client.get(&client::tenant(&self.name, "/plan")).await?;
        context.output.print(&answer.plan, |_| match answer.pending.is_empty() {
            true => answer.text.clone(),
            false => {
                format!("{}\npending, from the next start:\n{}\n", answer.text, answer.pending.join("\n"))
            }
        });
        Ok(ExitCode::SUCCESS)
    }
}
