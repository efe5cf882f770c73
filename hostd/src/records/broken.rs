//! A tenant whose record cannot be used.

use crate::assign::holding::Holding;

/// A tenant whose record cannot be used. Its name, and what else is known to be its own, stays taken.
#[derive(Clone, Debug)]
pub struct Broken {
    /// What is wrong with its record.
    pub reason: String,
    /// What it has of the host, as far as it is known.
    pub holding: Holding,
    /// Whether a newer release wrote the record: then it is for that release to read.
    pub is_newer: bool,
}
