//! Images that travel: to and from registries, OCI image layouts and docker archives.
//!
//! ```text
//! version, its parents ─layers─▶ tar+zstd blobs ─Layout::write─▶ an OCI layout ─skopeo(1)─▶ a registry
//! a registry, an archive ─skopeo(1)─▶ an OCI layout ─Image::open─▶ layers ─import─▶ a tree ─▶ publish
//! ```
//!
//! What is sent has the version's manifest and its signature as labels, so that a pull publishes the same version. The
//! network, its encryption and credentials are skopeo's. What comes from outside is not trusted: each blob is compared
//! with its digest, layers go through the reader of archives that imports use, and the tree has to have the digest that
//! the manifest says.

mod blob;
mod cache;
mod error;
mod labels;
mod layers;
mod layout;
mod program;
mod skopeo;
mod unpack;

pub use cache::Cache;
pub use error::RegistryError;
pub use labels::{MANIFEST_LABEL, Origin, SIGNATURE_LABEL};
pub use layers::{Part, Tree, write_layers};
pub use layout::{Config, Descriptor, Image, Layout};
pub use program::{Runs, app};
pub use skopeo::{Place, Transfer, copy};
pub use unpack::unpack;
