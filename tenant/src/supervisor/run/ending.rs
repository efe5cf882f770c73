//! A request to end, and the stop command that tells init of it.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::process::WaitStatus;

use crate::{
    cause::chain,
    enter::{Command, ExecContext, JoinError, Joining, ParentProcess, Progress, Streams, Target, join},
    plan::{Plan, StopProcedure},
};

/// The present request to end.
#[derive(Debug)]
pub(in crate::supervisor) struct Ending {
    /// Everything is killed then.
    pub(in crate::supervisor) kill_at: Instant,
    /// How long it was given.
    limit: Duration,
    /// Whether the limit came with a request; otherwise it is the one of the tenant's file.
    is_given: bool,
    /// Init is asked then; none when it has been.
    pub(in crate::supervisor) ask_at: Option<Instant>,
    /// Whether a kill is reported: not if it was requested.
    pub(in crate::supervisor) is_told: bool,
    /// Why asking it had no effect so far.
    pub(in crate::supervisor) fault: Option<String>,
    /// The stop command, while it runs.
    pub(in crate::supervisor) command: Option<StopCommand>,
}

impl Ending {
    pub(in crate::supervisor) fn new(now: Instant, limit: Duration, is_given: bool) -> Self {
        Self {
            kill_at: now + limit,
            limit,
            is_given,
            ask_at: Some(now),
            is_told: true,
            fault: None,
            command: None,
        }
    }

    /// Another limit: a request's own one prevails over that of the file, and the sooner end over the later one.
    /// Whether it is another one now.
    pub(in crate::supervisor) fn limit(&mut self, now: Instant, limit: Duration) -> bool {
        if self.is_given && now + limit >= self.kill_at {
            return false;
        }
        (self.kill_at, self.limit, self.is_given) = (now + limit, limit, true);
        true
    }

    /// What is told of a kill.
    pub(in crate::supervisor) fn reason(&self, procedure: &StopProcedure) -> String {
        let seconds = self.limit.as_secs_f64();
        match &self.fault {
            Some(fault) => format!("it did not stop within {seconds} s: {fault}"),
            None => format!("it did not stop within {seconds} s of {procedure}"),
        }
    }

    /// The limit, seconds.
    pub(in crate::supervisor) fn seconds(&self) -> u64 {
        self.limit.as_secs()
    }

    /// When something is due.
    pub(in crate::supervisor) fn deadline(&self) -> Instant {
        self.ask_at.map_or(self.kill_at, |at| at.min(self.kill_at))
    }

    /// What to poll for news of the stop command.
    pub(in crate::supervisor) fn news(&self) -> Option<BorrowedFd<'_>> {
        Some(self.command.as_ref()?.joining.as_ref()?.as_fd())
    }
}

/// A stop command: a child of this process that is inside the tenant, or on its way.
#[derive(Debug)]
pub(in crate::supervisor) struct StopCommand {
    /// While it has not been executed.
    joining: Option<Joining>,
    pid: Option<i32>,
    /// Children that ended before it was known which of them it is.
    pub(in crate::supervisor) ended: Vec<(i32, WaitStatus)>,
}

impl StopCommand {
    pub(in crate::supervisor) fn start(
        argv: &[String],
        plan: &Plan,
        target: &Target,
        console: &OwnedFd,
    ) -> Result<Self, JoinError> {
        let mut env: Vec<(String, String)> = plan.init.env.clone().into_iter().collect();
        env.retain(|(key, _)| key != "NOTIFY_SOCKET");
        let command = Command { argv: argv.to_vec(), env, ..Command::default() };
        // What it says goes where init's own messages go. The console stays whose it is.
        let streams = Streams::Given([console.as_fd(); 3]);
        let host = |source| JoinError::Host("read the resource limits of this process", source);
        let context = ExecContext::of(plan).map_err(host)?;
        let joining = join(target, &command, &context, &streams, ParentProcess::Caller)?;
        Ok(Self { joining: Some(joining), pid: None, ended: Vec::new() })
    }

    /// How it went, once that is known: nothing, or why it had no effect.
    pub(in crate::supervisor) fn advance(&mut self) -> Option<Result<(), String>> {
        while let Some(joining) = &mut self.joining {
            match joining.advance(false) {
                Ok(Progress::Pending) => return None,
                Ok(Progress::Born { pid, .. }) => self.pid = Some(pid),
                Ok(Progress::Executed { .. }) => self.joining = None,
                Err(error) => return Some(Err(chain(&error))),
            }
        }
        let (_, status) = self.ended.iter().find(|(pid, _)| Some(*pid) == self.pid)?;
        Some(match (status.exit_status(), status.terminating_signal()) {
            (Some(0), _) => Ok(()),
            (Some(code), _) => Err(format!("it exited with code {code}")),
            (None, signal) => Err(format!("it was killed by signal {}", signal.unwrap_or_default())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_request_with_a_limit_prevails_and_only_a_shorter_one_over_it() {
        let now = Instant::now();
        let mut ending = Ending::new(now, 90 * SECOND, false);
        assert!(ending.limit(now, 120 * SECOND), "the file's own limit is no request");
        assert_eq!((ending.kill_at, ending.seconds()), (now + 120 * SECOND, 120));
        assert!(ending.limit(now, 5 * SECOND));
        assert!(!ending.limit(now, 60 * SECOND));
        assert!(!ending.limit(now + 2 * SECOND, 4 * SECOND), "that would be later");
        assert_eq!((ending.kill_at, ending.seconds()), (now + 5 * SECOND, 5));
        assert!(ending.limit(now + 2 * SECOND, SECOND));
        assert_eq!(ending.deadline(), now, "init has not been asked yet");
        ending.ask_at = None;
        assert_eq!(ending.deadline(), now + 3 * SECOND);
    }

    #[test]
    fn a_kill_says_what_was_asked_and_why_it_had_no_effect() {
        let mut ending = Ending::new(Instant::now(), 5 * SECOND, true);
        let signal = StopProcedure::Signal("SIGUSR2".parse().unwrap());
        let command = StopProcedure::Command(vec!["/sbin/init".to_owned(), "0".to_owned()]);
        assert_eq!(ending.reason(&signal), "it did not stop within 5 s of SIGUSR2");
        assert_eq!(ending.reason(&command), "it did not stop within 5 s of `/sbin/init 0`");
        ending.fault = Some(format!("{command}: it exited with code 1"));
        assert_eq!(
            ending.reason(&command),
            "it did not stop within 5 s: `/sbin/init 0`: it exited with code 1"
        );
    }
}
