//! Pools of the whole machine that systems without a user namespace share.

use std::fs;

use anyhow::{Context as _, Result};

/// Every systemd takes a handful of inotify instances, and those of LXC and systemd-nspawn all count as
/// root's: at the usual 128 the twentieth system hangs. Tenantry's count as the tenant's own.
const INOTIFY: &str = "/proc/sys/fs/inotify/max_user_instances";
const ENOUGH: &str = "65536";

/// The pools are larger while this lives.
pub(super) struct Raised {
    before: String,
}

impl Raised {
    pub(super) fn new() -> Result<Self> {
        let before = fs::read_to_string(INOTIFY).context("cannot read the limit of inotify instances")?;
        fs::write(INOTIFY, ENOUGH).context("cannot raise the limit of inotify instances")?;
        Ok(Self { before })
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        if let Err(error) = fs::write(INOTIFY, self.before.trim()) {
            eprintln!("error: the limit of inotify instances stays at {ENOUGH}: {error}");
        }
    }
}
