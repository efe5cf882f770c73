//! What stands for a tenant's ports on the host while the tenant is not there: a TUN interface that the host's routes to
//! the tenant lead to. What comes there is read here, and is passed on to the ports when the tenant is back.
//!
//! The interface goes with its descriptor: nothing of it is left by a process that ends in whatever way.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with};

use super::{KernelError, PortRoute, Result, netlink, raw};
use crate::model::net::Cidr;

/// One that something listens for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// Its number in `/etc/protocols`.
    pub protocol: u8,
    /// Its port.
    pub port: u16,
    /// Whether it is one of IPv6.
    pub is_six: bool,
}

impl Service {
    /// Whether it is one of TCP.
    pub fn is_tcp(self) -> bool {
        i32::from(self.protocol) == libc::IPPROTO_TCP
    }
}

/// What a stand-in stands for.
#[derive(Clone, Debug)]
pub struct StoodForPort {
    /// Name of the port.
    pub link: String,
    /// The tenant's hardware address on it.
    pub mac: [u8; 6],
    /// The tenant's addresses.
    pub addresses: Vec<Cidr>,
    /// The addresses of the host on it.
    pub gateways: Vec<IpAddr>,
}

/// Stands for a tenant.
#[derive(Debug)]
pub struct StandIn {
    name: String,
    device: OwnedFd,
    ports: Vec<StoodForPort>,
    /// By which packets are passed on to ports.
    socket: OwnedFd,
    /// By which answers are sent in the name of the tenant.
    answers: [Option<OwnedFd>; 2],
}

impl StandIn {
    /// Puts one in the place of ports, of which none has to be there: from now on packets to the tenant come here. `mtu`
    /// in bytes.
    ///
    /// # Errors
    /// The kernel's; one without `CONFIG_TUN` has none.
    pub fn put(name: &str, group: u32, mtu: Option<u32>, ports: Vec<StoodForPort>) -> Result<Self> {
        let failed = |error| KernelError::new("create link", name, error);
        let device = raw::tun_create(name).map_err(failed)?;
        let socket = |family, kind, protocol| socket_with(family, kind, SocketFlags::CLOEXEC, protocol);
        let packets = socket(AddressFamily::PACKET, SocketType::DGRAM, None);
        let raw = |family| socket(family, SocketType::RAW, Some(ipproto::RAW)).ok();
        let stand_in = Self {
            name: name.to_owned(),
            device,
            ports,
            socket: packets.map_err(|error| failed(error.into()))?,
            answers: [raw(AddressFamily::INET), raw(AddressFamily::INET6)],
        };
        netlink::stand_in_up(name, group, mtu)?;
        stand_in.ports.iter().try_for_each(|port| netlink::port_route(&stand_in.route(port)))?;
        Ok(stand_in)
    }

    fn route<'a>(&'a self, port: &'a StoodForPort) -> PortRoute<'a> {
        let StoodForPort { addresses, gateways, .. } = port;
        PortRoute { link: &self.name, gateways, addresses, mac: None, metric: 0 }
    }

    /// The next packet, if there is one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match rustix::io::read(&self.device, &mut *buffer) {
            Ok(length) => Ok(Some(&buffer[..length])),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Passes a packet on to the port that has its target; one that is for no port is dropped.
    ///
    /// # Errors
    /// The kernel's; that port is not there.
    pub fn pass(&self, to: IpAddr, packet: &[u8]) -> io::Result<()> {
        let has = |port: &&StoodForPort| port.addresses.iter().any(|own| own.address == to);
        let Some(port) = self.ports.iter().find(has) else { return Ok(()) };
        let interface = nix::net::if_::if_nametoindex(port.link.as_str())?;
        let protocol = if to.is_ipv4() { libc::ETH_P_IP } else { libc::ETH_P_IPV6 };
        raw::packet_send(self.socket.as_fd(), interface, port.mac, protocol as u16, packet)
    }

    /// Sends an IP packet from the tenant to another address.
    ///
    /// # Errors
    /// The kernel's.
    pub fn answer(&self, to: IpAddr, packet: &[u8]) -> io::Result<()> {
        let [four, six] = &self.answers;
        let Some(socket) = (if to.is_ipv4() { four } else { six }) else { return Ok(()) };
        sendto(socket, packet, SendFlags::DONTWAIT, &SocketAddr::new(to, 0))?;
        Ok(())
    }

    /// Says how the ports check where packets come from: loosely as long as the way back leads over this.
    ///
    /// # Errors
    /// The kernel's.
    pub fn check_sources(&self, strictly: bool) -> Result<()> {
        self.ports.iter().try_for_each(|port| netlink::check_sources(&port.link, strictly))
    }

    /// Lets packets go over the ports from now on. What has come before is still to be received.
    ///
    /// # Errors
    /// The kernel's.
    pub fn step_aside(&self) -> Result<()> {
        self.ports.iter().try_for_each(|port| netlink::port_unroute(&self.route(port)))
    }
}

impl AsFd for StandIn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// What the processes of another network namespace listen for. `pid` is one of them.
///
/// # Errors
/// The process has ended.
pub fn listeners(pid: i32) -> io::Result<BTreeSet<Service>> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    netlink::listeners(namespace.as_fd())
}
