//! Recipes: how the options of a build become part of a version's manifest, and options of a build again.

use std::{io, path::Path};

use tenant::model::recipe::{Recipe, RootLogin, without_credentials};

use crate::{
    debian::{Options, RootPassword},
    rootdir::RootDir,
    sets,
};

/// The recipe of a Debian image.
pub fn of_debian(options: &Options, tuning: bool) -> Recipe {
    Recipe::Debian {
        suite: options.suite.clone(),
        sets: sets::names(&options.sets),
        include: options.include.clone(),
        mirrors: options.mirrors.iter().map(|mirror| without_credentials(mirror)).collect(),
        tuning,
        root_password: match options.root_password {
            RootPassword::Empty => RootLogin::Empty,
            RootPassword::Locked => RootLogin::Locked,
            RootPassword::Hash(_) => RootLogin::Hash,
        },
    }
}

/// The options by which the version in `tree` is built again, with packages that are fetched; none if the recipe is of
/// something else. Names of sets that this release does not know are an error.
///
/// # Errors
/// The name of the set, or why root's password cannot be read.
pub fn debian_options(recipe: &Recipe, tree: &Path) -> Result<Option<Options>, RecipeError> {
    let Recipe::Debian { suite, sets: names, include, mirrors, root_password, .. } = recipe else {
        return Ok(None);
    };
    let mut found = Vec::new();
    for name in names {
        found.push(sets::find(name).ok_or_else(|| RecipeError::Set(name.clone()))?);
    }
    let root_password = match root_password {
        RootLogin::Empty => RootPassword::Empty,
        RootLogin::Locked => RootPassword::Locked,
        RootLogin::Hash => RootPassword::Hash(password_of(tree)?),
    };
    Ok(Some(Options {
        suite: suite.clone(),
        sets: found,
        include: include.clone(),
        mirrors: mirrors.clone(),
        root_password,
        fresh: true,
    }))
}

/// Root's password in the version itself.
fn password_of(tree: &Path) -> Result<String, RecipeError> {
    let shadow = RootDir::open(tree).and_then(|root| root.text("etc/shadow"));
    let shadow = shadow.map_err(RecipeError::Password)?.unwrap_or_default();
    let hash = shadow.lines().find_map(|line| line.strip_prefix("root:")?.split(':').next());
    hash.map(str::to_owned).ok_or_else(|| RecipeError::Password(io::ErrorKind::NotFound.into()))
}

/// Why a version cannot be built again.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// Written by another release.
    #[error("its recipe names a set of packages {0:?}, which this release does not have")]
    Set(String),
    /// The version cannot be read.
    #[error("cannot read root's password in its /etc/shadow")]
    Password(#[source] io::Error),
}

impl crate::Explain for RecipeError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Set(_) => {
                Some("build it with --include instead: rootfsctl build debian --channel candidate".to_owned())
            }
            Self::Password(_) => None,
        }
    }

    fn outcome(&self) -> crate::Outcome {
        crate::Outcome::Failed
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_recipe_gives_the_options_it_was_made_of_and_has_no_secret() {
        let options = Options {
            suite: "bookworm".to_owned(),
            sets: vec![sets::find("admin").unwrap()],
            include: vec!["nginx".to_owned()],
            mirrors: vec!["https://me:secret@deb.example.org/debian".to_owned()],
            root_password: RootPassword::Hash("$6$salt$hash".to_owned()),
            fresh: false,
        };
        let recipe = of_debian(&options, true);
        let text = serde_json::to_string(&recipe).unwrap();
        assert!(!text.contains("secret") && !text.contains("$6$"), "{text}");

        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("etc")).unwrap();
        fs::write(tree.path().join("etc/shadow"), "root:$6$salt$hash:1::::::\ndaemon:*:1::::::\n").unwrap();
        let again = debian_options(&recipe, tree.path()).unwrap().unwrap();
        assert!(again.fresh);
        assert_eq!(again.root_password, options.root_password);
        assert_eq!((again.suite, again.sets, again.include), (options.suite, options.sets, options.include));
        assert_eq!(again.mirrors, ["https://deb.example.org/debian"]);
        assert_eq!(debian_options(&Recipe::Busybox {}, tree.path()).unwrap().map(|o| o.suite), None);
    }
}
