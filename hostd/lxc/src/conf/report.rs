//! What became of each line of an lxc.conf.

use serde::{Deserialize, Serialize};

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It is a key of the tenant's file now.
    Translated,
    /// It is not needed: nothing is lost.
    Note,
    /// Something that the container had is missing.
    Warning,
}

/// The fate of a line and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) fate: Fate,
    /// The key of the tenant's file that a translated line is part of, e.g. `nic[0]`.
    pub(super) key: String,
    pub(super) text: String,
}

impl Verdict {
    pub(super) fn done(key: &str, text: impl Into<String>) -> Self {
        Self { fate: Fate::Translated, key: key.to_owned(), text: text.into() }
    }

    pub(super) fn note(text: impl Into<String>) -> Self {
        Self { fate: Fate::Note, key: String::new(), text: text.into() }
    }

    pub(super) fn warning(text: impl Into<String>) -> Self {
        Self { fate: Fate::Warning, key: String::new(), text: text.into() }
    }
}

/// One line of the configuration and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The file it stands in.
    pub file: String,
    /// Its number there, counted from 1; 0 for a remark on the file as a whole.
    pub line: usize,
    /// Its key as it is written.
    pub key: String,
    /// Its value.
    pub value: String,
    /// What became of it.
    pub fate: Fate,
    /// As which key of the tenant's file, or why not.
    pub text: String,
}
