//! rtnetlink(7). The only module that knows the netlink crates, which change their interfaces often.
//!
//! | file | what it handles |
//! |---|---|
//! | `mod` | a socket; requests, one by one or many at once |
//! | `facts` | what an interface is |
//! | `link` | interfaces that are made for a tenant and go with it |
//! | `nic` | interfaces of the host that move into a tenant and is returned to the host |
//! | `address` | addresses, routes, neighbours, rules as messages |
//! | `inside` | the tenant's side |
//! | `listeners` | at which ports processes listen |
//! | `forwarding`, `sysctl` | forwarding over a port, and the values it sets |
//! | `forwarding6` | IPv6 forwarding of the whole host |
//! | `inspect` | which ports there are, which kinds of interfaces the kernel makes |
//! | `error` | what a person is told |

mod address;
mod error;
mod facts;
mod forwarding;
mod forwarding6;
mod inside;
mod inspect;
mod link;
mod listeners;
mod nic;
mod sysctl;

use std::{
    fs::File,
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST,
    NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sched::{CloneFlags, setns};

pub use error::LinkError;
pub(super) use forwarding::{check_sources, forwarding_enable};
pub use forwarding6::forwarding6_release;
pub(crate) use inside::configure_inside;
pub(super) use inspect::try_kind;
pub use inspect::{links_of_group, try_kinds};
pub(super) use link::{child_create, link_delete, port_route, port_unroute, stand_in_up, veth_create};
pub(super) use listeners::listeners;
pub(super) use nic::{claimed_namespaces, nic_claim, nic_move, return_nics};

use super::apart::apart;

const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;
const REPLACE: u16 = NLM_F_CREATE | NLM_F_REPLACE;

/// Length of struct nlmsghdr, netlink(7), bytes.
pub(super) const HEADER: usize = 16;
/// More than the kernel puts into one answer, bytes.
const BUFFER: usize = 64 << 10;
pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;
/// How often a dump is asked for again that changes came in between of.
const DUMPS: usize = 50;

/// What a part of a request returns.
type Outcome<T> = std::result::Result<T, super::Cause>;

/// A message and the flags it is sent with.
type Request = (RouteNetlinkMessage, u16);

/// A socket to the kernel's interfaces. It stays in the network namespace in which it was opened.
struct Connection {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// One message of the kernel.
pub(super) struct Answer<'a> {
    pub(super) kind: u16,
    flags: u16,
    sequence: u32,
    pub(super) payload: &'a [u8],
}

impl Connection {
    fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        // Only the kernel can answer on a connected socket.
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(BUFFER) })
    }

    /// A socket in another network namespace.
    fn open_in(namespace: BorrowedFd<'_>) -> io::Result<Self> {
        apart(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            Self::open()
        })?
    }

    fn send(&mut self, requests: Vec<Request>, also: u16) -> io::Result<u32> {
        let first = self.sequence + 1;
        let mut bytes = Vec::new();
        for (message, flags) in requests {
            self.sequence += 1;
            let mut packet = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
            packet.header.flags = NLM_F_REQUEST | also | flags;
            packet.header.sequence_number = self.sequence;
            packet.finalize();
            let start = bytes.len();
            bytes.resize(start + packet.buffer_len().next_multiple_of(4), 0);
            packet.serialize(&mut bytes[start..]);
        }
        self.socket.send(&bytes, 0)?;
        Ok(first)
    }

    /// Receives once, and hands over each message until `take` has had enough.
    fn receive(&mut self, mut take: impl FnMut(Answer<'_>) -> io::Result<bool>) -> io::Result<()> {
        loop {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0)?;
            let mut rest = self.buffer.as_slice();
            while let Some(answer) = Answer::next(&mut rest)? {
                if take(answer)? {
                    return Ok(());
                }
            }
        }
    }

    /// Sends requests together and waits for every answer; the first failure counts, with its number.
    fn batch(&mut self, requests: Vec<Request>) -> Result<(), (usize, io::Error)> {
        let failures = self.each(requests).map_err(|error| (0, error))?;
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    /// Sends requests together and waits for every answer; gives the failures, each with its number.
    fn each(&mut self, requests: Vec<Request>) -> io::Result<Vec<(usize, io::Error)>> {
        let mut left = requests.len();
        let mut failures = Vec::new();
        if left == 0 {
            return Ok(failures);
        }
        let first = self.send(requests, NLM_F_ACK)?;
        self.receive(|answer| {
            if answer.kind == NLMSG_ERROR && answer.sequence >= first {
                left -= 1;
                failures.extend(answer.error()?.map(|error| ((answer.sequence - first) as usize, error)));
            }
            Ok(left == 0)
        })?;
        Ok(failures)
    }

    /// Sends one request and waits until it is done.
    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.batch(vec![(message, flags)]).map_err(|(_, error)| error)
    }

    /// Asks for one thing; gives the payload of the answer.
    fn get(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<u8>> {
        let sequence = self.send(vec![(message, 0)], 0)?;
        let mut found = Vec::new();
        self.receive(|answer| {
            if answer.sequence != sequence {
                return Ok(false);
            }
            if answer.kind == NLMSG_ERROR {
                return Err(answer.error()?.unwrap_or_else(|| io::ErrorKind::InvalidData.into()));
            }
            found = answer.payload.to_vec();
            Ok(true)
        })?;
        Ok(found)
    }

    /// Asks for all of a kind; gives the payloads of the answers. All of them are of one moment: a list that
    /// something changed under may lack what was there all the time.
    fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<Vec<u8>>> {
        consistent(|| {
            let sequence = self.send(vec![(message.clone(), NLM_F_DUMP)], 0)?;
            let mut dump = Dump { sequence, found: Vec::new(), is_interrupted: false };
            self.receive(|answer| dump.take(&answer))?;
            Ok((!dump.is_interrupted).then_some(dump.found))
        })
    }
}

