//! Completion in the shell, and man pages.
//!
//! The script of a shell hands over the words of the line; the words that may stand in place of the last one come from
//! the definitions of the command line itself and from `candidates`.

use std::{ffi::OsString, io, path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use clap_complete::engine;
use wire::{Code, Failure};

/// The word behind which a script hands over a line.
const ANSWER: &str = "complete-words";

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Write the man pages into a directory
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Which directory
    dir: PathBuf,
}

impl Completions {
    pub(super) fn run(&self) -> super::Result {
        client::output::write(match self.shell {
            Shell::Bash => include_str!("complete/tenantctl.bash"),
            Shell::Zsh => include_str!("complete/tenantctl.zsh"),
            Shell::Fish => include_str!("complete/tenantctl.fish"),
        });
        Ok(ExitCode::SUCCESS)
    }
}

impl Man {
    pub(super) fn run(&self, command: clap::Command) -> super::Result {
        let write = || -> io::Result<()> {
            std::fs::create_dir_all(&self.dir)?;
            clap_mangen::generate_to(command, &self.dir)
        };
        write().map_err(|error| {
            Failure::new(Code::Failed, format!("cannot write man pages to {:?}: {error}", self.dir))
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Answers the script of a shell, if it is that which asks: `tenantctl complete-words WORD…`, the line from its first
/// word to the one that is completed.
pub(super) fn asked(
    words: impl Iterator<Item = OsString>,
    command: fn() -> clap::Command,
) -> Option<ExitCode> {
    let mut words = words.skip(1);
    if words.next()? != ANSWER {
        return None;
    }
    let words: Vec<OsString> = words.collect();
    let lines: String =
        found(command(), words).into_iter().map(|(word, help)| format!("{word}\t{help}\n")).collect();
    client::output::write(&lines);
    Some(ExitCode::SUCCESS)
}

/// What may stand in place of the last word, and one line about each. Options are offered where a dash was typed, or
/// where there is nothing else.
fn found(command: clap::Command, words: Vec<OsString>) -> Vec<(String, String)> {
    let Some(last) = words.len().checked_sub(1) else { return Vec::new() };
    let asks_for_option = words[last].as_encoded_bytes().starts_with(b"-");
    let Ok(candidates) = engine::complete(&mut without_hidden(command), words, last, None) else {
        return Vec::new();
    };
    let text = |candidate: &engine::CompletionCandidate| {
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        let word = candidate.get_value().to_str()?.to_owned();
        Some((word, help.lines().next().unwrap_or_default().to_owned()))
    };
    let shown = candidates.iter().filter(|candidate| !candidate.is_hide_set());
    let mut found: Vec<_> = shown.filter_map(text).collect();
    let is_option = |(word, _): &(String, String)| word.starts_with('-');
    if !asks_for_option && !found.iter().all(is_option) {
        found.retain(|one| !is_option(one));
    }
    found
}

/// The command line without the verbs that are hidden, which would be offered where nothing else fits; and with the other
/// names of verbs as verbs, because of all names of one the engine offers one.
fn without_hidden(command: clap::Command) -> clap::Command {
    let mut verbs = Vec::new();
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let others = super::aliases::ALIASES
            .iter()
            .filter(|(name, _)| *name == verb.get_name())
            .flat_map(|(_, others)| *others);
        let verb = verb.clone().visible_alias(None);
        verbs.extend(others.map(|other| verb.clone().name(*other)));
        verbs.push(verb);
    }
    clap::Command::new("tenantctl").args(command.get_arguments().cloned()).subcommands(verbs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let words = line.split(' ').map(OsString::from).collect();
        found(crate::command(), words).into_iter().map(|(word, _)| word).collect()
    }

    #[test]
    fn verbs_and_their_aliases_are_offered_and_hidden_ones_never() {
        let all = words("tenantctl ");
        for verb in ["start", "status", "show", "info", "rm", "ps", "stop", "poweroff"] {
            assert!(all.contains(&verb.to_owned()), "{verb}: {all:?}");
        }
        for line in ["tenantctl ", "tenantctl comp", "tenantctl man", "tenantctl lxc"] {
            let found = words(line);
            assert!(
                !found.iter().any(|verb| ["completions", "man", "lxc-links"].contains(&verb.as_str())),
                "{line}"
            );
        }
    }

    #[test]
    fn options_and_values_of_a_closed_set_are_offered() {
        assert!(words("tenantctl list --so").contains(&"--sort".to_owned()));
        assert!(words("tenantctl list --sort ").contains(&"memory".to_owned()));
        assert_eq!(words("tenantctl list -o name,mem"), ["name,memory"]);
        assert!(words("tenantctl start --state ").contains(&"frozen".to_owned()));
        assert_eq!(words("tenantctl start --kind app"), ["app", "app-plus"]);
        assert_eq!(words("tenantctl kill x --signal SIGHU"), ["SIGHUP"]);
        assert_eq!(words("tenantctl set x autostart="), ["autostart=false", "autostart=true"]);
        assert_eq!(words("tenantctl set x memory_ma"), ["memory_max="]);
        assert_eq!(words("tenantctl --root /nonexistent start x"), Vec::<String>::new());
    }
}
