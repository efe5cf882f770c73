//! Which packages a tree has: the databases of dpkg(1) and apk(8), and a list of them in each version's directory, so that
//! versions can be compared without their trees.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use serde::Serialize;
use tenant::files::{
    file_error::FileError,
    record::{self, Durability},
};

use crate::rootdir::RootDir;

/// Name of the list in a version's directory: a line `NAME VERSION` for each package, sorted.
pub const FILE: &str = "packages";
/// Largest database that is read, bytes.
const MAX_DATABASE: u64 = 64 << 20;
/// Where apk(8) has its database; the second since `/usr` is merged.
const APK: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];

/// Installed packages and their versions, by name. A package that is installed for several architectures has one entry for
/// each, `NAME:ARCHITECTURE`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages(BTreeMap<String, String>);

/// A package whose version differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PackageChange {
    /// The package.
    pub package: String,
    /// Its old version; none if it is new.
    pub from: Option<String>,
    /// Its new version; none if it is gone.
    pub to: Option<String>,
}

impl Packages {
    /// Parses `/var/lib/dpkg/status`. A package that is removed, but not its configuration, is not installed.
    pub fn of_dpkg(status: &str) -> Self {
        let mut found: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
        for stanza in status.split("\n\n") {
            let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let is_installed = field("Status:").is_none_or(|status| status.ends_with(" installed"));
            if let (Some(package), Some(version), true) = (field("Package:"), field("Version:"), is_installed)
            {
                found.entry(package).or_default().push((field("Architecture:").unwrap_or_default(), version));
            }
        }
        let mut packages = Self::default();
        for (package, installed) in found {
            match &installed[..] {
                [(_, version)] => packages.add(package, version),
                several => {
                    several
                        .iter()
                        .for_each(|(arch, version)| packages.add(&format!("{package}:{arch}"), version));
                }
            }
        }
        packages
    }

    /// Parses the database of apk(8).
    pub fn of_apk(installed: &str) -> Self {
        let mut packages = Self::default();
        for stanza in installed.split("\n\n") {
            let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
            if let (Some(package), Some(version)) = (field("P:"), field("V:")) {
                packages.add(package, version);
            }
        }
        packages
    }

    /// The packages of a tree; none if it has no database.
    ///
    /// # Errors
    /// A database that is there and cannot be read.
    pub fn of_tree(root: &RootDir) -> io::Result<Self> {
        if let Some(status) = root.text_up_to("var/lib/dpkg/status", MAX_DATABASE)? {
            return Ok(Self::of_dpkg(&status));
        }
        for path in APK {
            if let Some(installed) = root.text_up_to(path, MAX_DATABASE)? {
                return Ok(Self::of_apk(&installed));
            }
        }
        Ok(Self::default())
    }

    /// Adds a package; a name or a version that would not be one word of printable text is not one.
    fn add(&mut self, package: &str, version: &str) {
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_word(package) && is_word(version) {
            self.0.insert(package.to_owned(), version.to_owned());
        }
    }

    /// Parses the list in a version's directory; lines that are none are skipped.
    pub fn parse(text: &str) -> Self {
        let mut packages = Self::default();
        for (package, version) in text.lines().filter_map(|line| line.split_once(' ')) {
            packages.add(package, version);
        }
        packages
    }

    /// The text of the list.
    pub fn render(&self) -> String {
        self.0.iter().map(|(package, version)| format!("{package} {version}\n")).collect()
    }

    /// Reads the list in `dir`, the directory of a version; none if the version has none.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(dir: &Path) -> Result<Option<Self>, FileError> {
        let path = dir.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Self::parse(&text))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(FileError::new("read", path, e)),
        }
    }

    /// Writes the list into `dir`, the directory of a version.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn write(&self, dir: &Path) -> Result<(), FileError> {
        record::write(&dir.join(FILE), self.render().as_bytes(), Durability::Durable)
    }

    /// Number of packages.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The version of a package.
    pub fn version(&self, package: &str) -> Option<&str> {
        self.0.get(package).map(String::as_str)
    }

    /// What changes from these packages to `new`, sorted by name.
    pub fn changes(&self, new: &Self) -> Vec<PackageChange> {
        let names: BTreeSet<_> = self.0.keys().chain(new.0.keys()).collect();
        let change = |name: &String| PackageChange {
            package: name.clone(),
            from: self.0.get(name).cloned(),
            to: new.0.get(name).cloned(),
        };
        names.into_iter().map(change).filter(|change| change.from != change.to).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1:2.0-3\n\n\
        Package: lib\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n\
        Package: lib\nStatus: install ok installed\nArchitecture: i386\nVersion: 1\n\n\
        Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n\
        Package: evil\nStatus: install ok installed\nVersion: 1 2\n";

    #[test]
    fn installed_packages_are_read_from_each_database() {
        let dpkg = Packages::of_dpkg(STATUS);
        assert_eq!(dpkg.render(), "a 1:2.0-3\nlib:amd64 1\nlib:i386 1\n");
        assert_eq!(Packages::parse(&dpkg.render()), dpkg);
        let apk = Packages::of_apk("C:Q1x=\nP:musl\nV:1.2.5-r0\nA:x86_64\n\nP:busybox\nV:1.36-r2\n");
        assert_eq!(apk.render(), "busybox 1.36-r2\nmusl 1.2.5-r0\n");
    }

    #[test]
    fn packages_are_compared_by_version() {
        let (old, new) = (Packages::parse("a 1\nb 1\nsame 3\n"), Packages::parse("a 2\nc 1\nsame 3\n"));
        let changes: Vec<_> = old.changes(&new).into_iter().map(|p| (p.package, p.from, p.to)).collect();
        let v = |version: &str| Some(version.to_owned());
        let expected = [("a".into(), v("1"), v("2")), ("b".into(), v("1"), None), ("c".into(), None, v("1"))];
        assert_eq!(changes, expected);
    }
}
