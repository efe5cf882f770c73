//! The tenant's interfaces, as far as the host makes them. Init configures its own side, see
//! [`crate::init`].

use super::undo::{Journal, Undo};
use crate::{
    init::network::interface,
    kernel::{
        Child, ChildKind, Kernel, MovedNic, PortRoute, Result, Veth,
        nft::trial::{self, TrialPort, Way},
    },
    model::{
        filter::HostFilter,
        net::{LinkName, Mac},
    },
    plan::{LinkPlan, NicPlan, Plan, PortPlan, StandInPlan},
};

pub(super) fn connect<K: Kernel>(
    kernel: &K,
    plan: &Plan,
    pid: i32,
    journal: &mut Journal<K::Fd>,
) -> Result<()> {
    for nic in &plan.nics {
        match &nic.link {
            LinkPlan::Routed { port } => {
                veth(kernel, nic, port, pid, journal)?;
                route(kernel, plan, nic, port)?;
            }
            LinkPlan::Bridge { port, .. } => veth(kernel, nic, port, pid, journal)?,
            LinkPlan::Macvlan { parent, submode } => {
                kernel.child_create(&child(plan, nic, parent, ChildKind::Macvlan(*submode), pid))?;
            }
            LinkPlan::Vlan { parent, id } => {
                kernel.child_create(&child(plan, nic, parent, ChildKind::Vlan(*id), pid))?;
            }
            LinkPlan::Phys { nic: host_nic, index } => {
                phys(kernel, plan, nic, host_nic, *index, pid, journal)?
            }
        }
    }
    Ok(())
}

fn veth<K: Kernel>(
    kernel: &K,
    nic: &NicPlan,
    port: &PortPlan,
    pid: i32,
    journal: &mut Journal<K::Fd>,
) -> Result<()> {
    // Its entry comes first: a link that was made and could not be brought up is there as well.
    journal.done.push(Undo::port(port));
    kernel.veth_create(&Veth {
        host_name: &port.host_name,
        altname: &port.altname,
        host_mac: port.host_mac.bytes(),
        group: port.group,
        bridge: nic.bridge().map(LinkName::as_str),
        name: nic.name.as_str(),
        mac: nic.mac.map(Mac::bytes).unwrap_or_default(),
        mtu: nic.mtu,
        pid,
    })
}

fn route<K: Kernel>(kernel: &K, plan: &Plan, nic: &NicPlan, port: &PortPlan) -> Result<()> {
    let addresses = &nic.addresses;
    kernel.port_route(&PortRoute {
        link: &port.host_name,
        gateways: &nic.gateways,
        addresses,
        mac: nic.mac.map(Mac::bytes),
        metric: StandInPlan::metric_of_ports(plan.stand_in.as_ref()),
    })?;
    let ipv6 = plan.forwarding6.as_deref().filter(|_| nic.has_ipv6());
    kernel.forwarding_enable(&port.host_name, ipv6)
}

fn child<'a>(plan: &'a Plan, nic: &'a NicPlan, parent: &'a LinkName, kind: ChildKind, pid: i32) -> Child<'a> {
    Child {
        kind,
        parent: parent.as_str(),
        name: nic.name.as_str(),
        mac: nic.mac.map(Mac::bytes),
        mtu: nic.mtu,
        pid,
        claims: &plan.claims,
    }
}

fn phys<K: Kernel>(
    kernel: &K,
    plan: &Plan,
    nic: &NicPlan,
    host_nic: &LinkName,
    index: u32,
    pid: i32,
    journal: &mut Journal<K::Fd>,
) -> Result<()> {
    let namespace = match journal.network.take() {
        Some(namespace) => namespace,
        None => kernel.network_namespace(pid)?,
    };
    let namespace = journal.network.insert(namespace);
    journal.done.push(Undo::nics(plan));
    kernel.nic_claim(&plan.claims, &plan.tenant, host_nic, index)?;
    let moved = MovedNic {
        nic: host_nic.as_str(),
        name: nic.name.as_str(),
        mac: nic.mac.map(Mac::bytes),
        mtu: nic.mtu,
    };
    kernel.nic_move(&plan.claims, &moved, namespace)
}

/// Tries a host with packets over a port that is no tenant's, that of [`crate::plan::trial_nic`], see
/// [`trial::try_port`].
///
/// # Errors
/// Its own.
pub fn try_port(host: &HostFilter, nic: &NicPlan, leaves: impl Fn(bool) -> bool) -> Result<Vec<Way>> {
    let (Some(port), Some(mac)) = (nic.port(), nic.mac) else { return Ok(Vec::new()) };
    let port = TrialPort {
        host_name: &port.host_name,
        altname: &port.altname,
        host_mac: port.host_mac,
        group: port.group,
        mac,
        interface: interface(nic),
    };
    trial::try_port(host, &port, leaves)
}
