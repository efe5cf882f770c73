//! hostd comes and goes: what it finds of tenants, what starts with the host, what is put back at its end.

use std::{cmp::Reverse, sync::Arc};

use tenant::{
    Allocation, TenantName,
    files::record::{self, Durability},
    kernel::{forwarding6_release, raw},
    model::allocation::RecordState,
    plan::port_group,
};
use tokio::task::{self, JoinSet};
use wire::chain;

use super::{Host, Progress, Started, blocking, stats::spread};
use crate::{records::Change, units::limits::Enforce};

/// So many of the tenants that start with the host are asked for at once.
const AUTOSTARTS_AT_ONCE: usize = 16;

/// The id of this boot of the machine.
pub(super) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

impl Host {
    /// Takes over what an earlier hostd left: running supervisors, and what dead ones left in the kernel. A list is
    /// answered as soon as that is known, and removals that had begun were gone on with; all else when the packet filter was
    /// looked at.
    pub async fn take_over(self: &Arc<Self>) {
        let records = self.store.records();
        // It asks for nothing that is found out meanwhile, and waits for nft(8) and the kernel most of the time.
        let host = self.clone();
        let filter = task::spawn_blocking(move || host.filter.take_over(&host.store));
        self.find_units().await;
        self.units.sweep_unknown(|name| self.store.has(name)).await;
        // Before a list names them: none of these is there a moment later.
        let is_half =
            |record: &&Allocation| matches!(record.state, RecordState::Creating | RecordState::Destroying);
        for name in records.values().filter(is_half).map(|record| &record.name) {
            // What is left of it is told by who removes it.
            if let Err(error) = self.remove(name, true).await {
                log::error!("{error}");
            }
        }
        // The first list does not wait for a thousand files that are read then.
        if let Err(failure) = self.glances(None).await {
            log::warn!("{failure}");
        }
        self.come(Progress::Knowing);
        if let Err(error) = filter.await {
            log::error!("the packet filter was not looked at: {error}");
        }
        self.thaw_all_copied().await;
        self.finish_renames().await;
        self.watch_supervisors().await;
        self.come(Progress::Ready);
        // Reading what all tenants have in the packet filter took many times what hostd needs from now on.
        let _ = task::spawn_blocking(raw::trim_heap).await;
    }

    /// Finds the supervisors that run, or sweeps what is left of others: on all processors, since each is a few files.
    async fn find_units(self: &Arc<Self>) {
        let (records, broken) = (self.store.records(), self.store.broken());
        let names: Vec<TenantName> = records.keys().chain(broken.keys()).cloned().collect();
        let take_over = |part: Vec<TenantName>| {
            let host = self.clone();
            async move {
                for name in &part {
                    host.units.take_over(name, host.plan_later(name)).await;
                }
            }
        };
        spread(&names, 1, take_over).await;
    }

    /// Takes away what no tenant that runs needs: hostd ends.
    pub async fn leave(self: &Arc<Self>) {
        self.thaw_all_copied().await;
        self.units.close();
        let host = self.clone();
        if let Err(failure) = blocking(move || host.filter.leave(&host.store)).await {
            log::warn!("{failure}");
        }
        let host = self.clone();
        match blocking(move || {
            forwarding6_release(&host.layout().forwarding6(), port_group(host.layout()), &[])
        })
        .await
        {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::warn!("IPv6 forwarding: {}", chain(&error)),
            Err(failure) => log::warn!("{failure}"),
        }
    }

    /// Starts the tenants that are to start with the host; does so once after each boot of the machine.
    pub async fn autostart(self: &Arc<Self>) {
        if self.units.starts_with_host() {
            return;
        }
        let marker = self.layout().run().join("autostarted");
        let boot = boot_id();
        if record::read(&marker).is_ok_and(|text| text == boot) {
            return;
        }
        let mut due: Vec<(Reverse<u16>, TenantName)> = Vec::new();
        for name in self.store.records().keys() {
            if let Some(tenant) = self.store.tenant(name).ok().filter(|tenant| tenant.autostart) {
                due.push((Reverse(tenant.start_priority), name.clone()));
            }
        }
        due.sort();
        // How many boot at a time is their supervisors' affair, see decision 16.
        let mut starts = JoinSet::new();
        for (_, name) in due {
            while starts.len() >= AUTOSTARTS_AT_ONCE {
                starts.join_next().await;
            }
            let host = self.clone();
            starts.spawn(async move {
                match host.start(&name, Enforce::default()).await {
                    Ok(Started { change: Change::Unchanged, .. }) => {
                        log::info!(TENANT = name.as_str(); "tenant \"{name}\" was already running");
                    }
                    Ok(_) => log::info!(TENANT = name.as_str(); "tenant \"{name}\" is running"),
                    Err(failure) => log::error!("{failure}"),
                }
            });
        }
        while starts.join_next().await.is_some() {}
        if let Err(error) = record::write(&marker, boot.as_bytes(), Durability::Volatile) {
            log::warn!("cannot record that tenants were started: {error}");
        }
    }
}
