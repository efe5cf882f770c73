//! What a joiner and the process it starts tell the caller: packets, and the end of file when the
//! process has executed.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg, socketpair,
        sockopt::set_socket_passcred,
    },
};

use super::step::Step;

/// One end.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

/// One packet.
#[derive(Debug)]
pub(super) enum Message {
    /// The process exists; with the near ends of its streams.
    Born { pid: i32, near: Vec<OwnedFd> },
    /// The sender is the process, and waits until it is held.
    Here { pid: i32 },
    /// A step failed.
    Failed { step: Step, errno: i32 },
    /// No process is left to send anything.
    Closed,
}

/// Most descriptors in one packet: the near ends of three pipes.
const MAX_FDS: usize = 3;

/// The caller's end and the joiner's.
pub(super) fn pair() -> io::Result<(Channel, Channel)> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    set_socket_passcred(&ours, true)?;
    Ok((Channel(ours), Channel(theirs)))
}

impl Channel {
    pub(super) fn send_born(&self, pid: i32, near: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send(b'P', 0, pid, near)
    }

    /// Whether the caller is gone.
    pub(super) fn is_abandoned(&self) -> bool {
        matches!(
            recv(&self.0, &mut [0], RecvFlags::DONTWAIT | RecvFlags::PEEK),
            Ok((0, _)) | Err(Errno::CONNRESET)
        )
    }

    /// Says that this process is the one, and waits until the caller holds it; an error when the caller
    /// is gone.
    pub(super) fn send_here(&self) -> io::Result<()> {
        self.send(b'H', 0, 0, &[])?;
        let mut byte = [0];
        match recv(&self.0, &mut byte, RecvFlags::empty())? {
            (0, _) => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Lets a process that said it is here go on.
    pub(super) fn send_held(&self) -> io::Result<()> {
        send(&self.0, b"G", SendFlags::NOSIGNAL)?;
        Ok(())
    }

    pub(super) fn send_failure(&self, step: Step, errno: i32) -> io::Result<()> {
        self.send(b'E', step as u8, errno, &[])
    }

    fn send(&self, kind: u8, step: u8, number: i32, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut packet = [kind, step, 0, 0, 0, 0];
        packet[2..].copy_from_slice(&number.to_ne_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        sendmsg(&self.0, &[IoSlice::new(&packet)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next packet; none when `wait` is not set and there is none yet.
    pub(super) fn receive(&self, wait: bool) -> io::Result<Option<Message>> {
        let mut packet = [0; 6];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS), ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut flags = RecvFlags::CMSG_CLOEXEC;
        flags.set(RecvFlags::DONTWAIT, !wait);
        let length = loop {
            match recvmsg(&self.0, &mut [IoSliceMut::new(&mut packet)], &mut control, flags) {
                Ok(received) => break received.bytes,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::CONNRESET) => break 0,
                Err(error) => return Err(error.into()),
            }
        };
        let mut fds = Vec::new();
        let mut sender = None;
        for message in control.drain() {
            match message {
                RecvAncillaryMessage::ScmRights(rights) => fds.extend(rights),
                RecvAncillaryMessage::ScmCredentials(credentials) => sender = Some(credentials.pid),
                _ => {}
            }
        }
        let number = i32::from_ne_bytes([packet[2], packet[3], packet[4], packet[5]]);
        let message = match (length, packet[0], Step::from_number(packet[1]), sender) {
            (0, ..) => Message::Closed,
            (6, b'P', ..) => Message::Born { pid: number, near: fds },
            (6, b'H', _, Some(pid)) => Message::Here { pid: pid.as_raw_nonzero().get() },
            (6, b'E', Some(step), _) => Message::Failed { step, errno: number },
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        Ok(Some(message))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
