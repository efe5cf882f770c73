use std::{ffi::OsString, process::ExitCode};

use clap::Parser;
use wire::{Code, Failure};

use super::{Applet, Common, Lxc, NamedCommand, Refused, Result, not_running, refused};

/// Run a command in a running tenant, or log in without one
///
/// Its environment is the tenant's, not the caller's. The exit code is the command's.
#[derive(Debug, Parser)]
#[command(version)]
pub(super) struct Attach {
    #[command(flatten)]
    named: NamedCommand,
    /// Accepted: the environment is always the tenant's
    #[arg(long, conflicts_with = "keep_env")]
    clear_env: bool,
    /// Pass all of the caller's environment
    #[arg(long)]
    keep_env: bool,
    /// Add a variable (repeatable)
    #[arg(short = 'v', long = "set-var", value_name = "NAME=VALUE")]
    set_var: Vec<OsString>,
    /// Pass one variable of the caller's environment (repeatable)
    #[arg(long = "keep-var", value_name = "NAME")]
    keep_var: Vec<OsString>,
    /// Run it as this user of the tenant
    #[arg(short = 'u', long, value_name = "UID")]
    uid: Option<OsString>,
    /// Accepted: a tenant has its own file
    #[arg(short = 'f', value_name = "FILE")]
    file: Option<OsString>,
    #[command(flatten)]
    common: Common,
}

const CONFINED: &str = "a command in a tenant has the tenant's privileges and namespaces, never more";

impl Applet for Attach {
    const REFUSED: &'static [Refused] = &[
        refused(Some('e'), "elevated-privileges", true, CONFINED),
        refused(Some('s'), "namespaces", true, CONFINED),
        refused(Some('R'), "remount-sys-proc", false, CONFINED),
        refused(Some('c'), "context", true, "tenants have no SELinux context"),
        refused(Some('a'), "arch", true, "run setarch(8) inside: lxc-attach -n NAME -- setarch ARCH COMMAND"),
        refused(Some('g'), "gid", true, "the groups are those of the user; select it with -u USER"),
        refused(Some('L'), "pty-log", true, "use script(1) on the host"),
    ];

    fn run(self, lxc: &Lxc) -> Result<ExitCode> {
        let (name, command) = self.named.get()?;
        match lxc.find(&name) {
            Ok(Some(detail)) if detail.summary.state.is_up() => {}
            // It works without hostd, too.
            Err(failure) if matches!(failure.code, Code::NoHostd | Code::Forbidden) => {}
            Ok(_) => return Err(not_running(&name)),
            Err(failure) => return Err(failure),
        }
        let mut variables = self.set_var.clone();
        let keep = |key: &OsString| self.keep_env || self.keep_var.contains(key);
        let joined = |(key, value): (OsString, OsString)| [key, value].join("=".as_ref());
        variables.extend(std::env::vars_os().filter(|(key, _)| keep(key)).map(joined));
        let mut arguments: Vec<OsString> = vec![if command.is_empty() { "shell" } else { "exec" }.into()];
        if let Some(uid) = &self.uid {
            arguments.extend(["--user".into(), uid.clone()]);
        }
        if command.is_empty() && !variables.is_empty() {
            return Err(Failure::new(Code::Invalid, "a login has the environment of its user")
                .help("name the shell: lxc-attach -n NAME -v NAME=VALUE -- /bin/sh"));
        }
        variables.into_iter().for_each(|pair| arguments.extend(["--env".into(), pair]));
        arguments.push(name.as_str().into());
        if !command.is_empty() {
            arguments.push("--".into());
            arguments.extend(command.iter().cloned());
        }
        client::programs::become_tenant(lxc.layout(), arguments)
    }
}
