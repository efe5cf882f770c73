//! At which ports the processes of a network namespace listen, see sock_diag(7).

use std::{collections::BTreeSet, io, os::fd::BorrowedFd};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use nix::sched::{CloneFlags, setns};

use super::{Answer, BUFFER, HEADER, NLMSG_DONE, NLMSG_ERROR};
use crate::kernel::{apart::apart, stand_in::Service};

/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// Length of `struct inet_diag_req_v2` of linux/inet_diag.h, bytes.
const REQUEST: usize = 56;
/// `TCP_LISTEN` of the kernel's `include/net/tcp_states.h`, and `TCP_CLOSE`, in which a socket of UDP is that is
/// connected with none, as bits.
const LISTEN: u32 = 1 << 10;
const UNCONNECTED: u32 = 1 << 7;
/// Where an `inet_diag_msg` has the port, in the byte order of the network.
const PORT: usize = 4;

/// A request for the sockets of a protocol in some states.
fn request(family: i32, protocol: i32, states: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + REQUEST);
    bytes.extend(((HEADER + REQUEST) as u32).to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family as u8, protocol as u8, 0, 0]);
    bytes.extend(states.to_ne_bytes());
    bytes.resize(HEADER + REQUEST, 0);
    bytes
}

fn ports(socket: &Socket, request: &[u8], mut take: impl FnMut(u16)) -> io::Result<()> {
    socket.send(request, 0)?;
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        let mut rest = buffer.as_slice();
        while let Some(answer) = Answer::next(&mut rest)? {
            match answer.kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    return Err(answer.error()?.unwrap_or_else(|| io::ErrorKind::InvalidData.into()));
                }
                _ => {
                    if let Some([high, low]) = answer.payload.get(PORT..PORT + 2) {
                        take(u16::from_be_bytes([*high, *low]));
                    }
                }
            }
        }
    }
}

/// The services that sockets of a network namespace wait for.
pub(in crate::kernel) fn listeners(namespace: BorrowedFd<'_>) -> io::Result<BTreeSet<Service>> {
    let socket = apart(|| {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        Socket::new(NETLINK_SOCK_DIAG)
    })??;
    // Only the kernel can answer on a connected socket.
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut found = BTreeSet::new();
    for (protocol, states) in [(libc::IPPROTO_TCP, LISTEN), (libc::IPPROTO_UDP, UNCONNECTED)] {
        for family in [libc::AF_INET, libc::AF_INET6] {
            let is_six = family == libc::AF_INET6;
            let take = |port| {
                found.insert(Service { protocol: protocol as u8, port, is_six });
            };
            match ports(&socket, &request(family, protocol, states), take) {
                // This kernel has no IPv6, or cannot tell.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => {}
                result => result?,
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        net::{TcpListener, TcpStream, UdpSocket},
        os::fd::AsFd as _,
    };

    use super::*;

    #[test]
    fn sockets_that_wait_for_others_are_found_and_no_others() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        let namespace = File::open("/proc/self/ns/net").unwrap();
        let Ok(found) = listeners(namespace.as_fd()) else { return };
        let service = |protocol: i32, port| Service { protocol: protocol as u8, port, is_six: false };
        assert!(found.contains(&service(libc::IPPROTO_TCP, tcp.local_addr().unwrap().port())));
        assert!(found.contains(&service(libc::IPPROTO_UDP, udp.local_addr().unwrap().port())));
        assert!(!found.contains(&service(libc::IPPROTO_TCP, connected.local_addr().unwrap().port())));
    }
}
