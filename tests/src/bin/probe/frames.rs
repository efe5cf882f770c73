//! Whole Ethernet frames, as nobody's stack would make them.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike as _, bind, send,
        socket,
    },
};

use super::words::say;

/// Frames that are sent without a pause: fewer than any queue on the way holds.
const BURST: usize = 64;

/// Sends each frame, a line of hexadecimal digits on standard input, so many times; prints how many
/// were sent.
pub(super) fn inject(interface: &str, count: usize) -> io::Result<()> {
    let socket = packet_socket(interface)?;
    let mut sent = 0_usize;
    for line in io::stdin().lines() {
        let frame = bytes(line?.trim())?;
        for _ in 0..count {
            put(&socket, &frame)?;
            sent += 1;
            if sent.is_multiple_of(BURST) {
                thread::sleep(Duration::from_micros(100));
            }
        }
    }
    say(&sent.to_string())
}

fn put(socket: &OwnedFd, frame: &[u8]) -> io::Result<()> {
    loop {
        match send(socket.as_raw_fd(), frame, MsgFlags::empty()) {
            Ok(_) => return Ok(()),
            Err(Errno::ENOBUFS | Errno::EAGAIN) => thread::sleep(Duration::from_millis(1)),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A packet(7) socket on one interface.
fn packet_socket(interface: &str) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    let own = |found: &nix::ifaddrs::InterfaceAddress| found.interface_name == interface;
    let address = getifaddrs()?.filter(own).find_map(|found| found.address?.as_link_addr().copied());
    let address: LinkAddr = address.ok_or_else(|| io::Error::other(format!("no interface {interface}")))?;
    assert_eq!(address.family(), Some(AddressFamily::Packet));
    bind(socket.as_raw_fd(), &address)?;
    Ok(socket)
}

fn bytes(hex: &str) -> io::Result<Vec<u8>> {
    let pairs = (0..hex.len()).step_by(2).map(|at| {
        let pair = hex.get(at..at + 2).ok_or_else(|| io::Error::other("half a byte"))?;
        u8::from_str_radix(pair, 16).map_err(io::Error::other)
    });
    pairs.collect()
}
