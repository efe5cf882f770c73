//! What every error of this crate can say besides its message.

use std::{error::Error, io};

/// The remedy where the store's disk is full, whatever was to be written there; none for another error.
pub fn room(error: &(dyn Error + 'static)) -> Option<String> {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    let is_full =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let full = causes.filter_map(|error| error.downcast_ref()).any(is_full);
    full.then(|| "free some space (rootfsctl gc), or use --root DIR on another disk".to_owned())
}

/// Why a command did not do its work, as its exit code tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It failed: exit code 1.
    Failed,
    /// The object does not exist: exit code 3.
    NotFound,
    /// The object's state does not allow it: exit code 4.
    Refused,
}

impl Outcome {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::NotFound => 3,
            Self::Refused => 4,
        }
    }
}

/// An error that knows its exit code and its remedy.
pub trait Explain: std::error::Error + Send + Sync + 'static {
    /// What to do about it, for the `help:` line.
    fn help(&self) -> Option<String>;

    /// Which exit code it ends in.
    fn outcome(&self) -> Outcome;
}
