//! A tenant that is to end: it is asked as its init understands it, and killed when its time is over.

use std::{
    fs,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::process::WaitStatus;

use super::lifecycle::{self, Wish};
use crate::{
    enter::{Adopter, Command, ExecContext, JoinError, Joining, Progress, Streams, Target, join},
    files::state::Phase,
    kernel::raw,
    plan::{Plan, StopProcedure},
    supervisor::{RunError, Supervisor, chain, host::notify::extension},
};

/// How often a signal is tried on an init that does not listen to it yet.
const LISTENING: Duration = Duration::from_millis(50);
/// A stop command that failed is tried again after this long: its init may not be ready for it yet.
const AGAIN: Duration = Duration::from_secs(1);
/// A kill that had no effect is repeated after this long.
const KILL_AGAIN: Duration = Duration::from_secs(10);
/// What this process needs beyond a tenant's own deadlines to take it down.
const GRACE: Duration = Duration::from_secs(20);

/// The present request to end.
#[derive(Debug)]
pub(in crate::supervisor) struct Ending {
    /// Everything is killed then.
    kill_at: Instant,
    /// How long it was given.
    limit: Duration,
    /// Whether the limit came with a request; otherwise it is the one of the tenant's file.
    is_given: bool,
    /// Init is asked then; none when it has been.
    ask_at: Option<Instant>,
    /// Whether a kill is reported: not if it was requested.
    is_told: bool,
    /// Why asking it had no effect so far.
    fault: Option<String>,
    /// The stop command, while it runs.
    command: Option<StopCommand>,
}

impl Ending {
    fn new(now: Instant, limit: Duration, is_given: bool) -> Self {
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
    fn limit(&mut self, now: Instant, limit: Duration) -> bool {
        if self.is_given && now + limit >= self.kill_at {
            return false;
        }
        (self.kill_at, self.limit, self.is_given) = (now + limit, limit, true);
        true
    }

    /// What is told of a kill.
    fn reason(&self, procedure: &StopProcedure) -> String {
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
struct StopCommand {
    /// While it has not been executed.
    joining: Option<Joining>,
    pid: Option<i32>,
    /// Children that ended before it was known which of them it is.
    ended: Vec<(i32, WaitStatus)>,
}

impl StopCommand {
    fn start(argv: &[String], plan: &Plan, target: &Target, console: &OwnedFd) -> Result<Self, JoinError> {
        let mut env: Vec<(String, String)> = plan.init.env.clone().into_iter().collect();
        env.retain(|(key, _)| key != "NOTIFY_SOCKET");
        let command = Command { argv: argv.to_vec(), env, ..Command::default() };
        // What it says goes where init's own messages go. The console stays whose it is.
        let streams = Streams::Given([console.as_fd(); 3]);
        let host = |source| JoinError::Host("read the resource limits of this process", source);
        let context = ExecContext::of(plan).map_err(host)?;
        let joining = join(target, &command, &context, &streams, Adopter::Caller)?;
        Ok(Self { joining: Some(joining), pid: None, ended: Vec::new() })
    }

    /// How it went, once that is known: nothing, or why it had no effect.
    fn advance(&mut self) -> Option<Result<(), String>> {
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

impl Supervisor {
    /// Asks the tenant to end, to start again afterwards if the wish is a reboot. A second request does
    /// not make the first one more urgent unless it comes with a shorter `limit`; a stop prevails over a reboot.
    pub(in crate::supervisor) fn ask_to_end(
        &mut self,
        wish: Wish,
        limit: Option<Duration>,
    ) -> Result<(), RunError> {
        let phase = self.phase();
        if wish == Wish::Stop || self.wish == Wish::Run {
            self.wish = wish;
        }
        if wish == Wish::Stop {
            self.manager.tell("STOPPING=1");
        }
        let now = Instant::now();
        match (phase, &mut self.ending, limit) {
            (Phase::Booting | Phase::Running, ..) => {}
            (Phase::Queued | Phase::Starting, ..) => {
                self.is_called_off |= wish == Wish::Stop;
                return Ok(());
            }
            (Phase::Stopping, Some(ending), Some(limit)) => {
                if ending.limit(now, limit) {
                    self.manager.tell(&extension(limit + GRACE));
                    self.tell_status();
                }
                return Ok(());
            }
            (Phase::Stopping | Phase::Stopped | Phase::Failed, ..) => return Ok(()),
        }
        let Some(plan) = &self.plan else { return Ok(()) };
        let given = limit.unwrap_or(plan.init.stop_timeout);
        self.ending = Some(Ending::new(now, given, limit.is_some()));
        // A frozen init would not hear it.
        if let Err(error) = self.set_frozen(false)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            log::warn!("cannot thaw tenant {:?} in order to stop it: {error}", self.name.as_str());
        }
        self.press(now);
        self.manager.tell(&extension(given + GRACE));
        self.enter(lifecycle::Event::AskedToEnd)?;
        self.tell_status();
        Ok(())
    }

    /// Does what the present request to end is due for.
    pub(in crate::supervisor) fn press(&mut self, now: Instant) {
        let Some(mut ending) = self.ending.take() else { return };
        if ending.ask_at.is_some_and(|at| now >= at) {
            self.ask_init(&mut ending, now);
        }
        if now >= ending.kill_at {
            ending.kill_at = now + KILL_AGAIN;
            if std::mem::take(&mut ending.is_told)
                && let Some(plan) = &self.plan
            {
                let reason = ending.reason(&plan.init.stop);
                self.report_kill(&reason);
                if let Some(state) = &mut self.state {
                    state.killed = Some(reason);
                }
            }
            self.kill_payload();
        }
        self.ending = Some(ending);
    }

    /// Asks init in its own way.
    fn ask_init(&self, ending: &mut Ending, now: Instant) {
        let (Some(init), Some(plan)) = (&self.init, &self.plan) else {
            ending.ask_at = None;
            return;
        };
        match &plan.init.stop {
            StopProcedure::Signal(signal) => {
                // The kernel keeps from the init of a pid namespace what it neither catches nor blocks, see
                // pid_namespaces(7).
                let listens = listens(init.pid, signal.number());
                // Where it has just ended, that is on the way.
                let sent = raw::pidfd_signal(init.pidfd.as_fd(), signal.number());
                ending.fault = match sent {
                    Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                        Some(format!("cannot send {signal}: {error}"))
                    }
                    _ if !listens => Some(format!("its init does not handle {signal}")),
                    _ => None,
                };
                ending.ask_at = ending.fault.is_some().then_some(now + LISTENING);
            }
            StopProcedure::Command(argv) => {
                let target = Target::of_child(init.pid, init.pidfd.as_fd(), &self.v2_mount);
                let host = |what| move |error| JoinError::Host(what, error);
                let started = target.map_err(host("open the tenant's cgroup")).and_then(|target| {
                    let console = self.consoles.slave().map_err(host("open its console"))?;
                    StopCommand::start(argv, plan, &target, &console)
                });
                match started {
                    Ok(command) => (ending.command, ending.ask_at) = (Some(command), None),
                    Err(error) => {
                        let fault = format!("{}: {}", plan.init.stop, chain(&error));
                        self.report_fault(ending, fault, now);
                    }
                }
            }
        }
    }

    /// Notes why asking had no effect, tells it the first time, and has it tried again.
    fn report_fault(&self, ending: &mut Ending, fault: String, now: Instant) {
        if ending.fault.as_ref() != Some(&fault) {
            log::warn!("cannot ask tenant {:?} to stop: {fault}", self.name.as_str());
        }
        ending.fault = Some(fault);
        ending.ask_at = Some(now + AGAIN);
    }

    /// There is news of the stop command, or a child of this process has ended.
    pub(in crate::supervisor) fn follow_stop_command(
        &mut self,
        ended: Option<(i32, WaitStatus)>,
        now: Instant,
    ) {
        let Some(mut ending) = self.ending.take() else { return };
        if let Some(command) = &mut ending.command {
            command.ended.extend(ended);
            match command.advance() {
                None => {}
                Some(Ok(())) => (ending.command, ending.fault) = (None, None),
                Some(Err(fault)) => {
                    ending.command = None;
                    let what = self.plan.as_ref().map(|plan| plan.init.stop.to_string()).unwrap_or_default();
                    self.report_fault(&mut ending, format!("{what}: {fault}"), now);
                }
            }
        }
        self.ending = Some(ending);
    }

    /// Ends the tenant now.
    pub(in crate::supervisor) fn kill(&mut self) -> Result<(), RunError> {
        self.ask_to_end(Wish::Stop, None)?;
        if let Some(ending) = &mut self.ending {
            ending.kill_at = Instant::now();
            ending.is_told = false;
        }
        self.press(Instant::now());
        Ok(())
    }

    /// Kills all processes at once; init's end is then heard of like any other.
    fn kill_payload(&self) {
        let (Some(plan), Some(init)) = (&self.plan, &self.init) else { return };
        let file = plan.cgroup.payload.join("cgroup.kill");
        let killed = fs::write(&file, "1");
        // Init alone takes the whole pid namespace with it, should the cgroup be out of reach.
        let signalled = raw::pidfd_signal(init.pidfd.as_fd(), libc::SIGKILL);
        if let (Err(error), Err(_)) = (killed, signalled) {
            log::warn!("cannot write {}, trying again: {error}", file.display());
        }
    }
}

/// Whether a process catches a signal, or blocks it and will read it later. See proc_pid_status(5).
fn listens(pid: i32, signal: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let masks = status.lines().filter_map(|line| {
        let mask = line.strip_prefix("SigBlk:").or_else(|| line.strip_prefix("SigCgt:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    masks.fold(0, |all, mask| all | mask) & (1 << (signal - 1)) != 0
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
