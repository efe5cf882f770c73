//! Files of a tenant's own that hide files of its image: which they are, and which of them hide a fix. All of it is pure;
//! what lies in a tenant's directories is read by [`crate::records`].
//!
//! | file | what |
//! |---|---|
//! | `area` | which directories are looked at: the overlays of a plan |
//! | `own` | what a tenant has at a path of its image |
//! | `lineage` | from which version that comes |
//! | `verdict` | how it differs, and whether it hides a fix |
//! | `error` | why it cannot be done |
//! | `notes` | what is remembered of it: `drift.toml` |
//!
//! Why it is so: [decision 37](../../../docs/adr/0037-drift-is-asked-of-the-image.md).

pub mod area;
pub mod error;
pub mod lineage;
pub mod notes;
pub mod own;
pub mod verdict;
