//! An OCI image layout: a directory of blobs, named by their digests, and an index. See "OCI Image Layout
//! Specification", and "OCI Image Manifest" and "OCI Image Configuration" there.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use tenant::{files::file_error::FileError, model::ids::Digest};

use super::{blob::Blob, error::RegistryError};

/// Largest index, manifest or configuration, bytes: registries take no more.
const MAX_JSON: u64 = 4 << 20;
/// Most layers.
const MAX_LAYERS: usize = 1000;
/// The tag of an image in an index.
const TAG: &str = "org.opencontainers.image.ref.name";

/// Types of what blobs contain.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// What refers to a blob.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Type of its content.
    #[serde(default)]
    pub media_type: String,
    /// Its name.
    pub digest: Digest,
    /// Its size, bytes.
    pub size: u64,
    /// Notes, e.g. the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// The machine that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// A kind of machine, in the words of Go.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Platform {
    /// E.g. `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// E.g. `linux`.
    #[serde(default)]
    pub os: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageManifest {
    pub(super) schema_version: u32,
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

/// What an image says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Config {
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The machine that it is for, in the words of Go.
    #[serde(default)]
    pub architecture: String,
    /// Its operating system.
    #[serde(default)]
    pub os: String,
    /// How it is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Run>,
    /// Its layers before they were compressed.
    #[serde(default)]
    pub rootfs: Rootfs,
}

/// How an image is run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Run {
    /// The program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments, or program and arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// `NAME=VALUE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// The directory that it is started in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// The user that it is started as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The signal that stops it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// The layers of an image before they were compressed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Rootfs {
    /// Always `layers`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Their digests.
    #[serde(default)]
    pub diff_ids: Vec<String>,
}

/// An OCI image layout.
#[derive(Clone, Debug)]
pub struct Layout {
    dir: PathBuf,
    blobs: PathBuf,
}

/// One image of a layout.
#[derive(Clone, Debug)]
pub struct Image {
    /// What it says of itself.
    pub config: Config,
    /// Its layers, the lowest first.
    pub layers: Vec<Descriptor>,
}

impl Layout {
    /// The layout in a directory, with its blobs in the same or in another one.
    ///
    /// # Errors
    /// [`RegistryError::NoLayout`].
    pub fn open(dir: &Path, blobs: Option<&Path>) -> Result<Self, RegistryError> {
        if !dir.join("index.json").is_file() {
            return Err(RegistryError::NoLayout(dir.to_owned()));
        }
        let blobs = blobs.map_or_else(|| dir.join("blobs"), Path::to_owned);
        Ok(Self { dir: dir.to_owned(), blobs })
    }

