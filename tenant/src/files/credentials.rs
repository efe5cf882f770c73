//! A tenant's credentials: small secrets that its services load by name, see systemd.exec(5),
//! `LoadCredential=`, and systemd-creds(1).

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer};

use crate::files::file_error::FileError;

/// Most bytes of all credentials of a tenant together, as systemd has it for a unit.
pub const MOST: u64 = 1 << 20;
/// Most credentials of a tenant.
pub const MOST_NAMES: usize = 1024;

/// A credential: its contents are shown to only the tenant, not by `Debug` and not in a printed plan.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    name: String,
    size: usize,
    contents: Vec<u8>,
}

impl Credential {
    /// A credential of this name.
    ///
    /// # Errors
    /// The name is none that systemd.exec(5) admits: a file name of at most 255 printable ASCII characters,
    /// without `:`.
    pub fn new(name: &str, contents: Vec<u8>) -> Result<Self, CredentialError> {
        let good = (1..=255).contains(&name.len())
            && !matches!(name, "." | "..")
            && name.bytes().all(|b| (b' '..=b'~').contains(&b) && !matches!(b, b'/' | b':'));
        match good {
            true => Ok(Self { name: name.to_owned(), size: contents.len(), contents }),
            false => Err(CredentialError::Name(name.to_owned())),
        }
    }

    /// Its name, which is a file name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it holds.
    pub fn contents(&self) -> &[u8] {
        &self.contents
    }

    /// How much it held when it was read, bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Lets go of what it holds: who needed it has it.
    pub fn forget(&mut self) {
        self.contents = Vec::new();
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Name and size.
impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({} B)", self.name.escape_debug(), self.size())
    }
}

/// Name and size.
impl Serialize for Credential {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a tenant cannot have its credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A name that systemd does not take either.
    #[error("{0:?} is not the name of a credential")]
    Name(String),
    /// A process besides root could read them.
    #[error(
        "{path:?} must be owned by root and inaccessible to other users; its owner is uid {uid}, its mode {mode:04o}"
    )]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Its mode bits.
        mode: u32,
    },
    /// A directory, a FIFO, ….
    #[error("{0:?} is not a file")]
    NotAFile(PathBuf),
    /// More than there may be.
    #[error("the credentials in {0:?} exceed {most} files or 1 MiB in total", most = MOST_NAMES)]
    TooMuch(PathBuf),
    /// A file or directory that cannot be read.
    #[error(transparent)]
    Read(#[from] FileError),
}

impl CredentialError {
    /// The remedy, if one is known.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Name(_) => {
                Some("use letters, digits, `-`, `_` and `.`; see LoadCredential= in systemd.exec(5)")
            }
            Self::Open { .. } => Some("chown root: DIR; chmod 0700 DIR"),
            Self::NotAFile(_) => Some("store each credential in a regular file"),
            Self::TooMuch(_) => {
                Some("credentials are for keys and passwords; for other data use a bind in [dirs]")
            }
            Self::Read(_) => None,
        }
    }
}

/// Reads what the host's admin has put into a tenant's directory, and what the supervisor's own unit got by
/// `LoadCredential=` and `SetCredential=`; where both have a name, the unit's counts. In order of names.
///
/// # Errors
/// See [`CredentialError`]. A directory that is not there holds nothing.
pub fn load(own: &Path, unit: Option<&Path>) -> Result<Vec<Credential>, CredentialError> {
    let mut found = BTreeMap::new();
    read_dir(own, true, &mut found)?;
    if let Some(unit) = unit {
        // systemd made it, for this process alone.
        read_dir(unit, false, &mut found)?;
    }
    Ok(found.into_values().collect())
}

