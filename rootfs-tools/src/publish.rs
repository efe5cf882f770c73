//! From a staged tree to an immutable version.
//!
//! Order: digest, links to files of earlier versions ([`crate::share`]), inventory, manifest, syncfs(2), lock, one rename(2), fsync(2) of the directory, channel. A crash or
//! a full disk at any point leaves either the whole version or nothing that can be seen.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use serde::Serialize;
use tenant::{
    Layout,
    files::{
        file_error::FileError,
        record::{self, Durability},
    },
    model::{
        ids::Digest,
        image::{App, ChannelName, ImageFormat, ImageName, Manifest},
        recipe::Recipe,
    },
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    Store, digest, erofs,
    erofs::ErofsError,
    explain::{Explain, Outcome},
    given::{self, GivenError},
    inspect,
    installed::Packages,
    inventory::Inventory,
    progress::Progress,
    rootdir::RootDir,
    share::{self, Shared},
    staging::Staging,
    store::{Lock, StoreError, Trust, Way},
    tree::{self, TreeError},
    verity::{self, ProtectError},
};

/// What to publish a staged tree as.
#[derive(Clone, Debug)]
pub struct Request {
    /// The image it becomes a version of.
    pub image: ImageName,
    /// The channel that is moved to it.
    pub channel: ChannelName,
    /// How it is stored.
    pub format: ImageFormat,
    /// Where it came from, one line for the manifest.
    pub source: String,
    /// Named sets of packages that it was built with.
    pub sets: Vec<String>,
    /// Whether the tuning table was applied.
    pub tuned: bool,
    /// Whether every block is checked when it is read, see [`crate::verity`].
    pub verity: bool,
    /// What it runs if it has a program instead of an init.
    pub app: Option<App>,
    /// How it was made.
    pub recipe: Option<Recipe>,
    /// The version that it follows; none for the one that the channel points at.
    pub parent: Option<Digest>,
    /// What is asked of the version before the channel is moved to it.
    pub way: Way,
}

impl Request {
    /// A version of which nothing more is known than what it is called and where it came from.
    pub fn new(image: ImageName, channel: ChannelName, format: ImageFormat, source: String) -> Self {
        Self {
            image,
            channel,
            format,
            source,
            sets: Vec::new(),
            tuned: false,
            verity: false,
            app: None,
            recipe: None,
            parent: None,
            way: Way::Anywhere,
        }
    }
}

/// A version in the store.
#[derive(Clone, Debug, Serialize)]
pub struct Published {
    /// Whether it was not there before.
    pub created: bool,
    /// The image.
    pub image: ImageName,
    /// The version.
    pub digest: Digest,
    /// The channel that points at it now.
    pub channel: ChannelName,
    /// Whether the channel pointed elsewhere before.
    pub channel_moved: bool,
    /// Its directory.
    pub path: PathBuf,
    /// Apparent size of all files, bytes.
    pub size_bytes: u64,
    /// Number of entries.
    pub files: u64,
    /// What it shares with versions that were there before; nothing if it was one of them.
    pub shared: Shared,
    /// Whether it was there before, and has got the signature that came with its files.
    #[serde(skip)]
    pub has_got_signature: bool,
}

/// Why a tree was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The tree cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The erofs file cannot be made.
    #[error(transparent)]
    Erofs(#[from] ErofsError),
    /// The manifest that came with it is that of other files.
    #[error(transparent)]
    Given(#[from] GivenError),
    /// Its blocks cannot be protected.
    #[error(transparent)]
    Protect(#[from] ProtectError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be read, written, made or removed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Explain for PublishError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Tree(e) => e.help(),
            Self::Erofs(e) => e.help(),
            Self::Protect(e) => e.help(),
            Self::Given(e) => e.help(),
            Self::Store(e) => e.help(),
            Self::File(_) => None,
        }
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::Store(e) => e.outcome(),
            Self::Protect(e) => e.outcome(),
            Self::Given(e) => e.outcome(),
            _ => Outcome::Failed,
        }
    }
}

