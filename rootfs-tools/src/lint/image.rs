//! A tree that rules look at, and what they find.

use std::{io, path::Path};

use serde::Serialize;

use crate::{
    explain::{Explain, Outcome},
    rootdir::RootDir,
    tree::{self, Entry, TreeError},
};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Note,
    /// The image works, but not well.
    Warning,
    /// Tenants would break, or share what must be theirs alone.
    Error,
}

/// A tree with everything that the rules inspect.
#[derive(Debug)]
pub struct Image {
    /// Its root.
    pub root: RootDir,
    /// Its entries, as [`tree::walk`] lists them.
    pub entries: Vec<Entry>,
}

/// One thing a rule found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Id of the rule.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The file, or the property of the image.
    pub object: String,
    /// What is wrong.
    pub what: &'static str,
    /// Why that matters.
    pub why: &'static str,
    /// Whether a build or import fixes it.
    pub fixable: bool,
}

/// A tree that cannot be checked or fixed.
#[derive(Debug, thiserror::Error)]
pub enum LintError {
    /// It cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// It cannot be opened.
    #[error("cannot open {path:?}")]
    Open {
        /// The tree.
        path: std::path::PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A fix failed.
    #[error("cannot fix {object:?} (rule {rule})")]
    Fix {
        /// The rule.
        rule: &'static str,
        /// The file.
        object: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Explain for LintError {
    fn help(&self) -> Option<String> {
        None
    }

    fn outcome(&self) -> Outcome {
        Outcome::Failed
    }
}

/// Opens a tree for checking.
///
/// # Errors
/// It cannot be read.
pub fn open(tree: &Path) -> Result<Image, LintError> {
    let root = RootDir::open(tree).map_err(|source| LintError::Open { path: tree.to_owned(), source })?;
    Ok(Image { root, entries: tree::walk(tree)? })
}
