//! What the host's journal is told of a tenant's life.

use log::Level;

use super::notify::Manager;
use crate::{
    cause::chain,
    files::state::{Exit, Phase},
    journal::{self, id},
    model::{name::TenantName, park::WakeReason},
    supervisor::{
        error::{Failed, RunError, how},
        park::packet::{Call, service_word},
        process::Supervisor,
        run::lifecycle::Goal,
    },
};

impl Supervisor {
    /// Image and version that it boots; nothing before the first plan.
    fn image(&self) -> Option<String> {
        self.plan.as_ref().map(|plan| format!("{}@{}", plan.image_name, plan.digest))
    }

    fn report(&self, level: Level, message_id: &str, more: &[(&str, &str)], text: &str) {
        let image = self.image();
        let mut fields = more.to_vec();
        fields.extend(image.as_deref().map(|image| ("IMAGE", image)));
        journal::event(level, message_id, &fields, &format!("tenant {:?} {text}", self.name.as_str()));
    }

    /// It is up.
    pub(in crate::supervisor) fn report_ready(&self) {
        let took = self.state.as_ref().and_then(|state| state.ready_us).unwrap_or_default();
        self.report(Level::Info, id::READY, &[], &format!("is up after {} ms", took / 1000));
    }

    /// Its init ended, and that is all.
    pub(in crate::supervisor) fn report_end(&self, exit: Exit, goal: Goal) {
        let (level, id, text) = match (goal, exit) {
            (Goal::Stop | Goal::Reboot | Goal::Park, _) => {
                (Level::Info, id::STOPPED, "has stopped".to_owned())
            }
            (Goal::Run, Exit::Poweroff) => {
                (Level::Info, id::POWERED_OFF, "was powered off from inside".to_owned())
            }
            (Goal::Run, Exit::Code(0)) => {
                (Level::Info, id::STOPPED, "ended by itself, without an error".to_owned())
            }
            (Goal::Run, exit) => (Level::Error, id::INIT_DIED, format!("ended: its init {}", how(&exit))),
        };
        self.report(level, id, &[], &text);
    }

    /// It is parked.
    pub(in crate::supervisor) fn report_parked(&self) {
        let is_stopped = self.state.as_ref().and_then(|state| state.parked).is_some_and(|said| said.stopped);
        let (way, text) = match is_stopped {
            true => ("stopped", "is idle and has been parked: it is stopped until it is needed"),
            false => ("frozen", "is idle and has been parked"),
        };
        self.report(Level::Info, id::PARKED, &[("WAY", way)], text);
    }

    /// It was parked and is running again.
    pub(in crate::supervisor) fn report_woken(&self, reason: WakeReason, call: Option<Call>) {
        let mut fields = vec![("REASON", reason.as_str())];
        let call = call.map(|call| (call.from.ip().to_string(), service_word(call.service)));
        let mut text = format!("was parked and has woken: {reason}");
        if let Some((from, to)) = &call {
            text.push_str(&format!(" from {from} to port {to}"));
            fields.extend([("FROM", from.as_str()), ("PORT", to.as_str())]);
        }
        self.report(Level::Info, id::WOKEN, &fields, &text);
    }

    /// It is built again.
    pub(in crate::supervisor) fn report_reboot(&self, goal: Goal) {
        let text = if goal == Goal::Run { "was rebooted from inside" } else { "is rebooting on request" };
        self.report(Level::Info, id::REBOOTED, &[], text);
    }

    /// It was stopped before it had an init.
    pub(in crate::supervisor) fn report_called_off(&self) {
        self.report(Level::Info, id::STOPPED, &[], "was stopped before it was up");
    }

    /// It did not end in time.
    pub(in crate::supervisor) fn report_kill(&self, reason: &str) {
        self.report(Level::Warn, id::KILLED, &[], &format!("is being killed: {reason}"));
    }

    /// The kernel killed this many of its processes.
    pub(in crate::supervisor) fn report_out_of_memory(&self, killed: u64) {
        let text = format!("is out of memory: the kernel killed {killed} of its processes");
        let killed = killed.to_string();
        self.report(Level::Warn, id::OUT_OF_MEMORY, &[("KILLED", &killed)], &text);
    }

    /// It cannot be kept running. `phase` is the one before.
    pub(in crate::supervisor) fn report_failure(&self, failed: &Failed, phase: Phase, message: &str) {
        let image = self.image();
        let image = image.as_deref().map(|image| ("IMAGE", image));
        report_failure(&self.name, failed, phase, message, image);
    }
}

/// A supervisor that could not begin.
pub(in crate::supervisor) fn report_refusal(name: &TenantName, failed: &Failed) {
    let message = chain(&*failed.error);
    Manager::from_environment().tell_failure(&message);
    report_failure(name, failed, Phase::Starting, &message, None);
}

fn report_failure(
    name: &TenantName,
    failed: &Failed,
    phase: Phase,
    message: &str,
    image: Option<(&str, &str)>,
) {
    let name = name.as_str();
    let started = !matches!(phase, Phase::Starting | Phase::Booting);
    let (id, text) = match &*failed.error {
        RunError::ProgramFailed(_) => (id::INIT_DIED, format!("tenant {name:?} failed: {message}")),
        RunError::Died(_) => (id::INIT_DIED, format!("cannot start tenant {name:?}: {message}")),
        _ if started => (id::SUPERVISION_FAILED, format!("cannot keep tenant {name:?} running: {message}")),
        _ => (id::START_FAILED, format!("cannot start tenant {name:?}: {message}")),
    };
    let mut text = text;
    for line in &failed.console {
        text.push_str(&format!("\nconsole: {line}"));
    }
    if let Some(help) = failed.error.help() {
        text.push_str(&format!("\nhelp: {}", help.replace("NAME", name)));
    }
    let mut fields = vec![("STEP", failed.error.step())];
    fields.extend(image);
    journal::event(Level::Error, id, &fields, &text);
}

impl RunError {
    /// The step of a start that it kept from being done.
    fn step(&self) -> &'static str {
        match self {
            Self::NotRoot | Self::Busy(_) | Self::File(_) | Self::Io { .. } => "supervisor",
            Self::Load(_) => "plan",
            Self::Unprepared { .. } => "prepare",
            Self::Unit(_) => "cgroup",
            Self::Sweep(_) => "sweep",
            Self::Start(error) => error.step,
            Self::Died(_) | Self::ProgramFailed(_) | Self::NotReady(_) => "boot",
            Self::RebootLoop => "reboot",
        }
    }
}
