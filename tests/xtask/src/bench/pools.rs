//! Pools of the whole machine that a crowd of systems uses up.

use std::fs;

use anyhow::{Context as _, Result};

/// Each with what is enough for a thousand systems.
///
/// Every systemd takes a handful of inotify instances, and those of LXC and systemd-nspawn all count as root's: at the
/// usual 128 the twentieth system hangs. Tenantry's count as the tenant's own. A system has seven pseudoterminals.
const POOLS: [(&str, u64); 2] =
    [("/proc/sys/fs/inotify/max_user_instances", 65_536), ("/proc/sys/kernel/pty/max", 65_536)];

/// The pools are larger while this lives.
pub(super) struct Raised {
    before: Vec<(&'static str, String)>,
}

impl Raised {
    pub(super) fn new() -> Result<Self> {
        let mut raised = Self { before: Vec::new() };
        for (pool, enough) in POOLS {
            let before = fs::read_to_string(pool).with_context(|| format!("cannot read {pool}"))?;
            fs::write(pool, enough.to_string()).with_context(|| format!("cannot raise {pool}"))?;
            raised.before.push((pool, before));
        }
        Ok(raised)
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        for (pool, before) in &self.before {
            if let Err(error) = fs::write(pool, before.trim()) {
                eprintln!("error: cannot set {pool} to {} again: {error}", before.trim());
            }
        }
    }
}
