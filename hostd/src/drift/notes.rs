//! `drift.toml`: of files of a tenant's own that hide files of its image, which version they take into account. A note is
//! made when a tenant gets a version that changes a file which it hides, and by a merge.

use std::{fmt, path::Path};

use rootfs_tools::inventory::{Inventory, Item};
use serde::{Deserialize, Serialize};
use tenant::model::{allocation::Pinned, ids::Digest, image::ImageName};

/// What the image has at a path of a version, as one number: SHA-256 of its part of the inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print(Digest);

impl Print {
    /// Of a path alone, or of a whole directory with all that is in it.
    pub fn of(path: &Path, is_whole: bool, inventory: &Inventory) -> Self {
        let depth = if is_whole { usize::MAX } else { 1 };
        // Which names are one file is not asked of a path alone.
        let items = inventory.below(path).take(depth).map(|item| Item { inode: None, ..item.clone() });
        Self(Digest::from_bytes(Inventory::of_items(items.collect()).hash()))
    }
}

impl fmt::Display for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.hex())
    }
}

/// Why there is a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// It got another version.
    Rebase,
    /// A merge.
    Merge,
}

/// A note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// The path, absolute.
    pub path: String,
    /// The image of the version whose file is taken into account.
    pub image: ImageName,
    /// The version.
    pub digest: Digest,
    /// What the version has there: [`Print`] in hex.
    print: String,
    /// Why.
    pub by: Reason,
    /// Whether the tenant's own is a copy of the image's, which goes before the next start so that the image's is seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reveal: bool,
}

impl Note {
    /// A note of today.
    pub fn new(path: String, version: &Pinned, print: Print, by: Reason, reveal: bool) -> Self {
        let Pinned { image, digest } = version.clone();
        Self { path, image, digest, print: print.to_string(), by, reveal }
    }

    /// The version.
    pub fn version(&self) -> Pinned {
        Pinned { image: self.image.clone(), digest: self.digest }
    }

    /// What it has there; none where the file was edited by hand, wrongly.
    pub fn print(&self) -> Option<Print> {
        format!("sha256:{}", self.print).parse().ok().map(Print)
    }
}

/// All notes of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notes {
    format_version: u32,
    /// Each path once.
    #[serde(default, rename = "file", skip_serializing_if = "Vec::is_empty")]
    files: Vec<Note>,
}

impl Default for Notes {
    fn default() -> Self {
        Self { format_version: Self::FORMAT_VERSION, files: Vec::new() }
    }
}

impl Notes {
    /// The format that this release reads and writes.
    const FORMAT_VERSION: u32 = 1;

    /// Reads the text of the file; the text says why where it cannot.
    ///
    /// # Errors
    /// No TOML, unknown keys, another format.
    pub fn parse(text: &str) -> Result<Self, String> {
        let notes: Self = toml::from_str(text).map_err(|error| wire::one_line(&error.to_string()))?;
        match notes.format_version {
            Self::FORMAT_VERSION => Ok(notes),
            other => Err(format!("it has format_version {other}, but this release supports only 1")),
        }
    }

    /// The text of the file.
    pub fn render(&self) -> String {
        toml::to_string(self).expect("notes have only types that TOML can hold")
    }

    /// The note of a path.
    pub fn get(&self, path: &str) -> Option<&Note> {
        self.files.iter().find(|note| note.path == path)
    }

    /// Notes something of a path in place of what was noted of it.
    pub fn put(&mut self, note: Note) {
        self.files.retain(|other| other.path != note.path);
        self.files.push(note);
        self.files.sort_by(|one, other| one.path.cmp(&other.path));
    }

    /// Forgets what it does not hold for.
    pub fn retain(&mut self, holds: impl FnMut(&Note) -> bool) {
        self.files.retain(holds);
    }

    /// Nothing goes before the next start any more.
    pub fn all_revealed(&mut self) {
        self.files.iter_mut().for_each(|note| note.reveal = false);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Note> {
        self.files.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What this release writes must be readable for ever.
    const GOLDEN: &str = r#"format_version = 1

[[file]]
path = "/etc/a b"
image = "debian"
digest = "sha256:0707070707070707070707070707070707070707070707070707070707070707"
print = "0909090909090909090909090909090909090909090909090909090909090909"
by = "merge"
reveal = true

[[file]]
path = "/etc/ssh/sshd_config"
image = "debian"
digest = "sha256:0707070707070707070707070707070707070707070707070707070707070707"
print = "0909090909090909090909090909090909090909090909090909090909090909"
by = "rebase"
"#;

    #[test]
    fn notes_are_read_and_written_back_unchanged() {
        let mut notes = Notes::parse(GOLDEN).unwrap();
        assert_eq!(notes.render(), GOLDEN);
        let note = notes.get("/etc/ssh/sshd_config").unwrap().clone();
        assert_eq!(note.print(), Some(Print(Digest::from_bytes([9; 32]))));
        let again = Note::new(
            note.path.clone(),
            &note.version(),
            Print(Digest::from_bytes([9; 32])),
            Reason::Rebase,
            false,
        );
        notes.put(again);
        assert_eq!(notes.render(), GOLDEN, "a path is noted once");
        notes.retain(|note| note.reveal);
        assert!(notes.get("/etc/ssh/sshd_config").is_none());
        assert!(Notes::parse(&GOLDEN.replace("_version = 1", "_version = 2")).unwrap_err().contains("2"));
        assert!(Notes::parse("format_version = 1\nmore = 1\n").is_err());
    }
}
