//! A child of this process that is not left behind.

use std::io;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};

/// A child of this process that no process has waited for, so that its number cannot mean another one. Dropping it
/// kills it and waits for it: whatever fails, it does not outlive this.
#[derive(Debug)]
pub(super) struct OwnChild(pub(super) i32);

impl OwnChild {
    /// Waits until it has ended by itself.
    pub(super) fn join(self) -> io::Result<WaitStatus> {
        let ended = wait_for(self.0)?;
        std::mem::forget(self);
        Ok(ended)
    }

    /// Leaves it to another process to end.
    pub(super) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for OwnChild {
    fn drop(&mut self) {
        if let Some(process) = Pid::from_raw(self.0) {
            // Without a process to signal or to wait for there is nothing left to do.
            let _ = kill_process(process, Signal::KILL);
            let _ = wait_for(self.0);
        }
    }
}

fn wait_for(pid: i32) -> io::Result<WaitStatus> {
    let ended = rustix::io::retry_on_intr(|| waitpid(Pid::from_raw(pid), WaitOptions::empty()))?;
    ended.map(|(_, status)| status).ok_or_else(|| io::ErrorKind::NotFound.into())
}
