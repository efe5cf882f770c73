//! What the looks at the processes of tenants share.

use std::{collections::HashMap, sync::Mutex};

use tenant::{TenantName, files::state::ProcessRef};
use wire::StaleCount;

use super::turns::Turns;

/// The looks that are under way, and what the last ones found.
#[derive(Debug, Default)]
pub(super) struct Looks {
    pub(super) under_way: Turns,
    pub(super) found: Mutex<HashMap<TenantName, (ProcessRef, StaleCount)>>,
}
