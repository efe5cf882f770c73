//! Jobs of systemd, awaited to their end.

use std::{pin::Pin, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};
use zbus::{MatchRule, MessageStream, export::futures_core::Stream as _, zvariant::OwnedObjectPath};

use super::bus::{Bus, BusError, MANAGER};

/// How often a unit is looked at, where no process tells of its job's end.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// Ends of other jobs that may come before the answer to our own request.
const QUEUE: usize = 4096;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Start,
    Stop,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JobEnd {
    /// As was asked for.
    Done,
    /// Otherwise; systemd's word for it, e.g. `failed`, `dependency`, `canceled`.
    Not(String),
    /// Not in the time it was given.
    Late,
}

impl Verb {
    fn method(self) -> &'static str {
        match self {
            Self::Start => "StartUnit",
            Self::Stop => "StopUnit",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Start => "start a unit",
            Self::Stop => "stop a unit",
        }
    }
}

/// Makes a job for a unit and waits for its end, at most for `patience`.
///
/// # Errors
/// cannot connect to systemd, or refuses the job.
pub(super) async fn run(verb: Verb, unit: &str, patience: Duration) -> Result<JobEnd, BusError> {
    let deadline = Instant::now() + patience;
    loop {
        match ask(verb, unit, deadline).await {
            Ok(Some(end)) => return Ok(end),
            // The connection is lost, the job is not.
            Ok(None) => return follow(verb, unit, deadline).await,
            Err(error) if error.is_lost() && Instant::now() < deadline => sleep(LOOK).await,
            Err(error) => return Err(error),
        }
    }
}

/// Asks for a job and listens for its end; none where the connection broke meanwhile.
async fn ask(verb: Verb, unit: &str, deadline: Instant) -> Result<Option<JobEnd>, BusError> {
    let bus = Bus::open().await?;
    let listen = |error| BusError::Call("watch jobs", error);
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .interface(MANAGER)
        .and_then(|rule| rule.member("JobRemoved"))
        .map_err(listen)?
        .build();
    // Before the request: a job may be over before it is answered.
    let mut removed =
        MessageStream::for_match_rule(rule, &bus.connection, Some(QUEUE)).await.map_err(listen)?;
    if !bus.is_direct() {
        bus.manager("watch jobs", "Subscribe", &()).await?;
    }
    let answer = bus.manager(verb.what(), verb.method(), &(unit, "replace")).await?;
    let own: OwnedObjectPath =
        answer.body().deserialize().map_err(|error| BusError::Call(verb.what(), error))?;
    loop {
        let next = std::future::poll_fn(|context| Pin::new(&mut removed).poll_next(context));
        let message = match timeout_at(deadline, next).await {
            Err(_) => return Ok(Some(JobEnd::Late)),
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(_)) | None) => return Ok(None),
        };
        type Removed = (u32, OwnedObjectPath, String, String);
        let Ok((_, job, _, result)) = message.body().deserialize::<Removed>() else { continue };
        if job == own {
            return Ok(Some(if result == "done" { JobEnd::Done } else { JobEnd::Not(result) }));
        }
    }
}

/// Looks at a unit until it has no job any more.
async fn follow(verb: Verb, unit: &str, deadline: Instant) -> Result<JobEnd, BusError> {
    loop {
        let facts = match Bus::open().await {
            Ok(bus) => bus.unit(unit).await,
            Err(error) => Err(error),
        };
        match facts {
            Ok(facts) if !facts.has_job => {
                let done = match (verb, facts.active.as_str()) {
                    (Verb::Start, "active" | "reloading") => true,
                    (Verb::Stop, "inactive" | "failed") => true,
                    (Verb::Start | Verb::Stop, _) => false,
                };
                return Ok(if done { JobEnd::Done } else { JobEnd::Not("failed".to_owned()) });
            }
            Err(error) if Instant::now() >= deadline => return Err(error),
            Ok(_) | Err(_) => {}
        }
        if Instant::now() >= deadline {
            return Ok(JobEnd::Late);
        }
        sleep(LOOK).await;
    }
}
