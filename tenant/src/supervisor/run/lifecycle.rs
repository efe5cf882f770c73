//! The life of a supervised tenant: which phase follows which, and what the end of its init means.
//! Pure: no I/O, and time is a parameter.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::{
    files::state::{Exit, Phase},
    plan::FirstProcess,
};

/// What happens to a supervised tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is its turn to boot.
    Turn,
    /// Its init was executed.
    Executed,
    /// Its init is ready.
    Ready,
    /// It is idle and was parked.
    Parked,
    /// It was parked and is needed.
    Woken,
    /// Its init was asked to end.
    AskedToEnd,
    /// Its init ended, or it was stopped before it had one, and everything was taken down.
    Ended,
    /// Its init ended and is built again.
    Rebuilt,
    /// A start failed.
    Failed,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Turn => "turn to boot",
            Self::Executed => "execution of init",
            Self::Ready => "readiness",
            Self::Parked => "parking",
            Self::Woken => "waking",
            Self::AskedToEnd => "request to stop",
            Self::Ended => "end",
            Self::Rebuilt => "reboot",
            Self::Failed => "failure",
        })
    }
}

/// An event that a phase does not admit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unexpected {event} of a tenant that is {phase}")]
pub struct Illegal {
    phase: Phase,
    event: Event,
}

/// The only way a tenant changes its phase.
///
/// # Errors
/// [`Illegal`] for every pair that the life of a tenant does not have.
pub fn next(phase: Phase, event: Event) -> Result<Phase, Illegal> {
    match (phase, event) {
        (Phase::Queued, Event::Turn) => Ok(Phase::Starting),
        (Phase::Starting, Event::Executed) => Ok(Phase::Booting),
        (Phase::Booting, Event::Ready) => Ok(Phase::Running),
        (Phase::Running, Event::Parked) => Ok(Phase::Parked),
        (Phase::Parked, Event::Woken) => Ok(Phase::Running),
        (Phase::Booting | Phase::Running, Event::AskedToEnd) => Ok(Phase::Stopping),
        (Phase::Booting | Phase::Running | Phase::Parked | Phase::Stopping, Event::Rebuilt) => {
            Ok(Phase::Starting)
        }
        (phase, Event::Ended) if !phase.is_final() => Ok(Phase::Stopped),
        (phase, Event::Failed) if !phase.is_final() => Ok(Phase::Failed),
        _ => Err(Illegal { phase, event }),
    }
}

/// How a process ended, see wait(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It called exit with this status.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

/// What was asked of a running tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// To run.
    Run,
    /// To end.
    Stop,
    /// To end and to start again.
    Reboot,
    /// To end, because it is idle, and to start again when it is needed.
    Park,
}

/// What follows the end of an init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is built again.
    Reboot,
    /// It is built again when it is needed.
    Parked,
    /// It is over.
    Over(Exit),
    /// It never got going: a failed start.
    Dead(Exit),
    /// It is over, and its one program says that it has failed.
    Failed(Exit),
}

/// An init that ends with an error this soon after it was executed has not started.
pub const MIN_UPTIME: Duration = Duration::from_secs(1);

/// Judges the end of an init that lived for `age` after it was executed. reboot(2) in a pid namespace
/// kills its init with SIGHUP for a restart and with SIGINT for a halt or power-off. A reaper ends with the
/// code of the program it was started for, however long that ran.
pub fn judge(death: Death, process: FirstProcess, goal: Goal, phase: Phase, age: Duration) -> Verdict {
    let exit = match death {
        Death::Signal(libc::SIGHUP | libc::SIGINT) => Exit::Poweroff,
        Death::Signal(signal) => Exit::Signal(signal),
        Death::Code(code) => Exit::Code(code),
    };
    match (goal, death) {
        (Goal::Reboot, _) | (Goal::Run, Death::Signal(libc::SIGHUP)) => Verdict::Reboot,
        (Goal::Park, _) => Verdict::Parked,
        (Goal::Stop, _) | (Goal::Run, Death::Signal(libc::SIGINT)) => Verdict::Over(exit),
        (Goal::Run, _) if phase == Phase::Booting => Verdict::Dead(exit),
        (Goal::Run, Death::Code(0)) => Verdict::Over(exit),
        (Goal::Run, _) if process == FirstProcess::Reaper => Verdict::Failed(exit),
        (Goal::Run, _) if age < MIN_UPTIME => Verdict::Dead(exit),
        (Goal::Run, _) => Verdict::Over(exit),
    }
}

/// The supervisor's own exit code: the tenant's, as far as it has one.
pub fn exit_code(exit: Exit, goal: Goal) -> u8 {
    match (exit, goal) {
        (Exit::Poweroff, _) => 0,
        // A signal ended it, as was asked.
        (Exit::Code(129..), Goal::Stop | Goal::Reboot | Goal::Park) => 0,
        (Exit::Code(code), _) => u8::try_from(code).unwrap_or(1),
        // It had to be killed, as was asked.
        (Exit::Signal(_), Goal::Stop | Goal::Reboot | Goal::Park) => 0,
        (Exit::Signal(_), Goal::Run) => 1,
    }
}

