//! The commands of LXC: `tenantctl` under their names.
//!
//! Each accepts the flags that scripts use, prints what LXC prints and exits with LXC's exit code. An
//! unsupported flag is an error that names the alternative; nothing is ignored silently.

mod absent;
mod attach;
mod autostart;
mod cgroup;
mod checkconfig;
mod console;
mod create;
mod destroy;
mod execute;
mod freeze;
mod inside;
mod links;
mod list;
mod show;
mod start;
mod state;
mod stop;
mod temporary;
mod wait;

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Arg, ArgAction, Args, Parser, parser::ValueSource};
use client::Client;
use tenant::{Layout, TenantName};
use wire::{Code, Detail, Failure};

pub use self::links::LxcLinks;

/// What a command ends in.
type Result<T> = std::result::Result<T, Failure>;

/// A flag of LXC that a tenant has no use for.
struct Refused {
    short: Option<char>,
    long: &'static str,
    /// Whether it takes a value.
    value: bool,
    /// What to use instead, or why there is nothing.
    instead: &'static str,
}

const fn refused(short: Option<char>, long: &'static str, value: bool, instead: &'static str) -> Refused {
    Refused { short, long, value, instead }
}

/// A command of LXC.
trait Applet: Parser {
    /// Flags that it does not take.
    const REFUSED: &'static [Refused] = &[];

    /// Does what the command line says.
    fn run(self, lxc: &Lxc) -> Result<ExitCode>;
}

/// Flags of every command.
#[derive(Debug, Args)]
struct Common {
    /// Accepted: errors go to standard error
    #[arg(short = 'o', long = "logfile", value_name = "FILE")]
    logfile: Option<PathBuf>,
    /// Accepted: hostd logs to the journal
    #[arg(short = 'l', long = "logpriority", value_name = "LEVEL")]
    logpriority: Option<String>,
    /// Print no errors
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Accepted if it is /var/lib/lxc: tenants are below $TENANTRY_ROOT
    #[arg(short = 'P', long = "lxcpath", value_name = "PATH")]
    lxcpath: Option<PathBuf>,
    /// Accepted: a tenant has its own file
    #[arg(long = "rcfile", value_name = "FILE")]
    rcfile: Option<PathBuf>,
    /// Print this help
    #[arg(short = '?', long = "help", action = ArgAction::Help)]
    help: Option<bool>,
}

/// The selected container: `-n NAME`, or the first word.
#[derive(Debug, Args)]
struct Named {
    /// Name of the tenant
    #[arg(short = 'n', long = "name", value_name = "NAME")]
    name: Option<String>,
    /// Name of the tenant, without -n
    #[arg(value_name = "NAME", conflicts_with = "name")]
    word: Option<String>,
}

impl Named {
    fn get(&self) -> Result<TenantName> {
        named(self.name.as_deref().or(self.word.as_deref()))
    }
}

fn named(name: Option<&str>) -> Result<TenantName> {
    let missing = || Failure::new(Code::Invalid, "No container name specified").help("pass -n NAME");
    wire::tenant_name(name.ok_or_else(missing)?)
}

/// The container and a command in it: with `-n` all words are the command.
#[derive(Debug, Args)]
struct NamedCommand {
    /// Name of the tenant
    #[arg(short = 'n', long = "name", value_name = "NAME")]
    name: Option<String>,
    /// Command and its arguments; without -n the first word is the name
    #[arg(value_name = "COMMAND")]
    words: Vec<OsString>,
}

impl NamedCommand {
    fn get(&self) -> Result<(TenantName, &[OsString])> {
        match (&self.name, &self.words[..]) {
            (Some(name), words) => Ok((named(Some(name))?, words)),
            (None, [name, words @ ..]) => Ok((named(Some(&name.to_string_lossy()))?, words)),
            (None, []) => Ok((named(None)?, &[])),
        }
    }
}

/// What a command works with.
struct Lxc {
    client: Client,
    layout: Layout,
    runtime: tokio::runtime::Runtime,
}

