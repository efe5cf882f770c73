//! Waiting until a supervisor that was started has its tenant ready.
//!
//! It says so in two ways, each of which may fail: by `READY=1` and in `state.json`. Before it is given up it is asked
//! once more, for a tenant that is up must not be killed because that could not be told.

use std::time::Duration;

use tenant::{
    Layout, TenantName,
    files::state::{Phase, ProcessRef, RunState},
    protocol::control::Request,
};
use tokio::time::{Instant, sleep_until};

use super::{
    notify::{NotifySocket, Report},
    states::States,
    stop,
};

/// How often `state.json` is looked at, in case that the message is lost.
const LOOK: Duration = Duration::from_millis(250);

/// The same where there is no message.
const LOOK_ONLY: Duration = Duration::from_millis(50);

/// The next message; waits for ever where there is no socket.
async fn heard(notify: Option<&NotifySocket>) -> std::io::Result<Report> {
    match notify {
        Some(notify) => notify.receive().await,
        None => std::future::pending().await,
    }
}

/// A start that is under way.
pub(super) struct Awaited<'a> {
    pub(super) layout: &'a Layout,
    pub(super) states: &'a States,
    pub(super) name: &'a TenantName,
    /// Its supervisor.
    pub(super) process: ProcessRef,
    /// None where another hostd has started it.
    pub(super) notify: Option<&'a NotifySocket>,
}

impl Awaited<'_> {
    /// Waits until the tenant is ready, at most for `patience`, or until the supervisor's own demand for more time
    /// is over, see `EXTEND_TIMEOUT_USEC=` in sd_notify(3): it asks for its turn to boot and once for the start, however
    /// often its tenant reboots meanwhile. Whether it is ready.
    pub(super) async fn is_ready(&self, patience: Duration) -> bool {
        let mut deadline = Instant::now() + patience;
        let mut notify = self.notify;
        loop {
            let look = (Instant::now() + if notify.is_some() { LOOK } else { LOOK_ONLY }).min(deadline);
            tokio::select! {
                biased;
                report = heard(notify) => match report {
                    Ok(Report { ready: true, .. }) => return true,
                    Ok(Report { extension, .. }) => {
                        deadline = extension.map_or(deadline, |more| deadline.max(Instant::now() + more));
                    }
                    Err(error) => {
                        log::warn!(TENANT = self.name.as_str(); "cannot receive notifications from the supervisor of tenant {:?}: {error}", self.name.as_str());
                        notify = None;
                    }
                },
                () = sleep_until(look) => {
                    if self.states.get(self.name).is_some_and(|state| self.says_ready(&state)) {
                        return true;
                    }
                    if Instant::now() >= deadline {
                        return self.answers_ready().await;
                    }
                }
            }
        }
    }

    fn says_ready(&self, state: &RunState) -> bool {
        state.supervisor == self.process && state.phase == Phase::Running
    }

    async fn answers_ready(&self) -> bool {
        let answer = stop::ask(self.layout, self.name, self.process, Request::Status {}).await;
        answer.is_ok_and(|reply| reply.status.is_some_and(|status| self.says_ready(&status.state)))
    }
}
