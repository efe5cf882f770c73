//! Conversations over `control.sock`, on the answering side: see [`crate::protocol::control`].

use std::{
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use crate::protocol::{
    control::{Reply, Request},
    escape::one_line,
    wire::{self, MAX_LINE},
};
use rustix::{
    io::Errno,
    net::{SendFlags, send},
};

/// Most connections at a time.
const MAX_CLIENTS: usize = 16;
/// How long a connection may last.
const DEADLINE: Duration = Duration::from_secs(15);

/// One connection, on the answering side.
#[derive(Debug)]
pub(in crate::supervisor) struct Conversation {
    pub(in crate::supervisor) stream: UnixStream,
    line: Vec<u8>,
    answer: Option<Vec<u8>>,
    /// Its answer waits until the processes have come to rest.
    pub(in crate::supervisor) freezing: Option<Instant>,
    /// What they are to come to: frozen or not.
    pub(in crate::supervisor) target: bool,
    /// What it asks for, of a tenant that has to boot before.
    pub(in crate::supervisor) pending: Option<Request>,
    deadline: Instant,
    gone: bool,
}

impl Conversation {
    fn new(stream: UnixStream, now: Instant) -> Self {
        let (line, answer) = (Vec::new(), None);
        Self {
            stream,
            line,
            answer,
            freezing: None,
            target: false,
            pending: None,
            deadline: now + DEADLINE,
            gone: false,
        }
    }

    /// Reads the request; none while it is not whole. A malformed one is answered here.
    pub(in crate::supervisor) fn read(&mut self) -> Option<Request> {
        let mut bytes = [0; 1024];
        match rustix::io::read(&self.stream, &mut bytes) {
            Ok(0) => self.gone = true,
            Ok(length) if self.answer.is_none() && self.freezing.is_none() && self.pending.is_none() => {
                self.line.extend_from_slice(&bytes[..length]);
            }
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.gone = true,
        }
        if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line = std::mem::take(&mut self.line);
            match wire::parse(&line[..end]) {
                Ok(request) => return Some(request),
                Err(error) => self.answer(&Reply::refused(
                    format!("the request is malformed: {}", one_line(&error, 300)),
                    "send one line of JSON with the key `op`",
                )),
            }
        } else if self.line.len() > MAX_LINE {
            self.gone = true;
        }
        None
    }

    pub(in crate::supervisor) fn answer(&mut self, reply: &Reply) {
        self.freezing = None;
        self.answer = Some(wire::line(reply));
        self.flush();
    }

    pub(in crate::supervisor) fn wants_output(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| !answer.is_empty())
    }

    pub(in crate::supervisor) fn flush(&mut self) {
        let Some(answer) = &mut self.answer else { return };
        while !answer.is_empty() {
            match send(&self.stream, answer, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(length) => drop(answer.drain(..length)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        self.gone = true;
    }

    pub(in crate::supervisor) fn hang_up(&mut self) {
        self.gone = true;
    }

    /// Whether it is there and has not asked for anything yet.
    fn is_idle(&self) -> bool {
        !self.gone && self.answer.is_none() && self.freezing.is_none()
    }

    fn is_done(&self, now: Instant) -> bool {
        self.gone || now >= self.deadline
    }
}

/// All connections to `control.sock`.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Conversations(pub(in crate::supervisor) Vec<Conversation>);

impl Conversations {
    /// A new connection. Where there are too many, the one that has kept quiet for longest goes: who asks for
    /// something does so at once. Places stay as they are until the next [`Self::tick`].
    pub(in crate::supervisor) fn admit(&mut self, stream: UnixStream, now: Instant) {
        if self.0.iter().filter(|conversation| !conversation.gone).count() >= MAX_CLIENTS {
            // The oldest comes first.
            let has_room = self.0.len() < 4 * MAX_CLIENTS;
            match self.0.iter_mut().find(|conversation| conversation.is_idle()) {
                Some(idle) if has_room => idle.hang_up(),
                _ => return,
            }
        }
        self.0.push(Conversation::new(stream, now));
    }

    pub(in crate::supervisor) fn tick(&mut self, now: Instant) {
        self.0.retain(|conversation| !conversation.is_done(now));
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }

    pub(in crate::supervisor) fn deadline(&self) -> Option<Instant> {
        let due = |conversation: &Conversation| {
            conversation.freezing.unwrap_or(conversation.deadline).min(conversation.deadline)
        };
        self.0.iter().map(due).min()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};

    use super::*;

    #[test]
    fn idle_connections_do_not_keep_others_out() {
        let now = Instant::now();
        let mut conversations = Conversations::default();
        let mut pairs: Vec<_> = (0..MAX_CLIENTS).map(|_| UnixStream::pair().unwrap()).collect();
        let admit = |conversations: &mut Conversations, ours: UnixStream| {
            ours.set_nonblocking(true).unwrap();
            conversations.admit(ours, now);
        };
        let mut theirs = Vec::new();
        for (ours, other) in pairs.drain(..) {
            admit(&mut conversations, ours);
            theirs.push(other);
        }
        // The first one waits for an answer.
        conversations.0[0].freezing = Some(now + DEADLINE);
        let (ours, mut late) = UnixStream::pair().unwrap();
        admit(&mut conversations, ours);
        conversations.tick(now);
        assert_eq!(conversations.0.len(), MAX_CLIENTS);
        late.write_all(b"{\"op\":\"status\"}\n").unwrap();
        assert_eq!(conversations.0.last_mut().unwrap().read(), Some(Request::Status {}));
        assert!(conversations.0[0].freezing.is_some(), "one that waits for its answer stays");
        assert_eq!(theirs[1].read(&mut [0]).unwrap(), 0, "the oldest idle one went");
    }

    #[test]
    fn a_malformed_request_is_answered_and_the_connection_closed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut conversation = Conversation::new(ours, Instant::now());
        (&theirs).write_all(b"hello\n").unwrap();
        assert_eq!(conversation.read(), None);
        assert!(conversation.is_done(Instant::now()));
        let mut answer = String::new();
        BufReader::new(theirs).read_line(&mut answer).unwrap();
        assert!(answer.starts_with("{\"ok\":false,\"error\":\"the request is malformed"), "{answer}");
    }
}
