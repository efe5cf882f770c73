//! The loop: waits for the first of many things, and handles what came.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{WaitOptions, wait},
};

use super::{
    lifecycle::{Death, Wish},
    stop::Ending,
};
use crate::{
    files::state::Phase,
    kernel::raw,
    plan::{FirstProcess, Plan},
    protocol::{
        control::{Reply, Request, StartedPlan, Status},
        socket,
    },
    supervisor::{
        RunError, Supervisor,
        host::{
            notify::{self, Heard},
            queue::Turn,
        },
        terminals::{console::Part, getty::Inside},
    },
};

/// How long the processes of a tenant may take to come to rest.
const FREEZE_DEADLINE: Duration = Duration::from_secs(5);
/// How long to wait before the kernel, which has no memory for it, is asked again.
const BREATH: Duration = Duration::from_millis(50);
/// Without an event for this long the supervisor gives memory back.
const REST: Duration = Duration::from_secs(1);
/// Most lines of a console in one answer.
const MAX_LINES: u16 = 1000;
/// Most bytes of a log that are looked at for it.
const MAX_TAIL: usize = 128 << 10;
/// Most messages of an init read at a time.
const MAX_MESSAGES: usize = 16;

/// What can become ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Signals,
    ConsoleListener,
    ControlListener,
    Notify,
    /// `memory.events` of the payload.
    Memory,
    /// `cgroup.events` of the payload, while a freeze or thaw is awaited.
    Freezer,
    Conversation(usize),
    Consoles(Part),
    /// The stop command that is on its way into the tenant.
    StopCommand,
    /// What a pause waits for.
    Awaited,
}

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

fn until(deadline: Option<Instant>, now: Instant) -> io::Result<Option<Timespec>> {
    // Rounded up: to wake up a moment early would be to spin.
    let left = deadline.map(|at| at.saturating_duration_since(now) + Duration::from_millis(1));
    Ok(left.map(Timespec::try_from).transpose().map_err(|_| io::ErrorKind::InvalidInput)?)
}

impl Supervisor {
    /// Keeps the tenant until its end; returns the exit code that stands for it.
    pub(in crate::supervisor) fn supervise(&mut self) -> Result<u8, RunError> {
        loop {
            let now = Instant::now();
            self.tick(now)?;
            let ready = self.wait(None, None, now).map_err(RunError::io("wait for", "events"))?;
            let now = Instant::now();
            self.rest(!ready.is_empty(), now);
            for (source, flags) in ready {
                if let Some(code) = self.handle(source, flags, now)? {
                    return Ok(code);
                }
            }
        }
    }

