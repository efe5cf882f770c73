use clap::{Args, ValueEnum};
use serde::Serialize;
use wire::Waited;

use super::{Context, many, output, select::Selection};

/// Wait until tenants are running or stopped
#[derive(Debug, Args)]
pub(super) struct Wait {
    #[command(flatten)]
    selection: Selection,
    /// What to wait for
    #[arg(long = "for", value_enum, default_value = "running")]
    goal: Goal,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Goal {
    Running,
    Stopped,
}

/// The state that ended the wait for one tenant.
#[derive(Debug, Serialize)]
struct Ended {
    name: String,
    #[serde(flatten)]
    waited: Waited,
}

impl many::Answer for Ended {}

impl Wait {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let chosen = self.selection.resolve(&context.client).await?;
        let goal = match self.goal {
            Goal::Running => "running",
            Goal::Stopped => "stopped",
        };
        let query = format!("/wait?for={goal}&timeout_sec={}", self.timeout);
        let wait = move |api: client::Client, name: String| {
            let path = client::tenant(&name, &query);
            async move { Ok(Ended { waited: api.get(&path).await?, name }) }
        };
        let is_one = chosen.is_one;
        many::each(context, &chosen, (goal, Some(many::LOOKS_AT_ONCE)), wait, |Ended { name, waited }| {
            let state = waited.state.as_str();
            let code = waited.exit_code.map(|code| format!(" (exit code {code})")).unwrap_or_default();
            let name = if is_one { String::new() } else { format!("{}: ", output::clean(name)) };
            format!("{name}{state}{code}\n")
        })
        .await
    }
}