impl Lxc {
    fn new() -> Result<Self> {
        let root = std::env::var_os(Layout::ENV).unwrap_or_else(|| "/".into());
        let root = std::path::absolute(&root).unwrap_or_else(|_| root.into());
        let layout = Layout::new(root);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::of(Code::Failed, &error))?;
        Ok(Self { client: Client::new(layout.clone()), layout, runtime })
    }

    fn client(&self) -> &Client {
        &self.client
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn wait<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(future)
    }

    /// The tenant; none where there is no such tenant.
    fn find(&self, name: &TenantName) -> Result<Option<Detail>> {
        match self.wait(self.client().get(&client::tenant(name.as_str(), ""))) {
            Ok(detail) => Ok(Some(detail)),
            Err(failure) if failure.code == Code::NoTenant => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The tenant, which must be running.
    fn running(&self, name: &TenantName) -> Result<Detail> {
        match self.find(name)? {
            Some(detail) if detail.summary.state.is_up() => Ok(detail),
            _ => Err(not_running(name)),
        }
    }

    fn get<T: serde::de::DeserializeOwned>(&self, name: &TenantName, rest: &str) -> Result<T> {
        self.wait(self.client().get(&client::tenant(name.as_str(), rest)))
    }

    fn post<T: serde::de::DeserializeOwned>(
        &self,
        name: &TenantName,
        rest: &str,
        body: &impl serde::Serialize,
    ) -> Result<T> {
        self.wait(self.client().post(&client::tenant(name.as_str(), rest), body))
    }
}

fn not_running(name: &TenantName) -> Failure {
    Failure::new(Code::NotRunning, format!("{name} is not running"))
        .help(format!("start it: lxc-start -n {name} -d"))
}

/// Declares the commands once.
macro_rules! applets {
    ($($name:literal => $applet:ty),* $(,)?) => {
        /// Names of all commands that are provided.
        const NAMES: &[&str] = &[$($name),*];

        /// Runs the command of this name; none if it is none of them.
        fn dispatch(name: &str, arguments: Vec<OsString>) -> Option<ExitCode> {
            match name {
                $($name => Some(run::<$applet>($name, arguments)),)*
                _ => None,
            }
        }

        /// The command lines as clap knows them, with the flags they refuse.
        #[cfg(test)]
        fn definitions() -> Vec<(clap::Command, &'static [Refused])> {
            vec![$((definition::<$applet>($name), <$applet as Applet>::REFUSED)),*]
        }
    };
}

applets! {
    "lxc-attach" => attach::Attach,
    "lxc-autostart" => autostart::Autostart,
    "lxc-cgroup" => cgroup::Cgroup,
    "lxc-checkconfig" => checkconfig::CheckConfig,
    "lxc-console" => console::Console,
    "lxc-create" => create::Create,
    "lxc-destroy" => destroy::Destroy,
    "lxc-execute" => execute::Execute,
    "lxc-freeze" => freeze::Freeze,
    "lxc-info" => show::Info,
    "lxc-ls" => list::List,
    "lxc-start" => start::Start,
    "lxc-stop" => stop::Stop,
    "lxc-unfreeze" => freeze::Unfreeze,
    "lxc-wait" => wait::Wait,
}

/// Names of all commands, those that are refused too.
fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().copied().chain(absent::ABSENT.iter().map(|absent| absent.name))
}

/// Runs as a command of LXC if this program was called by the name of one.
pub fn called(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let program = arguments.next()?;
    let name = Path::new(&program).file_name().and_then(OsStr::to_str)?.to_owned();
    if let Some(refused) = absent::refuse(&name) {
        return Some(refused);
    }
    NAMES.contains(&name.as_str()).then_some(())?;
    dispatch(&name, std::iter::once(program).chain(arguments).collect())
}

/// The command line of an applet, with the flags that it refuses as hidden ones.
fn definition<A: Applet>(name: &'static str) -> clap::Command {
    let command = A::command().name(name).disable_help_flag(true).max_term_width(100);
    A::REFUSED.iter().fold(command, |command, flag| {
        let mut arg = Arg::new(flag.long).long(flag.long).hide(true).help(flag.instead);
        if let Some(short) = flag.short {
            arg = arg.short(short);
        }
        let action = if flag.value { ArgAction::Append } else { ArgAction::SetTrue };
        command.arg(arg.action(action))
    })
}

fn run<A: Applet>(name: &'static str, arguments: Vec<OsString>) -> ExitCode {
    let quiet = arguments.iter().any(|argument| argument == "-q" || argument == "--quiet");
    let ended = definition::<A>(name).try_get_matches_from(arguments).map(|matches| {
        let given = |flag: &&Refused| matches.value_source(flag.long) == Some(ValueSource::CommandLine);
        if let Some(flag) = A::REFUSED.iter().find(given) {
            let text = format!("--{} is not supported", flag.long);
            return Err(Failure::new(Code::Invalid, text).help(flag.instead));
        }
        let applet = A::from_arg_matches(&matches).map_err(|error| Failure::of(Code::Invalid, &error))?;
        elsewhere(matches.get_one::<PathBuf>("lxcpath"))?;
        applet.run(&Lxc::new()?)
    });
    match ended {
        Ok(Ok(code)) => code,
        Ok(Err(failure)) => {
            if !quiet {
                tell(name, &failure);
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            let _ = error.print();
            if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    }
}

/// Another path of LXC would contain other containers; that must not be ignored.
fn elsewhere(path: Option<&PathBuf>) -> Result<()> {
    match path {
        Some(path) if path.components().ne(Path::new("/var/lib/lxc").components()) => {
            let text = format!("tenants are not stored in {}", path.display());
            Err(Failure::new(Code::Invalid, text)
                .help(format!("omit -P, and select another host directory with {}=DIRECTORY", Layout::ENV)))
        }
        _ => Ok(()),
    }
}

fn tell(name: &str, failure: &Failure) {
    let clean = client::output::clean;
    eprintln!("{name}: error: {}", clean(&failure.message));
    for line in &failure.console {
        eprintln!("  console: {}", clean(line));
    }
    if let Some(help) = &failure.help {
        eprintln!("help: {}", clean(help));
    }
}

#[cfg(test)]
mod tests;
