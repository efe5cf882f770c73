//! What every verb works with.

use std::process::ExitCode;

use client::Client;
use tenant::Layout;
use wire::Failure;

use super::output::Output;

/// What a verb works with.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) layout: Layout,
    pub(super) client: Client,
    pub(super) output: Output,
}

/// The result of a verb.
pub(super) type Result = std::result::Result<ExitCode, Failure>;
