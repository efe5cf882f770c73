//! Words about tenants that are parked while they are idle.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What becomes of a tenant that is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// It goes on running.
    Run,
    /// It is parked until it is needed.
    Park,
}

/// How a tenant is parked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Park {
    /// Its processes stand still.
    #[default]
    Freeze,
    /// It is stopped, and boots again when it is needed.
    Stop,
}

/// What woke a parked tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WakeReason {
    /// A packet for one of its sockets.
    Packet,
    /// A command or a shell that is to run inside.
    Exec,
    /// A client of one of its consoles.
    Attach,
    /// A timer that was due, and had more to do than a moment's work.
    Timer,
    /// A request: to wake it, or for something that it has to run for.
    Admin,
}

impl WakeReason {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Packet => "packet",
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::Timer => "timer",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for WakeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
