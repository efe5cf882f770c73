//! NICs of the host: into a tenant, and home again.
//!
//! A NIC is claimed first, see [`crate::files::claim`]. It is given an index of ours inside, which a tenant
//! cannot change, whatever it renames. On the way home it gets back everything that the claim knows.

use std::{
    fs,
    io::{self},
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkMessage, Prop},
};

use super::{Connection, LinkError, Outcome, facts::LinkFacts, has_code, own_namespace};
use crate::{
    files::{claim::NicClaim, processes},
    kernel::{Cause, KernelError, MovedNic, Result},
    model::{
        name::TenantName,
        net::{LinkName, Mac},
        port::PORT_GROUPS,
    },
};

/// What a tenant can change of the flags and the host wants back: up, promiscuous and the like.
const RESTORED: u32 = (libc::IFF_UP
    | libc::IFF_PROMISC
    | libc::IFF_ALLMULTI
    | libc::IFF_NOARP
    | libc::IFF_MULTICAST
    | libc::IFF_DYNAMIC) as u32;

/// The error for a NIC that is not there: another tenant may have it.
pub(super) fn missing(claims: &Path, nic: &str) -> LinkError {
    match NicClaim::read(claims, nic) {
        Ok(Some(claim)) => LinkError::Held { nic: nic.to_owned(), tenant: claim.tenant.to_string() },
        _ => LinkError::Missing { name: nic.to_owned() },
    }
}

/// Why a NIC cannot leave the host.
fn unsuitable(connection: &mut Connection, facts: &LinkFacts) -> io::Result<Option<String>> {
    if facts.flags & LinkFacts::LOOPBACK != 0 {
        return Ok(Some("it is the loopback interface".to_owned()));
    }
    if facts.is("bridge") || facts.is("bond") || facts.is("team") || facts.is("vrf") {
        let kind = facts.kind.as_deref().unwrap_or_default();
        return Ok(Some(format!("it is a {kind} with ports")));
    }
    if PORT_GROUPS.contains(&facts.group) {
        return Ok(Some("it is the host's end of a tenant's link".to_owned()));
    }
    if facts.master != 0 {
        let master = connection.link_at(facts.master)?.map(|master| master.name).unwrap_or_default();
        return Ok(Some(format!("it is a port of \"{master}\"")));
    }
    if connection.carries_default_route(facts.index)? {
        return Ok(Some("the host's default route uses it".to_owned()));
    }
    Ok(None)
}

pub(in crate::kernel) fn nic_claim(
    dir: &Path,
    tenant: &TenantName,
    nic: &LinkName,
    index_inside: u32,
) -> Result<()> {
    let name = nic.as_str();
    let claim = || -> Outcome<()> {
        if NicClaim::read(dir, name)?.is_some() {
            return Err(missing(dir, name).into());
        }
        let mut connection = Connection::open()?;
        // An altname would be another file for the same NIC.
        let facts = connection.link(name)?.filter(|facts| facts.name == name);
        let facts = facts.ok_or_else(|| missing(dir, name))?;
        if let Some(reason) = unsuitable(&mut connection, &facts)? {
            return Err(LinkError::Unsuitable { nic: name.to_owned(), reason }.into());
        }
        let claim = NicClaim {
            format_version: NicClaim::FORMAT_VERSION,
            tenant: tenant.clone(),
            nic: nic.clone(),
            index_inside,
            index: facts.index,
            kind: facts.kind,
            mac: facts.mac,
            permanent: facts.permanent,
            device: facts.device,
            mtu: facts.mtu,
            flags: facts.flags,
            group: facts.group,
            queue: facts.queue,
            alias: facts.alias,
            altnames: facts.altnames,
        };
        claim.make(dir).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => missing(dir, name).into(),
            _ => Cause::from(error),
        })
    };
    claim().map_err(|error| KernelError::new("claim NIC", name, error))
}

