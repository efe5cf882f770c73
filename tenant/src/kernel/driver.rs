//! A driver of the host that a tenant asks for and the host lacks.

use std::io;

use crate::model::device::Driver;

/// A driver that this host lacks.
#[derive(Debug, thiserror::Error)]
#[error("this host's kernel has no {driver}: {cause}")]
pub struct MissingDriver {
    pub(super) driver: Driver,
    pub(super) cause: io::Error,
}

impl MissingDriver {
    /// The remedy.
    pub fn help(&self) -> String {
        let key = self.driver.key();
        format!("load it on the host: modprobe {key}; or disable the feature: tenantctl set NAME {key}=false")
    }
}
