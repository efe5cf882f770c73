use std::ffi::OsString;

use clap::Args;

use super::Context;

/// Run a command in a tenant
///
/// The command gets a terminal of the tenant if tenantctl has one. The exit code is the command's.
#[derive(Debug, Args)]
pub(super) struct Exec {
    /// Name of the tenant
    name: String,
    #[command(flatten)]
    terminal: Terminal,
    /// Working directory inside
    #[arg(long, short, value_name = "DIR")]
    workdir: Option<OsString>,
    /// Environment variable (repeatable)
    #[arg(long, short, value_name = "KEY=VALUE")]
    env: Vec<OsString>,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Log in to a tenant
#[derive(Debug, Args)]
pub(super) struct Shell {
    /// Name of the tenant
    name: String,
    #[command(flatten)]
    terminal: Terminal,
}

#[derive(Debug, Args)]
struct Terminal {
    /// Allocate a terminal of the tenant, even if input and output are not a terminal
    #[arg(long, short, conflicts_with = "no_tty")]
    tty: bool,
    /// Use pipes, even on a terminal
    #[arg(long)]
    no_tty: bool,
    /// Run it as this user
    #[arg(long, short, value_name = "USER")]
    user: Option<OsString>,
}

impl Terminal {
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        arguments.extend(self.tty.then(|| "--tty".into()));
        arguments.extend(self.no_tty.then(|| "--no-tty".into()));
        if let Some(user) = &self.user {
            arguments.extend(["--user".into(), user.clone()]);
        }
        arguments
    }
}

impl Exec {
    pub(super) fn run(&self, context: &Context) -> super::Result {
        let mut arguments: Vec<OsString> = vec!["exec".into()];
        arguments.extend(self.terminal.arguments());
        if let Some(dir) = &self.workdir {
            arguments.extend(["--workdir".into(), dir.clone()]);
        }
        for pair in &self.env {
            arguments.extend(["--env".into(), pair.clone()]);
        }
        arguments.extend([self.name.as_str().into(), "--".into()]);
        arguments.extend(self.command.iter().cloned());
        client::programs::become_tenant(&context.layout, arguments)
    }
}

impl Shell {
    pub(super) fn run(&self, context: &Context) -> super::Result {
        let mut arguments: Vec<OsString> = vec!["shell".into()];
        arguments.extend(self.terminal.arguments());
        arguments.push(self.name.as_str().into());
        client::programs::become_tenant(&context.layout, arguments)
    }
}
