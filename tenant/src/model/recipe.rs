//! How a version of an image was made, so that it can be made again.

use serde::{Deserialize, Serialize};

/// `[recipe]` of a version's manifest. It has no secret: of mirrors the name and password are left out, and of root's
/// password the manifest says only that there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Recipe {
    /// `rootfsctl build debian`.
    Debian {
        /// The release, e.g. `bookworm`.
        suite: String,
        /// Named sets of packages.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        sets: Vec<String>,
        /// More packages.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        include: Vec<String>,
        /// Mirrors as mmdebstrap(1) takes them; empty for those of the host.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mirrors: Vec<String>,
        /// Whether the tuning table was applied.
        tuning: bool,
        /// How root logs in.
        root_password: RootLogin,
    },
    /// `rootfsctl build busybox`.
    Busybox {},
    /// `rootfsctl import`, `publish` or `pull`: the source is not part of the store, so it cannot be made again.
    Import {
        /// Name of the file, the directory or the image.
        from: String,
    },
}

/// How root logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootLogin {
    /// Without a password on a tty.
    Empty,
    /// With a key only.
    Locked,
    /// With a password, whose hash is in the version's `/etc/shadow` and nowhere else: a hash can be guessed at.
    Hash,
}

/// A mirror without the name and the password that a URI in it may have, see sources.list(5).
pub fn without_credentials(mirror: &str) -> String {
    let word = |word: &str| match word.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let host = rest[..end].rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{}", &rest[end..])
        }
        None => word.to_owned(),
    };
    mirror.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::image::Manifest;

    const OLD: &str = include_str!("../../../tests/golden/manifest-1.toml");

    #[test]
    fn a_mirror_loses_its_credentials_and_nothing_else() {
        for (mirror, kept) in [
            ("http://deb.example.org/debian", "http://deb.example.org/debian"),
            ("https://me:s3cret@deb.example.org/debian", "https://deb.example.org/debian"),
            ("https://me:p@ss@deb.example.org", "https://deb.example.org"),
            (
                "deb [trusted=yes] https://me:x@deb.example.org/a@b bookworm main",
                "deb [trusted=yes] https://deb.example.org/a@b bookworm main",
            ),
            ("/etc/apt/sources.list", "/etc/apt/sources.list"),
        ] {
            assert_eq!(without_credentials(mirror), kept);
        }
    }

    #[test]
    fn a_manifest_of_an_earlier_release_is_read_and_stays_as_it_is() {
        let manifest = Manifest::parse(OLD).unwrap();
        assert_eq!((manifest.parent, &manifest.recipe), (None, &None));
        assert_eq!(manifest.render(), OLD);
    }

    #[test]
    fn a_recipe_round_trips_and_has_no_unknown_keys() {
        let recipe = "[recipe]\nkind = \"debian\"\nsuite = \"bookworm\"\nsets = [\"admin\"]\ntuning = true\nroot_password = \"hash\"\n\n";
        let (head, top) = OLD.split_at(OLD.find("[[top]]").unwrap());
        let whole = format!("{head}{recipe}{top}");
        let manifest = Manifest::parse(&whole).unwrap();
        assert!(matches!(manifest.recipe, Some(Recipe::Debian { tuning: true, .. })));
        assert_eq!(manifest.render(), whole);
        for recipe in ["kind = \"debian\"", "kind = \"busybox\"\nsuite = \"x\"", "kind = \"door\""] {
            assert!(Manifest::parse(&format!("{head}[recipe]\n{recipe}\n{top}")).is_err(), "{recipe}");
        }
    }
}
