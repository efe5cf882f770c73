//! Files below `/proc/sys` that a network namespace shows as its own and that are the whole host's.

use serde::Serialize;

use crate::config::HOST_SYSCTLS;

/// A file that a tenant may read and not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedSysctl {
    /// Its path, relative to `/proc/sys`.
    pub path: &'static str,
    /// Why.
    pub reason: &'static str,
}

pub(super) fn plan() -> Vec<RefusedSysctl> {
    HOST_SYSCTLS.iter().map(|&(path, reason)| RefusedSysctl { path, reason }).collect()
}
