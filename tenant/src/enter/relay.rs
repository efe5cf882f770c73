//! Between the caller's standard streams and those of a process inside.
//!
//! Nothing of the host goes inside. A stream of the host could be opened again there through `/proc/self/fd` and
//! be set, or written to outside the stream; and what belongs to an id that is not mapped inside could not be
//! opened at all, so that nothing that writes to `/dev/stderr` would work. The process has streams of its own,
//! and this process carries the bytes.
//!
//! No read and no write waits: one stream that no process reads must not hold up the others.

use std::{
    io,
    ops::Range,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, fstatfs, openat},
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
    pipe::fcntl_setpipe_size,
    termios::isatty,
};

/// Bytes carried at a time, and what a pipe inside is made to hold: beyond this size there is little to gain.
const CHUNK: usize = 256 << 10;
/// Bytes that a write takes without waiting where poll(2) says so: `PIPE_BUF`, see pipe(7).
const PROMISED: usize = 4096;
/// `PIPEFS_MAGIC` of statfs(2): the pipes of pipe(2).
const PIPEFS_MAGIC: i64 = 0x5049_5045;
/// Chunks that are carried before other things are looked at.
const TURN: usize = 16;
/// End of file, as it is typed on a terminal.
const EOF: u8 = 0x04;

/// How to read and write without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The open file description is this process's own, and does not block.
    Own,
    /// A socket: each call says that it does not wait.
    Socket,
    /// Others use the same open file description, so its flags stay as they are: only when poll(2) says so,
    /// and then this many bytes.
    Polled(usize),
}

/// One end of a stream.
#[derive(Debug)]
struct Port<'a> {
    fd: Fd<'a>,
    way: Way,
    /// Asked while it is there: one that is hung up does not say it any more.
    is_terminal: bool,
}

#[derive(Debug)]
enum Fd<'a> {
    Ours(OwnedFd),
    Theirs(BorrowedFd<'a>),
}

impl AsFd for Port<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.fd {
            Fd::Ours(fd) => fd.as_fd(),
            Fd::Theirs(fd) => *fd,
        }
    }
}

impl<'a> Port<'a> {
    /// A near end of what a process inside has.
    fn near(fd: OwnedFd) -> io::Result<Self> {
        unblock(&fd)?;
        // A terminal has no such size, and a tenant whose pipes are many keeps small ones.
        let _ = fcntl_setpipe_size(&fd, CHUNK);
        let is_terminal = isatty(&fd);
        Ok(Self { fd: Fd::Ours(fd), way: Way::Own, is_terminal })
    }

