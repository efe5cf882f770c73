//! What the host's packet filter holds for a tenant: from whom its ports may speak, whom they reach, how
//! fast, and which ports of the host lead to it.
//!
//! Only veths have an end on the host that can be filtered; a macvlan, a VLAN or a NIC that is moved in is
//! the tenant's alone, see `docs/reference/filter.md`.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use super::{
    error::PlanError,
    inputs::Inputs,
    network::{LinkPlan, NicPlan, port_group},
    stand_in::StandInPlan,
};
use crate::{
    files::layout::Layout,
    model::{
        filter::{FilterPort, HostFilter, TenantFilter},
        host::{Filter, HostConfig},
        net::Cidr,
    },
};

/// The filter's part of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FilterPlan {
    /// The host's part.
    pub host: HostFilter,
    /// The tenant's.
    pub tenant: TenantFilter,
}

impl HostFilter {
    /// The filter of a host; none where the admin has another one.
    pub fn of(layout: &Layout, config: &HostConfig) -> Option<Self> {
        if config.filter == Filter::None {
            return None;
        }
        let pools = config.pools();
        let networks = pools.iter().filter(|pool| pool.nat).flat_map(|pool| {
            let v4 = pool.v4.map(|v4| v4.to_string());
            v4.into_iter().chain(pool.v6.map(|v6| v6.to_string()))
        });
        let mut networks: Vec<Cidr> = networks.filter_map(|text| text.parse().ok()).collect();
        networks.sort_by_key(|net| (net.prefix, net.address));
        let mut nat: Vec<Cidr> = Vec::new();
        for net in networks {
            if !nat.iter().any(|wider| wider.contains(net.address)) {
                nat.push(net);
            }
        }
        let services = config.host_services.iter().copied().collect();
        Some(Self { isolation: config.isolation, services, nat, ..Self::bare(layout) })
    }

    /// Enough of it to find tenants in the tables and to take them out, whatever hostd.toml says.
    pub fn bare(layout: &Layout) -> Self {
        Self {
            table: layout.instance(),
            port_group: port_group(layout),
            isolation: true,
            services: BTreeSet::new(),
            nat: Vec::new(),
            runtimes: layout.runtimes(),
            lock: layout.run().join("filter.lock"),
        }
    }
}

/// One line for each port, one for the host itself, then the forwards.
impl fmt::Display for FilterPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, tenant } = self;
        for port in &tenant.ports {
            let family = if port.bridged { "bridge" } else { "inet" };
            write!(f, "filter      {} in table {family} {}: from {}", port.name, host.table, port.mac)?;
            for source in port.sources() {
                write!(f, " {source}")?;
            }
            if port.is_free() {
                write!(f, " or any other")?;
            }
            if let Some(group) = &tenant.group {
                write!(f, " group {group}")?;
            }
            if let Some(rate) = tenant.rate {
                write!(f, " at most {rate}bit/s")?;
            }
            writeln!(f)?;
        }
        let services: String = host.services.iter().map(|service| format!(", {service}")).collect();
        writeln!(f, "filter      of the host itself: ping{services}")?;
        for forward in &tenant.forwards {
            writeln!(
                f,
                "forward     port {}/{} to {}",
                forward.host_port, forward.protocol, forward.tenant_port
            )?;
        }
        Ok(())
    }
}

/// Decides what the filter holds for a tenant with these interfaces; nothing if no port of it can be
/// filtered.
pub(super) fn plan(
    inputs: &Inputs<'_>,
    nics: &[NicPlan],
    stand_in: Option<&StandInPlan>,
) -> Result<Option<FilterPlan>, PlanError> {
    let Inputs { layout, tenant, host, .. } = inputs;
    let refuse = |key: &'static str, reason: &'static str| Err(PlanError::Filter { key, reason });
    let mut ports: Vec<FilterPort> = nics.iter().filter_map(port).collect();
    // Who reaches the tenant reaches what stands for it.
    let stand_in = stand_in.and_then(|stand_in| {
        let mac = ports.first()?.mac;
        let addresses = ports.iter().flat_map(|port| port.addresses.iter().copied()).collect();
        Some(FilterPort { name: stand_in.name.parse().ok()?, bridged: false, mac, addresses })
    });
    ports.extend(stand_in);
    let Some(host) = HostFilter::of(layout, host) else {
        let reason = "the packet filter is disabled: filter = \"none\" in hostd.toml";
        return match (tenant.net_rate, &tenant.forwards[..]) {
            (Some(_), _) => refuse("net_rate", reason),
            (None, [_, ..]) => refuse("ports", reason),
            (None, []) => Ok(None),
        };
    };
    if tenant.net_rate.is_some() && ports.is_empty() {
        return refuse("net_rate", "it needs a routed or bridged interface, and the tenant has none");
    }
    let tenant = TenantFilter {
        tenant: tenant.name.clone(),
        ports,
        group: tenant.group.clone(),
        rate: tenant.net_rate,
        forwards: tenant.forwards.clone(),
    };
    if !tenant.forwards.is_empty() && tenant.targets() == (None, None) {
        return refuse("ports", "port forwards need a routed interface, and the tenant has none");
    }
    Ok((!tenant.ports.is_empty()).then_some(FilterPlan { host, tenant }))
}

fn port(nic: &NicPlan) -> Option<FilterPort> {
    let port = nic.port()?;
    Some(FilterPort {
        name: port.host_name.parse().ok()?,
        bridged: matches!(nic.link, LinkPlan::Bridge { .. }),
        mac: nic.mac?,
        addresses: nic.addresses.iter().map(|own| own.address).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_that_lie_in_others_are_left_out() {
        let text = "nat = true\n[[pool]]\nname = \"inner\"\nv4 = \"10.200.7.0/24\"\nnat = true\n";
        let config = HostConfig::parse(text).unwrap();
        let filter = HostFilter::of(&Layout::default(), &config).unwrap();
        let nat: Vec<String> = filter.nat.iter().map(ToString::to_string).collect();
        assert_eq!(nat, ["10.115.0.0/16", "10.200.7.0/24", "fd74:656e:616e:7400::/64"]);
        let none = HostConfig { filter: Filter::None, ..config };
        assert_eq!(HostFilter::of(&Layout::default(), &none), None);
    }
}
