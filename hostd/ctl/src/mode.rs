//! When tenants get another version, as options say it.

use clap::Args;
use wire::RebaseMode;

/// When tenants get the version
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Mode {
    /// At once, beneath what is running (the default)
    #[arg(long, group = "mode")]
    live: bool,
    /// By a restart
    #[arg(long, group = "mode")]
    restart: bool,
    /// From the next start on
    #[arg(long, group = "mode")]
    next_start: bool,
}

impl Mode {
    /// What was said; none where nothing was.
    pub(super) fn chosen(self) -> Option<RebaseMode> {
        match self {
            Self { live: true, .. } => Some(RebaseMode::Live),
            Self { restart: true, .. } => Some(RebaseMode::Restart),
            Self { next_start: true, .. } => Some(RebaseMode::NextStart),
            _ => None,
        }
    }
}
