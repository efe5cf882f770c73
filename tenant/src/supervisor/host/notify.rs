//! sd_notify(3) in both directions: what init tells its supervisor, what the supervisor tells the
//! unit manager.

use std::{
    env, fs, io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::{Duration, Instant},
};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg};

use crate::{
    files::state::{Phase, RunState},
    plan::FirstProcess,
    protocol::escape::one_line,
    supervisor::run::retry::Retry,
};

/// Longest datagram of an init that is looked at, bytes.
const MAX_DATAGRAM: usize = 4096;
/// Longest status, bytes.
const MAX_STATUS: usize = 256;

/// What is honoured of an init's message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::supervisor) struct Report {
    /// `READY=1`.
    pub(in crate::supervisor) ready: bool,
    /// `STATUS=`: one line, at most 256 bytes.
    pub(in crate::supervisor) status: Option<String>,
}

impl Report {
    /// Takes `READY` and `STATUS` from a message and nothing else.
    pub(in crate::supervisor) fn parse(message: &[u8]) -> Self {
        let mut report = Self::default();
        for line in message.split(|byte| *byte == b'\n') {
            if line == b"READY=1" {
                report.ready = true;
            } else if let Some(status) = line.strip_prefix(b"STATUS=") {
                let mut status = one_line(&String::from_utf8_lossy(status), MAX_STATUS);
                while status.len() > MAX_STATUS {
                    status.pop();
                }
                report.status = Some(status);
            }
        }
        report
    }
}

/// Who is heard on a tenant's notify socket.
#[derive(Clone, Copy, Debug)]
pub(in crate::supervisor) struct NotifySender {
    /// Process 1, as the host numbers it.
    pub(in crate::supervisor) init: i32,
    /// What it is: a program that is the child of a reaper is heard as well.
    pub(in crate::supervisor) process: FirstProcess,
}

impl NotifySender {
    fn accepts(self, sender: i32) -> bool {
        sender == self.init || (self.process == FirstProcess::Reaper && parent(sender) == Some(self.init))
    }
}

/// The parent of a process that has not ended yet, see proc_pid_stat(5).
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The next message on a tenant's notify socket; empty unless it is from one who is heard, none when there
/// is no message.
pub(in crate::supervisor) fn receive(socket: &OwnedFd, heard: NotifySender) -> io::Result<Option<Report>> {
    let mut bytes = [0; MAX_DATAGRAM];
    // Room for the credentials alone: descriptors that come along (FDSTORE=1) find none and are closed.
    let mut space = nix::cmsg_space!(UnixCredentials);
    let mut parts = [io::IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
        Ok(message) => message,
        Err(nix::errno::Errno::EAGAIN) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let is_heard = message.cmsgs()?.any(
        |control| matches!(control, ControlMessageOwned::ScmCredentials(sender) if heard.accepts(sender.pid())),
    );
    let whole = !message.flags.contains(MsgFlags::MSG_TRUNC);
    let length = message.bytes;
    Ok(Some(if is_heard && whole { Report::parse(&bytes[..length]) } else { Report::default() }))
}

/// What `systemctl status` shows of a tenant. `stop_limit` is what it has to end, seconds.
pub(in crate::supervisor) fn status_line(state: &RunState, stop_limit: u64) -> String {
    let phase = match state.phase {
        Phase::Queued => "Waiting to boot",
        Phase::Starting => "Starting",
        Phase::Booting => "Booting",
        Phase::Running => "Running",
        Phase::Parked => "Parked",
        Phase::Stopping => "Stopping",
        Phase::Stopped => "Stopped",
        Phase::Failed => "Failed",
    };
    let mut line = phase.to_owned();
    if state.phase == Phase::Stopping {
        line.push_str(&format!(", killed after {stop_limit} s"));
    }
    if state.boots > 1 {
        line.push_str(&format!(", boot {}", state.boots));
    }
    if let Some(kills) = state.oom_kills {
        line.push_str(&format!(", {kills} killed by the OOM killer"));
    }
    if let Some(status) = &state.status {
        line.push_str(&format!(": {status}"));
    }
    line
}

/// What gives the unit manager patience, see sd_notify(3).
pub(in crate::supervisor) fn extension(patience: Duration) -> String {
    format!("EXTEND_TIMEOUT_USEC={}", patience.as_micros())
}

/// The unit manager that started this supervisor.
///
/// A message that cannot be sent for the moment, because this process has no descriptor left or the manager's
/// queue is full, is sent later: a lost `READY=1` would have a healthy tenant killed.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Manager {
    address: Option<SocketAddr>,
    /// Assignments that are still to be sent, the newest of each variable.
    unsent: Vec<String>,
    retry: Retry,
}

