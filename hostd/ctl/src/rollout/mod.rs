//! `tenantctl rollout`: many tenants get another version, in waves.

mod start;
mod view;
mod watch;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use wire::Rollout as Answer;

use self::{
    start::{Rollback, Start},
    watch::path,
};
use super::Context;

/// Give many tenants another version of their image, in waves, with gates after each
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Rollout {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Start(Start),
    /// Show how far rollouts are
    Status {
        /// Its number; without one those that go on, or the last one
        id: Option<u64>,
        /// Show it until it has ended; exit code 1 where it has failed or was aborted
        #[arg(long, short)]
        watch: bool,
    },
    /// Begin nothing more until it is resumed
    Pause {
        /// Its number
        id: u64,
    },
    /// Let a paused rollout go on
    Resume {
        /// Its number
        id: u64,
    },
    /// End a rollout where it is: tenants that have been moved keep the version, no channel is moved
    Abort {
        /// Its number
        id: u64,
    },
    Rollback(Rollback),
    /// List all rollouts, the newest first
    History,
    /// Show a rollout with what became of each tenant
    Show {
        /// Its number
        id: u64,
    },
}

impl Rollout {
    pub(super) async fn run(&self, context: &Context) -> super::Result {
        let steered = |verb: &str, id: u64| {
            let path = path(id, &format!("/{verb}"));
            async move { context.client.post::<Answer>(&path, &()).await }
        };
        match &self.verb {
            Verb::Start(start) => return start.run(context).await,
            Verb::Rollback(rollback) => return rollback.run(context).await,
            Verb::Status { id, watch } => return status(context, *id, *watch).await,
            Verb::Pause { id } => context.output.print(&steered("pause", *id).await?, view::line),
            Verb::Resume { id } => context.output.print(&steered("resume", *id).await?, view::line),
            Verb::Abort { id } => {
                let answer = steered("abort", *id).await?;
                return watch::until_end(context, answer).await;
            }
            Verb::History => {
                let all: Vec<Answer> = context.client.get("/v1/rollouts").await?;
                context.output.print(&all, |all| view::history(all));
            }
            Verb::Show { id } => {
                let answer: Answer = context.client.get(&path(*id, "")).await?;
                context.output.print(&answer, view::show);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn status(context: &Context, id: Option<u64>, is_watched: bool) -> super::Result {
    let shown: Vec<Answer> = match id {
        Some(id) => vec![context.client.get(&path(id, "")).await?],
        None => {
            let all: Vec<Answer> = context.client.get("/v1/rollouts").await?;
            let goes_on = |one: &&Answer| one.state.is_some_and(|state| !state.is_final());
            let active: Vec<Answer> = all.iter().filter(goes_on).cloned().collect();
            if active.is_empty() { all.into_iter().take(1).collect() } else { active }
        }
    };
    if let (true, Some(first)) = (is_watched, shown.first()) {
        return watch::watch(context, first.clone()).await;
    }
    match (id, &shown[..]) {
        (Some(_), [one]) => context.output.print(one, view::status),
        _ if shown.is_empty() => context.output.print(&shown, |_| "there was no rollout\n".to_owned()),
        _ => context.output.print(&shown, |all| all.iter().map(view::status).collect::<Vec<_>>().join("\n")),
    }
    Ok(ExitCode::SUCCESS)
}