pub(in crate::kernel) fn nic_move(dir: &Path, nic: &MovedNic<'_>, namespace: &OwnedFd) -> Result<()> {
    let enter = || -> Outcome<()> {
        let claim = NicClaim::read(dir, nic.nic)?.ok_or_else(|| missing(dir, nic.nic))?;
        let mut message = LinkMessage::default();
        message.header.index = claim.index;
        message.attributes = vec![
            LinkAttribute::NetNsFd(namespace.as_raw_fd()),
            LinkAttribute::NewIfIndex(claim.index_inside as i32),
            LinkAttribute::IfName(nic.name.to_owned()),
        ];
        message.attributes.extend(nic.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
        message.attributes.extend(nic.mtu.map(LinkAttribute::Mtu));
        Ok(Connection::open()?.request(RouteNetlinkMessage::SetLink(message), 0)?)
    };
    enter().map_err(|error| KernelError::new("move NIC", format!("{} into the tenant", nic.nic), error))
}

/// The network namespaces that the processes of a tenant are in, each once: its own, and those that it
/// made. None unless it has a claim, so that a stop costs the others nothing.
pub(in crate::kernel) fn claimed_namespaces(
    dir: &Path,
    tenant: &TenantName,
    cgroup: &Path,
) -> Result<Vec<OwnedFd>> {
    let find = || -> io::Result<Vec<OwnedFd>> {
        if !NicClaim::read_all(dir)?.iter().any(|claim| claim.tenant == *tenant) {
            return Ok(Vec::new());
        }
        let number = |file: &fs::File| file.metadata().map(|data| data.ino());
        let mut seen = vec![number(&own_namespace()?.into())?];
        let mut found: Vec<OwnedFd> = Vec::new();
        for (pid, _) in processes::in_cgroup(cgroup) {
            // One that has just ended is in none.
            let Ok(file) = fs::File::open(format!("/proc/{pid}/ns/net")) else { continue };
            let number = number(&file)?;
            if !seen.contains(&number) {
                seen.push(number);
                found.push(file.into());
            }
        }
        Ok(found)
    };
    find().map_err(|error| KernelError::new("find the NICs of", tenant, error))
}

pub(in crate::kernel) fn return_nics(dir: &Path, tenant: &TenantName, namespaces: &[&OwnedFd]) -> Result<()> {
    let claims = NicClaim::read_all(dir).map_err(|error| KernelError::new("read", dir.display(), error))?;
    let mut failure = None;
    for claim in claims.iter().filter(|claim| claim.tenant == *tenant) {
        let home = || -> Outcome<()> {
            return_nic(claim, namespaces)?;
            Ok(claim.drop_from(dir)?)
        };
        if let Err(error) = home() {
            failure.get_or_insert(KernelError::new("return NIC", &claim.nic, error));
        }
    }
    failure.map_or(Ok(()), Err)
}

fn return_nic(claim: &NicClaim, namespaces: &[&OwnedFd]) -> Outcome<()> {
    let home = own_namespace()?;
    for namespace in namespaces {
        let mut inside = Connection::open_in(namespace.as_fd())?;
        let links = inside.links()?;
        if let Some(facts) = find(claim, claim.index_inside, &links) {
            leave(&mut inside, claim, facts, &home)?;
            break;
        }
    }
    let mut connection = Connection::open()?;
    let links = connection.links()?;
    // It may have been brought here by the kernel, when its namespace ended, under whatever name.
    let back = links.iter().find(|facts| facts.name == claim.nic.as_str() && facts.index == claim.index);
    match back
        .or_else(|| find(claim, claim.index, &links))
        .or_else(|| find(claim, claim.index_inside, &links))
    {
        Some(facts) => restore(&mut connection, claim, facts),
        // A virtual one that went with its namespace, or hardware that was pulled.
        None => Ok(()),
    }
}

/// The NIC of a claim among interfaces. Hardware is known by what it sits on and by its burned-in address;
/// a virtual one by its kind and the index that it was given.
fn find<'a>(claim: &NicClaim, index: u32, links: &'a [LinkFacts]) -> Option<&'a LinkFacts> {
    let alike = |facts: &&LinkFacts| {
        facts.kind == claim.kind && facts.permanent == claim.permanent && facts.device == claim.device
    };
    let mut all = links.iter().filter(alike);
    match claim.permanent.is_some() || claim.device.is_some() {
        true => all.clone().find(|facts| facts.index == index).or_else(|| all.next()),
        false => all.find(|facts| facts.index == index),
    }
}

/// Out of the tenant's namespace, by a socket in it.
fn leave(inside: &mut Connection, claim: &NicClaim, facts: &LinkFacts, home: &OwnedFd) -> io::Result<()> {
    // With one that a process on the host has, the NIC could not come in.
    remove_altnames(inside, claim, facts)?;
    let mut message = LinkMessage::default();
    message.header.index = facts.index;
    let attributes = [
        LinkAttribute::NetNsFd(home.as_raw_fd()),
        LinkAttribute::NewIfIndex(claim.index as i32),
        LinkAttribute::IfName(claim.nic.to_string()),
    ];
    for given_up in [0, 1, 2] {
        // The index may have been given away meanwhile (then any will do), the name as well.
        message.attributes = match given_up {
            0 => attributes.to_vec(),
            1 => vec![attributes[0].clone(), attributes[2].clone()],
            _ => vec![attributes[0].clone(), LinkAttribute::IfName("nic%d".to_owned())],
        };
        match inside.request(RouteNetlinkMessage::SetLink(message.clone()), 0) {
            Err(error)
                if given_up < 2 && (has_code(&error, libc::EEXIST) || has_code(&error, libc::EBUSY)) => {}
            // It has left already, and only its name could not be had: the rest is done at home.
            Err(error) if has_code(&error, libc::ENODEV) && given_up > 0 => return Ok(()),
            result => return result,
        }
    }
    Ok(())
}

