//! Packets over a port that is no tenant's: whether the host tracks connections, forwards, and translates. Nothing
//! leaves the host.
//!
//! No rule here asks for the state of a connection: a rule that does turns tracking on as long as it is there, and what
//! is looked for would not be seen.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::gettid,
};
use serde_json::Value;

use super::{
    super::{Interface, KernelError, PortRoute, Result, Veth, netlink},
    item,
    lock::Lock,
    program::{Nft, failed},
};
use crate::model::{
    filter::{FilterPort, HostFilter, TenantFilter},
    net::{Cidr, Mac},
};

/// How long a packet may take that crosses one link.
const PATIENCE: Duration = Duration::from_millis(300);
/// A UDP port that no process is likely to use.
const PORT: u16 = 46_317;
/// Networks that are for measurements and routed nowhere, see RFC 2544 and RFC 5180.
const BEYOND4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const BEYOND6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1);
/// How often the counters are asked.
const LOOKS: usize = 10;

/// A port that is no tenant's, and the interface behind it.
#[derive(Clone, Copy, Debug)]
pub struct TrialPort<'a> {
    /// Name of the host end.
    pub host_name: &'a str,
    /// Readable name of the host end.
    pub altname: &'a str,
    /// Hardware address of the host end.
    pub host_mac: Mac,
    /// Interface group of the host end.
    pub group: u32,
    /// Hardware address of the interface.
    pub mac: Mac,
    /// The interface.
    pub interface: Interface<'a>,
}

/// What became of an answer from behind a port to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It came.
    Received,
    /// Our filter did not know it as an answer.
    Refused,
    /// Something else has lost it, or the question.
    Lost,
}

/// What became of a packet from behind a port that was to leave the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It never came to the uplink.
    Dropped,
    /// It came there under its own address.
    Plain,
    /// It came there under the host's.
    Translated,
}

/// How one family fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// IPv4, or IPv6.
    pub is_ipv4: bool,
    /// The answer to the host.
    pub answer: Answer,
    /// The packet that was to leave; none where none was sent.
    pub exit: Option<Exit>,
}

/// Tries each address of an interface that no tenant has; to leave the host those of the families for which `leaves` says
/// that there is a way out. Nothing where the tables are missing.
///
/// # Errors
/// The port cannot be made, nft is missing, or what it says; or something of it cannot be taken away.
pub fn try_port(host: &HostFilter, port: &TrialPort<'_>, leaves: impl Fn(bool) -> bool) -> Result<Vec<Way>> {
    let nft = Nft::find()?;
    let _lock = Lock::shared(host)?;
    if nft.list(&host.table)?.is_none() {
        return Ok(Vec::new());
    }
    let tenant = entry(port);
    let tried = connect(port).and_then(|guests| {
        let items = item::of_tenant(&tenant);
        let load = counters(host, &port.interface) + &item::add_text(&host.table, &items);
        nft.run(&load).map_err(|error| failed(&host.table, error))?;
        let ways = guests.iter().map(|guest| way(&nft, host, guest, port.host_name, &leaves)).collect();
        let unload = format!("delete table inet {}\n", trial_table(host));
        let unload = unload + &item::delete_text(&host.table, &items);
        nft.run(&unload).map_err(|error| failed(&host.table, error))?;
        ways
    });
    let deleted = netlink::link_delete(port.host_name, port.group);
    let ways = tried?;
    deleted.map(|()| ways)
}

fn trial_table(host: &HostFilter) -> String {
    format!("{}-trial", host.table)
}

/// The interface as a tenant of the filter.
fn entry(port: &TrialPort<'_>) -> TenantFilter {
    let name = port.host_name.parse().ok();
    let addresses = port.interface.addresses.iter().map(|own| own.address).collect();
    let port = |name| FilterPort { name, bridged: false, mac: port.mac, addresses };
    let ports = name.map(port).into_iter().collect();
    let tenant = "trial".parse().expect("it is a name of a tenant");
    TenantFilter { tenant, ports, group: None, rate: None, forwards: Vec::new() }
}

/// Counts and drops, behind everything that translates, what [`way`] sends out.
fn counters(host: &HostFilter, nic: &Interface<'_>) -> String {
    let table = trial_table(host);
    let mut rules = String::new();
    let mut names = String::new();
    for own in nic.addresses {
        let (word, number, beyond) = match own.address {
            IpAddr::V4(_) => ("ip", 4, IpAddr::from(BEYOND4)),
            IpAddr::V6(_) => ("ip6", 6, IpAddr::from(BEYOND6)),
        };
        let to = format!("{word} daddr {beyond} udp dport {PORT}");
        let from = own.address;
        names += &format!("counter plain{number} {{ }}\ncounter moved{number} {{ }}\n");
        rules += &format!("{to} {word} saddr {from} counter name plain{number} drop\n");
        rules += &format!("{to} counter name moved{number} drop\n");
    }
    format!(
        "add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n{names}\
         chain out {{\ntype filter hook postrouting priority 250; policy accept;\n{rules}}}\n}}\n"
    )
}

