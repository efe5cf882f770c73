//! One client's connection: what it gives, and how long it may take.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::UnixStream,
    time::{Sleep, sleep},
};
use wire::{Code, Failure};

use crate::records::guard::held;

/// A connection that breaks when the client takes nothing of its answer for a while: it would keep that in memory for
/// ever.
///
/// With the first bytes the client may give a descriptor, see `SCM_RIGHTS` of unix(7).
pub(super) struct Connection {
    stream: UnixStream,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    given: Given,
    has_begun: bool,
}

/// The descriptor that a client has given, until a request takes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Given(Arc<Mutex<Option<OwnedFd>>>);

impl Given {
    /// Takes it.
    ///
    /// # Errors
    /// The client has given none.
    pub(super) fn take(&self) -> Result<OwnedFd, Failure> {
        held(&self.0).take().ok_or_else(|| {
            Failure::new(Code::Invalid, "no descriptor came with the first byte of this connection")
                .help("leave `descriptor` out of the request: the archive is its body, or the answer's")
        })
    }
}

impl Connection {
    /// A client may take nothing of its answer for so long.
    pub(super) fn new(stream: UnixStream, patience: Duration) -> Self {
        Self { stream, patience, stalled: None, given: Given::default(), has_begun: false }
    }

    /// Where the descriptor is that the client gives.
    pub(super) fn given(&self) -> Given {
        self.given.clone()
    }

    /// Ends the wait of a write that could not go on.
    fn judge<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// What has come, and the descriptor that came with it.
fn receive(from: &UnixStream, bytes: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(from, &mut [io::IoSliceMut::new(bytes)], &mut control, flags)?;
    let mut given = None;
    // More than there is room for the kernel has closed.
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            given = descriptors.last();
        }
    }
    Ok((received.bytes, given))
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut first = [0; 64];
        let room = first.len().min(buffer.remaining());
        while !self.has_begun {
            ready!(self.stream.poll_read_ready(cx))?;
            let receive = || receive(&self.stream, &mut first[..room]);
            match self.stream.try_io(Interest::READABLE, receive) {
                Ok((length, given)) => {
                    self.has_begun = true;
                    *held(&self.given.0) = given;
                    buffer.put_slice(&first[..length]);
                    return Poll::Ready(Ok(()));
                }
                // It waits for what comes.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Without a descriptor the request can be read all the same, if it can be read at all.
                Err(_) => self.has_begun = true,
            }
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::fd::{AsFd as _, BorrowedFd},
    };

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Sends bytes with a descriptor, as the client does.
    fn give(to: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
        sendmsg(to, &[io::IoSlice::new(bytes)], &mut control, SendFlags::empty()).unwrap();
    }

    #[tokio::test]
    async fn a_descriptor_comes_with_the_first_bytes_and_is_taken_once() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut ours = Connection::new(ours, Duration::from_secs(9));
        let given = ours.given();
        assert!(given.take().is_err(), "nothing has come");
        let (mut read, write) = io::pipe().unwrap();
        give(&theirs, b"\r\n", &[write.as_fd()]);
        drop(write);
        theirs.write_all(b"GET /").await.unwrap();
        let mut bytes = [0; 7];
        ours.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"\r\nGET /");
        io::PipeWriter::from(given.take().unwrap()).write_all(b"through").unwrap();
        assert!(given.take().is_err(), "it was taken");
        let mut said = String::new();
        read.read_to_string(&mut said).unwrap();
        assert_eq!(said, "through", "no copy is left open");
    }

    #[tokio::test]
    async fn what_a_hostile_client_gives_besides_is_closed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut ours = Connection::new(ours, Duration::from_secs(9));
        let given = ours.given();
        let pipes = [io::pipe().unwrap(), io::pipe().unwrap()];
        give(&theirs, b"x", &[pipes[0].1.as_fd(), pipes[1].1.as_fd()]);
        // A later one is for nobody.
        give(&theirs, b"y", &[pipes[0].1.as_fd()]);
        let mut bytes = [0; 2];
        ours.read_exact(&mut bytes).await.unwrap();
        let kept = given.take().ok();
        let ended = pipes.map(|(mut read, write)| {
            drop(write);
            std::thread::spawn(move || read.read_to_end(&mut Vec::new()))
        });
        drop(kept);
        for reader in ended {
            assert_eq!(reader.join().unwrap().unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_of_its_answer_is_left_and_a_slow_one_is_not() {
        const PATIENCE: Duration = Duration::from_millis(300);
        let answer = vec![b'x'; 4 << 20];
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = Connection::new(ours, PATIENCE).write_all(&answer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut ours = Connection::new(ours, PATIENCE);
        let begin = std::time::Instant::now();
        let reader = tokio::spawn(async move {
            let (mut part, mut all) = (vec![0; 256 << 10], 0);
            while all < 4 << 20 {
                sleep(PATIENCE / 6).await;
                all += theirs.read(&mut part).await.unwrap();
            }
        });
        ours.write_all(&answer).await.unwrap();
        reader.await.unwrap();
        assert!(begin.elapsed() > PATIENCE, "it took long all in all");
    }
}
