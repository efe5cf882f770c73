//! `tenantctl`: one file per verb. A verb prints the answer of hostd as text, or as it is with `--json`.

// It panics where it cannot write: what is said on the way must not end the work.
#![cfg_attr(not(test), deny(clippy::print_stderr))]

mod absent;
mod aliases;
mod autostart;
mod candidates;
mod clone;
mod columns;
mod complete;
mod config;
mod console;
mod console_log;
mod context;
mod cp;
mod create;
mod destroy;
mod doctor;
mod drift;
mod editor;
mod events;
mod exec;
mod explain;
mod export;
mod freeze;
mod get;
mod glob;
mod import;
mod import_lxc;
mod journal;
mod keys;
mod kill;
mod list;
mod listed;
mod logs;
mod many;
mod merge;
mod mode;
mod nics;
mod output;
mod plan;
mod ps;
mod rebase;
mod refresh;
mod reload;
mod rename;
mod reset;
mod restart;
mod rollout;
mod select;
mod show;
mod snapshot;
mod stale;
mod start;
mod stat;
mod status;
mod stop;
mod sysctl;
mod three_way;
mod top;
mod transfer;
mod wait;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use client::Client;
use wire::Failure;

use self::{
    aliases::ALIASES,
    context::{Context, Result},
    output::Output,
};

/// Manage operating-system tenants over one shared root filesystem
#[derive(Debug, Parser)]
#[command(name = "tenantctl", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused in this state";

/// Options of every command.
#[derive(Clone, Debug, Args)]
struct Global {
    /// Directory that all paths of Tenantry are relative to; default: $TENANTRY_ROOT, or /
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(create::Create),
    Destroy(destroy::Destroy),
    Start(start::Start),
    Stop(stop::Stop),
    Restart(restart::Restart),
    Reload(reload::Reload),
    Rename(rename::Rename),
    Clone(clone::Clone),
    Export(export::Export),
    Import(import::Import),
    Cp(cp::Cp),
    Snapshot(snapshot::Take),
    Snapshots(snapshot::Snapshots),
    Restore(snapshot::Restore),
    Reset(reset::Reset),
    Rebase(rebase::Rebase),
    Rollback(rebase::Rollback),
    Rollout(rollout::Rollout),
    Kill(kill::Kill),
    Freeze(freeze::Freeze),
    Thaw(freeze::Thaw),
    Park(freeze::Park),
    Wake(freeze::Wake),
    Enable(autostart::Enable),
    Disable(autostart::Disable),
    List(list::List),
    Status(status::Status),
    Show(show::Show),
    Get(get::Get),
    Ps(ps::Ps),
    Edit(config::Edit),
    Set(config::Set),
    #[command(name = "import-lxc")]
    ImportLxc(import_lxc::ImportLxc),
    Plan(plan::Plan),
    Nics(nics::Nics),
    Explain(explain::Explain),
    Exec(exec::Exec),
    Shell(exec::Shell),
    Console(console::Console),
    Logs(logs::Logs),
    Wait(wait::Wait),
    Stat(stat::Stat),
    Stale(stale::ListStale),
    Refresh(refresh::Refresh),
    Drift(drift::ListDrift),
    Merge(merge::Merge),
    Top(top::Top),
    Events(events::Events),
    Doctor(doctor::Doctor),
    #[command(hide = true)]
    Completions(complete::Completions),
    #[command(hide = true)]
    Man(complete::Man),
    #[command(hide = true)]
    LxcLinks(lxc::LxcLinks),
}

/// Parses and runs the command line; under the name of a command of LXC, runs that command.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = lxc::called(std::env::args_os()) {
        return code;
    }
    if let Some(code) = complete::asked(std::env::args_os(), command) {
        return code;
    }
    let words = kill::spelled_out(std::env::args_os());
    let Cli { global, command } = quickly(&words).unwrap_or_else(|| {
        let matches = command().get_matches_from(&words);
        Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    });
    let layout = wire::layout(global.root);
    let output = Output { json: global.json };
    let context = Context { client: Client::new(layout.clone()), layout, output };
    run(command, context).unwrap_or_else(|failure| {
        output.failure(&failure);
        ExitCode::from(failure.code.exit_code())
    })
}

