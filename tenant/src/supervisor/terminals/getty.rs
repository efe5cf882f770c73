//! Logins on demand: a login program runs on a tty only while a client is there to use it.

use std::{
    fs,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::process::{Signal, pidfd_send_signal};

use super::tty::Terminal;
use crate::{
    cause::chain,
    enter::{Command, ExecContext, JoinError, Joining, ParentProcess, Progress, Streams, Target, join},
    plan::Plan,
};

/// How long a login program may take until it is executed; a tenant could keep it waiting for ever.
const JOIN_DEADLINE: Duration = Duration::from_secs(10);
/// How long an idle login program may take to end.
const HANGUP_DEADLINE: Duration = Duration::from_secs(2);
/// A session that ended sooner is not respawned at once.
const SHORT_SESSION: Duration = Duration::from_secs(2);
/// A session is followed by the next one after this long.
const PAUSE: Duration = Duration::from_millis(200);
/// What is typed before a login program asks is kept for it this long at most.
const OPENING: Duration = Duration::from_secs(5);
/// A login program that has begun to ask may throw away what was typed for this long.
const ASKING: Duration = Duration::from_millis(100);
/// The longest wait before another try.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// What a login needs to know of the running tenant.
#[derive(Debug)]
pub(in crate::supervisor) struct Inside<'a> {
    pub(in crate::supervisor) plan: &'a Plan,
    pub(in crate::supervisor) v2_mount: &'a PathBuf,
    pub(in crate::supervisor) pid: i32,
    pub(in crate::supervisor) pidfd: BorrowedFd<'a>,
}

impl Inside<'_> {
    /// systemd executes another program when it shuts down, and kills whatever appears then.
    fn is_shutting_down(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/comm", self.pid)).is_ok_and(|comm| comm == "systemd-shutdow\n")
    }
}

#[derive(Debug)]
enum Login {
    Absent,
    Joining { joining: Joining, process: Option<Process>, deadline: Instant },
    Running { process: Process, since: Instant },
    HungUp { process: Process, deadline: Instant },
}

/// A login program: a child of the tenant's init, held by its pidfd.
#[derive(Debug)]
struct Process {
    pid: i32,
    pidfd: OwnedFd,
}

impl Process {
    fn signal(&self, signal: Signal) {
        // It may have ended already.
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }
}

/// The login on one tty.
#[derive(Debug)]
pub(in crate::supervisor) struct Getty {
    login: Login,
    not_before: Instant,
    short: u32,
    /// A login program is on its way, and what is typed has to wait for it, at most until then: it throws
    /// away what was typed before it asked.
    opening: Option<Instant>,
    /// The viewers were told why there is no login.
    told: bool,
    /// The login program's path.
    program: String,
}

impl Getty {
    pub(in crate::supervisor) fn new(now: Instant) -> Self {
        Self {
            login: Login::Absent,
            not_before: now,
            short: 0,
            opening: None,
            told: false,
            program: String::new(),
        }
    }

    /// The tenant has (re)started: its own init gets a moment to put something on the tty itself.
    pub(in crate::supervisor) fn reset(&mut self, not_before: Instant) {
        *self = Self::new(not_before);
    }

    /// A viewer came: an error is worth telling again, and no process should wait for a backoff.
    pub(in crate::supervisor) fn welcome(&mut self, now: Instant) {
        self.told = false;
        if matches!(self.login, Login::Absent) {
            self.opening = Some(now + OPENING);
        }
        if self.short > 0 {
            self.short = 0;
            self.not_before = now;
        }
    }

    /// Whether what is typed has to wait.
    pub(in crate::supervisor) fn is_opening(&self) -> bool {
        self.opening.is_some()
    }

    /// There will be no login now: what is typed goes to a process that reads it.
    pub(in crate::supervisor) fn give_way(&mut self) {
        self.opening = None;
    }

    /// Something was printed.
    pub(in crate::supervisor) fn heard(&mut self, now: Instant) {
        if matches!(self.login, Login::Running { .. }) {
            self.opening = self.opening.map(|at| at.min(now + ASKING));
        }
    }

