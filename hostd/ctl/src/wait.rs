use clap::{Args, ValueEnum};
use wire::Waited;

use super::{
    Context,
    many::{self, Names},
};

/// Wait until tenants are running or stopped
#[derive(Debug, Args)]
pub(super) struct Wait {
    #[command(flatten)]
    names: Names,
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

impl Wait {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let names = self.names.resolve(&context.client).await?;
        let goal = match self.goal {
            Goal::Running => "running",
            Goal::Stopped => "stopped",
        };
        let query = format!("/wait?for={goal}&timeout_sec={}", self.timeout);
        let wait = move |api: client::Client, name: String| {
            let path = client::tenant(&name, &query);
            async move { api.get::<Waited>(&path).await }
        };
        many::each(context, names, wait, |waited| {
            let state = waited.state.as_str();
            let code = waited.exit_code.map(|code| format!(" (exit code {code})")).unwrap_or_default();
            format!("{state}{code}\n")
        })
        .await
    }
}