fn run(command: Command, context: Context) -> Result {
    // These become other programs or hold the terminal, and have no use for a runtime.
    let command = match command {
        Command::Exec(verb) => return verb.run(&context),
        Command::Shell(verb) => return verb.run(&context),
        Command::Console(verb) => return verb.run(&context),
        Command::Completions(verb) => return verb.run(),
        Command::Man(verb) => return verb.run(self::command()),
        Command::LxcLinks(verb) => return verb.run(),
        other => other,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::of(wire::Code::Failed, &error))?;
    runtime.block_on(async move {
        match command {
            Command::Create(verb) => verb.run(&context).await,
            Command::Destroy(verb) => verb.run(&context).await,
            Command::Start(verb) => verb.run(&context).await,
            Command::Stop(verb) => verb.run(&context).await,
            Command::Restart(verb) => verb.run(&context).await,
            Command::Reload(verb) => verb.run(&context).await,
            Command::Rename(verb) => verb.run(&context).await,
            Command::Clone(verb) => verb.run(&context).await,
            Command::Export(verb) => verb.run(&context).await,
            Command::Import(verb) => verb.run(&context).await,
            Command::Cp(verb) => verb.run(&context).await,
            Command::Snapshot(verb) => verb.run(&context).await,
            Command::Snapshots(verb) => verb.run(&context).await,
            Command::Restore(verb) => verb.run(&context).await,
            Command::Reset(verb) => verb.run(&context).await,
            Command::Rebase(verb) => verb.run(&context).await,
            Command::Rollout(verb) => verb.run(&context).await,
            Command::Rollback(verb) => verb.run(&context).await,
            Command::Kill(verb) => verb.run(&context).await,
            Command::Freeze(verb) => verb.run(&context).await,
            Command::Thaw(verb) => verb.run(&context).await,
            Command::Park(verb) => verb.run(&context).await,
            Command::Wake(verb) => verb.run(&context).await,
            Command::Enable(verb) => verb.run(&context).await,
            Command::Disable(verb) => verb.run(&context).await,
            Command::List(verb) => verb.run(&context).await,
            Command::Status(verb) => verb.run(&context).await,
            Command::Show(verb) => verb.run(&context).await,
            Command::Get(verb) => verb.run(&context).await,
            Command::Ps(verb) => verb.run(&context).await,
            Command::Edit(verb) => verb.run(&context).await,
            Command::Set(verb) => verb.run(&context).await,
            Command::ImportLxc(verb) => verb.run(&context).await,
            Command::Plan(verb) => verb.run(&context).await,
            Command::Nics(verb) => verb.run(&context).await,
            Command::Explain(verb) => verb.run(&context).await,
            Command::Logs(verb) => verb.run(&context).await,
            Command::Wait(verb) => verb.run(&context).await,
            Command::Stat(verb) => verb.run(&context).await,
            Command::Stale(verb) => verb.run(&context).await,
            Command::Refresh(verb) => verb.run(&context).await,
            Command::Drift(verb) => verb.run(&context).await,
            Command::Merge(verb) => verb.run(&context).await,
            Command::Top(verb) => verb.run(&context).await,
            Command::Events(verb) => verb.run(&context).await,
            Command::Doctor(verb) => verb.run(&context).await,
            Command::Exec(_)
            | Command::Shell(_)
            | Command::Console(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::LxcLinks(_) => Ok(ExitCode::SUCCESS),
        }
    })
}

/// The command line as clap knows it: as the types define it, with the other names of verbs and the rules of what
/// selects tenants.
#[must_use]
pub fn command() -> clap::Command {
    let command = Cli::command();
    let verbs: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    verbs.iter().fold(command, |command, name| {
        let others = ALIASES.iter().find(|(verb, _)| verb == name).map_or(&[][..], |(_, others)| others);
        command.mut_subcommand(name, |verb| select::with_rules(verb.visible_aliases(others.iter().copied())))
    })
}

/// What defines the arguments of a verb.
type Arguments = fn(clap::Command) -> clap::Command;

/// Verbs that scripts call many times in a row. The definitions of all verbs take longer than such a call.
const QUICK: &[(&str, Arguments)] = &[
    ("start", start::Start::augment_args),
    ("stop", stop::Stop::augment_args),
    ("list", list::List::augment_args),
    ("status", status::Status::augment_args),
    ("get", get::Get::augment_args),
    ("exec", exec::Exec::augment_args),
    ("wait", wait::Wait::augment_args),
];

/// A line whose first word is one of [`QUICK`], by the definition of that verb alone. None for all others, and for what
/// is an error or asks for help: those are told by the whole definition.
fn quickly(words: &[OsString]) -> Option<Cli> {
    let first = words.get(1)?;
    let (name, arguments) = QUICK.iter().find(|(name, _)| first == name)?;
    let verb = select::with_rules(arguments(clap::Command::new(*name)));
    let command = Global::augment_args(clap::Command::new("tenantctl")).subcommand(verb);
    Cli::from_arg_matches(&command.try_get_matches_from(words).ok()?).ok()
}

#[cfg(test)]
mod tests;
