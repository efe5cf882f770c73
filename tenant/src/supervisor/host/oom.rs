//! What is told of processes that were killed because the tenant's memory was used up.

use std::time::Instant;

use crate::supervisor::process::Supervisor;

impl Supervisor {
    /// Something of the tenant's memory has happened.
    pub(in crate::supervisor) fn hear_of_memory(&mut self, now: Instant) {
        if self.memory.as_mut().is_some_and(|memory| memory.is_told(now)) {
            self.count_oom_kills(now);
        }
    }

    /// Looks at what the kernel has told before, once that has happened.
    pub(in crate::supervisor) fn look_at_memory(&mut self, now: Instant) {
        if self.memory.as_mut().is_some_and(|memory| memory.is_due(now)) {
            self.count_oom_kills(now);
        }
    }

    /// Tells what the kernel has killed since this was last done.
    pub(in crate::supervisor) fn count_oom_kills(&mut self, now: Instant) {
        let Some(memory) = &mut self.memory else { return };
        let Ok(count) = memory.count(now) else {
            // Its cgroup is gone.
            self.memory = None;
            return;
        };
        let Some(state) = &mut self.state else { return };
        let before = state.oom_kills.unwrap_or(0);
        if count <= before {
            return;
        }
        state.oom_kills = Some(count);
        self.report_out_of_memory(count - before);
        self.publish();
        self.tell_status();
    }
}
