//! One request for each of several tenants, a few at a time, and what became of them.

use std::{process::ExitCode, sync::Arc};

use client::Client;
use serde::Serialize;
use tokio::{sync::Semaphore, task::JoinSet};
use wire::{Changed, Done, Failure};

use super::{Context, output, select::Chosen};

/// Maximum number of requests in parallel.
const AT_ONCE: usize = 4;
/// Maximum number of parallel requests that change nothing, or only wait.
pub(super) const LOOKS_AT_ONCE: usize = 64;
/// Maximum number of parallel requests that mostly wait: for a disk, or for the kernel to let something go. Those that are
/// made together wait together.
pub(super) const WAITS_AT_ONCE: usize = 32;
/// Maximum number of names of failed tenants that are printed.
const NAMED: usize = 10;

/// What is answered for one tenant.
pub(super) trait Answer: Serialize + Send + 'static {
    /// Whether the tenant was as asked for already.
    fn is_unchanged(&self) -> bool {
        false
    }
}

impl Answer for Done {
    fn is_unchanged(&self) -> bool {
        self.result == Changed::Unchanged
    }
}

/// What became of one tenant of several.
type Outcome<T> = (String, Result<T, Failure>);

/// Makes one request for each tenant, `at_once` at a time, and hands on each outcome as it comes; all of them in the
/// order of the names.
pub(super) async fn requests<T, F>(
    client: &Client,
    names: &[String],
    at_once: usize,
    request: impl Fn(Client, String) -> F,
    mut outcome: impl FnMut(&Outcome<T>),
) -> Vec<Outcome<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(at_once));
    let mut running = JoinSet::new();
    for (number, name) in names.iter().enumerate() {
        let (permits, request) = (permits.clone(), request(client.clone(), name.clone()));
        running.spawn(async move {
            let _permit = permits.acquire_owned().await;
            (number, request.await)
        });
    }
    let mut outcomes: Vec<Option<Outcome<T>>> = names.iter().map(|_| None).collect();
    while let Some(joined) = running.join_next().await {
        let Ok((number, result)) = joined else { continue };
        let one = (names[number].clone(), result);
        outcome(&one);
        outcomes[number] = Some(one);
    }
    outcomes.into_iter().flatten().collect()
}

/// Asks what is at a path of each tenant; prints what is answered, one after the other, and every failure.
pub(super) async fn look<T>(
    context: &Context,
    chosen: &Chosen,
    path: &str,
    text: impl Fn(&T) -> String,
) -> super::Result
where
    T: Serialize + serde::de::DeserializeOwned + Send + 'static,
{
    if let (true, [name]) = (chosen.is_one, &chosen.names[..]) {
        let answer: T = context.client.get(&client::tenant(name, path)).await?;
        context.output.print(&answer, &text);
        return Ok(ExitCode::SUCCESS);
    }
    let path = path.to_owned();
    let get = |api: Client, name: String| {
        let path = client::tenant(&name, &path);
        async move { api.get::<T>(&path).await }
    };
    let outcomes = requests(&context.client, &chosen.names, LOOKS_AT_ONCE, get, |_| {}).await;
    if context.output.json {
        context.output.value(&as_list(&outcomes));
    } else {
        let (good, bad): (Vec<_>, Vec<_>) = outcomes.iter().partition(|(_, result)| result.is_ok());
        let texts: Vec<String> =
            good.iter().filter_map(|(_, result)| Some(text(result.as_ref().ok()?))).collect();
        output::write(&texts.join("\n"));
        bad.iter()
            .filter_map(|(_, result)| result.as_ref().err())
            .for_each(|failure| context.output.failure(failure));
    }
    Ok(worst(outcomes.iter().filter_map(|(_, result)| result.as_ref().err())))
}

/// Makes one request for each tenant and prints what became of each, as it ends, then one line for all of them. `verb`
/// is what has happened to a tenant then: `started`.
pub(super) async fn each<T, F>(
    context: &Context,
    chosen: &Chosen,
    (verb, at_once): (&str, Option<usize>),
    request: impl Fn(Client, String) -> F,
    text: impl Fn(&T) -> String,
) -> super::Result
where
    T: Answer,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    if let (true, [name]) = (chosen.is_one, &chosen.names[..]) {
        let answer = request(context.client.clone(), name.clone()).await?;
        context.output.print(&answer, &text);
        return Ok(ExitCode::SUCCESS);
    }
    let tell = |(_, result): &Outcome<T>| match result {
        _ if context.output.json => {}
        Ok(answer) => output::write(&text(answer)),
        Err(failure) => context.output.failure(failure),
    };
    let at_once = at_once.unwrap_or(AT_ONCE);
    let outcomes = requests(&context.client, &chosen.names, at_once, request, tell).await;
    if context.output.json {
        context.output.value(&as_list(&outcomes));
    } else {
        output::write(&summary(verb, &outcomes));
    }
    Ok(worst(outcomes.iter().filter_map(|(_, result)| result.as_ref().err())))
}