    /// A stream of the caller's. A pipe, and a terminal that is written to, are opened again, for a description
    /// that does not block; where that cannot be, poll(2) has to be asked. Not a FIFO with a name: one that is
    /// opened when its writers have gone does not say that they have.
    fn callers(fd: BorrowedFd<'a>, is_read: bool) -> Self {
        let kind = fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let is_pipe = fstatfs(fd).is_ok_and(|stat| stat.f_type == PIPEFS_MAGIC);
        let is_terminal = isatty(fd);
        if (is_pipe || is_terminal && !is_read)
            && let Some(own) = opened_again(fd, is_read)
        {
            return Self { fd: Fd::Ours(own), way: Way::Own, is_terminal };
        }
        let way = match kind {
            Ok(FileType::Socket) => Way::Socket,
            Ok(FileType::Fifo) => Way::Polled(PROMISED),
            _ if is_terminal => Way::Polled(PROMISED),
            // Files are always ready.
            _ => Way::Polled(CHUNK),
        };
        Self { fd: Fd::Theirs(fd), way, is_terminal }
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self.way {
            Way::Socket => recv(self, buffer, RecvFlags::DONTWAIT).map(|(length, _)| length),
            Way::Own | Way::Polled(_) => rustix::io::read(self, buffer),
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match self.way {
            Way::Socket => send(self, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Way::Own => rustix::io::write(self, bytes),
            Way::Polled(most) if is_ready(self, PollFlags::OUT)? => {
                rustix::io::write(self, &bytes[..bytes.len().min(most)])
            }
            Way::Polled(_) => Err(Errno::AGAIN),
        }
    }
}

/// Opens what a descriptor refers to once more; none where that cannot be done.
fn opened_again(fd: BorrowedFd<'_>, is_read: bool) -> Option<OwnedFd> {
    let access = if is_read { OFlags::RDONLY } else { OFlags::WRONLY };
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(CWD, format!("/proc/self/fd/{}", fd.as_raw_fd()), flags, Mode::empty()).ok()
}

fn is_ready(fd: impl AsFd, event: PollFlags) -> Result<bool, Errno> {
    Ok(poll(&mut [PollFd::new(&fd, event)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0)
}

/// Makes an end that is this process's alone non-blocking.
fn unblock(fd: &OwnedFd) -> io::Result<()> {
    Ok(fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?)
}

/// A stream of the caller's that could not be read or written, for a reason that is not its end.
#[derive(Debug)]
pub(super) struct Broken {
    /// What could not be done, an infinitive.
    pub(super) what: &'static str,
    pub(super) source: io::Error,
}

/// One direction: bytes that were read and not yet written.
#[derive(Debug)]
pub(super) struct Pump<'a> {
    /// None when nothing more will be read.
    from: Option<Port<'a>>,
    /// None when this direction is closed.
    to: Option<Port<'a>>,
    buffer: Vec<u8>,
    held: Range<usize>,
    /// What is done with the caller's stream, as it goes into "cannot …".
    what: &'static str,
    is_outward: bool,
    /// Whether its far end is a terminal, where the end of the input is typed.
    types_end: bool,
    last: u8,
    /// How many bytes may still be read.
    allowance: u64,
}

impl<'a> Pump<'a> {
    /// From a stream of the caller's to one inside.
    pub(super) fn inward(from: BorrowedFd<'a>, to: OwnedFd, types_end: bool) -> io::Result<Self> {
        let (from, to) = (Port::callers(from, true), Port::near(to)?);
        Ok(Self { types_end, ..Self::new(from, to, "read standard input", false) })
    }

    /// From a stream inside to one of the caller's, which `what` says.
    pub(super) fn outward(from: OwnedFd, to: BorrowedFd<'a>, what: &'static str) -> io::Result<Self> {
        Ok(Self::new(Port::near(from)?, Port::callers(to, false), what, true))
    }

    fn new(from: Port<'a>, to: Port<'a>, what: &'static str, is_outward: bool) -> Self {
        Self {
            from: Some(from),
            to: Some(to),
            buffer: vec![0; CHUNK],
            held: 0..0,
            what,
            is_outward,
            types_end: false,
            last: b'\n',
            allowance: u64::MAX,
        }
    }

    /// What to poll for; none when there is nothing to be done.
    pub(super) fn interest(&self) -> Option<PollFd<'_>> {
        match (&self.from, &self.to) {
            (_, Some(to)) if !self.held.is_empty() => Some(PollFd::new(to, PollFlags::OUT)),
            (Some(from), Some(_)) if self.allowance > 0 => Some(PollFd::new(from, PollFlags::IN)),
            _ => None,
        }
    }

    /// What to poll for nothing but errors: that no process reads what it carries any more. A command can wait for that,
    /// as `tail -f` does, so it must see that before it writes again.
    pub(super) fn hangup(&self) -> Option<PollFd<'_>> {
        let to = self.to.as_ref().filter(|_| self.is_outward)?;
        Some(PollFd::new(to, PollFlags::empty()))
    }

    /// Carries what can be carried without waiting, for a turn; called when [`Pump::interest`] is ready.
    pub(super) fn transfer(&mut self) -> Result<(), Broken> {
        for turn in 0..TURN {
            if self.held.is_empty() {
                let Some(from) = &self.from else { break };
                // A stream of the caller's that might wait is read only when poll(2) has just said so.
                if self.allowance == 0 || (turn > 0 && matches!(from.way, Way::Polled(_))) {
                    return Ok(());
                }
                if !self.fill()? {
                    return Ok(());
                }
            }
            if !self.drain()? {
                return Ok(());
            }
        }
        if self.from.is_none() && self.held.is_empty() {
            self.to = None;
        }
        Ok(())
    }

    /// Reads a chunk; false when there is none yet.
    fn fill(&mut self) -> Result<bool, Broken> {
        let Some(from) = &self.from else { return Ok(true) };
        let most = usize::try_from(self.allowance).unwrap_or(usize::MAX).min(CHUNK);
        match from.read(&mut self.buffer[..most]) {
            // A connection that is reset has ended; in what cannot be read there is nothing.
            Ok(0) | Err(Errno::CONNRESET | Errno::BADF | Errno::ISDIR) => self.end(),
            // So has a terminal whose other end is closed.
            Err(Errno::IO) if from.is_terminal => self.end(),
            Ok(length) => {
                self.held = 0..length;
                self.last = self.buffer[length - 1];
                self.allowance -= length as u64;
            }
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(error) => return Err(Broken { what: self.what, source: error.into() }),
        }
        Ok(true)
    }

    /// Nothing more will be read. Behind half a line a terminal takes the first end of file for the end of that.
    fn end(&mut self) {
        self.from = None;
        if self.types_end {
            let count = if self.last == b'\n' { 1 } else { 2 };
            self.buffer[..count].fill(EOF);
            self.held = 0..count;
        }
    }

    /// Writes what is held; false when not all of it could be written yet.
    fn drain(&mut self) -> Result<bool, Broken> {
        while let (Some(to), false) = (&self.to, self.held.is_empty()) {
            match to.write(&self.buffer[self.held.clone()]) {
                Ok(length) => self.held.start += length,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
                // No process reads any more: what is written from here on must not seem to arrive.
                Err(Errno::PIPE | Errno::CONNRESET) => self.close(),
                // The same of a terminal.
                Err(Errno::IO) if to.is_terminal => self.close(),
                Err(error) => return Err(Broken { what: self.what, source: error.into() }),
            }
        }
        Ok(true)
    }

    /// Closes both ends and forgets what is held.
    pub(super) fn close(&mut self) {
        (self.from, self.to, self.held) = (None, None, 0..0);
    }

    pub(super) fn is_open(&self) -> bool {
        self.to.is_some()
    }

    /// Whether it has something that was read and not yet written.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether it carries what the process inside writes.
    pub(super) fn is_outward(&self) -> bool {
        self.is_outward
    }

    /// From now on no more is read than lies there already: what a pipe says, and of a terminal, which does not
    /// say, at most `terminal` bytes.
    pub(super) fn limit_to_present(&mut self, terminal: u64) {
        self.allowance = self.from.as_ref().map_or(0, |from| match from.is_terminal {
            true => terminal,
            false => rustix::io::ioctl_fionread(from).unwrap_or(0),
        });
    }

    /// Lifts that limit.
    pub(super) fn limit_no_more(&mut self) {
        self.allowance = u64::MAX;
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write as _, os::unix::net::UnixStream};

    use rustix::pipe::{PipeFlags, pipe, pipe_with};

    use super::*;

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|number| (number % 251) as u8).collect()
    }

    /// Reads what lies in a pipe.
    fn take(fd: &OwnedFd) -> Vec<u8> {
        let mut chunk = vec![0; CHUNK];
        match rustix::io::read(fd, &mut chunk) {
            Ok(length) => chunk[..length].to_vec(),
            Err(Errno::AGAIN) => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn everything_is_relayed_and_then_the_far_end_is_closed() {
        let sent = bytes(1_000_000);
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all(&sent).unwrap();
        let source = File::open(file.path()).unwrap();
        let (far, near) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        let mut pump = Pump::inward(source.as_fd(), near, false).unwrap();
        let mut got = Vec::new();
        while pump.is_open() {
            pump.transfer().unwrap();
            got.extend(take(&far));
        }
        loop {
            match take(&far) {
                rest if rest.is_empty() => break,
                rest => got.extend(rest),
            }
        }
        assert_eq!(got, sent);
    }

    #[test]
    fn a_stalled_reader_blocks_no_other_stream() {
        let (near, far) = pipe().unwrap();
        // A pipe and a socket of the caller's, both of which block.
        let (_reader, writer) = pipe().unwrap();
        let (socket, _peer) = UnixStream::pair().unwrap();
        for to in [writer.as_fd(), socket.as_fd()] {
            let near = near.try_clone().unwrap();
            let mut pump = Pump::outward(near, to, "write").unwrap();
            unblock(&far).unwrap();
            for _ in 0..100 {
                let _ = rustix::io::write(&far, &[0; CHUNK]);
                pump.transfer().unwrap();
            }
            assert!(pump.is_holding() && pump.is_open());
        }
    }

    #[test]
    fn unread_output_is_not_written() {
        let (near, far) = pipe().unwrap();
        let (reader, writer) = pipe().unwrap();
        let mut pump = Pump::outward(near, writer.as_fd(), "write").unwrap();
        drop(reader);
        rustix::io::write(&far, b"x").unwrap();
        pump.transfer().unwrap();
        assert!(!pump.is_open());
        assert_eq!(rustix::io::write(&far, b"x"), Err(Errno::PIPE));
    }

    #[test]
    fn a_disk_that_is_full_is_told() {
        let (near, far) = pipe().unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut pump = Pump::outward(near, full.as_fd(), "write standard output").unwrap();
        rustix::io::write(&far, b"x").unwrap();
        let broken = pump.transfer().unwrap_err();
        assert_eq!(
            (broken.what, broken.source.kind()),
            ("write standard output", io::ErrorKind::StorageFull)
        );
    }

    #[test]
    fn after_the_end_only_pending_data_is_relayed() {
        let (near, far) = pipe().unwrap();
        let (reader, writer) = pipe().unwrap();
        let mut pump = Pump::outward(near, writer.as_fd(), "write").unwrap();
        rustix::io::write(&far, b"before").unwrap();
        pump.limit_to_present(0);
        rustix::io::write(&far, b"after").unwrap();
        pump.transfer().unwrap();
        assert!(pump.interest().is_none());
        assert_eq!(take(&reader), b"before");
        pump.limit_no_more();
        pump.transfer().unwrap();
        assert_eq!(take(&reader), b"after");
    }

    #[test]
    fn the_end_of_the_input_is_typed_on_a_terminal() {
        for (typed, shown) in
            [(&b"line\n"[..], &b"line\n\x04"[..]), (b"half", b"half\x04\x04"), (b"", b"\x04")]
        {
            let (source, end) = pipe().unwrap();
            rustix::io::write(&end, typed).unwrap();
            drop(end);
            let (far, near) = pipe().unwrap();
            let mut pump = Pump::inward(source.as_fd(), near, true).unwrap();
            while pump.is_open() {
                pump.transfer().unwrap();
            }
            assert_eq!(take(&far), shown);
        }
    }
}