/// Makes the port, and sockets behind it: one for each address.
fn connect(port: &TrialPort<'_>) -> Result<Vec<UdpSocket>> {
    let TrialPort { interface: nic, mac, .. } = *port;
    let (tell, told) = mpsc::channel();
    let (wake, woken) = mpsc::channel::<()>();
    let guest = move || -> Result<Vec<UdpSocket>> {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| KernelError::new("make", "a network namespace", errno))?;
        // One that is not heard, or not woken, has nothing to do: the other side says why.
        let _ = tell.send(gettid().as_raw());
        if woken.recv().is_err() {
            return Ok(Vec::new());
        }
        netlink::configure_inside(&[nic])?;
        let bind = |address: IpAddr| -> io::Result<UdpSocket> {
            let socket = UdpSocket::bind((address, PORT))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        let bind =
            |own: &Cidr| bind(own.address).map_err(|error| KernelError::new("bind", own.address, error));
        nic.addresses.iter().map(bind).collect()
    };
    // The namespace lives as long as the sockets do.
    thread::scope(|scope| {
        let guest = scope.spawn(guest);
        let made = told.recv().ok().map(|pid| {
            netlink::veth_create(&Veth {
                host_name: port.host_name,
                altname: port.altname,
                host_mac: port.host_mac.bytes(),
                group: port.group,
                bridge: None,
                name: nic.name,
                mac: mac.bytes(),
                mtu: None,
                pid,
            })?;
            netlink::port_route(&PortRoute {
                link: port.host_name,
                gateways: nic.gateways,
                addresses: nic.addresses,
                mac: Some(mac.bytes()),
                metric: 0,
            })?;
            netlink::forwarding_enable(port.host_name, None)
        });
        match made {
            Some(Err(error)) => {
                drop(wake);
                return Err(error);
            }
            Some(Ok(())) => drop(wake.send(())),
            None => drop(wake),
        }
        let cut_short = || Err(failed(port.host_name, io::Error::other("the trial panicked")));
        guest.join().unwrap_or_else(|_| cut_short())
    })
}

fn way(
    nft: &Nft,
    host: &HostFilter,
    guest: &UdpSocket,
    port: &str,
    leaves: &impl Fn(bool) -> bool,
) -> Result<Way> {
    let own = guest.local_addr().map_err(|error| KernelError::new("use", port, error))?;
    let is_ipv4 = own.is_ipv4();
    let answer = match exchange(guest, own) {
        Ok(()) => Answer::Received,
        Err(_) if was_refused(nft, host, port)? => Answer::Refused,
        Err(_) => Answer::Lost,
    };
    let exit = if leaves(is_ipv4) { Some(leave(nft, host, guest, is_ipv4)?) } else { None };
    Ok(Way { is_ipv4, answer, exit })
}

/// The host asks, and the other side answers.
fn exchange(guest: &UdpSocket, own: SocketAddr) -> io::Result<()> {
    let any: IpAddr = if own.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let asker = UdpSocket::bind((any, 0))?;
    asker.set_read_timeout(Some(PATIENCE))?;
    asker.send_to(b"?", own)?;
    let mut byte = [0];
    let (_, from) = guest.recv_from(&mut byte)?;
    guest.send_to(b"!", from)?;
    asker.recv(&mut byte).map(drop)
}

fn was_refused(nft: &Nft, host: &HostFilter, port: &str) -> Result<bool> {
    let counts = nft.list(&host.table)?.map(|listing| listing.counts).unwrap_or_default();
    Ok(counts.get(&("refused".to_owned(), port.to_owned())).is_some_and(|count| count.packets > 0))
}

fn leave(nft: &Nft, host: &HostFilter, guest: &UdpSocket, is_ipv4: bool) -> Result<Exit> {
    let beyond: IpAddr = if is_ipv4 { BEYOND4.into() } else { BEYOND6.into() };
    // What becomes of it is seen by the counters.
    let _ = guest.send_to(b"?", (beyond, PORT));
    let number = if is_ipv4 { 4 } else { 6 };
    for _ in 0..LOOKS {
        let counts = nft.counters(&trial_table(host)).map_err(|error| failed(&host.table, error))?;
        for (name, exit) in [("plain", Exit::Plain), ("moved", Exit::Translated)] {
            if packets(&counts, &format!("{name}{number}")) > 0 {
                return Ok(exit);
            }
        }
    }
    Ok(Exit::Dropped)
}

/// What a named counter says in nft's JSON.
fn packets(counts: &Value, name: &str) -> u64 {
    let all = counts["nftables"].as_array().into_iter().flatten();
    let found = all.map(|object| &object["counter"]).find(|counter| counter["name"] == name);
    found.and_then(|counter| counter["packets"].as_u64()).unwrap_or_default()
}
