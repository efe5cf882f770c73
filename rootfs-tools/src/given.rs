//! A manifest that came with a tree from elsewhere, and is kept byte by byte, because that is what is signed.

use std::{io, path::Path};

use tenant::{
    files::{file_error::FileError, record},
    model::{
        ids::Digest,
        image::{Manifest, ManifestError},
    },
};

use crate::explain::{Explain, Outcome};

/// `manifest.sig`, if one came with a tree: `dir` is the staged version.
///
/// # Errors
/// It cannot be read.
pub fn signature(dir: &Path) -> Result<Option<String>, FileError> {
    match record::read(&dir.join("manifest.sig")) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Why a manifest that came with a tree is not kept.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// It is about other files.
    #[error(
        "the manifest that came with the files does not describe them: its {what} is {said}, found was {found}"
    )]
    Other {
        /// Which of its keys.
        what: &'static str,
        /// What it says.
        said: String,
        /// What the files are.
        found: String,
    },
    /// It is malformed.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Explain for GivenError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Other { what: "verity", .. } => {
                "an erofs file with a hash tree cannot be made again: push the version that was built without --verity"
                    .to_owned()
            }
            Self::Other { .. } => "push it again from the host that built it".to_owned(),
            Self::Manifest(error) => return error.help().map(str::to_owned),
            Self::File(_) => return None,
        })
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::Other { .. } => Outcome::Refused,
            _ => Outcome::Failed,
        }
    }
}

/// Looks whether the manifest at `path`, if there is one, is that of a version.
///
/// # Errors
/// [`GivenError`].
pub fn expect(path: &Path, found: &Digest) -> Result<(), GivenError> {
    match read(path)? {
        Some((_, given)) if given.digest != *found => {
            let (said, found) = (given.digest.to_string(), found.to_string());
            Err(GivenError::Other { what: "digest", said, found })
        }
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Option<(String, Manifest)>, GivenError> {
    match record::read(path) {
        Ok(text) => {
            let manifest = Manifest::parse(&text)?;
            Ok(Some((text, manifest)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The manifest at `path`, if there is one, where it describes the files that `found` was made of.
///
/// # Errors
/// [`GivenError`].
pub fn take(path: &Path, found: &Manifest) -> Result<Option<String>, GivenError> {
    let Some((text, given)) = read(path)? else { return Ok(None) };
    let top = |manifest: &Manifest| format!("{:?}", manifest.top);
    let format = |manifest: &Manifest| format!("{:?}", manifest.format);
    let verity = |manifest: &Manifest| manifest.verity.map_or("none".to_owned(), |digest| digest.to_string());
    for (what, said, is) in [
        ("digest", given.digest.to_string(), found.digest.to_string()),
        ("image", given.image.to_string(), found.image.to_string()),
        ("format", format(&given), format(found)),
        ("size_bytes", given.size_bytes.to_string(), found.size_bytes.to_string()),
        ("files", given.files.to_string(), found.files.to_string()),
        ("arch", given.arch.clone(), found.arch.clone()),
        ("top", top(&given), top(found)),
        ("verity", verity(&given), verity(found)),
    ] {
        if said != is {
            return Err(GivenError::Other { what, said, found: is });
        }
    }
    Ok(Some(text))
}
