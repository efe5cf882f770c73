//! One look at what a tenant does.

use std::sync::Arc;

use tenant::files::state::RunState;

use super::gauge::Gauge;

/// What a tenant does at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// What its last supervisor said.
    pub(crate) said: Option<Arc<RunState>>,
    /// Whether it has a supervisor.
    pub(crate) is_running: bool,
    /// Whether its processes are frozen.
    pub(crate) is_frozen: bool,
    /// The memory that it uses, bytes.
    pub(crate) memory_bytes: Option<u64>,
}

impl Look {
    /// Of a tenant of which this was said, and these are the gauges if it runs: whether it is frozen, and its memory.
    pub(super) fn new(said: Option<Arc<RunState>>, gauges: Option<(&Gauge, Option<&Gauge>)>) -> Self {
        Self {
            is_running: gauges.is_some(),
            is_frozen: gauges.is_some_and(|(frozen, _)| frozen.read() == Some(1)),
            memory_bytes: gauges.and_then(|(_, memory)| memory?.read()),
            said,
        }
    }
}
