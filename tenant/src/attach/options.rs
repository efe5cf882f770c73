//! How to attach.

use std::time::Duration;

use super::key::DetachKey;
use crate::protocol::wire::Tty;

/// How to attach; on a command line, the options of `tenantctl console` and `tenant console`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct AttachOptions {
    /// Terminal: console, tty1 or a number
    #[arg(long, short, default_value = "console")]
    pub tty: Tty,
    /// Watch only
    #[arg(long, short)]
    pub read_only: bool,
    /// Lines of the past to show first
    #[arg(long, default_value_t = REPLAY, value_name = "LINES")]
    pub replay: u32,
    /// Control character that detaches, as ^X; or none
    #[arg(long, default_value = "^]", value_name = "KEY")]
    pub detach_key: DetachKey,
    /// Away from a terminal: for how long the tty is silent before the first line of standard input is
    /// typed, and after the last one before the visit ends.
    #[arg(skip = QUIET)]
    pub quiet: Duration,
    /// Detach after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
}

/// Lines of the past that are shown first, unless said otherwise.
const REPLAY: u32 = 24;

/// See [`AttachOptions::quiet`].
const QUIET: Duration = Duration::from_secs(1);

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}

impl Default for AttachOptions {
    fn default() -> Self {
        Self {
            tty: Tty::CONSOLE,
            read_only: false,
            replay: REPLAY,
            detach_key: DetachKey::default(),
            quiet: QUIET,
            timeout: None,
        }
    }
}
