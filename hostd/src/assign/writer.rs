//! What is decided about tenants that are being made or changed.

use std::{collections::BTreeMap, sync::Arc};

use tenant::TenantName;

use super::{
    allocate::{Cursor, Used},
    claims::Claims,
    holding::Holding,
    leases::Cursors,
};

/// What writers know besides the records.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) cursor: Cursor,
    pub(crate) cursors: Cursors,
    /// What tenants will have that are being made or changed.
    pub(crate) coming: BTreeMap<TenantName, (Holding, Arc<Claims>)>,
}

impl Writer {
    /// One that goes on behind what there is.
    pub(crate) fn behind(used: &Used, cursors: Cursors) -> Self {
        Self { cursor: Cursor::behind(used), cursors, coming: BTreeMap::new() }
    }
}
