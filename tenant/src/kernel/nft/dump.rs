//! The elements of a set as the kernel lists them, one after the other: none of the list is kept.

use std::{
    io,
    sync::atomic::{AtomicU32, Ordering},
};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::{
    encode::{self, LIST_ELEMENTS, attributes, find},
    item::Family,
};
use crate::kernel::netlink::{Answer, NLMSG_DONE, NLMSG_ERROR};

const GET_ELEMENTS: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8 | libc::NFT_MSG_GETSETELEM as u16;
/// As large as the kernel makes a part of a list, bytes.
const BUFFER: usize = 64 << 10;

/// A socket that lists sets.
pub(super) struct Lister {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Lister {
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_NETFILTER)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, buffer: Vec::with_capacity(BUFFER) })
    }

    /// Hands over the attributes of each element of a set; whether the list is of one moment.
    ///
    /// # Errors
    /// What the kernel says, `ENOENT` where there is no such set; `InvalidData` where `take` knows nothing of an element.
    pub(super) fn elements(
        &mut self,
        table: &str,
        (family, set): (Family, &str),
        mut take: impl FnMut(&[u8]) -> Option<()>,
    ) -> io::Result<bool> {
        static SEQUENCE: AtomicU32 = AtomicU32::new(1);
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        let of = (encode::protocol_family(family), 0);
        let attributes = encode::set(table, set);
        let request = encode::message(GET_ELEMENTS, NLM_F_REQUEST | NLM_F_DUMP, sequence, of, &attributes);
        if self.socket.send(&request, 0)? != request.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let mut is_whole = true;
        loop {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0)?;
            let mut rest = self.buffer.as_slice();
            while let Some(answer) = Answer::next(&mut rest)? {
                is_whole &= !answer.is_interrupted();
                match answer.kind {
                    NLMSG_DONE => return Ok(is_whole),
                    NLMSG_ERROR => {
                        return Err(answer.error()?.unwrap_or_else(|| io::ErrorKind::InvalidData.into()));
                    }
                    _ => each(answer.payload, &mut take).ok_or(io::ErrorKind::InvalidData)?,
                }
            }
        }
    }
}

/// Hands over the elements of one message.
pub(super) fn each(payload: &[u8], take: &mut impl FnMut(&[u8]) -> Option<()>) -> Option<()> {
    let Some(list) = find(payload.get(4..)?, LIST_ELEMENTS) else { return Some(()) };
    attributes(list).try_for_each(|(_, element)| take(element))
}
