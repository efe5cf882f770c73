//! Signatures of images, checked by ssh-keygen(1): see "-Y verify" there, and PROTOCOL.sshsig of OpenSSH.
//!
//! ```text
//! versions/sha256-HEX/manifest.toml ┐
//!                     manifest.sig  ┼─ ssh-keygen -Y verify ─▶ /run/tenantry/signed/HEX (an empty file)
//! /etc/tenantry/keys/*.pub          ┘
//! ```
//!
//! The signature covers the manifest, and the manifest has the digest of all files. What was verified once is not
//! verified again until the next boot of the host: the name of the empty file is the SHA-256 of the manifest, the
//! signature and the keys, so that a change of any of them asks ssh-keygen(1) again.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::program::{self, Running};
use crate::{
    files::{
        file_error::FileError,
        layout::Layout,
        record::{self, Durability},
    },
    model::{
        ids::Digest,
        image::{ChannelName, ImageName, Manifest},
    },
};

/// What a signature is for: one for another purpose, such as git's, does not count.
pub const NAMESPACE: &str = "tenantry-image";
/// The program that makes and checks signatures.
pub const PROGRAM: &str = "ssh-keygen";
/// The name under which all trusted keys sign.
const PRINCIPAL: &str = "tenantry";
/// Types of keys that count.
const KEY_TYPES: [&str; 2] = ["ssh-ed25519", "sk-ssh-ed25519@openssh.com"];

/// Why a version is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// It has no signature.
    #[error("version {} of image {image:?} is not signed, and this host requires a signature", digest.short())]
    Unsigned {
        /// The image.
        image: String,
        /// The version.
        digest: Digest,
    },
    /// The signature is one of something else.
    #[error("the signature of version {} of image {image:?} does not match its manifest: one of them was altered", digest.short())]
    Altered {
        /// The image.
        image: String,
        /// The version.
        digest: Digest,
    },
    /// The signature is right, the key is not one of this host.
    #[error("version {} of image {image:?} is signed by a key that this host does not trust: {key}", digest.short())]
    UnknownKey {
        /// The image.
        image: String,
        /// The version.
        digest: Digest,
        /// Fingerprint of the key.
        key: String,
    },
    /// A signed manifest in the place of another.
    #[error("the manifest of version {} of image {image:?} describes version {} of image {of:?}", digest.short(), other.short())]
    Misplaced {
        /// The image.
        image: String,
        /// The version.
        digest: Digest,
        /// The image that the manifest is of.
        of: String,
        /// The version that the manifest is of.
        other: Digest,
    },
    /// A channel leads back.
    #[error("version {} of image {image:?} ({created}) is older than version {newest}, which channel {channel:?} has had on this host", digest.short())]
    Older {
        /// The image.
        image: String,
        /// The channel.
        channel: Box<str>,
        /// The version.
        digest: Digest,
        /// When it was made.
        created: Box<str>,
        /// The newest one, and when it was made.
        newest: Box<str>,
    },
    /// No key is trusted.
    #[error("this host requires signatures, but {0:?} contains no public key")]
    NoKeys(PathBuf),
    /// A file that is no public key.
    #[error("cannot use the key file {path:?}: {reason}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// ssh-keygen(1) is not there.
    #[error("program {PROGRAM:?} is not installed")]
    Missing,
    /// ssh-keygen(1) cannot be run.
    #[error("cannot run {PROGRAM:?}")]
    Run(#[source] io::Error),
    /// A file cannot be read, made or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl SignatureError {
    /// The remedy.
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unsigned { .. } => "sign it: rootfsctl sign IMAGE@VERSION --key FILE",
            Self::Altered { .. } => "pull it again, or look what was changed and sign it: rootfsctl sign",
            Self::UnknownKey { .. } | Self::NoKeys(_) => {
                "put the public key into a file NAME.pub of /etc/tenantry/keys, if you trust it"
            }
            Self::Misplaced { .. } => "remove the version and pull it again: rootfsctl rm IMAGE@VERSION",
            Self::Older { .. } => {
                "if that is intended, name the version: IMAGE@VERSION, or add --allow-older to rootfsctl pull or rootfsctl channel"
            }
            Self::Key { .. } => {
                "a key file has one public key of type ed25519 on each line, see ssh-keygen(1)"
            }
            Self::Missing => "apt install openssh-client",
            Self::Run(_) | Self::File(_) => return None,
        })
    }

    /// Whether it tells of the version, and not of this host.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Missing | Self::Run(_) | Self::File(_))
    }
}

