//! The loop: what is due is done, and what came is handled.

use std::{
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use rustix::{
    event::PollFlags,
    process::{WaitOptions, wait},
};

use super::{
    lifecycle::{self, Death, Goal},
    wait::Source,
};
use crate::{
    files::state::Phase,
    kernel::raw,
    model::park::WakeReason,
    plan::FirstProcess,
    protocol::socket,
    supervisor::{
        error::RunError,
        host::notify::{self, NotifySender},
        process::Supervisor,
        terminals::getty::Inside,
    },
};

/// Without an event for this long the supervisor gives memory back.
const REST: Duration = Duration::from_secs(1);
/// Most messages of an init read at a time.
const MAX_MESSAGES: usize = 16;

/// What ended a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Woken {
    /// The tenant is to be stopped.
    Stop,
    /// The descriptor is ready.
    Ready,
    /// The time is over.
    Due,
}

impl Supervisor {
    /// Before a boot: waits for a descriptor or a moment, and serves a client that asks meanwhile. Returns early when the
    /// tenant is to be stopped.
    pub(in crate::supervisor) fn pause(
        &mut self,
        fd: Option<BorrowedFd<'_>>,
        end: Instant,
    ) -> Result<Woken, RunError> {
        loop {
            if self.is_called_off {
                return Ok(Woken::Stop);
            }
            let now = Instant::now();
            if now >= end {
                return Ok(Woken::Due);
            }
            self.tick(now)?;
            let ready = self.wait(fd, Some(end), now).map_err(RunError::io("wait for", "events"))?;
            let now = Instant::now();
            self.rest(!ready.is_empty(), now);
            for (source, flags) in &ready {
                // No init is there that could end.
                self.handle(*source, *flags, now)?;
            }
            if ready.iter().any(|(source, _)| *source == Source::Awaited) {
                return Ok(Woken::Ready);
            }
        }
    }

    /// After a moment without events gives back the heap and the stack that handling them took.
    pub(in crate::supervisor) fn rest(&mut self, is_busy: bool, now: Instant) {
        if is_busy {
            self.rest_at = Some(now + REST);
        } else if self.rest_at.is_some_and(|at| now >= at) {
            self.rest_at = None;
            if let Some(view) = self.init.as_mut().and_then(|init| init.view.as_mut()) {
                view.rest(now);
            }
            raw::trim_heap();
            raw::trim_stack();
        }
    }

    /// Does what is due.
    pub(in crate::supervisor) fn tick(&mut self, now: Instant) -> Result<(), RunError> {
        self.enforce_stop(now);
        if let (Some(limit), Phase::Booting) = (self.start_limit.exceeded(now), self.phase()) {
            return Err(RunError::NotReady(limit.as_secs()));
        }
        if let Some(init) = &mut self.init {
            init.muted = init.budget.closed_until(now).is_some();
        }
        self.manager.tick(now);
        if self.unpublished.is_due(now) {
            self.publish();
        }
        self.look_at_memory(now);
        self.machine.tick(now);
        self.turn.take_if(|turn| now >= turn.until());
        self.settle_freezes(now);
        self.tick_parking(now)?;
        self.tick_away(now);
        self.answer_pending()?;
        self.conversations.tick(now);
        let inside = match (&self.init, &self.plan, self.phase()) {
            (Some(init), Some(plan), Phase::Running) => {
                let (pid, pidfd) = (init.pid, init.pidfd.as_fd());
                Some(Inside { plan, v2_mount: &self.v2_mount, pid, pidfd })
            }
            _ => None,
        };
        self.consoles.tick(inside.as_ref(), now);
        Ok(())
    }

    /// Handles what has become ready; returns the end of init, if that was it.
    pub(in crate::supervisor) fn handle(
        &mut self,
        source: Source,
        flags: PollFlags,
        now: Instant,
    ) -> Result<Option<Death>, RunError> {
        match source {
            Source::Signals => return self.take_signals(now),
            Source::ConsoleListener => {
                while let Some(stream) = self.accept(source, now) {
                    self.wake(WakeReason::Attach, now)?;
                    self.consoles.admit(stream, now);
                }
            }
            Source::ControlListener => {
                while let Some(stream) = self.accept(source, now) {
                    self.conversations.admit(stream, now);
                }
            }
            Source::Notify => self.hear_init(now)?,
            Source::Memory => self.hear_of_memory(now),
            Source::Limits => self.show_limits(now),
            Source::Freezer => self.settle_freezes(now),
            Source::Packets => self.wake(WakeReason::Packet, now)?,
            Source::StandIn => self.take_packets(),
            Source::Conversation(place) => self.converse(place, flags)?,
            Source::Consoles(part) => self.consoles.handle(part, flags, now),
            Source::StopCommand => self.follow_stop_command(None, now),
            // The pause that waits for it looks itself.
            Source::Awaited => {}
        }
        Ok(None)
    }

