//! The tenant in the host's packet filter.
//!
//! nft(8) takes milliseconds, mostly the kernel's, and needs no interface to be there: a change is begun
//! first, runs beside everything else, and is waited for at the end.

use super::Undo;
use crate::{
    kernel::{Kernel, KernelError, Result},
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

/// Begins to undo what there is of the filter.
pub(super) fn begin_undo<K: Kernel>(kernel: &K, done: &[Undo]) -> Vec<Result<K::Change>> {
    let filters = done.iter().filter_map(|undo| match undo {
        Undo::Filter(filter) => Some(filter),
        _ => None,
    });
    filters.map(|filter| kernel.filter_remove(&filter.host, &filter.tenant)).collect()
}

/// Waits for what [`begin_undo`] began.
pub(super) fn finish_undo<K: Kernel>(kernel: &K, changes: Vec<Result<K::Change>>) -> Vec<KernelError> {
    let results = changes.into_iter().map(|change| change.and_then(|change| kernel.filter_finish(change)));
    results.filter_map(Result::err).collect()
}
