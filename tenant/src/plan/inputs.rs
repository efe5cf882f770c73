//! What a tenant's plan is made from.

use crate::{
    config::Tenant,
    files::{credentials::Credential, layout::Layout},
    model::{allocation::Allocation, facts::HostFacts, host::HostConfig, image::Manifest},
};

/// What a tenant's plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Where things lie.
    pub layout: &'a Layout,
    /// What is wanted.
    pub tenant: &'a Tenant,
    /// What was assigned.
    pub allocation: &'a Allocation,
    /// What will boot.
    pub manifest: &'a Manifest,
    /// What the host's admin has set.
    pub host: &'a HostConfig,
    /// Where it will run.
    pub facts: &'a HostFacts,
    /// What it is given secretly.
    pub credentials: &'a [Credential],
    /// The cgroup v2 directory that the unit manager made for this tenant; none means the
    /// supervisor's own, as under systemd with `Delegate=yes`.
    pub unit_cgroup: Option<&'a std::path::Path>,
}
