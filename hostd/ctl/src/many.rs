//! One request for each of several tenants, a few of them in parallel.

use std::{process::ExitCode, sync::Arc};

use clap::Args;
use client::Client;
use serde::Serialize;
use tokio::{sync::Semaphore, task::JoinSet};
use wire::{Changed, Code, Done, Failure, Summary};

use super::{Context, output};

/// Maximum number of requests in parallel.
const AT_ONCE: usize = 4;

/// Names of tenants, or all of them.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Names {
    /// Names of tenants
    #[arg(value_name = "NAME")]
    pub(super) names: Vec<String>,
    /// Every tenant
    #[arg(long)]
    pub(super) all: bool,
}

impl Names {
    /// The selected names.
    pub(super) async fn resolve(&self, client: &Client) -> Result<Vec<String>, Failure> {
        if !self.all {
            return Ok(self.names.clone());
        }
        let all: Vec<Summary> = client.get("/v1/tenants").await?;
        Ok(all.into_iter().map(|tenant| tenant.name).collect())
    }
}

/// The result for one tenant of several.
#[derive(Debug, Serialize)]
struct Outcome<T> {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

/// Makes one request for each name and prints each result in the order of the names. Prints every
/// failure; the exit code is that of the failures if they are of one kind.
pub(super) async fn each<T, F>(
    context: &Context,
    names: Vec<String>,
    request: impl Fn(Client, String) -> F,
    text: impl Fn(&T) -> String,
) -> super::Result
where
    T: Serialize + Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    if let [name] = &names[..] {
        let answer = request(context.client.clone(), name.clone()).await?;
        context.output.print(&answer, &text);
        return Ok(ExitCode::SUCCESS);
    }
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for (number, name) in names.iter().enumerate() {
        let (permits, request) = (permits.clone(), request(context.client.clone(), name.clone()));
        running.spawn(async move {
            let _permit = permits.acquire_owned().await;
            (number, request.await)
        });
    }
    let mut outcomes: Vec<Option<Outcome<T>>> = names.iter().map(|_| None).collect();
    while let Some(joined) = running.join_next().await {
        let Ok((number, result)) = joined else { continue };
        let name = names[number].clone();
        let outcome = match result {
            Ok(answer) => Outcome { name, answer: Some(answer), error: None },
            Err(failure) => Outcome { name, answer: None, error: Some(failure) },
        };
        if !context.output.json {
            match (&outcome.answer, &outcome.error) {
                (Some(answer), _) => output::write(&text(answer)),
                (None, Some(failure)) => context.output.failure(failure),
                (None, None) => {}
            }
        }
        outcomes[number] = Some(outcome);
    }
    let outcomes: Vec<_> = outcomes.into_iter().flatten().collect();
    if context.output.json {
        context.output.value(&outcomes);
    }
    let codes: Vec<u8> =
        outcomes.iter().filter_map(|outcome| Some(outcome.error.as_ref()?.code.exit_code())).collect();
    Ok(match codes[..] {
        [] => ExitCode::SUCCESS,
        [first, ref rest @ ..] if rest.iter().all(|code| *code == first) => ExitCode::from(first),
        _ => ExitCode::from(Code::Failed.exit_code()),
    })
}

/// `alice: started (0.21 s)`, `alice: unchanged`, and why it was killed on the way. Warnings go to standard error.
pub(super) fn sentence(done: &Done, verb: &str) -> String {
    output::warnings(&done.warnings);
    let took = done.took_us as f64 / 1e6;
    let killed = done.killed.as_ref().map(|reason| format!("; killed: {}", output::clean(reason)));
    let killed = killed.unwrap_or_default();
    let restart = match (&done.waiting[..], done.needs_restart) {
        ([], true) => "; takes effect at the next start".to_owned(),
        ([], false) => String::new(),
        (keys, _) => format!("; from the next start: {}", output::clean(&keys.join(", "))),
    };
    match done.result {
        Changed::Unchanged => format!("{}: unchanged\n", output::clean(&done.name)),
        Changed::Created | Changed::Changed => {
            format!("{}: {verb} ({took:.3} s){killed}{restart}\n", output::clean(&done.name))
        }
    }
}
