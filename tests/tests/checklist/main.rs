//! The classes of attacks of `docs/reference/security-checks.md` that no other program tries: each in a real tenant, and
//! each that a tenant's plan protects from also in one from whose plan the protection was taken.

mod channels;
mod host_side;
mod image;
mod input;
mod planted;
mod pools;
mod powers;
mod programs;

use tenantry_tests::{Host, Tenant};

/// A tenant with all protections, and one without some of them; both have the probe.
pub(crate) struct Pair<'a> {
    pub(crate) guarded: Tenant<'a>,
    pub(crate) open: Tenant<'a>,
}

impl<'a> Pair<'a> {
    /// Boots both.
    pub(crate) fn boot(host: &'a Host, name: &str, options: &[&str], without: &[&str]) -> Self {
        host.leave_out(&[]);
        let guarded = host.boot(&format!("{name}-guarded"), options);
        host.leave_out(without);
        let open = host.boot(&format!("{name}-open"), options);
        host.leave_out(&[]);
        guarded.bring_probe();
        open.bring_probe();
        Self { guarded, open }
    }

    /// What an attack comes to in each of them: with the protection, and without.
    pub(crate) fn both<T>(&self, attack: impl Fn(&Tenant<'_>) -> T) -> [T; 2] {
        [attack(&self.guarded), attack(&self.open)]
    }
}

pub(crate) const BUSYBOX: [&str; 2] = ["--image", "busybox"];
