use std::{
    ffi::OsString,
    fs,
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use tenant::{
    TenantName,
    attach::{self, AttachEnd, AttachError, AttachOptions},
};
use wire::{Code, Failure, LogLines, chain};

use super::{
    Applet, Common, Lxc, NamedCommand, Refused, Result, refused,
    temporary::{Setup, Temporary},
};

/// Start a tenant
///
/// A COMMAND replaces its init, in the foreground unless -d is given. With a COMMAND or -F a tenant that
/// does not exist is created, and destroyed when it stops.
#[derive(Debug, Parser)]
#[command(version)]
pub(super) struct Start {
    #[command(flatten)]
    named: NamedCommand,
    /// Start it and return; the default without a COMMAND
    #[arg(short = 'd', long, conflicts_with = "foreground")]
    daemon: bool,
    /// Stay attached to its console until it stops
    #[arg(short = 'F', long)]
    foreground: bool,
    /// Write the process id of its init there
    #[arg(short = 'p', long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// An lxc.conf, for a tenant that does not exist
    #[arg(short = 'f', long = "config-file", value_name = "FILE")]
    file: Option<PathBuf>,
    /// A line of an lxc.conf, for a tenant that does not exist (repeatable)
    #[arg(short = 's', long, value_name = "KEY=VALUE")]
    define: Vec<String>,
    /// Accepted: nothing is inherited
    #[arg(short = 'C', long)]
    close_all_fds: bool,
    #[command(flatten)]
    common: Common,
}

const SHARED: &str =
    "a tenant has its own namespaces of every kind; tenants of one `group` can reach each other";

impl Applet for Start {
    const REFUSED: &'static [Refused] = &[
        refused(
            Some('c'),
            "console",
            true,
            "attach to the console: lxc-console -n NAME -t 0, or start with -F",
        ),
        refused(Some('L'), "console-log", true, "every console is logged: tenantctl logs NAME"),
        refused(None, "share-net", true, SHARED),
        refused(None, "share-ipc", true, SHARED),
        refused(None, "share-uts", true, SHARED),
        refused(None, "share-pid", true, SHARED),
    ];

    fn run(self, lxc: &Lxc) -> Result<ExitCode> {
        let (name, command) = self.named.get()?;
        if lxc.find(&name)?.is_some_and(|detail| detail.summary.state.is_up()) {
            // With this exit code, as LXC.
            let _ = writeln!(io::stderr(), "lxc-start: {name}: Container is already running");
            return Ok(ExitCode::SUCCESS);
        }
        let foreground = self.foreground || !command.is_empty() && !self.daemon;
        let setup = Setup {
            program: "lxc-start",
            file: self.file.as_deref().or(self.common.rcfile.as_deref()),
            define: &self.define,
            init: (!command.is_empty()).then(|| init(command)),
            make: foreground,
        };
        let tenant = Temporary::start(lxc, &name, &setup)?;
        if let Some(path) = &self.pidfile {
            let pid = lxc.find(&name)?.and_then(|detail| detail.init_pid).unwrap_or_default();
            fs::write(path, format!("{pid}\n")).map_err(|error| {
                Failure::new(Code::Failed, format!("cannot write {path:?}: {error}"))
                    .help("the tenant is running")
            })?;
        }
        if foreground {
            stay(lxc, &name)?;
            if tenant.is_made() {
                tenant.kill();
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A command as an init: looked for in the tenant's $PATH unless it is a path.
pub(super) fn init(command: &[OsString]) -> Vec<String> {
    let words = command.iter().map(|word| word.to_string_lossy().into_owned());
    let mut argv: Vec<String> = words.collect();
    if !argv.first().is_some_and(|program| program.starts_with('/')) {
        argv.insert(0, "/usr/bin/env".to_owned());
    }
    argv
}

/// Stays at the console until the tenant ends.
fn stay(lxc: &Lxc, name: &TenantName) -> Result<()> {
    let options = AttachOptions {
        // Without a terminal nothing is typed, and the end of standard input is not the tenant's end.
        read_only: !std::io::stdin().is_terminal(),
        detach_key: "none".parse().map_err(|error: attach::InvalidKey| Failure::of(Code::Failed, &error))?,
        replay: 4096,
        ..AttachOptions::default()
    };
    match attach::run(lxc.layout(), name, options) {
        // A supervisor that ends closes the connection, at times before it has said so.
        Ok(AttachEnd::Lost) if ends(lxc, name)? => Ok(()),
        Ok(AttachEnd::Lost) => {
            Err(Failure::new(Code::Failed, format!("the connection to the console of {name} was lost")))
        }
        // Its init has ended; what is left of it goes in a moment, and a script may ask at once.
        Ok(AttachEnd::Ended(_)) => ends(lxc, name).map(|_| ()),
        Ok(_) => Ok(()),
        // It ended before anybody could attach; what it printed is in its log.
        Err(AttachError::NotRunning(_) | AttachError::Io(..)) if ends(lxc, name)? => {
            let log: LogLines = lxc.get(name, "/logs?tty=console&lines=4096")?;
            let lines = log.lines.iter().map(|line| format!("{}\n", client::output::clean(line)));
            client::output::write(&lines.collect::<String>());
            Ok(())
        }
        Err(error) => Err(Failure { help: error.help(), ..Failure::new(Code::Failed, chain(&error)) }),
    }
}

/// Whether it has ended, or does so in a moment.
fn ends(lxc: &Lxc, name: &TenantName) -> Result<bool> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        if !lxc.find(name)?.is_some_and(|detail| detail.summary.state.is_up()) {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
