//! States as LXC calls them.

use std::str::FromStr;

use wire::TenantState;

/// A state of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Stopped,
    Starting,
    Running,
    Stopping,
    Aborting,
    Freezing,
    Frozen,
    Thawed,
}

/// A word that is not a state.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a state of a container")]
pub(super) struct NoState(String);

impl State {
    const WORDS: [(Self, &'static str); 8] = [
        (Self::Stopped, "STOPPED"),
        (Self::Starting, "STARTING"),
        (Self::Running, "RUNNING"),
        (Self::Stopping, "STOPPING"),
        (Self::Aborting, "ABORTING"),
        (Self::Freezing, "FREEZING"),
        (Self::Frozen, "FROZEN"),
        (Self::Thawed, "THAWED"),
    ];

    pub(super) fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(state, _)| *state == self).map_or("", |(_, word)| word)
    }

    /// Whether a container that is in this state is in one that is waited for: a thawed one runs.
    pub(super) fn meets(self, wanted: Self) -> bool {
        self == wanted || (self, wanted) == (Self::Running, Self::Thawed)
    }
}

impl From<TenantState> for State {
    fn from(state: TenantState) -> Self {
        match state {
            TenantState::Broken | TenantState::Destroying | TenantState::Stopped | TenantState::Failed => {
                Self::Stopped
            }
            TenantState::Queued | TenantState::Starting => Self::Starting,
            // LXC calls a container running as soon as its init is executed.
            TenantState::Booting | TenantState::Running => Self::Running,
            TenantState::Frozen | TenantState::Parked => Self::Frozen,
            TenantState::Stopping => Self::Stopping,
        }
    }
}

impl FromStr for State {
    type Err = NoState;

    fn from_str(text: &str) -> Result<Self, NoState> {
        let found = Self::WORDS.iter().find(|(_, word)| word.eq_ignore_ascii_case(text.trim()));
        found.map(|(state, _)| *state).ok_or_else(|| NoState(text.chars().take(32).collect()))
    }
}
