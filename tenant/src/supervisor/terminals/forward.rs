//! The console's lines, on their way to the host's journal.

use std::time::{Duration, Instant};

use crate::{
    files::layout::Layout,
    journal::{Socket, id, payload},
    model::name::TenantName,
    protocol::{escape, wire::Tty},
};

/// Longest line, bytes; the rest of a longer one is cut off.
const LINE: usize = 1024;
/// Most lines in a window.
const LINES: u32 = 200;
/// The window.
const WINDOW: Duration = Duration::from_secs(10);

/// Takes what a console prints, line by line, to the journal: a tenant's bytes, escaped, and no more of
/// them than the window admits. It never waits.
#[derive(Debug)]
pub(in crate::supervisor) struct Forward {
    tenant: String,
    socket: Option<Socket>,
    wanted: bool,
    line: Vec<u8>,
    /// Whether the line is longer than what is kept of it.
    cut: bool,
    window: Option<Window>,
}

#[derive(Debug)]
struct Window {
    end: Instant,
    lines: u32,
    dropped: u64,
}

impl Forward {
    /// The way of a tenant's console; without a journal it leads nowhere.
    pub(in crate::supervisor) fn new(layout: &Layout, tenant: &TenantName) -> Self {
        Self::through(layout.is_default().then(Socket::to_journal).and_then(Result::ok), tenant)
    }

    fn through(socket: Option<Socket>, tenant: &TenantName) -> Self {
        let tenant = tenant.as_str().to_owned();
        Self { tenant, socket, wanted: false, line: Vec::new(), cut: false, window: None }
    }

    /// Whether it is to be used, from this boot on.
    pub(in crate::supervisor) fn want(&mut self, wanted: bool) {
        self.wanted = wanted && self.socket.is_some();
    }

    /// Takes what the console printed.
    pub(in crate::supervisor) fn take(&mut self, bytes: &[u8], now: Instant) {
        if !self.wanted {
            return;
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let kept = text.len().min(LINE - self.line.len());
            self.line.extend_from_slice(&text[..kept]);
            self.cut |= kept < text.len();
            if ends {
                self.end_line(now);
            }
        }
    }

    /// The console is gone: sends the line that has no end, and tells what was dropped.
    pub(in crate::supervisor) fn finish(&mut self, now: Instant) {
        if self.wanted {
            self.end_line(now);
            self.settle();
        }
    }

    /// Does what is due.
    pub(in crate::supervisor) fn tick(&mut self, now: Instant) {
        if self.deadline().is_some_and(|end| now >= end) {
            self.settle();
        }
    }

    /// When lines that were dropped are told of.
    pub(in crate::supervisor) fn deadline(&self) -> Option<Instant> {
        self.window.as_ref().filter(|window| window.dropped > 0).map(|window| window.end)
    }

    fn end_line(&mut self, now: Instant) {
        let bytes = std::mem::take(&mut self.line);
        let cut = std::mem::take(&mut self.cut);
        let mut text = escape::plain_line(&bytes, LINE);
        if text.trim().is_empty() {
            return;
        }
        if cut {
            text.push('…');
        }
        if self.window.as_ref().is_none_or(|window| now >= window.end) {
            self.settle();
        }
        let window = self.window.get_or_insert_with(|| Window { end: now + WINDOW, lines: 0, dropped: 0 });
        window.lines += 1;
        let admitted = window.lines <= LINES;
        if !(admitted && self.send("6", &text, &[]))
            && let Some(window) = &mut self.window
        {
            window.dropped += 1;
        }
    }

    /// Ends a window.
    fn settle(&mut self) {
        let Some(Window { dropped: dropped @ 1.., .. }) = self.window.take() else { return };
        let count = dropped.to_string();
        let text = format!("{dropped} lines of the console of tenant {:?} dropped", self.tenant);
        // Should the journal be full, its own message on that has to do.
        self.send("4", &text, &[("MESSAGE_ID", id::LINES_DROPPED), ("N_DROPPED", &count)]);
    }