/// Publishes the staged tree and points the channel at it. A tree whose digest is in the store already
/// is not stored again.
///
/// # Errors
/// [`PublishError`]; nothing is visible then, except that a version may be there without its channel.
pub fn publish(
    layout: &Layout,
    staging: &Staging,
    request: &Request,
    progress: &Progress,
) -> Result<Published, PublishError> {
    let tree = staging.tree();
    progress.step("computing the digest");
    let entries = tree::walk(&tree)?;
    let contents = digest::contents(&tree, &entries)?;
    let tree_digest = digest::combine(&entries, &contents);
    let digest = digest::of_version(&tree_digest, request.format, request.verity);
    given::expect(&staging.version().join("manifest.toml"), &digest)?;
    let root = RootDir::open(&tree).map_err(FileError::when("open", &tree))?;
    let (size_bytes, files) = inspect::size(&entries);
    let path = layout.version(&request.image, &digest);
    let created = !record::is_there(&path)?;
    let mut shared = Shared::default();
    if created {
        let parent = request.parent.or_else(|| {
            let channels = Store::new(layout.clone()).channels(&request.image).ok()?;
            channels.get(&request.channel).copied()
        });
        let mut manifest = Manifest {
            format_version: Manifest::FORMAT_VERSION,
            image: request.image.clone(),
            digest,
            format: request.format,
            created: now(),
            os: inspect::os_name(&root, request.image.as_str()).map_err(FileError::when("read", &tree))?,
            arch: inspect::arch(&tree, &entries),
            source: request.source.clone(),
            sets: request.sets.clone(),
            tuned: request.tuned,
            size_bytes,
            files,
            verity: None,
            parent: parent.filter(|parent| *parent != digest),
            init_kind: inspect::init_kind(&root).map_err(FileError::when("read", &tree))?,
            boot: inspect::boot(&root),
            app: request.app.clone(),
            recipe: request.recipe.clone(),
            top: inspect::top(&entries),
        };
        let packages = Packages::of_tree(&root).map_err(FileError::when("read", &tree))?;
        drop(root);
        if request.format == ImageFormat::Erofs {
            progress.step("packing the erofs file");
            erofs::pack(&tree, &staging.version().join("image.erofs"))?;
        }
        if request.verity {
            progress.step("making the hash trees");
            manifest.verity = Some(verity::protect(&staging.version(), request.format, &entries)?);
        }
        if request.format == ImageFormat::Tree {
            let staged = (&entries[..], &contents[..]);
            shared = share::share(layout, staging, &request.image, request.verity, staged, progress)?;
        }
        Inventory::of(&entries, &contents).write(&staging.version())?;
        packages.write(&staging.version())?;
        let path = staging.version().join("manifest.toml");
        let text = match given::take(&path, &manifest)? {
            Some(given) => given,
            None => manifest.render(),
        };
        record::write(&path, text.as_bytes(), Durability::Durable)?;
        progress.step("writing to disk");
        sync(staging)?;
    }
    let (store, lock) = (Store::new(layout.clone()), Lock::exclusive(layout)?);
    let mut has_got_signature = false;
    if record::is_there(&path)? {
        has_got_signature = adopt(&store, staging, request, &digest, &lock)?;
    } else {
        let versions = layout.versions(&request.image);
        record::make_dirs(&versions).map_err(FileError::when("make", &versions))?;
        fs::rename(staging.version(), &path).map_err(FileError::when("publish", &path))?;
        record::sync_dir(&versions).map_err(FileError::when("sync", &versions))?;
    }
    let channel_moved = store.point(&request.image, &request.channel, &digest, request.way, &lock)?;
    Ok(Published {
        created,
        image: request.image.clone(),
        digest,
        channel: request.channel.clone(),
        channel_moved,
        path,
        size_bytes,
        files,
        shared,
        has_got_signature,
    })
}

