//! A record's file, and the copy that lies beside it.

use std::path::Path;

use tenant::{
    Allocation, Layout,
    files::record::{self, Durability},
};

use super::StoreError;

/// Reads a record, or its copy.
///
/// # Errors
/// It cannot be read, or is none.
pub(crate) fn parse(path: &Path) -> Result<Allocation, StoreError> {
    let text = record::read(path)?;
    Allocation::parse(&text).map_err(|source| StoreError::Allocation { path: path.to_owned(), source })
}

/// Writes a record once more. Nothing but the repair of a damaged one needs it, so a failure is logged.
pub(crate) fn write_copy(layout: &Layout, allocation: &Allocation, durability: Durability) {
    let path = layout.allocation_copy(&allocation.name);
    if let Err(error) = record::write(&path, allocation.render().as_bytes(), durability) {
        log::warn!("cannot copy the record of tenant \"{}\": {}", allocation.name, wire::chain(&error));
    }
}