    fn send(&self, priority: &str, text: &str, more: &[(&str, &str)]) -> bool {
        let Some(socket) = &self.socket else { return false };
        let tty = Tty::CONSOLE.to_string();
        let mut fields = vec![
            ("MESSAGE", text),
            ("PRIORITY", priority),
            ("SYSLOG_IDENTIFIER", "console"),
            ("TENANT", &self.tenant),
            ("TENANT_TTY", &tty),
        ];
        fields.extend_from_slice(more);
        socket.send(&payload(&fields))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    struct Reader {
        journal: UnixDatagram,
        _dir: tempfile::TempDir,
    }

    impl Reader {
        fn all(&self) -> Vec<String> {
            let mut found = Vec::new();
            let mut bytes = [0; 8192];
            while let Ok(length) = self.journal.recv(&mut bytes) {
                found.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
            }
            found
        }
    }

    fn forward() -> (Forward, Reader) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        journal.set_nonblocking(true).unwrap();
        let socket = Socket::open(&path).unwrap();
        let mut forward = Forward::through(Some(socket), &"alice".parse().unwrap());
        forward.want(true);
        (forward, Reader { journal, _dir: dir })
    }

    #[test]
    fn a_line_is_sent_when_it_ends_with_nothing_that_acts_on_a_terminal() {
        let (mut forward, journal) = forward();
        let now = Instant::now();
        forward.take(b"\x1b[32mhel", now);
        assert!(journal.all().is_empty());
        forward.take(b"lo\x1b[0m\x07\r\n\r\nlogin: ", now);
        let fields = "PRIORITY=6\nSYSLOG_IDENTIFIER=console\nTENANT=alice\nTENANT_TTY=console\n";
        assert_eq!(journal.all(), [format!("MESSAGE=hello\\x07\n{fields}")]);
        forward.finish(now);
        assert_eq!(journal.all(), [format!("MESSAGE=login: \n{fields}")]);
    }

    #[test]
    fn a_line_can_neither_forge_a_field_nor_be_long() {
        let (mut forward, journal) = forward();
        forward.take(b"x\rTENANT=bob\x00\n", Instant::now());
        forward.take(&[b"\x01".repeat(3000), b"\n".to_vec()].concat(), Instant::now());
        let all = journal.all();
        assert_eq!(all.len(), 2);
        assert!(all.iter().all(|message| message.matches("\nTENANT=").count() == 1), "{all:?}");
        assert!(all[1].len() < LINE + 128, "{} bytes", all[1].len());
    }

    #[test]
    fn a_flood_is_cut_off_and_counted_once() {
        let (mut forward, journal) = forward();
        let now = Instant::now();
        let mut seen = 0;
        for _ in 0..100 {
            forward.take(&b"flood\n".repeat(5), now);
            seen += journal.all().len();
        }
        assert_eq!(seen, LINES as usize);
        let end = forward.deadline().expect("the dropped lines are to be told of");
        assert_eq!(end, now + WINDOW);
        forward.tick(end);
        let all = journal.all();
        assert!(all.len() == 1 && all[0].contains("N_DROPPED=300\n") && all[0].contains(id::LINES_DROPPED));
        assert_eq!(forward.deadline(), None);
        forward.take(b"calm again\n", end);
        assert_eq!(journal.all().len(), 1);
    }

    #[test]
    fn a_full_journal_costs_lines_and_no_time() {
        let (mut forward, _journal) = forward();
        let now = Instant::now();
        forward.take(&b"line\n".repeat(150), now);
        // No process reads: the socket's queue holds a few (net.unix.max_dgram_qlen), the rest is counted.
        assert!(forward.deadline().is_some());
    }

    #[test]
    fn a_console_that_is_not_wanted_sends_nothing() {
        let (mut forward, journal) = forward();
        forward.want(false);
        forward.take(b"secret\n", Instant::now());
        forward.finish(Instant::now());
        assert!(journal.all().is_empty());
    }
}
