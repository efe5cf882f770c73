//! Who made a version: signing it, and what is known of its signature. How a signature is checked:
//! [`tenant::kernel::signature`].

use std::{
    fs::File,
    io::{self, Seek as _, Write as _},
    path::Path,
    process::Stdio,
};

use rustix::fs::{MemfdFlags, memfd_create};
use serde::Serialize;
use tenant::{
    files::record::{self, Durability},
    kernel::signature::{NAMESPACE, SignatureError, Version},
    model::{
        ids::Digest,
        image::{ChannelName, ImageName},
    },
};

use super::{Store, error::StoreError, lock::Lock};
use crate::tool::{SSH_KEYGEN, ToolError};

/// What is known of a version's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Trust {
    /// A key that this host trusts has signed it.
    Signed,
    /// It has no signature.
    Unsigned,
    /// Its signature does not count here.
    Untrusted {
        /// Why.
        reason: String,
    },
}

impl Store {
    /// Checks that a version is signed by a key that this host trusts. With the channel by which it was found, also
    /// that the channel has led to no newer one.
    ///
    /// # Errors
    /// [`StoreError::Signature`].
    pub fn check_signature(
        &self,
        image: &ImageName,
        digest: &Digest,
        channel: Option<&ChannelName>,
    ) -> Result<(), StoreError> {
        let (text, manifest) = self.manifest_text(image, digest)?;
        let version = Version { layout: &self.layout, image, digest, text: &text, manifest: &manifest };
        version.check()?;
        if let Some(channel) = channel {
            version.never_back(channel)?;
        }
        Ok(())
    }

    /// What is known of a version's signature.
    ///
    /// # Errors
    /// Its files cannot be read, or ssh-keygen(1) cannot be run.
    pub fn trust(&self, image: &ImageName, digest: &Digest) -> Result<Trust, StoreError> {
        match self.check_signature(image, digest, None) {
            Ok(()) => Ok(Trust::Signed),
            Err(StoreError::Signature(SignatureError::Unsigned { .. })) => Ok(Trust::Unsigned),
            Err(StoreError::Signature(SignatureError::NoKeys(_))) => {
                Ok(match self.layout.signature(image, digest).exists() {
                    true => Trust::Untrusted { reason: "this host trusts no key".to_owned() },
                    false => Trust::Unsigned,
                })
            }
            Err(StoreError::Signature(error)) if error.is_refusal() => {
                Ok(Trust::Untrusted { reason: error.to_string() })
            }
            Err(error) => Err(error),
        }
    }

    /// Gives a version the manifest and the signature that came with the same files.
    ///
    /// # Errors
    /// The files cannot be written.
    pub(crate) fn adopt(
        &self,
        image: &ImageName,
        digest: &Digest,
        (text, signature): (&str, &str),
        _lock: &Lock,
    ) -> Result<(), StoreError> {
        // A crash in between leaves a version whose signature does not count, as before.
        record::write(&self.layout.manifest(image, digest), text.as_bytes(), Durability::Durable)?;
        let path = self.layout.signature(image, digest);
        Ok(record::write(&path, signature.as_bytes(), Durability::Durable)?)
    }

    /// Signs a version with the private key in a file, or with the public key in a file whose other half an agent
    /// has; ssh-keygen(1) asks for the passphrase. An earlier signature is replaced. The second value says whether this
    /// host trusts the key.
    ///
    /// # Errors
    /// No such version, or ssh-keygen(1) does not sign.
    pub fn sign(&self, image: &ImageName, digest: &Digest, key: &Path) -> Result<Trust, SignError> {
        let signature = ask(&self.manifest_text(image, digest)?.0, key)?;
        {
            let _lock = Lock::exclusive(&self.layout)?;
            let path = self.layout.signature(image, digest);
            record::write(&path, &signature, Durability::Durable).map_err(StoreError::from)?;
        }
        Ok(self.trust(image, digest)?)
    }
}

/// Why a version is not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// ssh-keygen(1) failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

impl crate::Explain for SignError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.help(),
            Self::Tool(error @ ToolError::Missing(..)) => error.help(),
            Self::Tool(_) => {
                Some("--key takes a private key of type ed25519: ssh-keygen -t ed25519 -f FILE".to_owned())
            }
        }
    }

    fn outcome(&self) -> crate::Outcome {
        match self {
            Self::Store(error) => error.outcome(),
            Self::Tool(error) => error.outcome(),
        }
    }
}

/// The signature of a text.
fn ask(text: &str, key: &Path) -> Result<Vec<u8>, ToolError> {
    let start = |source| ToolError::Start { program: SSH_KEYGEN.program, source };
    let in_a_file = || -> io::Result<File> {
        let mut file = File::from(memfd_create("manifest", MemfdFlags::CLOEXEC)?);
        file.write_all(text.as_bytes())?;
        file.rewind()?;
        Ok(file)
    };
    let manifest = in_a_file().map_err(start)?;
    let mut command = std::process::Command::new(SSH_KEYGEN.find()?);
    command.args(["-Y", "sign", "-n", NAMESPACE, "-f"]).arg(key);
    let output = command
        .env("LC_ALL", "C.UTF-8")
        .stdin(manifest)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .map_err(start)?;
    if output.status.success() && output.stdout.starts_with(b"-----BEGIN SSH SIGNATURE-----") {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines().map(|line| line.chars().filter(|c| !c.is_control()).take(400).collect());
    let output_lines = lines.filter(|line: &String| !line.trim().is_empty()).collect();
    Err(ToolError::Failed { program: SSH_KEYGEN.program, status: output.status, output: output_lines })
}
