//! sd_notify(3) in both directions: what init tells its supervisor, what the supervisor tells the
//! unit manager.

use std::{
    env, fs, io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg};

use super::escape::one_line;
use crate::{
    plan::FirstProcess,
    state::{Phase, RunState},
};

/// Longest datagram of an init that is looked at, bytes.
const MAX_DATAGRAM: usize = 4096;
/// Longest status, bytes.
const MAX_STATUS: usize = 256;

/// What is honoured of an init's message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// `READY=1`.
    pub(super) ready: bool,
    /// `STATUS=`: one line, at most 256 bytes.
    pub(super) status: Option<String>,
}

impl Report {
    /// Takes `READY` and `STATUS` from a message and nothing else.
    pub(super) fn parse(message: &[u8]) -> Self {
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
pub(super) struct Heard {
    /// Process 1, as the host numbers it.
    pub(super) init: i32,
    /// What it is: a program that is the child of a reaper is heard as well.
    pub(super) process: FirstProcess,
}

impl Heard {
    fn hears(self, sender: i32) -> bool {
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
pub(super) fn receive(socket: &OwnedFd, heard: Heard) -> io::Result<Option<Report>> {
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
        |control| matches!(control, ControlMessageOwned::ScmCredentials(sender) if heard.hears(sender.pid())),
    );
    let whole = !message.flags.contains(MsgFlags::MSG_TRUNC);
    let length = message.bytes;
    Ok(Some(if is_heard && whole { Report::parse(&bytes[..length]) } else { Report::default() }))
}

/// What `systemctl status` shows of a tenant. `stop_limit` is what it has to end, seconds.
pub(super) fn status_line(state: &RunState, stop_limit: u64) -> String {
    let phase = match state.phase {
        Phase::Starting => "Starting",
        Phase::Booting => "Booting",
        Phase::Running => "Running",
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
        line.push_str(&format!(", {kills} killed for want of memory"));
    }
    if let Some(status) = &state.status {
        line.push_str(&format!(": {status}"));
    }
    line
}

/// The unit manager that started this supervisor.
#[derive(Debug)]
pub(super) struct Manager(Option<UnixDatagram>);

impl Manager {
    /// The one that `$NOTIFY_SOCKET` names, if any. Children never get this process's environment, so
    /// the variable stays where it is.
    pub(super) fn from_environment() -> Self {
        let connect = || -> io::Result<UnixDatagram> {
            let name = env::var_os("NOTIFY_SOCKET").ok_or(io::ErrorKind::NotFound)?;
            let bytes = name.as_encoded_bytes();
            let address = match bytes.strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name)?,
                None if bytes.starts_with(b"/") => SocketAddr::from_pathname(&name)?,
                None => return Err(io::ErrorKind::Unsupported.into()),
            };
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        Self(connect().ok())
    }

    /// Says why there is no tenant, in its status line.
    pub(super) fn tell_failure(&self, message: &str) {
        self.tell(&format!("STATUS=Failed: {}", message.replace('\n', " ")));
    }

    /// Sends a message; a manager that does not listen misses it.
    pub(super) fn tell(&self, message: &str) {
        if let Some(socket) = &self.0 {
            let _ = socket.send(message.as_bytes());
        }
    }
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
    fn a_message_counts_only_from_init_itself() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        rustix::net::sockopt::set_socket_passcred(&ours, true).unwrap();
        let socket = OwnedFd::from(ours);
        let me = std::process::id() as i32;
        let by = |init, process| Heard { init, process };
        assert_eq!(receive(&socket, by(me, FirstProcess::Program)).unwrap(), None);
        theirs.send(b"READY=1").unwrap();
        assert!(receive(&socket, by(me, FirstProcess::Program)).unwrap().unwrap().ready);
        theirs.send(b"READY=1").unwrap();
        assert!(!receive(&socket, by(me + 1, FirstProcess::Program)).unwrap().unwrap().ready);
        // A program is heard as the child of the reaper that started it, and of nobody else.
        let above = std::os::unix::process::parent_id() as i32;
        assert!(by(above, FirstProcess::Reaper).hears(me));
        assert!(!by(above, FirstProcess::Program).hears(me) && !by(me + 1, FirstProcess::Reaper).hears(me));
    }
}