/// Tells a tenant that reboots from one that cannot get out of rebooting.
#[derive(Debug, Default)]
pub struct RebootGuard {
    short: u32,
}

impl RebootGuard {
    /// A boot that ended sooner counts as short.
    pub const SHORT: Duration = Duration::from_secs(10);
    /// How many short boots in a row are one too many.
    pub const MOST: u32 = 10;

    /// Notes a boot that ended in a reboot; false when there were too many short ones in a row.
    pub fn admits(&mut self, lasted: Duration) -> bool {
        self.short = if lasted < Self::SHORT { self.short + 1 } else { 0 };
        self.short < Self::MOST
    }
}

/// Until when a boot may take. All boots before the tenant is ready for the first time are one start and share one
/// deadline: an init chooses how often it reboots. Every boot after that has the whole time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartLimit {
    /// When the boot, or the start, is to be over, and how long it was given.
    until: Option<(Instant, Duration)>,
    has_been_ready: bool,
}

impl StartLimit {
    /// A boot that began at `began` and may take `limit`. Returns whether that is a new start: its unit manager is to be
    /// told how long that may take.
    pub fn boots(&mut self, began: Instant, limit: Duration) -> bool {
        let is_start = !self.has_been_ready && self.until.is_none();
        if is_start || self.has_been_ready {
            self.until = Some((began + limit, limit));
        }
        is_start
    }

    /// The tenant is ready.
    pub fn ready(&mut self) {
        self.has_been_ready = true;
    }

    /// When a tenant that boots is to be given up.
    pub fn deadline(&self) -> Option<Instant> {
        self.until.map(|(deadline, _)| deadline)
    }

    /// How long the boot, or the start, was given, if that is over.
    pub fn exceeded(&self, now: Instant) -> Option<Duration> {
        self.until.filter(|(deadline, _)| now >= *deadline).map(|(_, limit)| limit)
    }

