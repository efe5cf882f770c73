//! Reads tar archives: v7, ustar, GNU, star and pax, with their extensions for long names, large numbers, sparse
//! files, extended attributes and access control lists.
//!
//! ```text
//! 512-byte blocks ─header─▶ one header ─pax, long names─▶ one Member ─sparse map─▶ chunks of its data
//! ```
//!
//! Invariant: a member is given as GNU tar would extract it, or refused with a [`Reason`]. Nothing is ignored
//! silently: whatever this reader does not support is listed in [`Member::unknown`].
//!
//! The formats: POSIX.1-2008, pax, "Extended Description"; tar(5) of libarchive; "Basic Tar Format" and "Storing Sparse
//! Files" of the GNU tar manual.

pub mod acl;
mod header;
mod member;
mod number;
mod pax;
mod reader;
mod reason;
mod sparse;
mod writer;

pub use member::{Kind, Member};
pub use reader::{ArchiveError, ReadError, Reader};
pub use reason::Reason;
pub use sparse::{Chunk, MAX_CHUNKS};
pub use writer::{Entry, Writer};

pub use header::{BLOCK, Header};