impl Manager {
    /// The one that `$NOTIFY_SOCKET` names, if any. Children never get this process's environment, so
    /// the variable stays where it is.
    pub(in crate::supervisor) fn from_environment() -> Self {
        let name = env::var_os("NOTIFY_SOCKET").unwrap_or_default();
        let bytes = name.as_encoded_bytes();
        let address = match bytes.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None if bytes.starts_with(b"/") => SocketAddr::from_pathname(&name).ok(),
            None => None,
        };
        Self { address, ..Self::default() }
    }

    /// Says why there is no tenant, in its status line.
    pub(in crate::supervisor) fn tell_failure(&mut self, message: &str) {
        self.tell(&format!("STATUS=Failed: {}", message.replace('\n', " ")));
    }

    /// Sends assignments, one a line, see sd_notify(3), after those that could not be sent before. A manager that
    /// listens no more misses them.
    pub(in crate::supervisor) fn tell(&mut self, message: &str) {
        if self.address.is_none() {
            return;
        }
        for line in message.lines() {
            let variable = line.split_inclusive('=').next().unwrap_or(line);
            self.unsent.retain(|old| !old.starts_with(variable));
            self.unsent.push(line.to_owned());
        }
        self.send(Instant::now());
    }

    /// Tries again what is due.
    pub(in crate::supervisor) fn tick(&mut self, now: Instant) {
        if self.retry.is_due(now) {
            self.send(now);
        }
    }

    /// When something is due.
    pub(in crate::supervisor) fn deadline(&self) -> Option<Instant> {
        self.retry.at()
    }

    /// Sends what is unsent for the last time: this process ends.
    pub(in crate::supervisor) fn finish(&mut self) {
        if !self.unsent.is_empty() {
            self.send(Instant::now());
        }
    }

    fn send(&mut self, now: Instant) {
        let Some(address) = &self.address else { return };
        let message = self.unsent.join("\n");
        let send = || -> io::Result<()> {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.send_to_addr(message.as_bytes(), address)?;
            Ok(())
        };
        match send() {
            Err(error) if !is_deaf(&error) => {
                if self.retry.failed(now) {
                    log::warn!("cannot notify the unit manager, trying again: {error}");
                }
            }
            _ => {
                self.unsent.clear();
                self.retry.done();
            }
        }
    }
}

/// Whether an error says that there is no process at the address.
fn is_deaf(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn only_ready_and_status_are_honoured_and_bounded() {
        let message = b"STOPPING=1\nMAINPID=1\nSTATUS=a\x1b[31mb\x07\nREADY=1\nFDSTORE=1";
        let report = Report::parse(message);
        assert_eq!(report, Report { ready: true, status: Some("a[31mb".to_owned()) });
        assert_eq!(Report::parse(b"READY=11\nXREADY=1"), Report::default());
        let long = [b"STATUS=".as_slice(), "ä".repeat(900).as_bytes()].concat();
        assert!(Report::parse(&long).status.unwrap().len() <= 256);
    }

    #[test]
    fn what_could_not_be_sent_is_sent_later_and_in_its_newest_form() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut manager =
            Manager { address: Some(SocketAddr::from_pathname(&path).unwrap()), ..Manager::default() };
        // The manager reads nothing: at some point its queue is full.
        let mut sent = 0;
        while manager.deadline().is_none() {
            assert!(sent < 100_000, "the queue never fills");
            manager.tell(&format!("STATUS={sent}"));
            sent += 1;
        }
        manager.tell("READY=1\nSTATUS=Running");
        manager.tick(Instant::now());
        let mut bytes = [0; 256];
        let mut received = Vec::new();
        let mut take = || {
            let length = listener.recv(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
        };
        received.extend(std::iter::from_fn(&mut take));
        assert_eq!(received.len(), sent - 1, "the last one did not fit");
        manager.tick(manager.deadline().unwrap());
        assert_eq!(take().as_deref(), Some("READY=1\nSTATUS=Running"));
        assert_eq!(manager.deadline(), None);
        // No process hears it, and nothing is tried again.
        drop(listener);
        manager.tell("STATUS=Stopping");
        assert_eq!((manager.deadline(), manager.unsent.len()), (None, 0));
    }

    #[test]
    fn a_message_counts_only_from_init_itself() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        rustix::net::sockopt::set_socket_passcred(&ours, true).unwrap();
        let socket = OwnedFd::from(ours);
        let me = std::process::id() as i32;
        let by = |init, process| NotifySender { init, process };
        assert_eq!(receive(&socket, by(me, FirstProcess::Program)).unwrap(), None);
        theirs.send(b"READY=1").unwrap();
        assert!(receive(&socket, by(me, FirstProcess::Program)).unwrap().unwrap().ready);
        theirs.send(b"READY=1").unwrap();
        assert!(!receive(&socket, by(me + 1, FirstProcess::Program)).unwrap().unwrap().ready);
        // A program is heard as the child of the reaper that started it, and of no other process.
        let above = std::os::unix::process::parent_id() as i32;
        assert!(by(above, FirstProcess::Reaper).accepts(me));
        assert!(
            !by(above, FirstProcess::Program).accepts(me) && !by(me + 1, FirstProcess::Reaper).accepts(me)
        );
    }
}