    /// The next client of a listener. One that cannot be taken is left waiting for a while: to be told of it at once
    /// again would be to spin.
    fn accept(&mut self, source: Source, now: Instant) -> Option<UnixStream> {
        let listener =
            if source == Source::ConsoleListener { &self.console_listener } else { &self.control_listener };
        match socket::accept(listener, self.group) {
            Ok(client) => {
                self.accept_retry.done();
                client
            }
            Err(error) => {
                if self.accept_retry.failed(now) {
                    log::warn!("tenant {:?}: cannot accept connections for now: {error}", self.name.as_str());
                }
                None
            }
        }
    }

    fn take_signals(&mut self, now: Instant) -> Result<Option<Death>, RunError> {
        let asked = self.signals.take().map_err(RunError::io("read", "signals"))?;
        if asked.stop {
            self.ask_to_end(Goal::Stop, None)?;
        }
        if asked.children {
            return self.reap(now);
        }
        Ok(None)
    }

    /// Collects every child that ended; several may stand behind one SIGCHLD.
    fn reap(&mut self, now: Instant) -> Result<Option<Death>, RunError> {
        let mut death = None;
        loop {
            let (pid, status) = match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => (pid.as_raw_nonzero().get(), status),
                Err(rustix::io::Errno::INTR) => continue,
                Ok(None) | Err(_) => break,
            };
            if self.init.as_ref().is_some_and(|init| init.pid == pid) {
                let code = status.exit_status().map(Death::Code);
                death = code.or_else(|| status.terminating_signal().map(Death::Signal));
            }
            self.machine.ended(pid, status.exit_status() == Some(0), now);
            self.follow_stop_command(Some((pid, status)), now);
        }
        if death.is_some() {
            // What init said last may still be in its socket.
            self.hear_init(now)?;
        }
        Ok(death)
    }

    fn hear_init(&mut self, now: Instant) -> Result<(), RunError> {
        for _ in 0..MAX_MESSAGES {
            let Some(init) = &mut self.init else { return Ok(()) };
            let Some(notify) = &init.notify else { return Ok(()) };
            let process = self.plan.as_ref().map_or(FirstProcess::Program, |plan| plan.init.process);
            let report = match notify::receive(notify, NotifySender { init: init.pid, process }) {
                Ok(Some(report)) => report,
                // A message that cannot be taken now is still there when it is tried next; init's end is heard of
                // otherwise.
                Ok(None) | Err(_) => return Ok(()),
            };
            init.budget.take(now, 1);
            if let Some(status) = report.status.filter(|status| !status.is_empty())
                && let Some(state) = &mut self.state
                && state.status.as_ref() != Some(&status)
            {
                state.status = Some(status);
                self.publish();
                self.tell_status();
            }
            if report.ready && self.phase() == Phase::Booting {
                self.ready(now)?;
            }
        }
        Ok(())
    }

    /// Answers what processes of the tenant ask of the files in which it sees its limits.
    pub(in crate::supervisor) fn show_limits(&mut self, now: Instant) {
        let Some(init) = &mut self.init else { return };
        if let Some(Err(error)) = init.view.as_mut().map(|view| view.serve(now)) {
            // It has unmounted them, everywhere.
            log::debug!(
                "tenant {:?} has no files any more that tell its limits: {error}",
                self.name.as_str()
            );
            init.view = None;
        }
    }

    /// Init is ready.
    pub(in crate::supervisor) fn ready(&mut self, now: Instant) -> Result<(), RunError> {
        let ready_us = self.since_boot_began(now);
        if let Some(state) = &mut self.state {
            state.ready_us = Some(ready_us);
        }
        self.consoles.booted(now);
        self.start_limit.ready();
        self.turn = None;
        self.watch_idleness(now);
        self.arrived(now);
        self.enter(lifecycle::Event::Ready)?;
        self.manager.tell("READY=1");
        self.tell_status();
        self.report_ready();
        Ok(())
    }

    /// Microseconds since the present boot began.
    pub(in crate::supervisor) fn since_boot_began(&self, now: Instant) -> u64 {
        (now - self.boot_began).as_micros() as u64
    }
}
