//! The tenant as a machine of systemd-machined(8): what makes `machinectl`, `systemctl -M` and `journalctl -M`
//! know it.
//!
//! busctl(1) speaks to it, in parallel with the boot: nothing waits for it, and a tenant runs without it just as well.
//! machined forgets a machine by itself when its unit ends.

use std::{
    collections::VecDeque,
    io::Read as _,
    os::fd::{AsFd as _, OwnedFd},
    process::{ChildStderr, Command, Stdio},
    time::{Duration, Instant},
};

use crate::protocol::escape::one_line;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// A registration that failed is tried again after this long, so often: the bus may just be starting.
const AGAIN: Duration = Duration::from_secs(2);
pub(super) const ATTEMPTS: u8 = 4;
/// Longest reason that is passed on, bytes.
const MAX_REASON: usize = 256;
/// The program.
pub(super) const BUSCTL: &str = "/usr/bin/busctl";
/// Where the bus is.
pub(super) const BUS: &str = "/run/dbus/system_bus_socket";
/// What says that there is a machined to be started: see systemd-machined.service(8).
pub(super) const SERVICE: &str = "/usr/share/dbus-1/system-services/org.freedesktop.machine1.service";

/// One call of a method.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) tenant: String,
    pub(super) args: Vec<String>,
    /// How often it may be tried still; none is also what no process hears of when it fails.
    pub(super) attempts: u8,
}

/// A call that is under way.
#[derive(Debug)]
struct Running {
    call: Call,
    pid: i32,
    pidfd: OwnedFd,
    stderr: Option<ChildStderr>,
    kill_at: Option<Instant>,
}

/// Calls to machined, one after the other.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Machine {
    due: VecDeque<Call>,
    running: Option<Running>,
    /// When the next one is tried.
    not_before: Option<Instant>,
}

impl Machine {
    pub(super) fn call(&mut self, call: Call, now: Instant) {
        // What was to be told of an earlier boot is of no use any more.
        self.due.retain(|due| due.attempts == 0);
        self.due.push_back(call);
        self.not_before = None;
        self.next(now);
    }

    fn next(&mut self, now: Instant) {
        while self.running.is_none()
            && let Some(call) = self.due.pop_front()
        {
            match start(call, now) {
                Ok(running) => self.running = Some(running),
                Err((call, error)) => self.failed(call, &error.to_string(), now),
            }
            if self.not_before.is_some() {
                return;
            }
        }
    }

    fn failed(&mut self, mut call: Call, reason: &str, now: Instant) {
        // An init that was never registered cannot be taken back.
        if call.attempts == 0 {
            return;
        }
        call.attempts -= 1;
        if call.attempts == 0 {
            log::warn!("cannot register tenant {:?} with systemd-machined: {reason}", call.tenant);
        } else if self.due.is_empty() {
            self.not_before = Some(now + AGAIN);
            // machined has not yet seen the end of an earlier supervisor, or has answered too late.
            if reason.contains("already exists") {
                self.due.push_back(unregistration(&call.tenant));
            }
            self.due.push_back(call);
        }
    }

    /// A child of this process has ended.
    pub(in crate::supervisor) fn ended(&mut self, pid: i32, well: bool, now: Instant) {
        if let Some(mut running) = self.running.take_if(|running| running.pid == pid) {
            if !well {
                let mut bytes = [0; 1024];
                // All of it is in the pipe, and no other process writes there.
                let length = running.stderr.as_mut().map_or(0, |stderr| stderr.read(&mut bytes).unwrap_or(0));
                let said = one_line(&String::from_utf8_lossy(&bytes[..length]), MAX_REASON);
                let in_time = running.kill_at.is_some();
                self.failed(running.call, if in_time { said.trim() } else { "no answer within 5 s" }, now);
            }
            if self.not_before.is_none() {
                self.next(now);
            }
        }
    }

    /// Ends what has taken too long; the end is then heard of like any other.
    pub(in crate::supervisor) fn tick(&mut self, now: Instant) {
        if let Some(running) = &mut self.running
            && running.kill_at.is_some_and(|at| now >= at)
        {
            running.kill_at = None;
            // It may just have ended.
            let _ = pidfd_send_signal(running.pidfd.as_fd(), Signal::KILL);
        }
        if self.not_before.take_if(|at| now >= *at).is_some() {
            self.next(now);
        }
    }

    /// When something is due.
    pub(in crate::supervisor) fn deadline(&self) -> Option<Instant> {
        self.running.as_ref().and_then(|running| running.kill_at).or(self.not_before)
    }
}

fn start(call: Call, now: Instant) -> Result<Running, (Call, std::io::Error)> {
    let spawn = || {
        let mut child = Command::new(BUSCTL)
            .args(["--quiet", "--timeout=5", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1"])
            .arg("org.freedesktop.machine1.Manager")
            .args(&call.args)
            .env_clear()
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let pid = child.id() as i32;
        // No process has waited for it yet: its pid cannot mean another process.
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        Ok((pid, pidfd, child.stderr.take()))
    };
    match spawn() {
        Ok((pid, pidfd, stderr)) => Ok(Running { call, pid, pidfd, stderr, kill_at: Some(now + PATIENCE) }),
        Err(error) => Err((call, error)),
    }
}

/// What takes a registration back. No process hears of it when there is none.
pub(super) fn unregistration(name: &str) -> Call {
    let args = ["UnregisterMachine", "s", name].map(str::to_owned).into();
    Call { tenant: name.to_owned(), args, attempts: 0 }
}

/// The arguments of `RegisterMachineWithNetwork`, see org.freedesktop.machine1(5).
pub(super) fn registration(name: &str, uuid: &str, leader: i32, links: &[u32]) -> Vec<String> {
    let mut args = vec!["RegisterMachineWithNetwork".to_owned(), "sayssusai".to_owned(), name.to_owned()];
    let bytes: Vec<String> = (0..uuid.len() / 2)
        .filter_map(|at| u8::from_str_radix(uuid.get(2 * at..2 * at + 2)?, 16).ok())
        .map(|byte| byte.to_string())
        .collect();
    args.push(bytes.len().to_string());
    args.extend(bytes);
    args.extend(["tenantry", "container"].map(str::to_owned));
    // No root directory: it is mounted in the tenant's namespace alone.
    args.extend([leader.to_string(), String::new(), links.len().to_string()]);
    args.extend(links.iter().map(u32::to_string));
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_has_the_arguments_of_its_signature() {
        let args = registration("alice", "00ff10aa00ff10aa00ff10aa00ff10aa", 77, &[5, 6]);
        let text = args.join(" ");
        let id = "16 0 255 16 170 0 255 16 170 0 255 16 170 0 255 16 170";
        let expected =
            format!("RegisterMachineWithNetwork sayssusai alice {id} tenantry container 77  2 5 6");
        assert_eq!(text, expected);
    }
}
