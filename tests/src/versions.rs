//! Versions of images, made from those that a host has.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Host, Run};

impl Host {
    /// Gives this root an image store of its own that holds the prepared images, as links to their files.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn copy_images(&self) {
        self.copy_some_images(&["debian", "busybox"]);
    }

    /// [`Self::copy_images`] of these alone.
    ///
    /// # Panics
    /// As there.
    pub fn copy_some_images(&self, names: &[&str]) {
        let source = self.place.images.join("var/lib/tenantry/images");
        let target = self.path("var/lib/tenantry");
        fs::create_dir_all(&target).expect("the state directory can be made");
        let copy = target.join("images");
        fs::create_dir_all(&copy).expect("the image directory can be made");
        for name in names {
            Run::new("cp", ["--archive", "--link"]).args([source.join(name), copy.join(name)]).ok();
        }
    }

    /// The digest of the version that a reference means.
    ///
    /// # Panics
    /// When there is none.
    pub fn digest(&self, reference: &str) -> String {
        let shown = self.tool("rootfsctl", &["--json", "show", reference]).ok().json();
        shown["manifest"]["digest"].as_str().expect("a digest").to_owned()
    }

    /// The directory of the version that a reference means.
    ///
    /// # Panics
    /// When there is none.
    pub fn version(&self, reference: &str) -> PathBuf {
        let image = reference.split([':', '@']).next().unwrap_or_default();
        let digest = self.digest(reference).replace(':', "-");
        self.path(format!("var/lib/tenantry/images/{image}/versions/{digest}"))
    }

    /// A copy of the tree of the version that a reference means, changed; it must be one that is stored as a tree.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn changed_tree(&self, reference: &str, change: impl FnOnce(&Path)) -> PathBuf {
        let dir = tempfile::Builder::new().prefix("changed-").tempdir_in(self.root());
        let copy = dir.expect("a directory for the copy").keep().join("tree");
        Run::new("cp", ["--archive"]).args([&self.version(reference).join("tree"), &copy]).ok();
        change(&copy);
        copy
    }

    /// Publishes the version `from` with what `change` makes of its tree; `to` is IMAGE:CHANNEL. What rootfsctl says.
    ///
    /// # Panics
    /// When it cannot be published.
    pub fn another_version(&self, from: &str, to: &str, change: impl FnOnce(&Path)) -> serde_json::Value {
        self.another_version_as(from, to, &[], change)
    }

    /// Two versions of busybox, `busybox:one` and `busybox:two`; `/usr/lib/generation` says which.
    ///
    /// # Panics
    /// As [`Self::another_version`].
    pub fn two_versions_of_busybox(&self) {
        self.copy_some_images(&["busybox"]);
        for version in ["one", "two"] {
            self.another_version("busybox", &format!("busybox:{version}"), |tree| {
                fs::create_dir_all(tree.join("usr/lib")).expect("a directory in the copy");
                fs::write(tree.join("usr/lib/generation"), version).expect("a file of the version");
            });
        }
    }

    /// [`Self::another_version`] with options of `rootfsctl publish`.
    ///
    /// # Panics
    /// As there.
    pub fn another_version_as(
        &self,
        from: &str,
        to: &str,
        options: &[&str],
        change: impl FnOnce(&Path),
    ) -> serde_json::Value {
        let tree = self.changed_tree(from, change);
        let (image, channel) = to.split_once(':').unwrap_or((to, "stable"));
        let words = ["--json", "publish", "--force", "--name", image, "--channel", channel];
        let published = self.tool("rootfsctl", &words).args(options).args([&tree]).ok().json();
        fs::remove_dir_all(tree.parent().expect("it lies in a directory")).expect("the copy can be removed");
        published
    }
}
