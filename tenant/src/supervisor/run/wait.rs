//! Waiting for the first of many things.

use std::{
    fs::File,
    io,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::ending::Ending;
use crate::{
    files::state::Phase,
    supervisor::{host::queue::Turn, process::Supervisor, terminals::console::Part},
};

/// How long to wait before the kernel, which has no memory for it, is asked again.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// What can become ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Source {
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
    /// A packet for a tenant that is parked.
    Packets,
    /// The files in which the tenant sees its limits.
    Limits,
    /// A packet for one that is stopped then.
    StandIn,
    /// What a pause waits for.
    Awaited,
}

fn until(deadline: Option<Instant>, now: Instant) -> io::Result<Option<Timespec>> {
    // Rounded up: to wake up a moment early would be to spin.
    let left = deadline.map(|at| at.saturating_duration_since(now) + Duration::from_millis(1));
    Ok(left.map(Timespec::try_from).transpose().map_err(|_| io::ErrorKind::InvalidInput)?)
}

impl Supervisor {
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
            self.accept_retry.at().filter(|at| *at > now),
            self.machine.deadline(),
            self.turn.as_ref().map(Turn::until),
            self.memory.as_ref().and_then(|memory| memory.deadline(now)),
            self.ending.as_ref().map(Ending::deadline),
            self.init.as_mut().and_then(|init| init.budget.closed_until(now)),
            self.conversations.deadline(),
            self.parking.deadline(self.phase(), self.says_ready()),
            self.consoles.deadline(takes_logins, now),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Waits for the first of all that can become ready, for `also`, and for what is due first, at most until
    /// `end`.
    pub(in crate::supervisor) fn wait(
        &mut self,
        also: Option<BorrowedFd<'_>>,
        end: Option<Instant>,
        now: Instant,
    ) -> io::Result<Vec<(Source, PollFlags)>> {
        let timeout = until(self.deadline(now).into_iter().chain(end).min(), now)?;
        let mut sources = vec![Source::Signals];
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if self.accept_retry.at().is_none_or(|at| now >= at) {
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
        if let Some(view) = self.init.as_ref().and_then(|init| init.view.as_ref()) {
            sources.push(Source::Limits);
            fds.push(PollFd::new(view, PollFlags::IN));
        }
        if let Some(memory) = self.memory.as_ref().filter(|memory| memory.muted_until(now).is_none()) {
            sources.push(Source::Memory);
            fds.push(PollFd::new(memory, memory.interest()));
        }
        if let Some(news) = self.ending.as_ref().and_then(Ending::news) {
            sources.push(Source::StopCommand);
            fds.push(PollFd::from_borrowed_fd(news, PollFlags::IN));
        }
        if let Some(parked) = &self.parking.parked {
            sources.push(Source::Packets);
            fds.push(PollFd::new(&parked.trap, PollFlags::IN));
        }
        if let Some(stand_in) = self.parking.away.as_ref().and_then(|away| away.stand_in.as_ref()) {
            sources.push(Source::StandIn);
            fds.push(PollFd::new(stand_in, PollFlags::IN));
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
            Err(rustix::io::Errno::NOMEM | rustix::io::Errno::AGAIN) => std::thread::sleep(RETRY_INTERVAL),
            Err(error) => return Err(error.into()),
        }
        let flags = fds.iter().map(PollFd::revents);
        Ok(sources.into_iter().zip(flags).filter(|(_, flags)| !flags.is_empty()).collect())
    }

    /// `cgroup.events`, opened and read again so that any change after this moment is seen.
    fn freezer(&self) -> Option<File> {
        self.conversations.0.iter().find(|conversation| conversation.freezing.is_some())?;
        let events = self.plan.as_ref()?.cgroup.payload.join("cgroup.events");
        let mut file = File::open(events).ok()?;
        io::copy(&mut file, &mut io::sink()).ok()?;
        Some(file)
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