fn remove_altnames(connection: &mut Connection, claim: &NicClaim, facts: &LinkFacts) -> io::Result<()> {
    let foreign: Vec<Prop> = facts
        .altnames
        .iter()
        .filter(|name| !claim.altnames.contains(name))
        .map(|name| Prop::AltIfName(name.clone()))
        .collect();
    if foreign.is_empty() {
        return Ok(());
    }
    let mut message = LinkMessage::default();
    message.header.index = facts.index;
    message.attributes = vec![LinkAttribute::PropList(foreign)];
    connection.request(RouteNetlinkMessage::DelLinkProp(message), 0)
}

/// Gives a NIC that is home what it had: address, MTU, group, queue, description, name, and at last its
/// flags, for some of the others can only be changed while it is down.
fn restore(connection: &mut Connection, claim: &NicClaim, facts: &LinkFacts) -> Outcome<()> {
    let nic = claim.nic.as_str();
    remove_altnames(connection, claim, facts)?;
    let mut message = LinkMessage::default();
    message.header.index = facts.index;
    let differs = |is: bool, attribute: LinkAttribute| is.then_some(attribute);
    let attributes = [
        claim
            .mac
            .filter(|_| facts.mac != claim.mac)
            .map(Mac::bytes)
            .map(|mac| LinkAttribute::Address(mac.to_vec())),
        differs(facts.mtu != claim.mtu, LinkAttribute::Mtu(claim.mtu)),
        differs(facts.group != claim.group, LinkAttribute::Group(claim.group)),
        differs(facts.queue != claim.queue, LinkAttribute::TxQueueLen(claim.queue)),
        differs(facts.alias != claim.alias, LinkAttribute::IfAlias(claim.alias.clone().unwrap_or_default())),
    ];
    message.attributes = attributes.into_iter().flatten().collect();
    message.header.flags = LinkFlags::from_bits_retain(claim.flags & RESTORED);
    message.header.change_mask = LinkFlags::from_bits_retain(RESTORED);
    if facts.name != nic {
        let mut rename = LinkMessage::default();
        rename.header.index = facts.index;
        rename.attributes = vec![LinkAttribute::IfName(nic.to_owned())];
        let renamed = connection.request(RouteNetlinkMessage::SetLink(rename), 0);
        renamed.map_err(|error| match error.raw_os_error() {
            Some(libc::EEXIST) => {
                LinkError::NameTaken { nic: nic.to_owned(), now: facts.name.clone() }.into()
            }
            _ => Cause::from(error),
        })?;
    }
    Ok(connection.request(RouteNetlinkMessage::SetLink(message), 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::claim::tests::claim;

    fn hardware(index: u32, name: &str, device: &str) -> LinkFacts {
        let mac = Some("52:54:00:00:00:01".parse().unwrap());
        let device = Some(device.to_owned());
        LinkFacts { index, name: name.to_owned(), permanent: mac, device, ..LinkFacts::default() }
    }

    #[test]
    fn hardware_is_found_whatever_its_name_and_index_are() {
        let claim = claim("eth2", "alice");
        let links = [hardware(1000, "eth2", "pci 0000:04:00.0"), hardware(3, "dev7", "pci 0000:03:00.0")];
        assert_eq!(find(&claim, 1000, &links).unwrap().name, "dev7");
        assert_eq!(find(&claim, 1000, &links[..1]), None, "another card with the index is not it");
    }

    #[test]
    fn a_virtual_nic_is_found_by_its_index_alone() {
        let claim =
            NicClaim { kind: Some("veth".to_owned()), permanent: None, device: None, ..claim("v", "alice") };
        let veth = |index| LinkFacts { index, kind: Some("veth".to_owned()), ..LinkFacts::default() };
        let bridge = LinkFacts { index: 1000, kind: Some("bridge".to_owned()), ..LinkFacts::default() };
        assert_eq!(find(&claim, 1000, &[veth(5), bridge]), None);
        assert_eq!(find(&claim, 1000, &[veth(5), veth(1000)]).unwrap().index, 1000);
    }
}
