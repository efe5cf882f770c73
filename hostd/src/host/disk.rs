//! What tenants have stored.

use std::time::Duration;

use tenant::model::allocation::Allocation;
use wire::DiskUsage;

use super::{Host, blocking};

/// How long an answer waits for a first figure: a tenant of some thousand files is measured by then.
const MOMENT: Duration = Duration::from_millis(300);

impl Host {
    /// What a tenant has stored: as the filesystem counts it; else as it was measured last, which is begun again where
    /// that is old. None where the first figure is not there yet.
    pub async fn disk_usage(&self, allocation: &Allocation) -> Option<DiskUsage> {
        let counted = self.store.disk_usage(allocation);
        if counted.is_some() {
            return counted;
        }
        let (meter, dir) = (self.meter.clone(), self.store.layout().tenant(&allocation.name));
        let measured = blocking(move || meter.stored(&dir, MOMENT)).await.ok()??;
        Some(DiskUsage {
            used_bytes: measured.stored.bytes,
            inodes: measured.stored.inodes,
            max_bytes: None,
            max_inodes: None,
            measured_sec_ago: Some(measured.at.elapsed().as_secs()),
            is_partial: measured.stored.is_partial,
        })
    }
}
