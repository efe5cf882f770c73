use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Command, ExitCode},
};

use clap::Parser;
use wire::{Code, Failure};

use super::{
    Applet, Common, Lxc, NamedCommand, Refused, Result, refused,
    temporary::{Setup, Temporary},
};

/// Start a tenant for one command
///
/// The tenant's own init is not started. A tenant that does not exist is created, and destroyed after the
/// command. The exit code is the command's.
#[derive(Debug, Parser)]
#[command(version)]
pub(super) struct Execute {
    #[command(flatten)]
    named: NamedCommand,
    /// An lxc.conf, for a tenant that does not exist
    #[arg(short = 'f', long = "config-file", value_name = "FILE")]
    file: Option<PathBuf>,
    /// A line of an lxc.conf, for a tenant that does not exist (repeatable)
    #[arg(short = 's', long, value_name = "KEY=VALUE")]
    define: Vec<String>,
    /// Run it as this user of the tenant
    #[arg(short = 'u', long, value_name = "UID")]
    uid: Option<OsString>,
    #[command(flatten)]
    common: Common,
}

/// A process 1 that only reaps orphans, and exits on request.
const IDLE: &str = "trap 'exit 0' TERM INT HUP PWR; while :; do sleep 3600 & wait; done";

impl Applet for Execute {
    const REFUSED: &'static [Refused] = &[
        refused(Some('d'), "daemon", false, "for an existing tenant: lxc-start -n NAME -d -- COMMAND"),
        refused(Some('g'), "gid", true, "the groups are those of the user; select it with -u USER"),
        refused(None, "share-net", true, "a tenant has its own namespaces of every kind"),
        refused(None, "share-ipc", true, "a tenant has its own namespaces of every kind"),
        refused(None, "share-uts", true, "a tenant has its own namespaces of every kind"),
        refused(None, "share-pid", true, "a tenant has its own namespaces of every kind"),
    ];

    fn run(self, lxc: &Lxc) -> Result<ExitCode> {
        let (name, command) = self.named.get()?;
        if command.is_empty() {
            return Err(Failure::new(Code::Invalid, "Missing command to execute")
                .help("lxc-execute -n NAME -- COMMAND"));
        }
        if lxc.find(&name)?.is_some_and(|detail| detail.summary.state.is_up()) {
            return Err(Failure::new(Code::Running, format!("{name} is already running"))
                .help(format!("run it inside: lxc-attach -n {name} -- COMMAND")));
        }
        let setup = Setup {
            program: "lxc-execute",
            file: self.file.as_deref().or(self.common.rcfile.as_deref()),
            define: &self.define,
            init: Some(["/bin/sh", "-c", IDLE].map(str::to_owned).to_vec()),
            make: true,
        };
        let program = wire::programs::tenant()?;
        let mut tenant = Temporary::start(lxc, &name, &setup)?;
        let mut child = Command::new(&program);
        child.arg("--root").arg(lxc.layout().root()).arg("exec");
        if let Some(uid) = &self.uid {
            child.arg("--user").arg(uid);
        }
        child.arg(name.as_str()).arg("--").args(command);
        let status = tenant.run(child);
        tenant.kill();
        drop(tenant);
        let status = status.map_err(|error| {
            Failure::new(Code::Failed, format!("cannot execute {}: {error}", program.display()))
        })?;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
    }
}
