//! What happened between two things that a supervisor said of its tenant, pure.

use tenant::files::state::{Exit, Phase, RunState};
use wire::EventKind;

use super::What;

/// How an init ended.
pub(crate) fn ended(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited with {code}"),
        Exit::Poweroff => "powered off".to_owned(),
        Exit::Signal(signal) => format!("killed by signal {signal}"),
    }
}

/// What is told of a supervisor that is gone and has not said how its tenant ended.
pub(super) fn silent_end() -> What {
    What::new(EventKind::Stopped).because("its supervisor was killed")
}

/// What happened, in order. Something may have been said in between that nobody read.
pub(super) fn between(before: Option<&RunState>, after: &RunState) -> Vec<What> {
    let mut what = Vec::new();
    let is_another = |before: &&RunState| before.supervisor != after.supervisor;
    if before.filter(is_another).is_some_and(|before| !before.phase.is_final()) {
        what.push(silent_end());
    }
    let before = before.filter(|before| !is_another(before));
    let boots = before.map_or(0, |before| before.boots);
    let same_boot = before.filter(|before| before.boots == after.boots);
    let has_run = |state: &RunState| state.exec_us.is_some();
    if after.boots >= 1 && (has_run(after) || after.boots > 1) {
        let had_run =
            before.is_some_and(|before| before.boots > 1 || has_run(before) || before.woken.is_some());
        if !had_run {
            what.push(What::new(EventKind::Started));
        }
    }
    if after.boots > boots.max(1) {
        what.push(What::new(EventKind::Reboot).count(after.boots.into()));
    }
    if after.ready_us.is_some() && same_boot.is_none_or(|before| before.ready_us.is_none()) {
        what.push(What::new(EventKind::Ready));
    }
    let kills = |state: &RunState| state.oom_kills.unwrap_or_default();
    if kills(after) > same_boot.map_or(0, kills) {
        what.push(What::new(EventKind::OomKill).count(kills(after)));
    }
    let was = before.map(|before| before.phase);
    let woken = |state: &RunState| state.woken;
    if let Some(now) = after.woken.filter(|now| same_boot.and_then(woken) != Some(*now)) {
        if was.is_some_and(|was| was != Phase::Parked) || same_boot.is_none() {
            what.push(What::new(EventKind::Parked));
        }
        what.push(What::new(EventKind::Woken).because(now.why.as_str()));
    }
    if was == Some(after.phase) {
        return what;
    }
    match after.phase {
        Phase::Stopping => what.push(What::new(EventKind::Stopping)),
        Phase::Stopped => {
            what.extend(after.killed.as_ref().map(|reason| What::new(EventKind::Killed).because(reason)));
            let stopped = What::new(EventKind::Stopped);
            what.push(match after.exit {
                Some(exit) => stopped.because(ended(exit)),
                None => stopped,
            });
        }
        Phase::Failed => {
            let failed = What::new(EventKind::Failed);
            what.push(match (&after.failure, after.exit) {
                (Some(failure), _) => failed.because(&failure.message),
                (None, Some(exit)) => failed.because(ended(exit)),
                (None, None) => failed,
            });
        }
        Phase::Parked => what.push(What::new(EventKind::Parked)),
        Phase::Queued | Phase::Starting | Phase::Booting | Phase::Running => {}
    }
    what
}

#[cfg(test)]
mod tests {
    use tenant::{
        files::state::{Failure, ProcessRef},
        model::park::WakeReason,
    };

    use super::*;

    fn queued(pid: i32) -> RunState {
        RunState::queued(ProcessRef { pid, start_ticks: 1 }, std::path::Path::new("/x"), 1)
    }

    fn booted(pid: i32, boots: u32, is_ready: bool) -> RunState {
        let (phase, ready_us) = if is_ready { (Phase::Running, Some(9)) } else { (Phase::Booting, None) };
        RunState { boots, phase, exec_us: Some(5), ready_us, ..queued(pid) }
    }

    fn kinds(before: Option<&RunState>, after: &RunState) -> Vec<EventKind> {
        between(before, after).into_iter().map(|what| what.kind).collect()
    }

    #[test]
    fn a_life_is_told_step_by_step_and_also_when_steps_were_missed() {
        use EventKind::{Failed, Killed, OomKill, Parked, Ready, Reboot, Started, Stopped, Stopping, Woken};
        let (up, ready) = (booted(1, 1, false), booted(1, 1, true));
        let starting = RunState { phase: Phase::Starting, boots: 1, ..queued(1) };
        assert_eq!(kinds(None, &queued(1)), []);
        assert_eq!(kinds(Some(&queued(1)), &starting), []);
        assert_eq!(kinds(Some(&starting), &up), [Started]);
        assert_eq!(kinds(Some(&up), &ready), [Ready]);
        assert_eq!(kinds(None, &ready), [Started, Ready]);
        assert_eq!(kinds(Some(&ready), &ready), []);
        let rebooting =
            RunState { boots: 2, exec_us: None, ready_us: None, phase: Phase::Starting, ..ready.clone() };
        assert_eq!(kinds(Some(&ready), &rebooting), [Reboot]);
        assert_eq!(kinds(Some(&rebooting), &booted(1, 2, true)), [Ready]);
        assert_eq!(kinds(Some(&ready), &booted(1, 2, true)), [Reboot, Ready]);
        assert_eq!(kinds(None, &booted(1, 2, true)), [Started, Reboot, Ready]);
        let short = RunState { oom_kills: Some(2), ..ready.clone() };
        assert_eq!(kinds(Some(&ready), &short), [OomKill]);
        let stopping = RunState { phase: Phase::Stopping, ..ready.clone() };
        assert_eq!(kinds(Some(&ready), &stopping), [Stopping]);
        let stopped = RunState { phase: Phase::Stopped, exit: Some(Exit::Poweroff), ..ready.clone() };
        assert_eq!(kinds(Some(&stopping), &stopped), [Stopped]);
        assert_eq!(between(Some(&stopping), &stopped)[0].reason.as_deref(), Some("powered off"));
        let killed = RunState { killed: Some("it did not end".to_owned()), ..stopped.clone() };
        assert_eq!(kinds(Some(&ready), &killed), [Killed, Stopped]);
        let failure = Failure { message: "no init".to_owned(), help: None, console: Vec::new() };
        let failed = RunState { phase: Phase::Failed, failure: Some(failure), ..queued(2) };
        assert_eq!(kinds(Some(&stopped), &failed), [Failed]);
        let parked = RunState { phase: Phase::Parked, ..ready.clone() };
        let woken = Some(tenant::files::state::Woken { at_ms: 1, why: WakeReason::Packet });
        let waking = RunState { phase: Phase::Starting, woken, ..starting.clone() };
        let woke = RunState { woken, ..ready.clone() };
        assert_eq!(kinds(Some(&ready), &parked), [Parked]);
        assert_eq!(kinds(Some(&parked), &waking), [Woken]);
        assert_eq!(kinds(Some(&waking), &RunState { woken, ..up.clone() }), []);
        assert_eq!(kinds(Some(&waking), &woke), [Ready], "it is back");
        assert_eq!(kinds(Some(&parked), &woke), [Woken], "nothing was read in between");
        assert_eq!(
            kinds(Some(&ready), &booted(2, 1, true)),
            [Stopped, Started, Ready],
            "it was killed in between"
        );
    }
}
