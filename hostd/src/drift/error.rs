//! Why files of a tenant's own cannot be looked at or merged.

use std::{io, path::PathBuf};

use wire::Code;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum DriftError {
    /// A path that hides nothing.
    #[error("{path:?} of tenant {tenant:?} hides no file of its image: {reason}")]
    Nothing {
        /// The tenant.
        tenant: String,
        /// The path.
        path: String,
        /// Why.
        reason: String,
    },
    /// What was noted cannot be used.
    #[error("cannot use {path:?}: {reason}")]
    Notes {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Another file is there by now.
    #[error("cannot merge {path:?} of tenant {tenant:?}: {what} was changed in the meantime")]
    Conflict {
        /// The tenant.
        tenant: String,
        /// The path.
        path: String,
        /// What.
        what: &'static str,
    },
    /// It cannot be done beneath a running tenant.
    #[error("cannot merge {path:?} of tenant {tenant:?} while it is running: {reason}")]
    Running {
        /// The tenant.
        tenant: String,
        /// The path.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// It cannot be done at all.
    #[error("cannot merge {path:?} of tenant {tenant:?}: {reason}")]
    Refused {
        /// The tenant.
        tenant: String,
        /// The path.
        path: String,
        /// Why.
        reason: &'static str,
    },
}

impl DriftError {
    /// Its machine-readable kind.
    pub fn code(&self) -> Code {
        match self {
            Self::Nothing { .. } => Code::NotFound,
            Self::Notes { .. } => Code::Failed,
            Self::Conflict { .. } => Code::Conflict,
            Self::Running { .. } => Code::Running,
            Self::Refused { .. } => Code::Invalid,
        }
    }

    /// The remedy.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Nothing { tenant, .. } => format!("list the files that do: tenantctl drift {tenant}"),
            Self::Notes { path, .. } => {
                format!(
                    "remove it: rm {}; merges that kept the tenant's own are forgotten then",
                    path.display()
                )
            }
            Self::Conflict { tenant, path, .. } => {
                format!("look again: tenantctl drift {tenant} --diff {path}")
            }
            Self::Running { tenant, .. } => format!("stop it first: tenantctl stop {tenant}"),
            Self::Refused { .. } => return None,
        })
    }
}

/// What the kernel says of a file, without numbers.
pub fn words(error: &io::Error) -> String {
    tenant::cause::without_numbers(&error.to_string())
}
