//! Between the caller's standard streams and those of a process inside.
//!
//! Nothing of the host but pipes goes inside: a terminal or a device of the host could be opened again
//! there through `/proc/self/fd` and be set, or written to beside the stream. So streams that are not
//! pipes already are carried through one by this process.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};

/// Bytes carried at a time: a pipe that is ready for writing takes this much without blocking.
const CHUNK: usize = 4096;

/// One direction: bytes that were read and not yet written.
#[derive(Debug)]
pub(super) struct Pump<'a> {
    from: End<'a>,
    to: Option<End<'a>>,
    held: Vec<u8>,
    /// Nothing more will be read.
    ended: bool,
}

#[derive(Debug)]
enum End<'a> {
    Ours(OwnedFd),
    Theirs(BorrowedFd<'a>),
}

impl AsFd for End<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Ours(fd) => fd.as_fd(),
            Self::Theirs(fd) => *fd,
        }
    }
}

impl<'a> Pump<'a> {
    pub(super) fn inward(from: BorrowedFd<'a>, to: OwnedFd) -> Self {
        Self { from: End::Theirs(from), to: Some(End::Ours(to)), held: Vec::new(), ended: false }
    }

    pub(super) fn outward(from: OwnedFd, to: BorrowedFd<'a>) -> Self {
        Self { from: End::Ours(from), to: Some(End::Theirs(to)), held: Vec::new(), ended: false }
    }

    /// What to poll for; none when this direction is closed.
    pub(super) fn interest(&self) -> Option<PollFd<'_>> {
        let to = self.to.as_ref()?;
        Some(if self.held.is_empty() {
            PollFd::from_borrowed_fd(self.from.as_fd(), PollFlags::IN)
        } else {
            PollFd::from_borrowed_fd(to.as_fd(), PollFlags::OUT)
        })
    }

    /// Carries what can be carried without waiting, at most one chunk. Closes the far end when the near
    /// one has ended.
    pub(super) fn carry(&mut self) -> io::Result<()> {
        if self.held.is_empty() && !self.ended {
            let mut chunk = [0; CHUNK];
            match rustix::io::read(&self.from, &mut chunk) {
                Ok(0) | Err(Errno::IO) => self.ended = true,
                Ok(length) => self.held.extend_from_slice(&chunk[..length]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let (Some(to), false) = (&self.to, self.held.is_empty()) {
            match rustix::io::write(to, &self.held) {
                Ok(length) => drop(self.held.drain(..length)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                // Nobody reads any more.
                Err(Errno::PIPE | Errno::IO) => {
                    self.held.clear();
                    self.ended = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if self.ended && self.held.is_empty() {
            self.to = None;
        }
        Ok(())
    }

    pub(super) fn is_open(&self) -> bool {
        self.to.is_some()
    }

    /// Whether it carries what the process inside writes.
    pub(super) fn is_outward(&self) -> bool {
        matches!(self.from, End::Ours(_))
    }

    /// Carries what is left without waiting for more of it: the process that wrote it has ended.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        while self.is_open() {
            if self.held.is_empty() && !self.ended {
                let mut ready = [PollFd::new(&self.from, PollFlags::IN)];
                if poll(&mut ready, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }))? == 0 {
                    return Ok(());
                }
            }
            if let (Some(to), false) = (&self.to, self.held.is_empty()) {
                poll(&mut [PollFd::new(to, PollFlags::OUT)], None)?;
            }
            self.carry()?;
        }
        Ok(())
    }
}

/// What the process inside gets as one of its streams, and the pump that serves it if it needs one.
#[derive(Debug)]
pub(super) enum Stream<'a> {
    /// The caller's own pipe.
    Direct(BorrowedFd<'a>),
    /// The far end of a new pipe.
    Carried(OwnedFd, Pump<'a>),
}

impl<'a> Stream<'a> {
    /// A stream that the process inside reads.
    pub(super) fn input(fd: BorrowedFd<'a>) -> io::Result<Self> {
        if is_pipe(fd) {
            return Ok(Self::Direct(fd));
        }
        let (far, near) = pipe_with(PipeFlags::CLOEXEC)?;
        unblock(&near)?;
        Ok(Self::Carried(far, Pump::inward(fd, near)))
    }

    /// A stream that the process inside writes.
    pub(super) fn output(fd: BorrowedFd<'a>) -> io::Result<Self> {
        if is_pipe(fd) {
            return Ok(Self::Direct(fd));
        }
        let (near, far) = pipe_with(PipeFlags::CLOEXEC)?;
        unblock(&near)?;
        Ok(Self::Carried(far, Pump::outward(near, fd)))
    }

    pub(super) fn far(&self) -> BorrowedFd<'_> {
        match self {
            Self::Direct(fd) => *fd,
            Self::Carried(far, _) => far.as_fd(),
        }
    }

    /// The pump, once the process inside has its end.
    pub(super) fn pump(self) -> Option<Pump<'a>> {
        match self {
            Self::Direct(_) => None,
            Self::Carried(_, pump) => Some(pump),
        }
    }
}

fn is_pipe(fd: BorrowedFd<'_>) -> bool {
    fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

/// Makes an end that is this process's alone non-blocking.
pub(super) fn unblock(fd: &OwnedFd) -> io::Result<()> {
    Ok(fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write as _};

    use super::*;

    #[test]
    fn a_pipe_goes_through_and_a_file_is_carried() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        assert!(matches!(Stream::input(reader.as_fd()).unwrap(), Stream::Direct(_)));
        assert!(matches!(Stream::output(writer.as_fd()).unwrap(), Stream::Direct(_)));
        let file = tempfile::tempfile().unwrap();
        assert!(matches!(Stream::input(file.as_fd()).unwrap(), Stream::Carried(..)));
        let null = File::open("/dev/null").unwrap();
        assert!(matches!(Stream::output(null.as_fd()).unwrap(), Stream::Carried(..)));
    }

    #[test]
    fn a_pump_carries_everything_and_closes_its_far_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let sent: Vec<u8> = (0..100_000u32).map(|number| number as u8).collect();
        file.as_file().write_all(&sent).unwrap();
        let source = File::open(file.path()).unwrap();
        let Stream::Carried(far, mut pump) = Stream::input(source.as_fd()).unwrap() else { panic!() };
        let mut got = Vec::new();
        let mut chunk = [0; 10_000];
        loop {
            if pump.is_open() {
                pump.carry().unwrap();
            }
            if rustix::io::ioctl_fionread(&far).unwrap() > 0 || !pump.is_open() {
                match rustix::io::read(&far, &mut chunk).unwrap() {
                    0 => break,
                    length => got.extend_from_slice(&chunk[..length]),
                }
            }
        }
        assert_eq!(got, sent);
    }
}
