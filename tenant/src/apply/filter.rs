//! The tenant in the host's packet filter.

use super::undo::Undo;
use crate::{
    kernel::{Kernel, Result},
    plan::Plan,
};

/// Puts it in. The answer is to be closed when no process waits for that.
pub(super) fn add<K: Kernel>(kernel: &K, plan: &Plan, done: &mut Vec<Undo>) -> Result<Option<K::Fd>> {
    let Some(filter) = &plan.filter else { return Ok(None) };
    done.push(Undo::Filter(Box::new(filter.clone())));
    kernel.filter_add(&filter.host, &filter.tenant)
}
