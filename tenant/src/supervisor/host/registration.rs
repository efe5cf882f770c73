//! The tenant among the machines of its host.

use std::{fs, path::Path, time::Instant};

use super::machine::{ATTEMPTS, BUS, BUSCTL, Call, SERVICE, registration, unregistration};
use crate::supervisor::process::Supervisor;

impl Supervisor {
    /// Whether this host has a machined, and this tenant is one of the host's own.
    fn has_machined(&self) -> bool {
        !self.is_standalone
            && self.layout.is_default()
            && [BUSCTL, BUS, SERVICE].iter().all(|path| Path::new(path).exists())
    }

    /// Begins to register the tenant, whose init has just been executed.
    pub(in crate::supervisor) fn register(&mut self, now: Instant) {
        if !self.has_machined() {
            return;
        }
        let (Some(plan), Some(init)) = (&self.plan, &self.init) else { return };
        let index = |name: &str| -> Option<u32> {
            fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).ok()?.trim().parse().ok()
        };
        let ports = plan.nics.iter().filter_map(|nic| nic.port());
        let links: Vec<u32> = ports.filter_map(|port| index(&port.host_name)).collect();
        let args = registration(self.name.as_str(), &plan.init.uuid, init.pid, &links);
        self.machine.call(Call { tenant: self.name.to_string(), args, attempts: ATTEMPTS }, now);
    }

    /// Begins to take back the registration of an init that has ended, before another one follows.
    pub(in crate::supervisor) fn unregister(&mut self, now: Instant) {
        if self.has_machined() {
            self.machine.call(unregistration(self.name.as_str()), now);
        }
    }
}
