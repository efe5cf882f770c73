//! Processes that come to rest, and go on.

use std::{fs, io, time::Instant};

use crate::{protocol::control::Reply, supervisor::process::Supervisor};

/// Whether all processes are at rest, by a `cgroup.events`.
pub(super) fn says_frozen(events: &str) -> bool {
    events.lines().any(|line| line == "frozen 1")
}

impl Supervisor {
    pub(in crate::supervisor) fn set_frozen(&self, frozen: bool) -> io::Result<()> {
        let plan = self.plan.as_ref().ok_or(io::ErrorKind::NotFound)?;
        fs::write(plan.cgroup.payload.join("cgroup.freeze"), if frozen { "1" } else { "0" })
    }

    /// Whether all processes of the tenant are at rest.
    pub(in crate::supervisor) fn is_frozen(&self) -> bool {
        let events = self.plan.as_ref().map(|plan| plan.cgroup.payload.join("cgroup.events"));
        let text = events.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        says_frozen(&text)
    }

    /// Answers those who wait for the processes to come to rest, or to go on.
    pub(in crate::supervisor) fn settle_freezes(&mut self, now: Instant) {
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
}
