//! Copies of what tenants have stored: clones, exports, snapshots.
//!
//! ```text
//! tenants/.part-ID/dirs       what is to be a new tenant's: filled by a clone or an import, then a creation takes it
//! tenants/NAME/.work/         what is to take the place of a tenant's directories, or was taken out of it
//! tenants/NAME/snapshots/ID/  snapshot.toml and dirs
//! ```
//!
//! Everything is made beside what is there and takes its place by one rename when it is whole. What a crash leaves is
//! either unfinished, and goes when hostd starts again, or is finished then.
//!
//! | file | what |
//! |---|---|
//! | `part` | directories without a tenant |
//! | `stores` | which parts of a tenant's directories are its own, and which are overlayfs's |
//! | `anew` | what a copy must not have in common with what it was copied from |
//! | `tenant_clone`, `export`, `import` | tenants made of tenants |
//! | `swap` | directories that take the place of a tenant's |
//! | `snapshot`, `restore`, `reset` | a tenant's directories at another moment |

pub(crate) mod anew;
mod error;
mod export;
mod import;
mod part;
mod reset;
mod restore;
mod snapshot;
mod stores;
pub(crate) mod swap;
mod tenant_clone;

pub use error::CopyError;
pub use import::{Import, Imported};
pub(crate) use part::Part;
pub use snapshot::Taking;