    /// An empty layout in an existing directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(dir: &Path) -> Result<Self, RegistryError> {
        let blobs = dir.join("blobs");
        fs::create_dir_all(blobs.join("sha256")).map_err(FileError::when("make", &blobs))?;
        let mark = dir.join("oci-layout");
        fs::write(&mark, "{\"imageLayoutVersion\":\"1.0.0\"}").map_err(FileError::when("write", &mark))?;
        Ok(Self { dir: dir.to_owned(), blobs })
    }

    /// The file of a blob.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs.join("sha256").join(digest.hex())
    }

    /// A blob, to be read and compared with its name and size.
    pub(super) fn open_blob(&self, descriptor: &Descriptor) -> Result<Blob, RegistryError> {
        Blob::open(self.blob(&descriptor.digest), descriptor.digest, descriptor.size)
    }

    fn json<T: DeserializeOwned>(
        &self,
        what: &'static str,
        descriptor: &Descriptor,
    ) -> Result<T, RegistryError> {
        if descriptor.size > MAX_JSON {
            return Err(RegistryError::Malformed(format!("the {what} {} is too large", descriptor.digest)));
        }
        let text = self.open_blob(descriptor)?.whole()?;
        let name = descriptor.digest.to_string();
        serde_json::from_slice(&text).map_err(|source| RegistryError::Json { what, name, source })
    }

    /// One image of it: that of a tag, or the only one.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn image(&self, tag: Option<&str>) -> Result<Image, RegistryError> {
        let index = self.pick(tag)?;
        let manifest: ImageManifest = self.json("manifest", &self.for_this_machine(index)?)?;
        let config: Config = self.json("configuration", &manifest.config)?;
        if manifest.layers.is_empty() || manifest.layers.len() > MAX_LAYERS {
            let count = manifest.layers.len();
            return Err(RegistryError::Malformed(format!(
                "it has {count} layers (1 to {MAX_LAYERS} can be)"
            )));
        }
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            let text = "manifest and configuration have different numbers of layers".to_owned();
            return Err(RegistryError::Malformed(text));
        }
        if config.os != "linux" {
            return Err(RegistryError::Malformed(format!("it is for the system {:?}", config.os)));
        }
        if config.architecture != architecture() {
            return Err(RegistryError::Architecture(architecture().to_owned()));
        }
        Ok(Image { config, layers: manifest.layers })
    }

    fn pick(&self, tag: Option<&str>) -> Result<Descriptor, RegistryError> {
        let path = self.dir.join("index.json");
        let failed = FileError::when("read", &path);
        let mut text = Vec::new();
        let file = File::open(&path).map_err(failed)?;
        file.take(MAX_JSON + 1).read_to_end(&mut text).map_err(failed)?;
        if text.len() as u64 > MAX_JSON {
            return Err(RegistryError::Malformed("its index.json is too large".to_owned()));
        }
        let index: Index = serde_json::from_slice(&text).map_err(|source| RegistryError::Json {
            what: "file",
            name: path.display().to_string(),
            source,
        })?;
        let tag_of = |descriptor: &Descriptor| descriptor.annotations.as_ref()?.get(TAG).cloned();
        let found: Vec<String> = index.manifests.iter().filter_map(tag_of).collect();
        let all = index.manifests;
        let mut fitting: Vec<Descriptor> = match tag {
            Some(tag) => all.into_iter().filter(|one| tag_of(one).as_deref() == Some(tag)).collect(),
            None => all,
        };
        match (fitting.pop(), fitting.is_empty()) {
            (Some(only), true) => Ok(only),
            _ => Err(RegistryError::Tag { wanted: tag.map(str::to_owned), found }),
        }
    }

    /// The image itself where there is one for each kind of machine.
    fn for_this_machine(&self, descriptor: Descriptor) -> Result<Descriptor, RegistryError> {
        if ![INDEX, DOCKER_INDEX].contains(&descriptor.media_type.as_str()) {
            return Ok(descriptor);
        }
        let index: Index = self.json("index", &descriptor)?;
        let is_ours = |descriptor: &Descriptor| {
            let platform = descriptor.platform.as_ref();
            platform.is_some_and(|platform| platform.os == "linux" && platform.architecture == architecture())
        };
        let ours = index.manifests.into_iter().find(is_ours);
        ours.ok_or_else(|| RegistryError::Architecture(architecture().to_owned()))
    }

    /// Adds a blob that is in memory.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&self, media_type: &str, content: &[u8]) -> Result<Descriptor, RegistryError> {
        let digest = Digest::from_bytes(Sha256::digest(content).into());
        let path = self.blob(&digest);
        fs::write(&path, content).map_err(FileError::when("write", &path))?;
        Ok(Self::descriptor(media_type, digest, content.len() as u64))
    }

    pub(super) fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor { media_type: media_type.to_owned(), digest, size, annotations: None, platform: None }
    }

    /// Adds an image of blobs that are there already, and says which one it is.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add_image(
        &self,
        tag: &str,
        config: &Config,
        layers: &[Descriptor],
    ) -> Result<Descriptor, RegistryError> {
        let config = self.add(CONFIG, &json(config))?;
        let manifest = ImageManifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            config,
            layers: layers.to_vec(),
        };
        let mut image = self.add(MANIFEST, &json(&manifest))?;
        image.annotations = Some(BTreeMap::from([(TAG.to_owned(), tag.to_owned())]));
        let index = Index { schema_version: 2, manifests: vec![image.clone()] };
        let path = self.dir.join("index.json");
        fs::write(&path, json(&index)).map_err(FileError::when("write", &path))?;
        Ok(image)
    }

    /// Removes a blob that is damaged, so that it is fetched again.
    pub fn forget(&self, digest: &Digest) -> io::Result<()> {
        fs::remove_file(self.blob(digest))
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("it has only types that JSON can hold")
}

/// This machine in the words of Go.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}
