//! What tenants use, all of them in one look, and whose the memory of the host is.

use std::{collections::BTreeMap, fs, sync::Arc};

use tenant::{Allocation, TenantName, files::facts, model::ids::Digest};
use tokio::task::JoinSet;
use wire::{HostMemory, Stat, StatLimits, StatList, TenantState, Usage};

use super::{
    Host, Result, blocking,
    glance::{FileLook, Glance, stat_limits},
};
use crate::{parts::in_parts, units::look::Look};

/// What one tenant does and uses.
type Use = (TenantName, TenantState, Usage);

impl Host {
    /// Does something with each of the tenants that are wanted, by its record and what its file comes to, on all
    /// processors: a list of a thousand asks of some thousand files whether they are others. In the order of their names.
    pub(crate) async fn each<T: Send + 'static>(
        self: &Arc<Self>,
        is_wanted: impl Fn(&TenantName) -> bool + Send + 'static,
        work: impl Fn(&Arc<Self>, &Allocation, &Arc<Glance>, Look) -> T + Send + Sync + 'static,
    ) -> Result<Vec<T>> {
        let host = self.clone();
        blocking(move || {
            let records = host.store.records();
            let wanted: Vec<&Allocation> =
                records.values().filter(|record| is_wanted(&record.name)).collect();
            if wanted.len() == records.len() {
                host.glances.forget(|name| records.contains_key(name));
            }
            let now = host.changes.now();
            let parts = in_parts(&wanted, |part| {
                let mut files = FileLook::new(&host.store, now);
                let mut one = |record: &Allocation| {
                    let look = host.units.look(&record.name, now);
                    let glance = host.glances.one(&mut files, &record.name, look.is_running);
                    work(&host, record, &glance, look)
                };
                part.iter().map(|record| one(record)).collect::<Vec<T>>()
            });
            parts.into_iter().flatten().collect()
        })
        .await
    }

    /// What the files of tenants come to, all of them or one.
    pub(crate) async fn glances(
        self: &Arc<Self>,
        one: Option<&TenantName>,
    ) -> Result<BTreeMap<TenantName, Arc<Glance>>> {
        let one = one.cloned();
        let is_wanted = move |name: &TenantName| one.as_ref().is_none_or(|one| one == name);
        let glances =
            self.each(is_wanted, |_, record, glance, _| (record.name.clone(), glance.clone())).await?;
        Ok(glances.into_iter().collect())
    }

    /// What these tenants use, and what all that run and the host have of its memory.
    ///
    /// # Errors
    /// A look was cut short.
    pub(crate) async fn stats(
        self: &Arc<Self>,
        is_wanted: impl Fn(&TenantName) -> bool + Send + Sync + 'static,
    ) -> Result<StatList> {
        let records = self.store.records();
        let digests: BTreeMap<TenantName, Digest> =
            records.iter().map(|(name, record)| (name.clone(), record.pinned.digest)).collect();
        let look = |host: &Arc<Self>, record: &Allocation, glance: &Arc<Glance>, look: Look| {
            let state = Self::state_of(record.state, &look);
            let usage = if state.is_up() { host.units.usage(&record.name) } else { Usage::default() };
            ((record.name.clone(), state, usage), stat_limits(&glance.limits))
        };
        let looked = self.each(|_| true, look).await?;
        let limits: BTreeMap<TenantName, StatLimits> =
            looked.iter().map(|((name, ..), limits)| (name.clone(), limits.clone())).collect();
        let uses: Vec<Use> = looked.into_iter().map(|(used, _)| used).collect();
        let host_memory =
            host_memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), &uses, &digests);
        let wanted: Vec<Use> = uses.into_iter().filter(|(name, ..)| is_wanted(name)).collect();
        let up = wanted.iter().filter(|(_, state, _)| state.is_up()).map(|(name, ..)| name.clone());
        let (host, up) = (self.clone(), up.collect::<Vec<_>>());
        let mut traffic = blocking(move || host.filter.all_traffic(&host.store, &up)).await?;
        let stat = |(name, state, usage): Use| Stat {
            name: name.to_string(),
            state,
            usage,
            limits: limits.get(&name).cloned().unwrap_or_default(),
            traffic: traffic.remove(&name),
        };
        Ok(StatList { tenants: wanted.into_iter().map(stat).collect(), host: host_memory })
    }
}

