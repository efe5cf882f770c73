//! How a visit ends, or why there is none.

use std::io;

use crate::{files::state::Exit, protocol::socket};

/// How a visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachEnd {
    /// By the detach key, or by a signal.
    Detached,
    /// The tenant ended.
    Ended(Option<Exit>),
    /// Standard input ended and the tty fell quiet.
    Quiet,
    /// The time was up.
    TimedOut,
    /// The supervisor closed the connection without a word: it was killed.
    Lost,
}

/// Why there was no visit, or why it broke off.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// No process serves the socket.
    #[error("tenant {0:?} is not running")]
    NotRunning(String),
    /// This user may not.
    #[error("this user may not open the console of tenant {0:?}")]
    Forbidden(String),
    /// The supervisor refused.
    #[error("{error}")]
    Refused {
        /// Why.
        error: String,
        /// The remedy.
        help: Option<String>,
    },
    /// The connection or the terminal.
    #[error("cannot {0}")]
    Io(&'static str, #[source] io::Error),
}

impl AttachError {
    /// The remedy, if one is known.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NotRunning(name) => Some(format!("start it: tenantctl start {name}")),
            Self::Forbidden(_) => {
                Some(format!("run it as root or as a member of the group {}", socket::GROUP))
            }
            Self::Refused { help, .. } => help.clone(),
            Self::Io(..) => None,
        }
    }
}

pub(super) fn failed(what: &'static str) -> impl Fn(io::Error) -> AttachError {
    move |error| AttachError::Io(what, error)
}
