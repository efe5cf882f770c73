//! Which addresses an interface has: its own, those it was leased from a pool, or those of the tenant's
//! record.

use std::net::IpAddr;

use crate::{
    config::{Attachment, Nic},
    model::{
        host::PoolName,
        net::Cidr,
        port::{GATEWAY4, GATEWAY6},
    },
    plan::{error::PlanError, inputs::Inputs},
};

/// The addresses and the default gateways of a tenant's interface number `number`.
pub(super) fn plan(
    inputs: &Inputs<'_>,
    number: usize,
    nic: &Nic,
) -> Result<(Vec<Cidr>, Vec<IpAddr>), PlanError> {
    let mut addresses = leased(inputs, number, nic)?;
    let routed = matches!(nic.attachment, Attachment::Routed { .. });
    // A routed interface has no neighbours but the host, whatever prefix was written down.
    addresses.extend(nic.addresses.iter().map(|own| if routed { Cidr::host(own.address) } else { *own }));
    if let Some(six) = nic.addresses.iter().find(|own| own.address.is_ipv6()).filter(|_| !inputs.facts.ipv6) {
        return Err(error(nic, format!("it has the IPv6 address {six}, but IPv6 is disabled on this host")));
    }
    let has = |four: bool| addresses.iter().any(|own| own.address.is_ipv4() == four);
    if routed {
        let gateways = [(true, GATEWAY4.into()), (false, GATEWAY6.into())];
        return Ok((
            addresses.clone(),
            gateways.into_iter().filter(|(four, _)| has(*four)).map(|(_, g)| g).collect(),
        ));
    }
    let mut gateways = nic.gateways.clone();
    let of_pool =
        nic.attachment.pool().and_then(|name| inputs.host.pool.iter().find(|pool| pool.name == *name));
    for gateway in of_pool.map(|pool| pool.gateways.as_slice()).unwrap_or_default() {
        let four = gateway.is_ipv4();
        if has(four) && !gateways.iter().any(|own| own.is_ipv4() == four) {
            gateways.push(*gateway);
        }
    }
    Ok((addresses, gateways))
}

/// What the interface has from a pool; nothing if it does not ask for any.
fn leased(inputs: &Inputs<'_>, number: usize, nic: &Nic) -> Result<Vec<Cidr>, PlanError> {
    let Inputs { tenant, allocation, facts, .. } = inputs;
    let is_default =
        |nic: &Nic| matches!(nic.attachment, Attachment::Routed { pool: None }) && nic.addresses.is_empty();
    let routed = matches!(nic.attachment, Attachment::Routed { .. });
    let pool = nic.attachment.pool();
    let (ipv4, ipv6) = if tenant.nics.iter().position(is_default) == Some(number) {
        (Some(allocation.ipv4), Some(allocation.ipv6))
    } else if is_default(nic) || pool.is_some() {
        let lease =
            allocation.leases.iter().find(|lease| lease.nic == nic.name && lease.pool.as_ref() == pool);
        let lease = lease.ok_or_else(|| {
            let pool = pool.map_or("the default pool".to_owned(), |pool| format!("pool \"{pool}\""));
            error(nic, format!("it has not been assigned an address from {pool} yet"))
        })?;
        (lease.ipv4, lease.ipv6)
    } else {
        return Ok(Vec::new());
    };
    let ipv6 = ipv6.filter(|_| facts.ipv6);
    let (prefix4, prefix6) = match pool.filter(|_| !routed) {
        Some(pool) => prefixes(inputs, nic, pool)?,
        None => (32, 128),
    };
    let four = ipv4.map(|address| Cidr { address: address.into(), prefix: prefix4 });
    let six = ipv6.map(|address| Cidr { address: address.into(), prefix: prefix6 });
    Ok(four.into_iter().chain(six).collect())
}

/// The prefix lengths of a pool: those of the network that the interface sits in.
fn prefixes(inputs: &Inputs<'_>, nic: &Nic, name: &PoolName) -> Result<(u8, u8), PlanError> {
    let pool = inputs.host.pool.iter().find(|pool| pool.name == *name);
    let pool = pool.ok_or_else(|| error(nic, format!("there is no pool \"{name}\" in hostd.toml")))?;
    Ok((pool.v4.map_or(32, |v4| v4.prefix()), pool.v6.map_or(128, |v6| v6.prefix())))
}

fn error(nic: &Nic, reason: String) -> PlanError {
    PlanError::Nic { nic: nic.name.to_string(), reason }
}