/// Works on parts of something, one for each processor unless that is less than `least`; the results, in order.
pub(super) async fn spread<I, F>(all: &[I], least: usize, work: impl Fn(Vec<I>) -> F) -> Vec<F::Output>
where
    I: Clone,
    F: Future<Output: Send> + Send + 'static,
{
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let size = all.len().div_ceil(processors).max(least);
    let mut parts = JoinSet::new();
    for (number, part) in all.chunks(size).enumerate() {
        let work = work(part.to_vec());
        parts.spawn(async move { (number, work.await) });
    }
    let done: BTreeMap<usize, F::Output> = parts.join_all().await.into_iter().collect();
    done.into_values().collect()
}

/// Whose the memory is, by proc_meminfo(5) and what tenants are charged for.
fn host_memory(meminfo: &str, uses: &[Use], digests: &BTreeMap<TenantName, Digest>) -> HostMemory {
    let field = |key: &str| facts::meminfo(meminfo, key).unwrap_or(0);
    let (total, free) = (field("MemTotal"), field("MemFree"));
    let used = total.saturating_sub(free);
    let up: Vec<&Use> = uses.iter().filter(|(_, state, _)| state.is_up()).collect();
    // One that is not accounted would be taken for the host's.
    let parts: Option<Vec<_>> = up.iter().map(|(name, _, usage)| Some((name, usage.memory?))).collect();
    let Some(parts) = parts else {
        return HostMemory { total_bytes: total, used_bytes: used, ..HostMemory::default() };
    };
    let tenants: u64 = parts.iter().map(|(_, memory)| memory.private_bytes + memory.cache_bytes).sum();
    let cache: u64 = parts.iter().map(|(_, memory)| memory.cache_bytes).sum();
    let all_cache = (field("Cached") + field("Buffers")).saturating_sub(field("Shmem"));
    let mut by_version: BTreeMap<Digest, (u64, u64)> = BTreeMap::new();
    for (name, memory) in &parts {
        let (Some(digest), Some(shared)) = (digests.get(*name), memory.shared_bytes) else { continue };
        let (sum, most) = by_version.entry(*digest).or_default();
        (*sum, *most) = (*sum + shared, shared.max(*most));
    }
    HostMemory {
        total_bytes: total,
        used_bytes: used,
        tenants_bytes: Some(tenants),
        host_bytes: Some(used.saturating_sub(tenants)),
        host_cache_bytes: Some(all_cache.saturating_sub(cache)),
        saved_bytes: Some(by_version.values().map(|(sum, most)| sum - most).sum()),
    }
}

#[cfg(test)]
mod tests {
    use wire::MemoryUse;

    use super::*;

    const MEMINFO: &str =
        "MemTotal: 1000 kB\nMemFree: 400 kB\nBuffers: 10 kB\nCached: 200 kB\nShmem: 20 kB\n";

    fn tenant(name: &str, memory: Option<MemoryUse>) -> Use {
        (name.parse().unwrap(), TenantState::Running, Usage { memory, ..Usage::default() })
    }

    fn memory(private: u64, cache: u64, shared: u64) -> Option<MemoryUse> {
        let (private_bytes, cache_bytes) = (private << 10, cache << 10);
        Some(MemoryUse {
            private_bytes,
            cache_bytes,
            shared_bytes: Some(shared << 10),
            ..MemoryUse::default()
        })
    }

    #[test]
    fn tenants_and_host_are_all_that_is_used() {
        let digest: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let digests = ["a", "b"].map(|name| (name.parse().unwrap(), digest)).into();
        let uses = [tenant("a", memory(100, 20, 70)), tenant("b", memory(50, 10, 60))];
        let host = host_memory(MEMINFO, &uses, &digests);
        assert_eq!((host.used_bytes, host.tenants_bytes), (600 << 10, Some(180 << 10)));
        assert_eq!(host.tenants_bytes.unwrap() + host.host_bytes.unwrap(), host.used_bytes);
        assert_eq!(host.host_cache_bytes, Some(160 << 10));
        assert_eq!(host.saved_bytes, Some(60 << 10), "one of them needs the pages in any case");
    }

    #[test]
    fn what_one_tenant_is_charged_for_is_not_taken_for_the_hosts_where_it_is_unknown() {
        let uses = [tenant("a", memory(100, 20, 70)), tenant("b", None)];
        let host = host_memory(MEMINFO, &uses, &BTreeMap::new());
        assert_eq!((host.used_bytes, host.tenants_bytes, host.host_bytes), (600 << 10, None, None));
    }
}
