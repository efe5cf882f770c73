//! The command line: one file per verb; what they share: `context`.

mod build;
mod channel;
mod complete;
mod context;
mod diff;
mod gc;
mod import;
mod lint;
mod list;
mod log;
mod named;
mod pull;
mod push;
mod rm;
mod show;
mod sign;
mod update;
mod verify;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};
use rootfs_tools::Store;
use tenant::Layout;

use self::context::Context;

/// Builds, checks and stores the root filesystems that tenants boot.
#[derive(Debug, Parser)]
#[command(name = "rootfsctl", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Directory that all paths of Tenantry are relative to.
    #[arg(long, global = true, env = Layout::ENV, default_value = "/", value_name = "DIR")]
    root: PathBuf,
    /// Print the result as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build an image and publish it.
    #[command(subcommand)]
    Build(build::Build),
    /// Build a version again from its recipe, with the packages of today.
    Update(update::Args),
    /// Check, fix and publish a tar archive (plain, gzip, xz, zstd) or a directory.
    Import(import::Args),
    /// Fetch an image from a registry and publish it.
    Pull(pull::Args),
    /// Send a version to a registry.
    Push(push::Args),
    /// Publish a directory exactly as it is.
    Publish(import::PublishArgs),
    /// List images, or the versions of one.
    List(list::Args),
    /// Show the versions of an image, what changed with each, and who boots it.
    Log(log::Args),
    /// Show one version.
    Show(show::Args),
    /// Check a version, or a directory, against the rules.
    Lint(lint::Args),
    /// Sign a version.
    Sign(sign::Args),
    /// Check that the files of a version match its digest.
    Verify(verify::Args),
    /// Show the differences between two versions.
    Diff(diff::Args),
    /// List channels, or point one at a version.
    Channel(channel::Args),
    /// Remove unused versions.
    Gc(gc::Args),
    /// Remove one version.
    Rm(rm::Args),
    /// Print a completion script for a shell.
    #[command(hide = true)]
    Completions(complete::Completions),
    /// Write the man pages into a directory.
    #[command(hide = true)]
    Man(complete::Man),
}

/// Parses the command line, runs the verb and returns the exit code: 0 done, 1 failed, 2 usage, 3 not
/// found, 4 refused.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let root = std::path::absolute(&cli.root).unwrap_or(cli.root);
    let layout = Layout::new(root);
    let context = Context { store: Store::new(layout.clone()), layout, json: cli.json };
    let result = match cli.verb {
        Verb::Build(args) => build::run(&context, args),
        Verb::Update(args) => update::run(&context, args),
        Verb::Import(args) => import::run(&context, args),
        Verb::Pull(args) => pull::run(&context, args),
        Verb::Push(args) => push::run(&context, args),
        Verb::Publish(args) => import::publish(&context, args),
        Verb::List(args) => list::run(&context, args),
        Verb::Log(args) => log::run(&context, args),
        Verb::Show(args) => show::run(&context, args),
        Verb::Lint(args) => lint::run(&context, args),
        Verb::Sign(args) => sign::run(&context, args),
        Verb::Verify(args) => verify::run(&context, args),
        Verb::Diff(args) => diff::run(&context, args),
        Verb::Channel(args) => channel::run(&context, args),
        Verb::Gc(args) => gc::run(&context, args),
        Verb::Rm(args) => rm::run(&context, args),
        Verb::Completions(args) => args.run(Cli::command()),
        Verb::Man(args) => args.run(Cli::command()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
