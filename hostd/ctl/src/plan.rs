use std::process::ExitCode;

use clap::Args;
use wire::PlanAnswer;

use super::{Context, candidates};

/// Print every kernel step of a tenant's next start
#[derive(Debug, Args)]
pub(super) struct Plan {
    /// Name of the tenant
    #[arg(add = candidates::of(candidates::tenants))]
    name: String,
}

impl Plan {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let answer: PlanAnswer = context.client.get(&client::tenant(&self.name, "/plan")).await?;
        context.output.print(&answer.plan, |_| answer.text.clone());
        Ok(ExitCode::SUCCESS)
    }
}
