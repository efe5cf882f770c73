//! Elements of tenants, added and deleted in one transaction of the kernel's, without nft(8): its start alone takes
//! ten times as long.
//!
//! What does not work here, for whatever reason, is done by nft, which also says why it cannot be.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::{
    encode::{self, LIST_ELEMENTS, nested},
    item::{Family, Item},
};
use crate::kernel::netlink::{Answer, NLMSG_ERROR};

const NFTABLES: u16 = libc::NFNL_SUBSYS_NFTABLES as u16;
/// `enum nf_tables_msg_types`.
const NEW_ELEMENT: u16 = libc::NFT_MSG_NEWSETELEM as u16;
const DELETE_ELEMENT: u16 = libc::NFT_MSG_DELSETELEM as u16;
const NEW_OBJECT: u16 = libc::NFT_MSG_NEWOBJ as u16;
const DELETE_OBJECT: u16 = libc::NFT_MSG_DELOBJ as u16;
/// Elements in one message: an attribute has a length of 16 bits.
const ELEMENTS: usize = 256;
/// More than one answer takes, bytes.
const BUFFER: usize = 8 << 10;

/// A transaction: all of it is done, or nothing.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    bytes: Vec<u8>,
    messages: u32,
}

impl Transaction {
    /// That deletes items, each of which must be there, and then adds others, which may be there already; nothing where
    /// one of them is of a kind that is left to nft(8).
    pub(super) fn new(table: &str, gone: &BTreeSet<Item>, wanted: &BTreeSet<Item>) -> Option<Self> {
        let mut transaction = Self::begin();
        transaction.elements(table, gone, DELETE_ELEMENT)?;
        transaction.limits(table, gone, DELETE_OBJECT)?;
        transaction.limits(table, wanted, NEW_OBJECT)?;
        transaction.elements(table, wanted, NEW_ELEMENT)?;
        Some(transaction.end())
    }

    fn begin() -> Self {
        let mut transaction = Self::default();
        transaction.message(libc::NFNL_MSG_BATCH_BEGIN as u16, NLM_F_REQUEST, 0, NFTABLES, &[]);
        transaction
    }

    fn end(mut self) -> Self {
        self.message(libc::NFNL_MSG_BATCH_END as u16, NLM_F_REQUEST, 0, NFTABLES, &[]);
        self
    }

    fn limits(&mut self, table: &str, items: &BTreeSet<Item>, kind: u16) -> Option<()> {
        for item in items.iter().filter(|item| matches!(item, Item::Limit { .. })) {
            let limit = encode::limit(table, item, kind == NEW_OBJECT)?;
            self.change(kind, item.family(), &limit);
        }
        Some(())
    }

    fn elements(&mut self, table: &str, items: &BTreeSet<Item>, kind: u16) -> Option<()> {
        let set_of = |item: &Item| match item {
            Item::Element { family, set, .. } => Some((*family, set.clone())),
            Item::Limit { .. } => None,
        };
        let all: Vec<&Item> = items.iter().filter(|item| set_of(item).is_some()).collect();
        for of_set in all.chunk_by(|a, b| set_of(a) == set_of(b)) {
            for some in of_set.chunks(ELEMENTS) {
                let (family, set) = set_of(some[0])?;
                let elements: Option<Vec<Vec<u8>>> = some.iter().map(|item| encode::element(item)).collect();
                let list = [encode::set(table, &set), nested(LIST_ELEMENTS, &elements?)];
                self.change(kind, family, &list.concat());
            }
        }
        Some(())
    }

    /// A message that is to be answered.
    fn change(&mut self, kind: u16, family: Family, attributes: &[u8]) {
        let create = if matches!(kind, NEW_ELEMENT | NEW_OBJECT) { NLM_F_CREATE } else { 0 };
        self.messages += 1;
        let flags = NLM_F_REQUEST | NLM_F_ACK | create;
        self.message(NFTABLES << 8 | kind, flags, encode::protocol_family(family), 0, attributes);
    }

    fn message(&mut self, kind: u16, flags: u16, family: u8, resource: u16, attributes: &[u8]) {
        self.bytes.extend(encode::message(kind, flags, self.messages, (family, resource), attributes));
    }

    /// Has it done over a socket. The kernel has answered when the call to send it returns.
    ///
    /// # Errors
    /// The first that the kernel says; `ENOENT` where a table, a set or what is to be deleted is not there, `EEXIST`
    /// where a map leads elsewhere. Nothing is changed then, and answers may be left in the socket.
    pub(super) fn commit(&self, channel: &Channel) -> io::Result<()> {
        if self.messages == 0 {
            return Ok(());
        }
        let Channel(socket) = channel;
        if socket.send(&self.bytes, 0)? != self.bytes.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let mut answered = 0;
        let mut buffer = Vec::with_capacity(BUFFER);
        while answered < self.messages {
            buffer.clear();
            socket.recv(&mut buffer, 0)?;
            let mut rest = buffer.as_slice();
            while let Some(answer) = Answer::next(&mut rest)? {
                if answer.kind != NLMSG_ERROR {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                answer.error()?.map_or(Ok(()), Err)?;
                answered += 1;
            }
        }
        Ok(())
    }
}

/// A socket to nf_tables. To close it takes as long as the kernel needs to free what anybody has deleted, a grace period of
/// RCU, and holds up every other change meanwhile.
#[derive(Debug)]
pub(super) struct Channel(Socket);

impl Channel {
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_NETFILTER)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// To be closed when no process waits for that.
    pub(super) fn into_fd(self) -> io::Result<OwnedFd> {
        // The descriptor of the crate's type cannot be taken out of it by safe code.
        self.0.as_fd().try_clone_to_owned()
    }
}
