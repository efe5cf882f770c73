//! The gate: the socket between a supervisor and the init that it has cloned, until that has executed.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::{KernelError, Result};

/// Most descriptors in one message: SCM_MAX_FD of the kernel is 253.
const MAX_FDS: usize = 72;

/// What passes over the gate, one packet each.
#[derive(Debug)]
pub(crate) enum Message {
    /// Init's process id.
    Pid(i32),
    /// The filesystems that init has made, detached.
    Own(Vec<OwnedFd>),
    /// Every mount is attached.
    Attached,
    /// The root is in place; with the masters of the pseudoterminals and the notify socket.
    Ready(Vec<OwnedFd>),
    /// The interfaces are there: configure them and execute.
    Go,
    /// A step failed: errno, operation and object.
    Failed(i32, String, String),
    /// The other side is gone.
    Closed,
}

impl Message {
    pub(crate) fn failure(error: &KernelError) -> Self {
        let errno = error.source.raw_os_error().unwrap_or(0);
        let object = match errno {
            0 => format!("{}: {}", error.object, error.source),
            _ => error.object.clone(),
        };
        Self::Failed(errno, error.operation.to_string(), object)
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Pid(pid) => [b"P".as_slice(), &pid.to_ne_bytes()].concat(),
            Self::Go => b"G".to_vec(),
            Self::Own(_) => b"O".to_vec(),
            Self::Attached => b"A".to_vec(),
            Self::Ready(_) => b"R".to_vec(),
            Self::Failed(errno, operation, object) => {
                let text = format!("{operation}\0{object}");
                [b"E".as_slice(), &errno.to_ne_bytes(), text.as_bytes()].concat()
            }
            Self::Closed => Vec::new(),
        }
    }

    fn decode(bytes: &[u8], fds: Vec<OwnedFd>) -> io::Result<Self> {
        let number = |bytes: &[u8]| {
            let bytes = bytes.get(1..5).and_then(|bytes| bytes.try_into().ok());
            bytes.map(i32::from_ne_bytes).ok_or(io::ErrorKind::InvalidData)
        };
        Ok(match bytes.first() {
            None => Self::Closed,
            Some(b'P') => Self::Pid(number(bytes)?),
            Some(b'G') => Self::Go,
            Some(b'O') => Self::Own(fds),
            Some(b'A') => Self::Attached,
            Some(b'R') => Self::Ready(fds),
            Some(b'E') => {
                let text = String::from_utf8_lossy(&bytes[5.min(bytes.len())..]).into_owned();
                let (operation, object) = text.split_once('\0').unwrap_or((&text, ""));
                Self::Failed(number(bytes)?, operation.to_owned(), object.to_owned())
            }
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
        })
    }
}

/// Sends a message with descriptors.
pub(crate) fn send(gate: &OwnedFd, message: &Message, fds: &[OwnedFd]) -> io::Result<()> {
    let borrowed: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let bytes = message.encode();
    sendmsg(gate, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A socket's deadline has passed: what the kernel calls "try again".
pub(super) fn in_time(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

/// Receives a message; a failure of the other side comes back as the error it is.
pub(crate) fn receive(gate: &OwnedFd) -> Result<Message> {
    let receive = || -> io::Result<Message> {
        let mut bytes = vec![0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let length = match recvmsg(gate, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
            // Descriptors that this process has no room for are not there, see unix(7).
            Ok(received) if received.flags.contains(ReturnFlags::CTRUNC) => {
                return Err(rustix::io::Errno::MFILE.into());
            }
            Ok(received) => received.bytes,
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(error) => return Err(in_time(error.into())),
        };
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        Message::decode(&bytes[..length], fds)
    };
    match receive().map_err(|error| KernelError::new("receive from", "init", error))? {
        Message::Failed(0, operation, object) => {
            Err(KernelError::new(operation, object, io::Error::other("failed inside the tenant")))
        }
        Message::Failed(errno, operation, object) => {
            Err(KernelError::new(operation, object, io::Error::from_raw_os_error(errno)))
        }
        message => Ok(message),
    }
}
