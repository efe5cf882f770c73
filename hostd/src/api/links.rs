//! The NICs of this host, and the tenants' claims to them.

use std::collections::BTreeSet;

use tenant::{TenantName, files::claim::NicClaim, model::net::LinkName};
use wire::{Code, Failure};

use crate::{
    assign::claims::{Part, uses},
    host::Host,
};

/// What keeps a tenant from starting as things are now.
pub(super) fn warnings(host: &Host, name: &TenantName) -> Vec<String> {
    let Ok(tenant) = host.store().tenant(name) else { return Vec::new() };
    let absent = |link: &LinkName| !exists(link) && claim(host, link).is_none();
    let needed = uses(&tenant.nics);
    let missing = needed.iter().filter(|one| absent(&one.link));
    let text = |one: &crate::assign::claims::Use| {
        format!("interface \"{}\" needs \"{}\", which does not exist on this host now", one.name, one.link)
    };
    missing.map(text).collect()
}

/// The interfaces in the network namespace of hostd, loopback left out.
pub(super) fn links() -> Result<BTreeSet<String>, Failure> {
    let all = nix::net::if_::if_nameindex().map_err(|errno| {
        Failure::new(Code::Failed, format!("cannot list this host's interfaces: {errno}"))
    })?;
    let names = all.iter().map(|link| link.name().to_string_lossy().into_owned());
    Ok(names.filter(|name| name != "lo").collect())
}

pub(super) fn exists(link: &LinkName) -> bool {
    nix::net::if_::if_nametoindex(link.as_str()).is_ok()
}

/// The claim to a NIC that has left the host for a tenant.
pub(super) fn claim(host: &Host, link: &LinkName) -> Option<NicClaim> {
    NicClaim::read(&host.layout().nic_claims(), link.as_str()).ok().flatten()
}

/// Whether a running tenant has a NIC or a VLAN.
pub(super) fn has(host: &Host, tenant: &TenantName, link: &LinkName, part: Part) -> bool {
    if part == Part::Whole && claim(host, link).is_some_and(|claim| claim.tenant == *tenant) {
        return true;
    }
    host.units().is_running(tenant)
        && part != Part::Whole
        && host.store().started_with(tenant).iter().any(|own| own.link == *link && own.part == part)
}
