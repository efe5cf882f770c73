use std::ffi::{OsStr, OsString};

use clap::Args;
use wire::{Code, Failure};

use super::{Context, candidates};

/// Run a command in a tenant
///
/// The command gets a terminal of the tenant if tenantctl has one. The exit code is the command's.
#[derive(Debug, Args)]
pub(super) struct Exec {
    /// Name of the tenant, or USER@NAME
    #[arg(add = candidates::of(candidates::tenants))]
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
    /// Name of the tenant, or USER@NAME
    #[arg(add = candidates::of(candidates::tenants))]
    name: String,
    #[command(flatten)]
    terminal: Terminal,
    /// A command for the login shell, after --
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
struct Terminal {
    /// Allocate a terminal of the tenant, even if input and output are not a terminal
    #[arg(long, short, conflicts_with = "no_tty")]
    tty: bool,
    /// Use pipes, even on a terminal
    #[arg(long)]
    no_tty: bool,
    /// Hand it standard input, as is always done: for those who type -it
    #[arg(long, short)]
    interactive: bool,
    /// Run it as this user
    #[arg(long, short, value_name = "USER")]
    user: Option<OsString>,
}

impl Terminal {
    /// The arguments of the program `tenant` that say the same, and the name of the tenant.
    fn arguments<'a>(&self, target: &'a str) -> Result<(Vec<OsString>, &'a str), Failure> {
        let mut arguments = Vec::new();
        arguments.extend(self.tty.then(|| "--tty".into()));
        arguments.extend(self.no_tty.then(|| "--no-tty".into()));
        let (user, name) = match target.rsplit_once('@') {
            Some((user, name)) => (Some(OsStr::new(user)), name),
            None => (None, target),
        };
        let user = match (user, self.user.as_deref()) {
            (Some(one), Some(other)) if one != other => {
                let text = format!("{target:?} and --user {} name two users", other.display());
                return Err(Failure::new(Code::Invalid, text).help("leave one of them out"));
            }
            (user, option) => user.or(option),
        };
        if let Some(user) = user {
            arguments.extend(["--user".into(), user.to_owned()]);
        }
        Ok((arguments, name))
    }
}

impl Exec {
    pub(super) fn run(&self, context: &Context) -> super::Result {
        let (options, name) = self.terminal.arguments(&self.name)?;
        let mut arguments: Vec<OsString> = vec!["exec".into()];
        arguments.extend(options);
        if let Some(dir) = &self.workdir {
            arguments.extend(["--workdir".into(), dir.clone()]);
        }
        for pair in &self.env {
            arguments.extend(["--env".into(), pair.clone()]);
        }
        arguments.extend([name.into(), "--".into()]);
        arguments.extend(self.command.iter().cloned());
        client::programs::become_tenant(&context.layout, arguments)
    }
}

impl Shell {
    pub(super) fn run(&self, context: &Context) -> super::Result {
        client::programs::become_tenant(&context.layout, self.arguments()?)
    }

    /// A command is run by a login shell, so that it has the environment of one.
    fn arguments(&self) -> Result<Vec<OsString>, Failure> {
        let (options, name) = self.terminal.arguments(&self.name)?;
        let verb = if self.command.is_empty() { "shell" } else { "exec" };
        let mut arguments: Vec<OsString> = vec![verb.into()];
        arguments.extend(options);
        arguments.push(name.into());
        if !self.command.is_empty() {
            arguments.extend(["--", "/bin/sh", "-lc", "exec \"$@\"", "sh"].map(OsString::from));
            arguments.extend(self.command.iter().cloned());
        }
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> Result<String, Failure> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            shell: Shell,
        }
        let words = ["shell"].into_iter().chain(line.split_whitespace());
        let line =
            <Line as clap::Parser>::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        let words = line.shell.arguments()?;
        Ok(words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_shell_is_asked_for_as_people_type_it() {
        for (line, expected) in [
            ("alice", "shell alice"),
            ("www@alice", "shell --user www alice"),
            ("www@alice -u www", "shell --user www alice"),
            ("-it alice", "shell --tty alice"),
            ("alice -u www -- id -u", "exec --user www alice -- /bin/sh -lc exec \"$@\" sh id -u"),
        ] {
            assert_eq!(shell(line).unwrap(), expected, "{line}");
        }
        assert_eq!(shell("www@alice -u root").unwrap_err().code, Code::Invalid);
    }
}