/// A version that is there gets the manifest and the signature that came with the same files, if it has none, or one that
/// does not count on this host while the other one does.
fn adopt(
    store: &Store,
    staging: &Staging,
    request: &Request,
    digest: &Digest,
    lock: &Lock,
) -> Result<bool, PublishError> {
    let (image, dir) = (&request.image, staging.version());
    let Some(signature) = given::signature(&dir)? else { return Ok(false) };
    let has_one = match request.way {
        Way::Anywhere => store.layout().signature(image, digest).exists(),
        Way::Onward | Way::Back => store.trust(image, digest)? == Trust::Signed,
    };
    if has_one {
        return Ok(false);
    }
    let Some(text) = given::take(&dir.join("manifest.toml"), &store.manifest(image, digest)?)? else {
        return Ok(false);
    };
    store.adopt(image, digest, (&text, &signature), lock)?;
    Ok(true)
}

fn sync(staging: &Staging) -> Result<(), PublishError> {
    let version = staging.version();
    let sync = || -> io::Result<()> {
        fs::set_permissions(&version, Permissions::from_mode(0o755))?;
        let dir = File::open(&version)?;
        rustix::fs::syncfs(&dir)?;
        dir.sync_all()
    };
    Ok(sync().map_err(FileError::when("sync", &version))?)
}

fn now() -> String {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).expect("0 is a nanosecond");
    now.format(&Rfc3339).expect("the year has four digits")
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Command};

    use super::*;
    use crate::explain;

    fn request(format: ImageFormat) -> Request {
        Request::new("img".parse().unwrap(), ChannelName::stable(), format, "test".to_owned())
    }

    fn stage(layout: &Layout, content: &[u8]) -> Staging {
        let staging = Staging::new(layout).unwrap();
        fs::create_dir_all(staging.tree().join("usr")).unwrap();
        fs::write(staging.tree().join("usr/file"), content).unwrap();
        staging
    }

    /// A tmpfs of 64 KiB, unmounted when dropped. It needs root.
    struct SmallDisk(PathBuf);

    impl SmallDisk {
        fn mount(dir: &Path) -> Self {
            fs::create_dir(dir).unwrap();
            let options = ["-t", "tmpfs", "-o", "size=64k,nr_inodes=64", "small"];
            assert!(Command::new("mount").args(options).arg(dir).status().unwrap().success());
            Self(dir.to_owned())
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        }
    }

    #[test]
    fn the_same_content_is_published_once() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let tree = request(ImageFormat::Tree);
        let first = publish(&layout, &stage(&layout, b"x"), &tree, &Progress::silent()).unwrap();
        let again = publish(&layout, &stage(&layout, b"x"), &tree, &Progress::silent()).unwrap();
        assert!(first.created && first.channel_moved);
        assert!(!again.created && !again.channel_moved);
        assert_eq!(first.digest, again.digest);
        let manifest =
            Manifest::parse(&fs::read_to_string(first.path.join("manifest.toml")).unwrap()).unwrap();
        assert_eq!(manifest.digest, first.digest);
        assert_eq!(fs::read_dir(layout.staging()).unwrap().count(), 0);
    }

    #[test]
    fn a_full_disk_leaves_nothing_visible() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let good = publish(&layout, &stage(&layout, b"x"), &request(ImageFormat::Tree), &Progress::silent())
            .unwrap();
        let small = SmallDisk::mount(&root.path().join("small"));
        let full = Layout::new(&small.0);
        let staging = stage(&full, b"y");
        let _ = fs::write(staging.scratch().join("filler"), vec![0; 128 << 10]);
        let result = publish(&full, &staging, &request(ImageFormat::Tree), &Progress::silent());
        drop(staging);
        assert_eq!(Store::new(full.clone()).images().unwrap(), Vec::<ImageName>::new());
        assert_eq!(fs::read_dir(full.staging()).unwrap().count(), 0);

        let error = result.unwrap_err();
        assert!(explain::room(&error).is_some_and(|help| help.contains("free some space")), "{error:?}");
        assert!(good.path.join("tree/usr/file").exists());
    }
}