/// A version with the text of its manifest, as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    /// Where the host keeps it.
    pub layout: &'a Layout,
    /// The image.
    pub image: &'a ImageName,
    /// The version.
    pub digest: &'a Digest,
    /// `manifest.toml`.
    pub text: &'a str,
    /// The same, parsed.
    pub manifest: &'a Manifest,
}

impl Version<'_> {
    /// Checks that a trusted key has signed the manifest, and that it is the manifest of this version.
    ///
    /// # Errors
    /// [`SignatureError`]; never [`SignatureError::Older`].
    pub fn check(&self) -> Result<(), SignatureError> {
        let Some(signature) = self.signature()? else {
            return Err(SignatureError::Unsigned { image: self.image.to_string(), digest: *self.digest });
        };
        self.check_with(&signature)
    }

    /// The same with a signature that is not in the store yet.
    ///
    /// # Errors
    /// As [`Version::check`].
    pub fn check_with(&self, signature: &[u8]) -> Result<(), SignatureError> {
        let keys = keys(self.layout)?;
        if keys.is_empty() {
            return Err(SignatureError::NoKeys(self.layout.keys()));
        }
        let dir = self.layout.signed_run();
        let mark = dir.join(self.mark(signature, &keys));
        if !mark.exists() {
            make_private(&dir)?;
            self.verify(&dir, signature, &keys)?;
            fs::write(&mark, "").map_err(FileError::when("write", &mark))?;
        }
        if self.manifest.image != *self.image || self.manifest.digest != *self.digest {
            return Err(SignatureError::Misplaced {
                image: self.image.to_string(),
                digest: *self.digest,
                of: self.manifest.image.to_string(),
                other: self.manifest.digest,
            });
        }
        Ok(())
    }

    /// Its signature, if it has one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn signature(&self) -> Result<Option<Vec<u8>>, SignatureError> {
        match record::read(&self.layout.signature(self.image, self.digest)) {
            Ok(text) => Ok(Some(text.into_bytes())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn mark(&self, signature: &[u8], keys: &[String]) -> String {
        let mut hasher = Sha256::new();
        let keys = keys.concat();
        for part in [self.text.as_bytes(), signature, keys.as_bytes()] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Digest::from_bytes(hasher.finalize().into()).hex()
    }

    /// Asks ssh-keygen(1).
    fn verify(&self, dir: &Path, signature: &[u8], keys: &[String]) -> Result<(), SignatureError> {
        let program = program::find(PROGRAM).ok_or(SignatureError::Missing)?;
        // It takes both from files only. They are replaced whole, and each process has its own.
        let files = Scratch::new(dir, signature, keys)?;
        let run = |args: &[&str]| {
            let paths = ["-s".as_ref(), files.signature.as_os_str()];
            let args = args.iter().map(AsRef::as_ref).chain(paths);
            let running = Running::start(&program, args, self.text.as_bytes());
            running.and_then(Running::finish).map_err(SignatureError::Run)
        };
        let allowed = files.allowed.to_string_lossy().into_owned();
        let verify = ["-Y", "verify", "-n", NAMESPACE, "-I", PRINCIPAL, "-f", &allowed];
        if run(&verify)?.status.success() {
            return Ok(());
        }
        // Whether it is the key or the signature that is wrong.
        let (image, digest) = (self.image.to_string(), *self.digest);
        let plain = run(&["-Y", "check-novalidate", "-n", NAMESPACE])?;
        if !plain.status.success() {
            return Err(SignatureError::Altered { image, digest });
        }
        let said = String::from_utf8_lossy(&plain.stdout).into_owned();
        let key = said.split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap_or("unknown");
        Err(SignatureError::UnknownKey { image, digest, key: key.to_owned() })
    }

    /// Refuses a version that is older than one which a channel has had here; nothing is noted.
    ///
    /// # Errors
    /// [`SignatureError::Older`], or the note cannot be read.
    pub fn refuse_older(&self, channel: &ChannelName) -> Result<(), SignatureError> {
        let note = self.noted(channel)?;
        let mut words = note.split_whitespace();
        let (created, newest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        // All of them are in UTC, in whole seconds, and so sorted by their bytes.
        if newest == self.digest.to_string() || self.manifest.created.as_str() >= created {
            return Ok(());
        }
        let newest = newest.parse::<Digest>().map_or_else(|_| newest.to_owned(), |newest| newest.short());
        Err(SignatureError::Older {
            image: self.image.to_string(),
            channel: channel.to_string().into(),
            digest: *self.digest,
            created: self.manifest.created.as_str().into(),
            newest: format!("{newest} ({created})").into(),
        })
    }

    /// From now on this version is the newest that a channel has had, also if it is an older one. The channel leads
    /// to it already: a version that was noted and never arrived would have what the channel has refused.
    ///
    /// # Errors
    /// The note cannot be read or written.
    pub fn note_newest(&self, channel: &ChannelName) -> Result<(), SignatureError> {
        let text = format!("{} {}\n", self.manifest.created, self.digest);
        if self.noted(channel)? == text {
            return Ok(());
        }
        let note = self.layout.newest_signed(self.image, channel);
        let dir = note.parent().expect("a note lies in a directory");
        record::make_dirs(dir).map_err(FileError::when("make", dir))?;
        Ok(record::write(&note, text.as_bytes(), Durability::Durable)?)
    }

    /// For the version that a channel leads to: refused if the channel has had a newer one, else noted.
    ///
    /// # Errors
    /// Those of [`Version::refuse_older`] and [`Version::note_newest`].
    pub fn never_back(&self, channel: &ChannelName) -> Result<(), SignatureError> {
        self.refuse_older(channel)?;
        self.note_newest(channel)
    }

    /// What is noted of a channel; nothing if it has had no signed version.
    fn noted(&self, channel: &ChannelName) -> Result<String, SignatureError> {
        match record::read(&self.layout.newest_signed(self.image, channel)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => Ok(read?),
        }
    }
}

/// The files that ssh-keygen(1) reads; they are gone with this.
struct Scratch {
    signature: PathBuf,
    allowed: PathBuf,
}

impl Scratch {
    fn new(dir: &Path, signature: &[u8], keys: &[String]) -> Result<Self, FileError> {
        let me = format!("{}-{:?}", std::process::id(), std::thread::current().id());
        let (sig, allowed) = (dir.join(format!(".{me}.sig")), dir.join(format!(".{me}.allowed")));
        let files = Self { signature: sig, allowed };
        let lines: String =
            keys.iter().map(|key| format!("{PRINCIPAL} namespaces=\"{NAMESPACE}\" {key}\n")).collect();
        fs::write(&files.signature, signature).map_err(FileError::when("write", &files.signature))?;
        fs::write(&files.allowed, lines).map_err(FileError::when("write", &files.allowed))?;
        Ok(files)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for file in [&self.signature, &self.allowed] {
            let _ = fs::remove_file(file);
        }
    }
}

fn make_private(dir: &Path) -> Result<(), FileError> {
    let failed = FileError::when("make", dir);
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.map_err(failed)?,
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(failed)
}

/// The keys that this host trusts, each as `TYPE BASE64`, sorted.
///
/// # Errors
/// The directory or a file in it cannot be read, or is no public key.
pub fn keys(layout: &Layout) -> Result<Vec<String>, SignatureError> {
    let dir = layout.keys();
    let failed = FileError::when("read", &dir);
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error).into()),
    };
    let mut keys = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|extension| extension != "pub") {
            continue;
        }
        let text = record::read(&path)?;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            keys.push(key(line).map_err(|reason| SignatureError::Key { path: path.clone(), reason })?);
        }
    }
    keys.sort();
    keys.dedup();
    Ok(keys)
}

/// The key of a line `TYPE BASE64 COMMENT`: nothing else of the line reaches ssh-keygen(1).
fn key(line: &str) -> Result<String, &'static str> {
    if line.contains("PRIVATE KEY") {
        return Err("it contains a private key");
    }
    let mut words = line.split_whitespace();
    let (Some(kind), Some(base64)) = (words.next(), words.next()) else {
        return Err("a line of it is no public key");
    };
    if !KEY_TYPES.contains(&kind) {
        return Err("a key of it is not of type ed25519");
    }
    if !base64.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')) {
        return Err("a line of it is no public key");
    }
    Ok(format!("{kind} {base64}"))
}

#[cfg(test)]
mod tests;