fn read_dir(
    dir: &Path,
    strict: bool,
    found: &mut BTreeMap<String, Credential>,
) -> Result<(), CredentialError> {
    let when = |verb| FileError::when(verb, dir);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(when("read")(error).into()),
    };
    let meta = fs::metadata(dir).map_err(when("look at"))?;
    if strict && (meta.mode() & 0o077 != 0 || meta.uid() != rustix::process::geteuid().as_raw()) {
        let (uid, mode) = (meta.uid(), meta.mode() & 0o7777);
        return Err(CredentialError::Open { path: dir.to_owned(), uid, mode });
    }
    for entry in entries {
        let entry = entry.map_err(when("read"))?;
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| CredentialError::Name(name.to_string_lossy().into_owned()))?;
        let too_much = || CredentialError::TooMuch(dir.to_owned());
        let others: u64 =
            found.iter().filter(|(other, _)| *other != name).map(|(_, other)| other.size() as u64).sum();
        let contents = read_file(&entry.path(), MOST - others.min(MOST))?.ok_or_else(too_much)?;
        found.insert(name.to_owned(), Credential::new(name, contents)?);
        if found.len() > MOST_NAMES {
            return Err(too_much());
        }
    }
    Ok(())
}

/// The contents of a file; none where it has more than `most` bytes.
fn read_file(path: &Path, most: u64) -> Result<Option<Vec<u8>>, CredentialError> {
    let when = FileError::when("read", path);
    // NONBLOCK: a FIFO is refused, not waited for.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(when)?;
    if !file.metadata().map_err(when)?.is_file() {
        return Err(CredentialError::NotAFile(path.to_owned()));
    }
    let mut contents = Vec::new();
    file.take(most + 1).read_to_end(&mut contents).map_err(when)?;
    Ok((contents.len() as u64 <= most).then_some(contents))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn dir() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        dir
    }

    #[test]
    fn the_units_credentials_prevail_and_a_missing_directory_is_none() {
        let (own, unit) = (dir(), dir());
        fs::write(own.path().join("a"), "own").unwrap();
        fs::write(own.path().join("b"), "own").unwrap();
        fs::write(unit.path().join("b"), "unit").unwrap();
        let found = load(own.path(), Some(unit.path())).unwrap();
        let pairs: Vec<_> = found.iter().map(|found| (found.name(), found.contents())).collect();
        assert_eq!(pairs, [("a", &b"own"[..]), ("b", b"unit")]);
        assert!(load(&own.path().join("none"), None).unwrap().is_empty());
    }

    #[test]
    fn contents_are_shown_nowhere() {
        let credential = Credential::new("key", b"hidden".to_vec()).unwrap();
        assert_eq!(format!("{credential:?} {credential}"), "key(6 B) key(6 B)");
        assert_eq!(serde_json::to_string(&credential).unwrap(), "\"key(6 B)\"");
    }

    #[test]
    fn what_cannot_be_a_credential_is_refused() {
        for name in ["", ".", "..", "a:b", "a/b", "a\nb", "ä", &"x".repeat(256)] {
            assert!(Credential::new(name, Vec::new()).is_err(), "{name:?}");
        }
        let place = dir();
        fs::write(place.path().join("a:b"), "x").unwrap();
        assert!(matches!(load(place.path(), None), Err(CredentialError::Name(_))));

        let place = dir();
        fs::create_dir(place.path().join("inner")).unwrap();
        assert!(matches!(load(place.path(), None), Err(CredentialError::NotAFile(_))));

        let place = dir();
        nix::unistd::mkfifo(&place.path().join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(matches!(load(place.path(), None), Err(CredentialError::NotAFile(_))));

        let place = dir();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o750)).unwrap();
        let error = load(place.path(), None).unwrap_err();
        assert!(error.to_string().contains("mode 0750"), "{error}");
    }

    #[test]
    fn a_mebibyte_is_the_most_of_both_together() {
        let (own, unit) = (dir(), dir());
        fs::write(own.path().join("a"), vec![0; 1 << 19]).unwrap();
        fs::write(unit.path().join("b"), vec![0; 1 << 19]).unwrap();
        assert_eq!(load(own.path(), Some(unit.path())).unwrap().len(), 2);
        fs::write(unit.path().join("c"), "x").unwrap();
        assert!(matches!(load(own.path(), Some(unit.path())), Err(CredentialError::TooMuch(_))));
    }
}
