//! Overlays that show a version of an image, for a root that is put together and for one that is running.

use std::{cell::OnceCell, path::Path};

use crate::{
    kernel::{Access, Kernel, Result, Shape, TmpfsUse, Top, Upper},
    model::{image::ImageSource, limits::ByteSize},
};

/// The second layer of a read-only overlay.
pub(super) const EMPTY: ByteSize = ByteSize(4096);

/// Mounts an image that is one file, for all tenants; the directory in which the image is.
pub(super) fn mounted<'a, K: Kernel>(kernel: &K, image: &'a ImageSource) -> Result<&'a Path> {
    if let ImageSource::Erofs { image, mount } = image {
        kernel.image_mount(image, mount)?;
    }
    Ok(image.dir())
}

/// What overlays of one tenant over a version are made of.
pub(super) struct Base<'a, K: Kernel> {
    kernel: &'a K,
    /// The tenant's root on the host.
    owner: u32,
    /// The image, with the tenant's ids.
    image: K::Fd,
    /// An empty directory of the tenant's.
    empty: K::Fd,
    /// One overlay over the whole image, for the paths that are shown of it.
    whole: OnceCell<K::Fd>,
    /// What the overlays are called.
    source: String,
    /// Where the kernel wants layers to be mounted.
    attach_to: Option<&'a K::Staging>,
}

impl<'a, K: Kernel> Base<'a, K> {
    /// Of an image in a directory. `user` is the tenant's user namespace, `owner` the uid of its root.
    pub(super) fn new(
        kernel: &'a K,
        image: &Path,
        user: &K::Fd,
        owner: u32,
        source: String,
        attach_to: Option<&'a K::Staging>,
    ) -> Result<Self> {
        let image = kernel.tree_clone(image, user, Access::ReadOnly)?;
        let empty = kernel.tmpfs(TmpfsUse::Files, EMPTY.0, 0o755, owner)?;
        let base = Self { kernel, owner, image, empty, whole: OnceCell::new(), source, attach_to };
        base.attach(&base.image)?;
        base.attach(&base.empty)?;
        Ok(base)
    }

    /// Mounts a layer where the kernel wants that.
    pub(super) fn attach(&self, layer: &K::Fd) -> Result<()> {
        self.attach_to.map_or(Ok(()), |staging| self.kernel.layer_attach(staging, layer))
    }

    /// A directory of the image, or all of it, unchanged.
    pub(super) fn shared(&self, dir: Option<&str>) -> Result<K::Fd> {
        self.kernel.overlay(&self.image, dir, Top::Empty(&self.empty), self.owner, &self.source)
    }

    /// A directory of the image, or all of it, with the tenant's changes.
    pub(super) fn writable(&self, dir: Option<&str>, upper: Upper<'_, K::Fd>) -> Result<K::Fd> {
        self.kernel.overlay(&self.image, dir, Top::Upper(upper), self.owner, &self.source)
    }

    /// A path of the image. Never of the image itself: through an overlay of its own a tenant shares no inode with
    /// others.
    pub(super) fn path(&self, path: &str) -> Result<(K::Fd, Shape)> {
        let whole = match self.whole.get() {
            Some(whole) => whole,
            None => {
                let whole = self.shared(None)?;
                self.attach(&whole)?;
                self.whole.get_or_init(|| whole)
            }
        };
        self.kernel.tree_path(whole, path)
    }

    /// The layers; the overlays have copies of their own.
    pub(super) fn into_layers(self) -> Vec<K::Fd> {
        [self.image, self.empty].into_iter().chain(self.whole.into_inner()).collect()
    }
}
