//! Trees of files that others may change while they are read or written: the one way by which the host's own code reaches
//! what a tenant has stored.
//!
//! ```text
//! Dir ── opened beneath ──▶ Chain ── where a walk is ──▶ walk ─┬─▶ copy    a tree to a tree
//!                              ▲                               └─▶ pack    a tree to an archive
//!                              └──────────────────────────────────  unpack  an archive to a tree
//! ```
//!
//! | file | what |
//! |---|---|
//! | `open` | openat2(2) |
//! | `dir` | a directory, and all that is done in it by names of one component |
//! | `chain` | the directories between a top and where a walk is, of which few are open |
//! | `walk` | every entry of a tree, once |
//! | `attributes` | owners, modes, times and extended attributes, and which of these go along |
//! | `copy`, `pack`, `unpack` | trees and archives |
//! | `archive` | tar archives: read in every format, written as pax |
//!
//! Invariant: nothing is opened but by openat2(2) with `RESOLVE_NO_MAGICLINKS`, and by the host in a tenant's
//! directories over no link, into no mount and out of nothing ([`Reach::Beneath`]). Every other call names one component
//! of a directory that was opened so. A tenant may exchange anything at any moment: what is opened is looked at again.

pub mod archive;
mod attributes;
mod chain;
mod copy;
mod dir;
mod error;
mod open;
mod pack;
mod unpack;
mod walk;

pub use attributes::{Keep, copy_attributes};
pub use copy::{copy, settle};
pub use dir::{Dir, Reach};
pub use error::{TreeError, UnpackError};
pub use open::openat2;
pub use pack::{Pack, pack};
pub use unpack::{Owners, Unpack, Unpacked, unpack};
pub use walk::{Tally, Tell, Watch, each_file};