/// Tries until there is a whole answer.
fn consistent<T>(mut attempt: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
    for _ in 0..DUMPS {
        if let Some(answer) = attempt()? {
            return Ok(answer);
        }
    }
    Err(io::Error::other("the list kept changing while it was read"))
}

/// The answers to a dump, as they come.
struct Dump {
    sequence: u32,
    found: Vec<Vec<u8>>,
    is_interrupted: bool,
}

impl Dump {
    /// Takes one answer; says whether it was the last.
    fn take(&mut self, answer: &Answer<'_>) -> io::Result<bool> {
        if answer.sequence != self.sequence {
            return Ok(false);
        }
        self.is_interrupted |= answer.is_interrupted();
        match answer.kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => return Err(answer.error()?.unwrap_or_else(|| io::ErrorKind::InvalidData.into())),
            _ => self.found.push(answer.payload.to_vec()),
        }
        Ok(false)
    }
}

impl<'a> Answer<'a> {
    /// The first of what was received.
    pub(super) fn next(rest: &mut &'a [u8]) -> io::Result<Option<Self>> {
        if rest.is_empty() {
            return Ok(None);
        }
        let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let length = number(rest, 0).ok_or_else(short)? as usize;
        let consistent = rest.get(..length).filter(|_| length >= HEADER).ok_or_else(short)?;
        *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        let [kind, flags] =
            [[consistent[4], consistent[5]], [consistent[6], consistent[7]]].map(u16::from_ne_bytes);
        let sequence = number(consistent, 8).ok_or_else(short)?;
        Ok(Some(Self { kind, flags, sequence, payload: &consistent[HEADER..] }))
    }

    /// Whether the kernel says that what it lists changed meanwhile, see `NLM_F_DUMP_INTR` in
    /// `Documentation/userspace-api/netlink/intro.rst`.
    pub(super) fn is_interrupted(&self) -> bool {
        self.flags & NLM_F_DUMP_INTR != 0
    }

    /// What an answer of the kind `NLMSG_ERROR` says; none is success.
    pub(super) fn error(&self) -> io::Result<Option<io::Error>> {
        match number(self.payload, 0).map(|code| code as i32) {
            Some(0) => Ok(None),
            Some(code) => Ok(Some(io::Error::from_raw_os_error(-code))),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The 32 bits at an offset.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn own_namespace() -> io::Result<OwnedFd> {
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

/// Index of an interface of this process's namespace.
fn index(link: &str) -> io::Result<u32> {
    Ok(nix::net::if_::if_nametoindex(link)?)
}

fn has_code(error: &io::Error, code: i32) -> bool {
    error.raw_os_error() == Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to the request number 7.
    fn answer(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + payload.len()).unwrap();
        let head = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes()].concat();
        [&head[..], &7_u32.to_ne_bytes(), &0_u32.to_ne_bytes(), payload].concat()
    }

    fn dump(bytes: &[u8]) -> io::Result<(usize, bool)> {
        let mut dump = Dump { sequence: 7, found: Vec::new(), is_interrupted: false };
        let mut rest = bytes;
        while let Some(answer) = Answer::next(&mut rest)? {
            if dump.take(&answer)? {
                return Ok((dump.found.len(), dump.is_interrupted));
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    #[test]
    fn a_list_that_changed_while_it_was_read_is_read_again() {
        let one = |flags| answer(libc::RTM_NEWLINK, flags, &[0; 16]);
        let end = |flags| answer(NLMSG_DONE, flags, &[0; 4]);
        assert_eq!(dump(&[one(0), one(0), end(0)].concat()).unwrap(), (2, false));
        for bytes in [[one(NLM_F_DUMP_INTR), one(0), end(0)], [one(0), one(0), end(NLM_F_DUMP_INTR)]] {
            assert_eq!(dump(&bytes.concat()).unwrap(), (2, true));
        }
        let refused = answer(NLMSG_ERROR, 0, &(-libc::EPERM).to_ne_bytes());
        assert_eq!(dump(&refused).unwrap_err().raw_os_error(), Some(libc::EPERM));
        let mut left = 3;
        let attempt = || {
            left -= 1;
            Ok((left == 0).then_some("consistent"))
        };
        assert_eq!(consistent(attempt).unwrap(), "consistent");
        consistent::<()>(|| Ok(None)).unwrap_err();
    }
}
