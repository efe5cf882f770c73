use std::{ffi::OsString, os::unix::process::CommandExt as _, process::Command};

use clap::Args;

use super::Context;
use crate::{error::Failure, units};

/// Run a command in a tenant
///
/// The exit code is the command's.
#[derive(Debug, Args)]
pub(super) struct Exec {
    /// Name of the tenant
    name: String,
    /// Give it a terminal of the tenant
    #[arg(long, short)]
    tty: bool,
    /// Run it as this user
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Open a shell in a tenant
#[derive(Debug, Args)]
pub(super) struct Shell {
    /// Name of the tenant
    name: String,
}

impl Exec {
    pub(super) fn run(&self, context: &Context) -> super::Result {
        let mut arguments: Vec<OsString> = vec!["exec".into(), self.name.as_str().into()];
        if self.tty {
            arguments.push("-t".into());
        }
        if let Some(user) = &self.user {
            arguments.extend(["-u".into(), user.into()]);
        }
        arguments.push("--".into());
        arguments.extend(self.command.iter().cloned());
        become_tenant(context, arguments)
    }
}

impl Shell {
    pub(super) fn run(&self, context: &Context) -> super::Result {
        become_tenant(context, vec!["shell".into(), self.name.as_str().into()])
    }
}

/// Replaces this process by the program that joins tenants.
fn become_tenant(context: &Context, arguments: Vec<OsString>) -> super::Result {
    let program = units::program()?;
    let error =
        Command::new(&program).arg("--root").arg(context.layout.root()).args(arguments).exec();
    let text = format!("cannot execute {}: {error}", program.display());
    Err(Failure::new(crate::Code::Failed, text))
}