    /// How long a start was given whose boots have used it up: it is not built again.
    pub fn spent(&self, now: Instant) -> Option<Duration> {
        if self.has_been_ready { None } else { self.exceeded(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [Phase; 8] = [
        Phase::Queued,
        Phase::Starting,
        Phase::Booting,
        Phase::Running,
        Phase::Parked,
        Phase::Stopping,
        Phase::Stopped,
        Phase::Failed,
    ];
    const EVENTS: [Event; 9] = [
        Event::Turn,
        Event::Executed,
        Event::Ready,
        Event::Parked,
        Event::Woken,
        Event::AskedToEnd,
        Event::Ended,
        Event::Rebuilt,
        Event::Failed,
    ];

    #[test]
    fn a_final_phase_is_final() {
        for phase in PHASES.into_iter().filter(|phase| phase.is_final()) {
            for event in EVENTS {
                assert!(next(phase, event).is_err(), "{phase:?} took {event:?}");
            }
        }
    }

    #[test]
    fn a_tenant_lives_reboots_and_ends() {
        let life = [
            (Event::Turn, Phase::Starting),
            (Event::Executed, Phase::Booting),
            (Event::Ready, Phase::Running),
            (Event::Parked, Phase::Parked),
            (Event::Woken, Phase::Running),
            (Event::Parked, Phase::Parked),
            (Event::Rebuilt, Phase::Starting),
            (Event::Executed, Phase::Booting),
            (Event::AskedToEnd, Phase::Stopping),
            (Event::Ended, Phase::Stopped),
        ];
        let mut phase = Phase::Queued;
        for (event, then) in life {
            phase = next(phase, event).unwrap();
            assert_eq!(phase, then);
        }
        assert!(next(Phase::Queued, Event::Executed).is_err());
        assert_eq!(next(Phase::Queued, Event::Ended), Ok(Phase::Stopped));
        assert!(next(Phase::Running, Event::Ready).is_err());
        assert!(next(Phase::Booting, Event::Parked).is_err());
        assert!(next(Phase::Parked, Event::AskedToEnd).is_err(), "it is woken first");
        assert_eq!(next(Phase::Parked, Event::Ended), Ok(Phase::Stopped), "it was killed");
        assert!(next(Phase::Stopping, Event::AskedToEnd).is_err());
    }

    #[test]
    fn the_end_of_init_is_judged_by_what_was_asked() {
        let old = Duration::from_secs(60);
        let judge_at = |death, goal| judge(death, FirstProcess::Program, goal, Phase::Running, old);
        assert_eq!(judge_at(Death::Signal(libc::SIGHUP), Goal::Run), Verdict::Reboot);
        assert_eq!(judge_at(Death::Signal(libc::SIGINT), Goal::Run), Verdict::Over(Exit::Poweroff));
        assert_eq!(judge_at(Death::Signal(libc::SIGHUP), Goal::Stop), Verdict::Over(Exit::Poweroff));
        assert_eq!(judge_at(Death::Signal(libc::SIGINT), Goal::Reboot), Verdict::Reboot);
        for death in [Death::Signal(libc::SIGHUP), Death::Signal(9), Death::Code(0)] {
            assert_eq!(judge_at(death, Goal::Park), Verdict::Parked);
        }
        assert_eq!(judge_at(Death::Code(3), Goal::Run), Verdict::Over(Exit::Code(3)));
        assert_eq!(judge_at(Death::Signal(9), Goal::Run), Verdict::Over(Exit::Signal(9)));
    }

    #[test]
    fn an_init_that_dies_at_once_is_a_failed_start() {
        let young = Duration::from_millis(5);
        let judge = |death, goal, phase, age| super::judge(death, FirstProcess::Program, goal, phase, age);
        let dead = Verdict::Dead(Exit::Code(1));
        assert_eq!(judge(Death::Code(1), Goal::Run, Phase::Running, young), dead);
        assert_eq!(judge(Death::Code(1), Goal::Run, Phase::Booting, Duration::from_secs(9)), dead);
        assert_eq!(judge(Death::Code(0), Goal::Run, Phase::Running, young), Verdict::Over(Exit::Code(0)));
        assert_eq!(judge(Death::Code(1), Goal::Stop, Phase::Booting, young), Verdict::Over(Exit::Code(1)));
    }

    #[test]
    fn a_program_that_fails_has_failed_however_long_it_ran() {
        for age in [Duration::from_millis(5), Duration::from_secs(3600)] {
            let judge = |death, goal| super::judge(death, FirstProcess::Reaper, goal, Phase::Running, age);
            let code = |code| (Death::Code(code), Exit::Code(code));
            for (death, exit) in [code(3), code(143), (Death::Signal(9), Exit::Signal(9))] {
                assert_eq!(judge(death, Goal::Run), Verdict::Failed(exit));
                assert_eq!(judge(death, Goal::Stop), Verdict::Over(exit));
                assert_eq!(judge(death, Goal::Reboot), Verdict::Reboot);
            }
            assert_eq!(judge(Death::Code(0), Goal::Run), Verdict::Over(Exit::Code(0)));
            assert_eq!(judge(Death::Signal(libc::SIGHUP), Goal::Run), Verdict::Reboot);
        }
    }

    #[test]
    fn the_exit_code_is_the_tenants() {
        assert_eq!(exit_code(Exit::Poweroff, Goal::Run), 0);
        assert_eq!(exit_code(Exit::Code(7), Goal::Run), 7);
        assert_eq!(exit_code(Exit::Code(7), Goal::Stop), 7);
        assert_eq!(exit_code(Exit::Code(143), Goal::Run), 143);
        assert_eq!(exit_code(Exit::Code(143), Goal::Stop), 0);
        assert_eq!(exit_code(Exit::Signal(9), Goal::Stop), 0);
        assert_eq!(exit_code(Exit::Signal(9), Goal::Run), 1);
    }

    #[test]
    fn ten_short_boots_in_a_row_are_a_loop() {
        let mut guard = RebootGuard::default();
        for _ in 0..9 {
            assert!(guard.admits(Duration::from_secs(1)));
        }
        assert!(guard.admits(Duration::from_secs(11)));
        for _ in 0..9 {
            assert!(guard.admits(Duration::from_secs(1)));
        }
        assert!(!guard.admits(Duration::from_secs(1)));
    }

    #[test]
    fn reboots_before_the_first_readiness_share_one_deadline() {
        let (began, limit) = (Instant::now(), Duration::from_secs(90));
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut start = StartLimit::default();
        assert_eq!((start.deadline(), start.exceeded(at(1000))), (None, None));
        assert!(start.boots(began, limit));
        for boot in (11..=88).step_by(11) {
            assert!(!start.boots(at(boot), limit), "nobody is told of more time");
            assert_eq!((start.deadline(), start.spent(at(boot))), (Some(at(90)), None));
        }
        assert_eq!((start.exceeded(at(90)), start.spent(at(90))), (Some(limit), Some(limit)));
    }

    #[test]
    fn every_boot_after_the_first_readiness_has_the_whole_time() {
        let (began, limit) = (Instant::now(), Duration::from_secs(90));
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut start = StartLimit::default();
        assert!(start.boots(began, limit));
        start.ready();
        assert_eq!(start.spent(at(1000)), None, "it may reboot whenever it likes");
        assert!(!start.boots(at(1000), limit), "the unit is up");
        assert_eq!((start.deadline(), start.exceeded(at(1089))), (Some(at(1090)), None));
        assert_eq!(start.exceeded(at(1090)), Some(limit));
    }
}
