//! The last act of a supervisor.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{WaitOptions, wait};

use super::lifecycle;
use crate::{
    apply,
    cause::chain,
    files::state::Failure,
    kernel::forwarding6_release,
    plan::{NicPlan, port_group},
    protocol::wire::{Event, Tty},
    supervisor::{
        error::{Failed, RunError},
        process::Supervisor,
    },
};

/// Lines of the console that go with a failure.
const CONSOLE_LINES: usize = 20;
/// How long viewers may take to hear the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

impl Supervisor {
    /// The last act: leaves nothing behind but the final state.
    pub(in crate::supervisor) fn finish(mut self, result: Result<u8, RunError>) -> Result<u8, Failed> {
        self.init = None;
        self.kept = None;
        self.parking.away = None;
        self.consoles.disconnect(Instant::now());
        let exit = self.state.as_ref().and_then(|state| state.exit);
        let result = result.map_err(|error| self.fail(error));
        // Its own ports are about to go with its namespace.
        let ports = self.plan.iter().flat_map(|plan| &plan.nics).filter_map(NicPlan::port);
        let ports: Vec<&str> = ports.map(|port| port.host_name.as_str()).collect();
        let released = forwarding6_release(&self.layout.forwarding6(), port_group(&self.layout), &ports);
        if let Err(error) = released {
            // The next tenant that ends tries again, and so does hostd.
            log::warn!(
                "cannot reset IPv6 forwarding of this host, which no tenant needs any more: {}",
                chain(&error)
            );
        }
        self.consoles.dismiss_all(&Event::Ended { exit: exit.filter(|_| result.is_ok()) });
        self.drain_viewers();
        // Not every host's process 1 takes what others leave.
        while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
        self.manager.finish();
        if self.unpublished.at().is_some() {
            self.publish();
        }
        let (layout, name) = (&self.layout, &self.name);
        for path in [layout.console_socket(name), layout.control_socket(name), layout.exec_context(name)] {
            remove(&path);
        }
        result
    }

    /// Takes down what there is and writes down why.
    fn fail(&mut self, error: RunError) -> Failed {
        let leftovers = self
            .plan
            .as_ref()
            .map(|plan| apply::end(&self.kernel, plan, self.network.as_ref()))
            .unwrap_or_default();
        let mut message = chain(&error);
        for leftover in leftovers {
            message.push_str(&format!(" (and then: {})", chain(&leftover)));
        }
        let console = match &error {
            RunError::Died(_) | RunError::ProgramFailed(_) | RunError::NotReady(_) | RunError::RebootLoop => {
                self.consoles.last_lines(Tty::CONSOLE, CONSOLE_LINES)
            }
            _ => Vec::new(),
        };
        let help = error.help().map(|help| help.replace("NAME", self.name.as_str()));
        let failure = Failure { message, help, console: console.clone() };
        self.manager.tell_failure(&failure.message);
        let failed = Failed { error: Box::new(error), console };
        self.report_failure(&failed, self.phase(), &failure.message);
        if let Some(state) = &mut self.state {
            state.init = None;
            state.failure = Some(failure);
            // A phase that is final already stays what it is: the error below is what matters.
            let _ = self.enter(lifecycle::Event::Failed);
        }
        failed
    }

    /// Gives viewers a moment to take what they have not been sent yet.
    fn drain_viewers(&mut self) {
        let end = Instant::now() + DRAIN_TIMEOUT;
        while self.consoles.has_backlog() && Instant::now() < end {
            if self.wait_for_viewers(end).is_err() {
                return;
            }
        }
    }
}

/// Removes a socket that no process serves any more. Where it stays, the next supervisor replaces it.
fn remove(socket: &Path) {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::warn!("cannot remove {}: {error}", socket.display());
        }
        _ => {}
    }
}
