//! `tenant`: runs one tenant, and enters running ones. Needs no hostd.

// It panics where it cannot write: what is said on the way must not end the work.
#![cfg_attr(not(test), deny(clippy::print_stderr))]

use std::{ffi::OsString, io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use log::LevelFilter;
use tenant::{
    Layout, TenantName,
    attach::{self, AttachEnd, AttachError, AttachOptions},
    cause::chain,
    enter::{self, ExecError, ExecOptions, TtyMode, Work},
    journal,
    model::park::WakeReason,
    protocol::control::{Client, ControlError, Request},
    supervisor::{self, Failed, RunError, RunOptions},
};

/// Runs one tenant, and enters running ones.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    /// Directory below which everything lies; $TENANTRY_ROOT, or / if not given
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a tenant and stay with it until it ends: the main process of tenant@NAME.service
    Run(Run),
    /// Take away what a supervisor that was killed left; nothing after an orderly end
    Sweep(Sweep),
    /// Run a command in a running tenant
    Exec(Exec),
    /// Log in to a running tenant
    Shell(Shell),
    /// Attach to a console or tty of a running tenant
    Console(Console),
    /// Ask the supervisor of a tenant
    Control(Control),
    /// Pack files of a tenant into standard output, or unpack them from standard input
    Files(Files),
}

