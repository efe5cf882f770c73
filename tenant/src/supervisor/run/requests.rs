//! What is asked over `control.sock`.

use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::{lifecycle::Goal, park::Refusal};
use crate::{
    files::state::Phase,
    model::park::WakeReason,
    plan::Plan,
    protocol::control::{Reply, Request, StartedPlan, Status},
    supervisor::{error::RunError, process::Supervisor},
};

/// How long the processes of a tenant may take to come to rest.
const FREEZE_DEADLINE: Duration = Duration::from_secs(5);
/// Most lines of a console in one answer.
const MAX_LINES: u16 = 1000;
/// Most bytes of a log that are looked at for it.
const MAX_TAIL: usize = 128 << 10;

impl Supervisor {
    pub(in crate::supervisor) fn converse(&mut self, place: usize, flags: PollFlags) -> Result<(), RunError> {
        let conversation = &mut self.conversations.0[place];
        if flags.contains(PollFlags::OUT) {
            conversation.flush();
        }
        let request = if flags.contains(PollFlags::IN) { conversation.read() } else { None };
        if flags.intersects(PollFlags::HUP | PollFlags::ERR) && request.is_none() {
            conversation.hang_up();
        }
        let Some(request) = request else { return Ok(()) };
        if let Some(reason) = wakes_for(&request).filter(|_| self.is_away())
            && !matches!(request, Request::Stop { .. })
        {
            self.wake(reason, Instant::now())?;
            self.conversations.0[place].pending = Some(request);
            return Ok(());
        }
        self.reply(request, place)
    }

    /// Answers what has had to wait until the tenant is back.
    pub(in crate::supervisor) fn answer_pending(&mut self) -> Result<(), RunError> {
        if self.is_away() {
            return Ok(());
        }
        for place in 0..self.conversations.0.len() {
            if let Some(request) = self.conversations.0[place].pending.take() {
                self.reply(request, place)?;
            }
        }
        Ok(())
    }

    fn reply(&mut self, request: Request, place: usize) -> Result<(), RunError> {
        let reply = self.answer(request, place)?;
        if let Some(reply) = reply {
            self.conversations.0[place].answer(&reply);
        }
        // Not sooner: that waits for the kernel's readers of mounts.
        self.remains.clear();
        Ok(())
    }

    /// Does what was asked; none when the answer has to wait.
    fn answer(&mut self, request: Request, place: usize) -> Result<Option<Reply>, RunError> {
        if let Some(reason) = wakes_for(&request) {
            self.wake(reason, Instant::now())?;
        }
        let runs = matches!(self.phase(), Phase::Booting | Phase::Running);
        let refused = || Reply::refused(format!("the tenant is {}", self.phase()), "wait for it");
        let reply = match request {
            Request::Status {} => match &self.state {
                Some(state) => {
                    let (state, frozen) = (state.clone(), self.is_frozen());
                    let status = Status { state, frozen, viewers: self.consoles.viewers() };
                    Reply { status: Some(Box::new(status)), ..Reply::done() }
                }
                None => refused(),
            },
            Request::Stop { timeout_sec } => {
                let limit = timeout_sec.map(|seconds| Duration::from_secs(seconds.into()));
                self.ask_to_end(Goal::Stop, limit)?;
                Reply::done()
            }
            Request::Kill {} => {
                self.kill()?;
                Reply::done()
            }
            Request::Reboot {} if runs => {
                self.ask_to_end(Goal::Reboot, None)?;
                Reply::done()
            }
            Request::Freeze {} | Request::Thaw {} if runs => {
                let freeze = request == Request::Freeze {};
                match self.set_frozen(freeze) {
                    Ok(()) if self.is_frozen() == freeze => Reply::done(),
                    Ok(()) => {
                        let conversation = &mut self.conversations.0[place];
                        conversation.freezing = Some(Instant::now() + FREEZE_DEADLINE);
                        conversation.target = freeze;
                        return Ok(None);
                    }
                    Err(error) => Reply::refused(
                        format!("cannot write cgroup.freeze: {error}"),
                        "check the state of the tenant: tenantctl show NAME",
                    ),
                }
            }
            Request::Wake { .. } if runs => Reply::done(),
            Request::Park {} => self.park_on_request()?,
            Request::Swap { image, digest } if runs => self.swap(&image, &digest),
            Request::Reboot {}
            | Request::Freeze {}
            | Request::Thaw {}
            | Request::Wake { .. }
            | Request::Swap { .. } => refused(),
            Request::ConsoleTail { tty, lines } => {
                let lines = self.consoles.tail(tty, lines.min(MAX_LINES).into(), MAX_TAIL);
                Reply { lines: Some(lines), ..Reply::done() }
            }
            Request::Plan {} => {
                let text = |plan: &Plan| Some((plan.to_string(), serde_json::to_value(plan).ok()?));
                match self.plan.as_ref().and_then(text) {
                    Some((text, plan)) => {
                        Reply { plan: Some(Box::new(StartedPlan { text, plan })), ..Reply::done() }
                    }
                    None => refused(),
                }
            }
        };
        Ok(Some(reply))
    }

    fn park_on_request(&mut self) -> Result<Reply, RunError> {
        let phase = self.phase();
        Ok(match phase {
            Phase::Parked => Reply::done(),
            Phase::Running => match self.park_now()? {
                Ok(()) => Reply::done(),
                Err(Refusal::Busy(busy)) => Reply::refused(busy.to_string(), "park it when it is idle"),
                Err(Refusal::Kernel(error)) => {
                    Reply::refused(error, "check that the kernel has CONFIG_CGROUP_BPF")
                }
            },
            _ => Reply::refused(format!("the tenant is {phase}"), "wait for it"),
        })
    }
}

/// Why a tenant that is parked wakes for a request; none for those that are answered without it.
fn wakes_for(request: &Request) -> Option<WakeReason> {
    match request {
        Request::Status {}
        | Request::ConsoleTail { .. }
        | Request::Plan {}
        | Request::Kill {}
        | Request::Park {} => None,
        Request::Wake { why } => Some(*why),
        Request::Stop { .. }
        | Request::Reboot {}
        | Request::Freeze {}
        | Request::Thaw {}
        | Request::Swap { .. } => Some(WakeReason::Admin),
    }
}