    /// What to poll for: news of a login program that is on its way, or the end of one.
    pub(in crate::supervisor) fn news(&self) -> Option<BorrowedFd<'_>> {
        match &self.login {
            Login::Absent => None,
            Login::Joining { joining, .. } => Some(joining.as_fd()),
            Login::Running { process, .. } | Login::HungUp { process, .. } => Some(process.pidfd.as_fd()),
        }
    }

    /// When something is due; `wanted` says whether a read-write viewer is there.
    pub(in crate::supervisor) fn deadline(&self, wanted: bool) -> Option<Instant> {
        let due = match &self.login {
            Login::Absent => wanted.then_some(self.not_before),
            Login::Joining { deadline, .. } | Login::HungUp { deadline, .. } => Some(*deadline),
            Login::Running { .. } => None,
        };
        due.into_iter().chain(self.opening).min()
    }

    /// Starts a login program if one is wanted and there is no session; returns what the viewers are to
    /// be told if there cannot be one.
    pub(in crate::supervisor) fn start(
        &mut self,
        terminal: &Terminal,
        inside: &Inside<'_>,
        now: Instant,
    ) -> Option<String> {
        if !matches!(self.login, Login::Absent) || now < self.not_before || !terminal.is_connected() {
            return None;
        }
        if inside.is_shutting_down() {
            self.give_way();
            self.not_before = now + SHORT_SESSION;
            return None;
        }
        if terminal.session().is_some() {
            // The image's own init takes care of this tty. Look again in a while.
            self.give_way();
            self.not_before = now + SHORT_SESSION;
            return None;
        }
        if inside.plan.init.getty.is_empty() {
            self.give_way();
            self.not_before = now + MAX_BACKOFF;
            return self.tell("the image has no login program for ttys".to_owned());
        }
        self.program.clone_from(&inside.plan.init.getty[0]);
        match self.spawn(terminal, inside) {
            Ok(joining) => {
                self.login = Login::Joining { joining, process: None, deadline: now + JOIN_DEADLINE };
                None
            }
            Err(error) => self.fail(&error, now),
        }
    }

    fn spawn(&self, terminal: &Terminal, inside: &Inside<'_>) -> Result<Joining, JoinError> {
        let host = |what| move |error| JoinError::Host(what, error);
        let target = Target::of_child(inside.pid, inside.pidfd, inside.v2_mount);
        let target = target.map_err(host("open the tenant's cgroup"))?;
        let slave: OwnedFd = terminal.slave().map_err(host("open the tty"))?;
        let context =
            ExecContext::of(inside.plan).map_err(host("read the resource limits of this process"))?;
        let mut env: Vec<(String, String)> = context.env.clone().into_iter().collect();
        env.retain(|(key, _)| key != "NOTIFY_SOCKET");
        // A terminal that every system knows and every emulator can stand in for.
        env.push(("TERM".to_owned(), "vt220".to_owned()));
        let command = Command { argv: inside.plan.init.getty.clone(), env, ..Command::default() };
        join(&target, &command, &context, &Streams::Tty(slave.as_fd()), ParentProcess::Init)
    }

    /// Takes note of what [`Getty::news`] has become ready with.
    pub(in crate::supervisor) fn advance(&mut self, now: Instant) -> Option<String> {
        loop {
            match std::mem::replace(&mut self.login, Login::Absent) {
                Login::Absent => return None,
                Login::Joining { mut joining, process, deadline } => match joining.advance(false) {
                    Ok(Progress::Pending) => {
                        self.login = Login::Joining { joining, process, deadline };
                        return None;
                    }
                    Ok(Progress::Born { pid, pidfd, .. }) => {
                        let process = pidfd.map(|pidfd| Process { pid, pidfd });
                        self.login = Login::Joining { joining, process, deadline };
                    }
                    Ok(Progress::Executed { .. }) => {
                        if let Some(process) = process {
                            self.login = Login::Running { process, since: now };
                        }
                        return None;
                    }
                    Err(error) => return self.fail(&error, now),
                },
                Login::Running { since, .. } => {
                    let age = now.saturating_duration_since(since);
                    self.short = if age < SHORT_SESSION { self.short + 1 } else { 0 };
                    self.not_before = now + self.backoff();
                    self.opening = (self.short == 0).then_some(now + OPENING);
                    return None;
                }
                Login::HungUp { .. } => {
                    self.not_before = now + PAUSE;
                    return None;
                }
            }
        }
    }

    /// A moment, then 1, 2, 4, … seconds.
    fn backoff(&self) -> Duration {
        match self.short {
            0 => PAUSE,
            short => Duration::from_secs(1 << (short - 1).min(6)).min(MAX_BACKOFF),
        }
    }

    fn fail(&mut self, error: &JoinError, now: Instant) -> Option<String> {
        self.login = Login::Absent;
        self.give_way();
        self.short += 1;
        self.not_before = now + self.backoff();
        self.tell(chain(error))
    }

    fn tell(&mut self, reason: String) -> Option<String> {
        (!std::mem::replace(&mut self.told, true)).then(|| format!("cannot start a login here: {reason}"))
    }

    /// No process is there any more: ends a login program that no process has logged in with. A session in which
    /// a process has stays as it is.
    pub(in crate::supervisor) fn release(&mut self, terminal: &Terminal, now: Instant) {
        self.login = match std::mem::replace(&mut self.login, Login::Absent) {
            Login::Running { process, .. }
                if terminal.session() == Some(process.pid) && is_idle(process.pid, &self.program) =>
            {
                process.signal(Signal::HUP);
                Login::HungUp { process, deadline: now + HANGUP_DEADLINE }
            }
            other => other,
        };
    }

    /// Whether a login program that was started here has not ended, or is on its way: it waits for a name only while a
    /// client is there.
    pub(in crate::supervisor) fn has_session(&self, terminal: &Terminal) -> bool {
        match &self.login {
            Login::Absent => false,
            Login::Running { process, .. } => terminal.session() == Some(process.pid),
            Login::Joining { .. } | Login::HungUp { .. } => true,
        }
    }

    /// Does what is due.
    pub(in crate::supervisor) fn tick(&mut self, now: Instant) -> Option<String> {
        self.opening = self.opening.filter(|at| now < *at);
        match &mut self.login {
            Login::Joining { joining, process, deadline } if now >= *deadline => {
                joining.kill();
                if let Some(process) = process {
                    process.signal(Signal::KILL);
                }
                let error = std::io::ErrorKind::TimedOut.into();
                self.fail(&JoinError::Inside { step: "execute the login program", source: error }, now)
            }
            Login::HungUp { process, deadline } if now >= *deadline => {
                process.signal(Signal::KILL);
                *deadline = now + HANGUP_DEADLINE;
                None
            }
            _ => None,
        }
    }
}

