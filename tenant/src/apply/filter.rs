//! The tenant in the host's packet filter.
//!
//! nft(8) takes milliseconds, mostly the kernel's, and needs no interface to be there: a change is begun
//! first, runs in parallel with everything else, and is waited for at the end.

use super::undo::Undo;
use crate::{
    kernel::{Kernel, Result},
    plan::Plan,
};

pub(super) fn begin<K: Kernel>(kernel: &K, plan: &Plan, done: &mut Vec<Undo>) -> Result<Option<K::Change>> {
    let Some(filter) = &plan.filter else { return Ok(None) };
    done.push(Undo::Filter(Box::new(filter.clone())));
    kernel.filter_add(&filter.host, &filter.tenant).map(Some)
}

pub(super) fn finish<K: Kernel>(kernel: &K, change: Option<K::Change>) -> Result<()> {
    change.map_or(Ok(()), |change| kernel.filter_finish(change))
}
