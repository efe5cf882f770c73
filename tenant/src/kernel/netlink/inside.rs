//! The tenant's side: loopback, and each interface with all that it is given, valid at once.

use std::{io, net::IpAddr};

use super::{
    Connection, Request,
    address::{Hop, address, neighbour, route, rule},
    index,
    link::{altnames, retry_busy, set_up, up},
};
use crate::{
    kernel::{Interface, KernelError, Result},
    model::net::{Cidr, Mac, Route},
};

/// Loopback is the first interface of every network namespace.
const LOOPBACK: u32 = 1;

/// Configures every interface of this process's namespace.
pub(crate) fn configure_inside(nics: &[Interface<'_>]) -> Result<()> {
    let failed = |error| KernelError::new("set up link", "lo", error);
    let mut connection = Connection::open().map_err(failed)?;
    set_up(&mut connection, LOOPBACK).map_err(failed)?;
    for nic in nics {
        configure(&mut connection, nic)
            .map_err(|error| KernelError::new("configure link", nic.name, error))?;
    }
    Ok(())
}

fn configure(connection: &mut Connection, nic: &Interface<'_>) -> io::Result<()> {
    let index = index(nic.name)?;
    let mut names = Vec::new();
    if !nic.altnames.is_empty() {
        names.push(altnames(index, nic.altnames.iter().map(String::as_str)));
    }
    let batch = |connection: &mut Connection, requests: Vec<Request>| {
        connection.batch(requests).map_err(|(_, error)| error)
    };
    match nic.peer {
        Some(host) => {
            // The host is its only neighbour: no address but those that are known there.
            batch(connection, names)?;
            set_up(connection, index)?;
            batch(connection, routed(index, nic, host))
        }
        None => {
            batch(connection, names)?;
            // A macvlan of this tenant's last run may still hold the hardware address.
            retry_busy(libc::EADDRINUSE, || batch(connection, vec![up(index)]))?;
            batch(connection, switched(index, nic))
        }
    }
}

/// What lies behind the host: everything.
fn routed(index: u32, nic: &Interface<'_>, host: Mac) -> Vec<Request> {
    let mut requests: Vec<Request> = nic.addresses.iter().map(|own| address(index, *own)).collect();
    for gateway in nic.gateways {
        let own = nic.addresses.iter().find(|own| own.address.is_ipv4() == gateway.is_ipv4());
        let default =
            Hop { source: own.map(|own| own.address), metric: nic.metric, ..Hop::default(*gateway) };
        requests.push(neighbour(index, *gateway, host.bytes()));
        if gateway.is_ipv4() {
            let host = Cidr::host(*gateway);
            requests.push(route(index, Hop { metric: nic.metric, ..Hop::direct(host) }));
        }
        requests.push(route(index, Hop { onlink: nic.metric > 0, ..default }));
        if nic.metric > 0 {
            // What is sent from an address of this interface leaves over it: elsewhere the host would
            // take it for forged.
            requests.push(route(index, Hop { onlink: true, metric: 0, table: nic.metric, ..default }));
        }
    }
    if nic.metric > 0 {
        requests.extend(nic.addresses.iter().map(|own| rule(own.address, nic.metric)));
    }
    requests.extend(more_routes(index, nic));
    requests
}

/// What lies on a network with other neighbours.
fn switched(index: u32, nic: &Interface<'_>) -> Vec<Request> {
    let mut requests: Vec<Request> = nic.addresses.iter().map(|own| address(index, *own)).collect();
    for gateway in nic.gateways {
        let onlink = !is_near(nic, *gateway);
        requests.push(route(index, Hop { onlink, metric: nic.metric, ..Hop::default(*gateway) }));
    }
    requests.extend(more_routes(index, nic));
    requests
}

fn more_routes(index: u32, nic: &Interface<'_>) -> Vec<Request> {
    let hop = |to: &Route| {
        let onlink = to.via.is_some_and(|via| !is_near(nic, via));
        route(index, Hop { via: to.via, onlink, ..Hop::direct(to.to) })
    };
    nic.routes.iter().map(hop).collect()
}

/// Whether a prefix of the interface holds an address, as the link-local one always does.
fn is_near(nic: &Interface<'_>, address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    link_local || nic.addresses.iter().any(|own| own.contains(address))
}
