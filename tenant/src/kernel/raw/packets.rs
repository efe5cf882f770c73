//! Packets that do not come from a stack: a TUN interface and packet(7).

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

/// Makes a TUN interface that goes when the descriptor is closed, see `Documentation/networking/tuntap.rst`. Each read(2)
/// gives one IP packet; none waits.
///
/// # Errors
/// The kernel's; `EBUSY` where there is an interface of this name, `ENOENT` or `ENXIO` without `CONFIG_TUN`.
pub fn tun_create(name: &str) -> io::Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = File::options();
    let device = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: an ifreq is plain numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes an ifreq, which outlives the call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    if result == 0 { Ok(device.into()) } else { Err(io::Error::last_os_error()) }
}

/// Sends an IP packet over an Ethernet interface to a hardware address, by a packet(7) socket of the type `SOCK_DGRAM`.
/// `protocol` is its EtherType.
///
/// # Errors
/// The kernel's.
pub fn packet_send(
    socket: BorrowedFd<'_>,
    interface: u32,
    mac: [u8; 6],
    protocol: u16,
    packet: &[u8],
) -> io::Result<()> {
    // SAFETY: a sockaddr_ll is plain numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?;
    address.sll_halen = mac.len() as u8;
    address.sll_addr[..mac.len()].copy_from_slice(&mac);
    // SAFETY: the packet and the address outlive the call, and their lengths are theirs.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            libc::MSG_DONTWAIT,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