/// Whether a login program still waits for a process: a getty becomes login(1) when it has a name, and
/// login(1) gives the session to a shell. A shell as login program cannot be told from one in use.
fn is_idle(pid: i32, path: &str) -> bool {
    let program = path.rsplit('/').next().unwrap_or_default();
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let waits = program.ends_with("getty") || program == "login";
    // The kernel keeps the first 15 bytes of a name.
    waits && comm.trim_end() == program.get(..15).unwrap_or(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that has ended.
    fn ended() -> Process {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        child.wait().unwrap();
        Process { pid: pid.as_raw_nonzero().get(), pidfd }
    }

    #[test]
    fn a_short_session_waits_longer_and_longer() {
        let now = Instant::now();
        let mut getty = Getty::new(now);
        let mut waits = Vec::new();
        for _ in 0..7 {
            getty.login = Login::Running { process: ended(), since: now };
            assert_eq!(getty.advance(now), None);
            waits.push(getty.not_before.duration_since(now).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        getty.welcome(now);
        assert_eq!(getty.deadline(true), Some(now));
        getty.give_way();
        assert_eq!(getty.deadline(false), None);
        getty.login = Login::Running { process: ended(), since: now };
        assert_eq!(getty.advance(now + Duration::from_secs(60)), None);
        assert_eq!(getty.not_before, now + Duration::from_secs(60) + PAUSE);
    }

    #[test]
    fn what_is_typed_waits_until_the_login_program_asks() {
        let now = Instant::now();
        let mut getty = Getty::new(now);
        assert!(!getty.is_opening());
        getty.welcome(now);
        assert!(getty.is_opening());
        // What is printed before there is a login program is not its question.
        getty.heard(now);
        getty.tick(now + ASKING);
        assert!(getty.is_opening());
        getty.login = Login::Running { process: ended(), since: now };
        getty.heard(now);
        getty.tick(now + ASKING);
        assert!(!getty.is_opening());
        // One that never asks does not hold anything back for ever.
        getty.login = Login::Absent;
        getty.welcome(now);
        getty.tick(now + OPENING);
        assert!(!getty.is_opening());
    }

    #[test]
    fn only_a_waiting_getty_is_idle() {
        let me = std::process::id() as i32;
        assert!(!is_idle(me, "/bin/sh"));
        assert!(!is_idle(me, "/sbin/agetty"));
        assert!(!is_idle(me, ""));
    }
}
