//! The commands of LXC: `tenantctl` under their names.
//!
//! Each accepts the flags that scripts use, prints what LXC prints and exits with LXC's exit code. An
//! unsupported flag is an error that names the alternative; nothing is ignored silently.

mod absent;
mod applet;
mod arguments;
mod attach;
mod autostart;
mod cgroup;
mod checkconfig;
mod console;
mod create;
mod destroy;
mod execute;
mod freeze;
mod host;
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

use clap::{Arg, ArgAction, parser::ValueSource};
use tenant::Layout;
use wire::{Code, Failure};

pub use self::links::LxcLinks;
use self::{
    applet::{Applet, Refused, refused, tell},
    arguments::{Common, Named, NamedCommand, named},
    host::{Lxc, Result, not_running},
};

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

#[cfg(test)]
mod tests;
