//! What becomes of limits that this host cannot enforce.

use std::{collections::BTreeSet, io, path::PathBuf};

use serde::Serialize;
use tenant::model::limits::Limits;

use super::table::Limit;

/// A limit that this host cannot enforce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("cannot enforce {key} on this host: {reason}")]
pub struct Unenforceable {
    /// The key.
    pub key: &'static str,
    /// The controller or file that is missing.
    pub reason: String,
    /// Whether it was not requested: it is a default limit of this host.
    pub by_default: bool,
}

/// Handling of limits that this host cannot enforce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforce {
    /// None is passed over.
    All,
    /// Those that a client asked for are not; of the host's defaults it is only said.
    #[default]
    Asked,
    /// They are passed over.
    Possible,
}

impl Enforce {
    /// What a request stands for that does not speak of the host's defaults.
    pub fn asked_unless(allow_unenforced: bool) -> Self {
        if allow_unenforced { Self::Possible } else { Self::Asked }
    }

    /// Refuses what is not to be passed over.
    pub(in crate::units) fn judge(self, mut missing: Vec<Unenforceable>) -> Result<(), LimitError> {
        match self {
            Self::All => {}
            Self::Asked => missing.retain(|limit| !limit.by_default),
            Self::Possible => return Ok(()),
        }
        if missing.is_empty() { Ok(()) } else { Err(LimitError::Unenforceable(missing)) }
    }
}

/// Which of the host's default limits no unit can have that has these controllers.
pub(in crate::units) fn lacking(defaults: &Limits, controllers: &BTreeSet<&str>) -> Vec<Unenforceable> {
    let lack = |&key: &&'static str| {
        let reason = lack(Limit::of(key)?, controllers.iter().copied())?;
        Some(Unenforceable { key, reason, by_default: true })
    };
    defaults.by_default.iter().filter_map(lack).collect()
}

/// Why a limit cannot be enforced where these are all controllers of cgroup v2, if it cannot.
pub(in crate::units) fn lack<'a>(
    limit: &Limit,
    mut controllers: impl Iterator<Item = &'a str>,
) -> Option<String> {
    let needed = limit.controller.v2();
    (!controllers.any(|name| name == needed)).then(|| format!("there is no {needed} controller"))
}

/// Why limits were not applied.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// Something is missing on this host.
    #[error("{}", list(.0))]
    Unenforceable(Vec<Unenforceable>),
    /// The kernel refused a value.
    #[error("cannot set {key} through {file:?}")]
    Refused {
        /// The key.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn list(missing: &[Unenforceable]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