    /// Before a boot: waits for a descriptor or a moment, and serves whoever asks meanwhile. Returns early when the
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
            for (source, flags) in &ready {
                // No init is there whose end could stand for an exit code.
                self.handle(*source, *flags, now)?;
            }
            if ready.iter().any(|(source, _)| *source == Source::Awaited) {
                return Ok(Woken::Ready);
            }
        }
    }

    /// After a moment without events gives back the heap that handling them took.
    fn rest(&mut self, is_busy: bool, now: Instant) {
        if is_busy {
            self.rest_at = Some(now + REST);
        } else if self.rest_at.is_some_and(|at| now >= at) {
            self.rest_at = None;
            raw::trim_heap();
        }
    }

    /// Does what is due.
    fn tick(&mut self, now: Instant) -> Result<(), RunError> {
        self.press(now);
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

    fn start_deadline(&self) -> Option<Instant> {
        self.start_limit.deadline().filter(|_| self.phase() == Phase::Booting)
    }

    /// When something is due without any event.
    fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let takes_logins = self.phase() == Phase::Running;
        [
            self.start_deadline(),
            self.rest_at,
            self.manager.deadline(),
            self.unpublished.at(),
            self.deaf.at().filter(|at| *at > now),
            self.machine.deadline(),
            self.turn.as_ref().map(Turn::until),
            self.memory.as_ref().and_then(|memory| memory.deadline(now)),
            self.ending.as_ref().map(Ending::deadline),
            self.init.as_mut().and_then(|init| init.budget.closed_until(now)),
            self.conversations.deadline(),
            self.consoles.deadline(takes_logins, now),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Waits for the first of all that can become ready, for `also`, and for what is due first, at most until
    /// `end`.
    fn wait(
        &mut self,
        also: Option<BorrowedFd<'_>>,
        end: Option<Instant>,
        now: Instant,
    ) -> io::Result<Vec<(Source, PollFlags)>> {
        let timeout = until(self.deadline(now).into_iter().chain(end).min(), now)?;
        let mut sources = vec![Source::Signals];
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if self.deaf.at().is_none_or(|at| now >= at) {
            sources.extend([Source::ConsoleListener, Source::ControlListener]);
            fds.push(PollFd::new(&self.console_listener, PollFlags::IN));
            fds.push(PollFd::new(&self.control_listener, PollFlags::IN));
        }
        if let Some(init) = &self.init
            && let (Some(notify), false) = (&init.notify, init.muted)
        {
            sources.push(Source::Notify);
            fds.push(PollFd::new(notify, PollFlags::IN));
        }
        if let Some(memory) = self.memory.as_ref().filter(|memory| memory.muted_until(now).is_none()) {
            sources.push(Source::Memory);
            fds.push(PollFd::new(memory, memory.interest()));
        }
        if let Some(news) = self.ending.as_ref().and_then(Ending::news) {
            sources.push(Source::StopCommand);
            fds.push(PollFd::from_borrowed_fd(news, PollFlags::IN));
        }
        if let Some(also) = also {
            sources.push(Source::Awaited);
            fds.push(PollFd::from_borrowed_fd(also, PollFlags::IN));
        }
        let freezer = self.freezer();
        if let Some(events) = &freezer {
            sources.push(Source::Freezer);
            fds.push(PollFd::new(events, PollFlags::PRI));
        }
        for (place, conversation) in self.conversations.0.iter().enumerate() {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, conversation.wants_output());
            sources.push(Source::Conversation(place));
            fds.push(PollFd::new(&conversation.stream, flags));
        }
        let mut parts = Vec::new();
        self.consoles.interest(&mut parts, &mut fds);
        sources.extend(parts.into_iter().map(Source::Consoles));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // The kernel is short of memory for a moment. A tenant is not ended for that.
            Err(rustix::io::Errno::NOMEM | rustix::io::Errno::AGAIN) => std::thread::sleep(BREATH),
            Err(error) => return Err(error.into()),
        }
        let flags = fds.iter().map(PollFd::revents);
        Ok(sources.into_iter().zip(flags).filter(|(_, flags)| !flags.is_empty()).collect())
    }

    /// `cgroup.events`, opened and read anew so that any change after this moment is seen.
    fn freezer(&self) -> Option<File> {
        self.conversations.0.iter().find(|conversation| conversation.freezing.is_some())?;
        let events = self.plan.as_ref()?.cgroup.payload.join("cgroup.events");
        let mut file = File::open(events).ok()?;
        io::copy(&mut file, &mut io::sink()).ok()?;
        Some(file)
    }

    fn handle(&mut self, source: Source, flags: PollFlags, now: Instant) -> Result<Option<u8>, RunError> {
        match source {
            Source::Signals => return self.take_signals(now),
            Source::ConsoleListener => {
                while let Some(stream) = self.accept(source, now) {
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
            Source::Freezer => self.settle_freezes(now),
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
                self.deaf.done();
                client
            }
            Err(error) => {
                if self.deaf.failed(now) {
                    log::warn!("tenant {:?}: cannot accept connections for now: {error}", self.name.as_str());
                }
                None
            }
        }
    }

    fn take_signals(&mut self, now: Instant) -> Result<Option<u8>, RunError> {
        let asked = self.signals.take().map_err(RunError::io("read", "signals"))?;
        if asked.stop {
            self.ask_to_end(Wish::Stop, None)?;
        }
        if asked.children {
            return self.reap(now);
        }
        Ok(None)
    }

    /// Collects every child that ended; several may stand behind one SIGCHLD.
    fn reap(&mut self, now: Instant) -> Result<Option<u8>, RunError> {
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
        match death {
            // What init said last may still be in its socket.
            Some(death) => {
                self.hear_init(now)?;
                self.init_ended(death)
            }
            None => Ok(None),
        }
    }

    fn hear_init(&mut self, now: Instant) -> Result<(), RunError> {
        for _ in 0..MAX_MESSAGES {
            let Some(init) = &mut self.init else { return Ok(()) };
            let Some(notify) = &init.notify else { return Ok(()) };
            let process = self.plan.as_ref().map_or(FirstProcess::Program, |plan| plan.init.process);
            let report = match notify::receive(notify, Heard { init: init.pid, process }) {
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

    fn converse(&mut self, place: usize, flags: PollFlags) -> Result<(), RunError> {
        let conversation = &mut self.conversations.0[place];
        if flags.contains(PollFlags::OUT) {
            conversation.flush();
        }
        let request = if flags.contains(PollFlags::IN) { conversation.read() } else { None };
        if flags.intersects(PollFlags::HUP | PollFlags::ERR) && request.is_none() {
            conversation.hang_up();
        }
        let Some(request) = request else { return Ok(()) };
        let reply = self.answer(request, place)?;
        if let Some(reply) = reply {
            self.conversations.0[place].answer(&reply);
        }
        Ok(())
    }

    /// Does what was asked; none when the answer has to wait.
    fn answer(&mut self, request: Request, place: usize) -> Result<Option<Reply>, RunError> {
        let runs = matches!(self.phase(), Phase::Booting | Phase::Running);
        let refused =
            || Reply::refused(format!("the tenant is {:?}", self.phase()).to_lowercase(), "wait for it");
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
                self.ask_to_end(Wish::Stop, limit)?;
                Reply::done()
            }
            Request::Kill {} => {
                self.kill()?;
                Reply::done()
            }
            Request::Reboot {} if runs => {
                self.ask_to_end(Wish::Reboot, None)?;
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
            Request::Reboot {} | Request::Freeze {} | Request::Thaw {} => refused(),
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

    /// Answers those who wait for the processes to come to rest, or to go on.
    fn settle_freezes(&mut self, now: Instant) {
        if self.conversations.0.iter().all(|conversation| conversation.freezing.is_none()) {
            return;
        }
        let frozen = self.is_frozen();
        let mut give_up = false;
        for conversation in &mut self.conversations.0 {
            let Some(deadline) = conversation.freezing else { continue };
            if conversation.target == frozen {
                conversation.answer(&Reply::done());
            } else if now >= deadline {
                give_up |= conversation.target;
                conversation.answer(&Reply::refused(
                    "its processes did not freeze or thaw within 5 s",
                    "find processes in uninterruptible sleep: ps -eo pid,state,comm | grep ' D '",
                ));
            }
        }
        if give_up && let Err(error) = self.set_frozen(false) {
            log::warn!("cannot thaw tenant {:?} again: {error}", self.name.as_str());
        }
    }

    /// Sends viewers what they have not been sent yet, for the last time.
    pub(in crate::supervisor) fn wait_for_viewers(&mut self, end: Instant) -> io::Result<()> {
        let now = Instant::now();
        let timeout = until(Some(end), now)?;
        let (mut parts, mut fds) = (Vec::new(), Vec::new());
        self.consoles.interest(&mut parts, &mut fds);
        poll(&mut fds, timeout.as_ref())?;
        let flags: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        for (part, flags) in parts.into_iter().zip(flags).filter(|(_, flags)| !flags.is_empty()) {
            self.consoles.handle(part, flags, now);
        }
        self.consoles.tick(None, now);
        Ok(())
    }
}
