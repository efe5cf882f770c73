//! What an image says of the version that it is: its manifest and its signature, as labels.

use std::{collections::BTreeMap, fs, path::Path};

use tenant::{
    files::file_error::FileError,
    model::image::{ImageFormat, Manifest},
};

use super::{
    error::RegistryError,
    layout::{Config, Rootfs, Run, architecture},
};

/// The label that has `manifest.toml`.
pub const MANIFEST_LABEL: &str = "org.tenantry.image.manifest";
/// The label that has `manifest.sig`.
pub const SIGNATURE_LABEL: &str = "org.tenantry.image.signature";
/// Largest signature, bytes.
const MAX_SIGNATURE: usize = 64 << 10;

/// The version that an image was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `manifest.toml`, byte by byte: that is what is signed.
    pub text: String,
    /// The same, parsed.
    pub manifest: Manifest,
    /// `manifest.sig`.
    pub signature: Option<String>,
}

impl Origin {
    /// What an image says of the version that it was made from; none if it was not made by rootfsctl.
    ///
    /// # Errors
    /// The manifest is malformed.
    pub fn of(config: &Config) -> Result<Option<Self>, RegistryError> {
        let labels = config.config.as_ref().and_then(|run| run.labels.as_ref());
        let label = |name: &str| labels.and_then(|labels| labels.get(name)).cloned();
        let Some(text) = label(MANIFEST_LABEL) else { return Ok(None) };
        let manifest = Manifest::parse(&text)
            .map_err(|source| RegistryError::Manifest { label: MANIFEST_LABEL, source })?;
        let signature = label(SIGNATURE_LABEL);
        if signature.as_ref().is_some_and(|signature| signature.len() > MAX_SIGNATURE) {
            return Err(RegistryError::Malformed(format!("its label {SIGNATURE_LABEL} is too large")));
        }
        Ok(Some(Self { text, manifest, signature }))
    }

    /// The configuration of the image that is made of it.
    pub fn config(&self, diff_ids: Vec<String>) -> Config {
        let mut labels = BTreeMap::from([(MANIFEST_LABEL.to_owned(), self.text.clone())]);
        labels.extend(self.signature.clone().map(|signature| (SIGNATURE_LABEL.to_owned(), signature)));
        let boot = &self.manifest.boot;
        let run = Run {
            entrypoint: (!boot.init.is_empty()).then(|| boot.init.clone()),
            stop_signal: Some(boot.stop_signal.clone()),
            labels: Some(labels),
            ..Run::default()
        };
        Config {
            created: Some(self.manifest.created.clone()),
            architecture: architecture().to_owned(),
            os: "linux".to_owned(),
            config: Some(run),
            rootfs: Rootfs { kind: "layers".to_owned(), diff_ids },
        }
    }

    /// Puts manifest and signature into the directory that becomes the version.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&self, version: &Path) -> Result<(), RegistryError> {
        let mut files = vec![(version.join("manifest.toml"), &self.text)];
        files.extend(self.signature.as_ref().map(|signature| (version.join("manifest.sig"), signature)));
        for (path, text) in files {
            fs::write(&path, text).map_err(FileError::when("write", &path))?;
        }
        Ok(())
    }

    /// Whether the bytes that are stored can be made again from the files: a hash tree of an erofs file cannot, its
    /// file is another each time it is made.
    pub fn is_reproducible(&self) -> bool {
        self.manifest.format == ImageFormat::Tree || self.manifest.verity.is_none()
    }
}
