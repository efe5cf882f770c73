//! What is to run inside.

use std::os::fd::BorrowedFd;

/// What the new process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Argument vector; the first element is looked up in `PATH` inside unless it has a slash. Empty
    /// stands for the user's own login shell.
    pub argv: Vec<String>,
    /// Environment, laid over `HOME`, `USER`, `LOGNAME` and `SHELL` of the user. The tenant's own locale is laid over it.
    pub env: Vec<(String, String)>,
    /// What was asked for, laid over all of it.
    pub asked: Vec<(String, String)>,
    /// Name or number of the user inside; none is root.
    pub user: Option<String>,
    /// Working directory inside; none is `/`, or the home directory for a login shell.
    pub dir: Option<String>,
}

/// Whose child the new process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentProcess {
    /// The caller's, who learns its exit code.
    Caller,
    /// The tenant's init's, as if it had been started inside. An init that shuts down waits for the end
    /// of its children; for that of others it can only wait until its patience ends (10 s for systemd).
    Init,
}

/// What the new process has as its standard streams.
#[derive(Debug)]
pub enum Streams<'a> {
    /// A terminal inside, which becomes its controlling one.
    Tty(BorrowedFd<'a>),
    /// A new pseudoterminal of the tenant's devpts; its master comes back.
    NewTty {
        /// Height of its window.
        rows: u16,
        /// Width of its window.
        cols: u16,
    },
    /// Standard input, output and error as they are, which are the tenant's already. None of them becomes its
    /// controlling terminal.
    Given([BorrowedFd<'a>; 3]),
    /// New pipes of its own; their near ends come back: standard input, output and error.
    Pipes,
}
