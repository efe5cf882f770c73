//! What both unit managers know of a stop: until when it may take, and how it ended.

use std::time::Duration;

use tenant::{
    Layout, TenantName,
    files::state::{ProcessRef, RunState},
    protocol::control::{Client, ControlError, Reply, Request},
};
use tokio::{
    sync::watch,
    task,
    time::{Instant, sleep_until},
};

/// A supervisor kills at the end of its tenant's time and takes it down; where it has not done that so much later, it
/// is taken for hung.
pub(super) const TAKEDOWN: Duration = Duration::from_secs(3);
/// How long a supervisor may take to answer; a freeze takes it at most 5 s.
pub(super) const ANSWER: Duration = Duration::from_secs(8);

/// How a stop ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopEnd {
    /// Its init ended as it was asked to, or there was none.
    Ended,
    /// Everything was killed, for this reason.
    Killed(String),
}

impl StopEnd {
    /// By what the supervisor of a tenant has said last.
    pub(super) fn of(state: Option<&RunState>, supervisor: ProcessRef) -> Self {
        let own = state.filter(|state| state.supervisor == supervisor);
        own.and_then(|state| state.killed.clone()).map_or(Self::Ended, Self::Killed)
    }

    /// A supervisor that did not end.
    pub(super) fn hung() -> Self {
        Self::Killed("its supervisor did not stop in time".to_owned())
    }

    /// Why it was killed, if it was.
    pub fn killed(self) -> Option<String> {
        match self {
            Self::Ended => None,
            Self::Killed(reason) => Some(reason),
        }
    }
}

/// When the time of a stop is over: a later request may bring that nearer for everybody who waits.
#[derive(Clone, Debug)]
pub struct StopDeadline {
    at: watch::Sender<Instant>,
    supervisor: Option<ProcessRef>,
}

impl StopDeadline {
    /// A stop of this supervisor that begins now and has this long.
    pub fn after(limit: Duration, supervisor: Option<ProcessRef>) -> Self {
        Self { at: watch::Sender::new(Instant::now() + limit), supervisor }
    }

    /// The supervisor that is stopped; none where the tenant had none when that began.
    pub(super) fn supervisor(&self) -> Option<ProcessRef> {
        self.supervisor
    }

    /// It is over after this long, unless that is later than before.
    pub fn shorten(&self, limit: Duration) {
        let at = Instant::now() + limit;
        self.at.send_if_modified(|present| {
            let is_sooner = at < *present;
            *present = at.min(*present);
            is_sooner
        });
    }

    /// Waits until it has been over for `more`.
    pub(super) async fn passed(&self, more: Duration) {
        let mut at = self.at.subscribe();
        loop {
            let end = *at.borrow_and_update() + more;
            tokio::select! {
                () = sleep_until(end) => return,
                // The sender is in `self`: it cannot be gone.
                _ = at.changed() => {}
            }
        }
    }
}

/// Asks a supervisor of a tenant for something. It goes to that one or to none: the request is on its way for a while,
/// goes on when no process waits for its answer any more, and the tenant may have been started again meanwhile.
pub(super) async fn ask(
    layout: &Layout,
    name: &TenantName,
    supervisor: ProcessRef,
    request: Request,
) -> Result<Reply, ControlError> {
    let socket = layout.control_socket(name);
    let asked = move || Client::connect_to(&socket, supervisor, ANSWER)?.ask(request);
    let asked = task::spawn_blocking(asked).await;
    asked.map_err(|error| ControlError::Io(error.into()))?
}

/// Tells a supervisor of a tenant how long that may take to end, in addition to what makes it end: whatever comes first,
/// it keeps to this. One of an earlier release knows no limit but that of the tenant's file.
pub(super) async fn tell_limit(layout: &Layout, name: &TenantName, supervisor: ProcessRef, limit: Duration) {
    let seconds = u32::try_from(limit.as_secs()).unwrap_or(u32::MAX);
    match ask(layout, name, supervisor, Request::Stop { timeout_sec: Some(seconds) }).await {
        Ok(_) | Err(ControlError::NotRunning | ControlError::Ended(_)) => {}
        Err(error) => {
            let error = wire::chain(&error);
            log::warn!(TENANT = name.as_str(); "cannot set the stop timeout of tenant {:?}: {error}", name.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_comes_nearer_and_never_goes_away() {
        let (begin, hour) = (Instant::now(), Duration::from_secs(3600));
        let deadline = StopDeadline::after(hour, None);
        let waiting = tokio::spawn({
            let deadline = deadline.clone();
            async move { deadline.passed(Duration::from_millis(20)).await }
        });
        // It waits for the hour when that becomes a moment.
        task::yield_now().await;
        deadline.shorten(Duration::from_millis(30));
        deadline.shorten(hour);
        waiting.await.unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(50));
        deadline.passed(Duration::ZERO).await;
    }
}
