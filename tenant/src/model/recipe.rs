//! How a version of an image was made, so that it can be made again.

use serde::{Deserialize, Serialize};

/// `[recipe]` of a version's manifest. It has no secret: of mirrors the name and password are left out, and of root's
/// password the manifest says only that there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
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
    /// In a way that this release does not know.
    #[serde(other)]
    Unknown,
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
    fn a_recipe_round_trips() {
        let recipe = "[recipe]\nkind = \"debian\"\nsuite = \"bookworm\"\nsets = [\"admin\"]\ntuning = true\nroot_password = \"hash\"\n\n";
        let (head, top) = OLD.split_at(OLD.find("[[top]]").unwrap());
        let whole = format!("{head}{recipe}{top}");
        let manifest = Manifest::parse(&whole).unwrap();
        assert!(matches!(manifest.recipe, Some(Recipe::Debian { tuning: true, .. })));
        assert_eq!(manifest.render(), whole);
        assert!(Manifest::parse(&format!("{head}[recipe]\nkind = \"debian\"\n{top}")).is_err());
    }

    #[test]
    fn what_a_newer_release_says_besides_is_skipped() {
        let (head, top) = OLD.split_at(OLD.find("[[top]]").unwrap());
        let (first, boot) = head.split_at(head.find("[boot]").unwrap());
        let newer = format!(
            "{first}weather = \"fair\"\n{boot}wind = 3\n[sky]\nblue = true\n\
             [recipe]\nkind = \"door\"\nwood = \"oak\"\n{top}colour = \"red\"\n"
        );
        let manifest = Manifest::parse(&newer).unwrap();
        assert_eq!(manifest.recipe, Some(Recipe::Unknown));
        assert_eq!(Manifest { recipe: None, ..manifest }, Manifest::parse(OLD).unwrap());
        // What cannot be skipped is told by the number of the format, whatever else there is.
        let other = newer.replace("format_version = 1", "format_version = 2").replace("[boot]", "[start]");
        let error = Manifest::parse(&other).unwrap_err();
        assert!(error.to_string().contains("format_version 2"), "{error}");
        assert!(error.help().is_some_and(|help| help.contains("update Tenantry")), "{error}");
    }
}