/// Outcomes as JSON: what is answered for one tenant, or its name and the error.
fn as_list<T: Serialize>(outcomes: &[Outcome<T>]) -> Vec<serde_json::Value> {
    let element = |(name, result): &Outcome<T>| match result {
        Ok(answer) => serde_json::to_value(answer).unwrap_or_default(),
        Err(failure) => serde_json::json!({ "name": name, "error": failure }),
    };
    outcomes.iter().map(element).collect()
}

/// `30 started, 1 failed (web7), 2 unchanged`
fn summary<T: Answer>(verb: &str, outcomes: &[Outcome<T>]) -> String {
    let unchanged =
        outcomes.iter().filter(|(_, result)| result.as_ref().is_ok_and(Answer::is_unchanged)).count();
    let failed: Vec<&str> =
        outcomes.iter().filter(|(_, result)| result.is_err()).map(|(name, _)| name.as_str()).collect();
    let done = outcomes.len() - unchanged - failed.len();
    let mut parts = Vec::new();
    if done > 0 || outcomes.len() == unchanged + failed.len() && unchanged == 0 {
        parts.push(format!("{done} {verb}"));
    }
    if !failed.is_empty() {
        let mut names = failed[..failed.len().min(NAMED)].join(", ");
        if failed.len() > NAMED {
            names.push_str(&format!(" and {} more", failed.len() - NAMED));
        }
        parts.push(format!("{} failed ({})", failed.len(), output::clean(&names)));
    }
    if unchanged > 0 {
        parts.push(format!("{unchanged} unchanged"));
    }
    format!("{}\n", parts.join(", "))
}

/// The exit code of several failures, that of the worst: failed, then refused in this state, not found, wrong usage.
pub(super) fn worst<'a>(failures: impl Iterator<Item = &'a Failure>) -> ExitCode {
    let badness = |code: &u8| [2, 3, 4, 1].iter().position(|other| other == code);
    let worst = failures.map(|failure| failure.code.exit_code()).max_by_key(badness);
    worst.map_or(ExitCode::SUCCESS, ExitCode::from)
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

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Code;

    fn outcome(name: &str, result: Result<Changed, Code>) -> Outcome<Done> {
        let done = |result| {
            serde_json::from_value(serde_json::json!({ "name": name, "result": result, "took_us": 1 }))
                .unwrap()
        };
        (name.to_owned(), result.map(done).map_err(|code| Failure::new(code, "why")))
    }

    #[test]
    fn one_line_says_what_became_of_all() {
        let many = [
            outcome("a", Ok(Changed::Changed)),
            outcome("web7", Err(Code::StartFailed)),
            outcome("b", Ok(Changed::Created)),
            outcome("c", Ok(Changed::Unchanged)),
        ];
        assert_eq!(summary("started", &many), "2 started, 1 failed (web7), 1 unchanged\n");
        assert_eq!(summary("started", &many[3..]), "1 unchanged\n");
        assert_eq!(summary("started", &many[1..2]), "0 started, 1 failed (web7)\n");
        let failed: Vec<_> = (0..12).map(|n| outcome(&format!("t{n}"), Err(Code::Failed))).collect();
        assert!(
            summary("started", &failed)
                .ends_with("12 failed (t0, t1, t2, t3, t4, t5, t6, t7, t8, t9 and 2 more)\n")
        );
    }

    #[test]
    fn the_worst_failure_makes_the_exit_code() {
        for (codes, expected) in [
            (&[][..], 0),
            (&[Code::NoTenant], 3),
            (&[Code::NoTenant, Code::Running], 4),
            (&[Code::Running, Code::Failed, Code::Invalid], 1),
            (&[Code::Invalid, Code::NoTenant], 3),
        ] {
            let failures: Vec<Failure> = codes.iter().map(|code| Failure::new(*code, "")).collect();
            let code = worst(failures.iter());
            assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(expected)), "{codes:?}");
        }
    }

    #[test]
    fn an_element_of_a_list_is_the_answer_for_one() {
        let list = as_list(&[outcome("a", Ok(Changed::Changed)), outcome("b", Err(Code::Running))]);
        assert_eq!((&list[0]["name"], &list[0]["result"]), (&"a".into(), &"changed".into()));
        assert_eq!((&list[1]["name"], &list[1]["error"]["code"]), (&"b".into(), &"running".into()));
    }
}
