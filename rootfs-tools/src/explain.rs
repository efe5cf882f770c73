//! What every error of this crate can say besides its message.

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
