//! Flags and words that several commands take.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, Args};
use tenant::TenantName;
use wire::{Code, Failure};

use super::host::Result;

/// Flags of every command.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// Accepted: errors go to standard error
    #[arg(short = 'o', long = "logfile", value_name = "FILE")]
    pub(super) logfile: Option<PathBuf>,
    /// Accepted: hostd logs to the journal
    #[arg(short = 'l', long = "logpriority", value_name = "LEVEL")]
    pub(super) logpriority: Option<String>,
    /// Print no errors
    #[arg(short = 'q', long)]
    pub(super) quiet: bool,
    /// Accepted if it is /var/lib/lxc: tenants are below $TENANTRY_ROOT
    #[arg(short = 'P', long = "lxcpath", value_name = "PATH")]
    pub(super) lxcpath: Option<PathBuf>,
    /// Accepted: a tenant has its own file
    #[arg(long = "rcfile", value_name = "FILE")]
    pub(super) rcfile: Option<PathBuf>,
    /// Print this help
    #[arg(short = '?', long = "help", action = ArgAction::Help)]
    pub(super) help: Option<bool>,
}

/// The selected container: `-n NAME`, or the first word.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// Name of the tenant
    #[arg(short = 'n', long = "name", value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Name of the tenant, without -n
    #[arg(value_name = "NAME", conflicts_with = "name")]
    pub(super) word: Option<String>,
}

impl Named {
    pub(super) fn get(&self) -> Result<TenantName> {
        named(self.name.as_deref().or(self.word.as_deref()))
    }
}

pub(super) fn named(name: Option<&str>) -> Result<TenantName> {
    let missing = || Failure::new(Code::Invalid, "No container name specified").help("pass -n NAME");
    wire::tenant_name(name.ok_or_else(missing)?)
}

/// The container and a command in it: with `-n` all words are the command.
#[derive(Debug, Args)]
pub(super) struct NamedCommand {
    /// Name of the tenant
    #[arg(short = 'n', long = "name", value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Command and its arguments; without -n the first word is the name
    #[arg(value_name = "COMMAND")]
    pub(super) words: Vec<OsString>,
}

impl NamedCommand {
    pub(super) fn get(&self) -> Result<(TenantName, &[OsString])> {
        match (&self.name, &self.words[..]) {
            (Some(name), words) => Ok((named(Some(name))?, words)),
            (None, [name, words @ ..]) => Ok((named(Some(&name.to_string_lossy()))?, words)),
            (None, []) => Ok((named(None)?, &[])),
        }
    }
}