#[derive(Debug, Args)]
struct Run {
    /// The tenant
    name: TenantName,
    /// Its unit's cgroup v2 directory; this process's own if not given
    #[arg(long, value_name = "DIR")]
    cgroup: Option<PathBuf>,
    /// One of its unit's cgroup v1 directories, to be entered; may be given several times
    #[arg(long = "v1-cgroup", value_name = "DIR")]
    v1_cgroups: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct Sweep {
    /// The tenant
    name: TenantName,
}

#[derive(Debug, Args)]
struct TtyChoice {
    /// Allocate a pseudoterminal, even if input and output are not a terminal
    #[arg(short, long, conflicts_with = "no_tty")]
    tty: bool,
    /// Use pipes, even on a terminal
    #[arg(long)]
    no_tty: bool,
}

impl TtyChoice {
    fn mode(&self) -> TtyMode {
        match (self.tty, self.no_tty) {
            (true, _) => TtyMode::Always,
            (_, true) => TtyMode::Never,
            _ => TtyMode::Auto,
        }
    }
}

#[derive(Debug, Args)]
struct Exec {
    /// The tenant
    name: TenantName,
    #[command(flatten)]
    tty: TtyChoice,
    /// Name or number of a user of the tenant
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Working directory inside
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Environment variable; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Command and arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    if key.is_empty() || text.contains('\0') {
        return Err("expected KEY=VALUE".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[derive(Debug, Args)]
struct Shell {
    /// The tenant
    name: TenantName,
    #[command(flatten)]
    tty: TtyChoice,
    /// Name or number of a user of the tenant
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
}

#[derive(Debug, Args)]
struct Console {
    /// The tenant
    name: TenantName,
    #[command(flatten)]
    options: AttachOptions,
}

#[derive(Debug, Args)]
struct Control {
    /// The tenant
    name: TenantName,
    /// What to ask for
    #[arg(value_enum)]
    op: Op,
}

#[derive(Debug, Args)]
struct Files {
    /// The tenant
    name: TenantName,
    /// The path inside, from its root
    path: PathBuf,
    /// Unpack standard input there: as root's files
    #[arg(long)]
    unpack: bool,
    /// Unpack with the owners that the archive says
    #[arg(long, requires = "unpack")]
    keep_owners: bool,
    /// What the path is called in the archive
    #[arg(long, value_name = "NAME", conflicts_with = "unpack")]
    r#as: Option<OsString>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Op {
    Status,
    Stop,
    Kill,
    Reboot,
    Freeze,
    Thaw,
    Park,
    Wake,
}

/// What is printed before the command ends badly.
struct CliError {
    /// What could not be done, as it goes behind `error: `.
    error: String,
    help: Option<String>,
    /// Lines of the tenant's console.
    console: Vec<String>,
    /// Whether a process that reads standard error has been told already.
    is_told: bool,
    code: u8,
}

impl CliError {
    fn new(error: String, help: Option<String>, code: u8) -> Self {
        Self { error, help, console: Vec::new(), is_told: false, code }
    }
}

fn main() -> ExitCode {
    let Cli { root, command } = Cli::parse();
    let root =
        root.or_else(|| std::env::var_os(Layout::ENV).map(PathBuf::from)).unwrap_or_else(|| "/".into());
    let layout = match std::path::absolute(&root) {
        Ok(root) => Layout::new(root),
        Err(_) => Layout::new(root),
    };
    let result = match command {
        Command::Run(run) => run_tenant(layout, run),
        Command::Sweep(Sweep { name }) => sweep_tenant(&layout, &name),
        Command::Exec(exec) => exec_command(&layout, exec),
        Command::Shell(Shell { name, tty, user }) => enter::shell(&layout, &name, user, tty.mode())
            .map_err(|error| exec_error("a shell", &name, &error)),
        Command::Console(console) => attach_console(&layout, console),
        Command::Control(Control { name, op }) => ask(&layout, &name, op),
        Command::Files(files) => work_on_files(&layout, files),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        // The supervisor's failure is in the journal already, with its fields.
        Err(failure) if failure.is_told => ExitCode::from(failure.code),
        Err(failure) => {
            let mut out = std::io::stderr().lock();
            for line in &failure.console {
                let _ = writeln!(out, "console: {line}");
            }
            let _ = writeln!(out, "error: {}", failure.error);
            if let Some(help) = &failure.help {
                let _ = writeln!(out, "help: {help}");
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run_tenant(layout: Layout, run: Run) -> Result<u8, CliError> {
    let Run { name, cgroup, v1_cgroups } = run;
    journal::install("tenant", &layout, Some(&name), LevelFilter::Info, LevelFilter::Warn, None);
    let cannot = |error: &str| format!("cannot start tenant {:?}: {error}", name.as_str());
    let options = RunOptions { layout, name: name.clone(), cgroup, v1_cgroups, alter: |_| {} };
    supervisor::run(options).map_err(|failed| {
        let Failed { error, console } = failed;
        let is_told = journal::has_stderr();
        if let RunError::ProgramFailed(_) = *error {
            let text = format!("tenant {:?} failed: {}", name.as_str(), chain(&*error));
            let help = error.help().map(|help| help.replace("NAME", name.as_str()));
            return CliError { console, is_told, ..CliError::new(text, help, error.exit_code()) };
        }
        let help = error.help().map(|help| help.replace("NAME", name.as_str()));
        CliError { console, is_told, ..CliError::new(cannot(&chain(&*error)), help, error.exit_code()) }
    })
}

fn sweep_tenant(layout: &Layout, name: &TenantName) -> Result<u8, CliError> {
    let swept = supervisor::host::sweep::after(layout, name).map_err(|Failed { error, .. }| {
        let text = format!("cannot remove the leftovers of tenant {:?}: {}", name.as_str(), chain(&*error));
        CliError::new(text, error.help().map(|help| help.replace("NAME", name.as_str())), error.exit_code())
    })?;
    if swept {
        let _ =
            writeln!(std::io::stderr(), "removed what the supervisor of tenant {:?} had left", name.as_str());
    }
    Ok(0)
}

fn exec_error(what: &str, name: &TenantName, error: &ExecError) -> CliError {
    let text = format!("cannot run {what} in tenant {:?}: {}", name.as_str(), chain(error));
    CliError::new(text, error.help(), error.exit_code())
}

fn exec_command(layout: &Layout, exec: Exec) -> Result<u8, CliError> {
    let Exec { name, tty, user, workdir, env, command } = exec;
    let options = ExecOptions { argv: command, tty: tty.mode(), user, dir: workdir, env };
    enter::exec(layout, &name, &options).map_err(|error| exec_error("a command", &name, &error))
}

fn work_on_files(layout: &Layout, files: Files) -> Result<u8, CliError> {
    let Files { name, path, unpack, keep_owners, r#as } = files;
    let work = match unpack {
        true => Work::Unpack { path, keeps_owners: keep_owners },
        false => Work::Pack { path, name: r#as },
    };
    enter::files(layout, &name, &work).map(|()| 0).map_err(|error| {
        let text = format!("cannot copy files of tenant {:?}: {}", name.as_str(), chain(&error));
        CliError::new(text, error.help().map(|help| help.replace("NAME", name.as_str())), error.exit_code())
    })
}

fn attach_console(layout: &Layout, console: Console) -> Result<u8, CliError> {
    let Console { name, options } = console;
    match attach::run(layout, &name, options) {
        Ok(AttachEnd::Lost) => Ok(1),
        Ok(_) => Ok(0),
        Err(error) => {
            let code = if matches!(error, AttachError::NotRunning(_)) { 4 } else { 1 };
            let text = format!("cannot attach to tenant {:?}: {}", name.as_str(), chain(&error));
            Err(CliError::new(text, error.help(), code))
        }
    }
}

fn ask(layout: &Layout, name: &TenantName, op: Op) -> Result<u8, CliError> {
    let request = match op {
        Op::Status => Request::Status {},
        Op::Stop => Request::Stop { timeout_sec: None },
        Op::Kill => Request::Kill {},
        Op::Reboot => Request::Reboot {},
        Op::Freeze => Request::Freeze {},
        Op::Thaw => Request::Thaw {},
        Op::Park => Request::Park {},
        Op::Wake => Request::Wake { why: WakeReason::Admin },
    };
    let reply = Client::connect(&layout.control_socket(name), Duration::from_secs(10))
        .and_then(|client| client.ask(request))
        .map_err(|error| {
            let (help, code) = match &error {
                ControlError::NotRunning => (Some(format!("start it: tenantctl start {name}")), 4),
                ControlError::Refused { help, .. } => (help.clone(), 4),
                ControlError::Ended(_) | ControlError::Io(_) | ControlError::Malformed(_) => (None, 1),
            };
            let what = format!("{op:?}").to_lowercase();
            CliError::new(format!("cannot {what} tenant {:?}: {}", name.as_str(), chain(&error)), help, code)
        })?;
    if let Some(status) = reply.status {
        let text = serde_json::to_string_pretty(&status).unwrap_or_default();
        let _ = writeln!(std::io::stdout(), "{text}");
    }
    Ok(0)
}
