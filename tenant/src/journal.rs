//! What goes to the host's journal: messages with fields, see systemd.journal-fields(7).
//!
//! Messages are written by the macros of the crate `log`, whose key-values become fields, or by [`event`].
//! Where there is no journal (no systemd, or another root than `/`) they go to standard error. No process here
//! ever waits for the journal: what it has no room for is dropped.

use std::{
    io::{self, Write as _},
    os::unix::net::UnixDatagram,
    path::Path,
    sync::OnceLock,
};

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use systemd_journal_logger::{JournalLog, connected_to_journal};

use crate::{cause::without_numbers, files::layout::Layout, model::name::TenantName};

/// The journal's socket, see the document `JOURNAL_NATIVE_PROTOCOL` of systemd.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Target of messages that are for the journal alone: standard error tells the same in other words.
pub const JOURNAL_ONLY: &str = "journal";

/// `MESSAGE_ID=` of what happens: 128 random bits in hex. Each has an entry in
/// `systemd/catalog/tenantry.catalog`, and none ever gets another meaning.
pub mod id {
    /// A tenant is up.
    pub const READY: &str = "a25ba7ec9b214266a2e97f50db5b0f75";
    /// A tenant was stopped, or its init ended by itself without an error.
    pub const STOPPED: &str = "284d69dead6f4f12932d03c8cd03b138";
    /// A tenant powered itself off.
    pub const POWERED_OFF: &str = "32fe968961cf485a9c9999a4c117f5f8";
    /// A tenant reboots, by itself or as asked.
    pub const REBOOTED: &str = "8e33bfe290834a3f8354f683f214eb7e";
    /// A tenant is parked.
    pub const PARKED: &str = "ec386a6ba7414945acef5e1d13529e77";
    /// A tenant that was parked runs again.
    pub const WOKEN: &str = "1f69edb811cb4fdfac832a92aae1ad63";
    /// A start failed.
    pub const START_FAILED: &str = "fa8e99b9ad964c30bdb31926287e8e93";
    /// The init of a tenant, or the program it is for, ended with an error.
    pub const INIT_DIED: &str = "58e2835bff0246719e7f53636f3139f6";
    /// A tenant did not stop in time and was killed.
    pub const KILLED: &str = "4529d6d5d56c41a48c612fe6b9111438";
    /// The kernel killed a process of a tenant that was out of memory.
    pub const OUT_OF_MEMORY: &str = "8981d424987242cfa468c673df963cfa";
    /// Lines of a console did not go to the journal.
    pub const LINES_DROPPED: &str = "21013197538e4ff79203ce98c157b657";
    /// A process had changed the packet filter, and it was repaired.
    pub const FILTER_REPAIRED: &str = "0d43e22410a342ad9bad296f6cf1255e";
    /// hostd serves.
    pub const HOSTD_STARTED: &str = "8e363ba2c4c8466baabb7c69c9584370";
    /// A running tenant lost its supervisor's support and was taken down.
    pub const SUPERVISION_FAILED: &str = "9c7ceced47ad41ecb32352b27c1ce5d3";

    /// All of them, with their names.
    pub const ALL: [(&str, &str); 14] = [
        ("READY", READY),
        ("STOPPED", STOPPED),
        ("POWERED_OFF", POWERED_OFF),
        ("REBOOTED", REBOOTED),
        ("PARKED", PARKED),
        ("WOKEN", WOKEN),
        ("START_FAILED", START_FAILED),
        ("INIT_DIED", INIT_DIED),
        ("KILLED", KILLED),
        ("OUT_OF_MEMORY", OUT_OF_MEMORY),
        ("LINES_DROPPED", LINES_DROPPED),
        ("FILTER_REPAIRED", FILTER_REPAIRED),
        ("HOSTD_STARTED", HOSTD_STARTED),
        ("SUPERVISION_FAILED", SUPERVISION_FAILED),
    ];
}

/// What stands before a line on standard error: the time, say. The journal has its own.
pub type Stamp = fn() -> String;

/// Whether the installed logger reaches the journal.
static REACHES: OnceLock<bool> = OnceLock::new();

/// Sends messages of this process to the journal, as `program`; those of a supervisor bear its tenant's name.
/// Where standard error is not the journal anyway, messages of at least `aloud` go there too, and all of at
/// least `level` where there is no journal, each behind its `stamp`. The first call wins.
pub fn install(
    program: &'static str,
    layout: &Layout,
    tenant: Option<&TenantName>,
    level: LevelFilter,
    aloud: LevelFilter,
    stamp: Option<Stamp>,
) {
    let journal = layout.is_default().then(|| Journal::open(program, tenant)).and_then(io::Result::ok);
    let is_stderr = journal.is_some() && connected_to_journal();
    let stderr = if is_stderr { LevelFilter::Off } else { aloud };
    let reaches = journal.is_some();
    if log::set_boxed_logger(Box::new(Logger { program, journal, stderr, stamp })).is_ok() {
        log::set_max_level(level);
        let _ = REACHES.set(reaches);
    }
}

/// Whether what was sent to the journal need not be said on standard error again: that is the journal too.
pub fn has_stderr() -> bool {
    REACHES.get() == Some(&true) && connected_to_journal()
}

/// Tells the journal of an event, with more fields. Where there is no journal, a warning goes to standard error; an
/// error does not, because the process that ends because of it reports it there.
pub fn event(level: Level, message_id: &str, fields: &[(&str, &str)], text: &str) {
    let mut all = vec![("MESSAGE_ID", message_id)];
    all.extend_from_slice(fields);
    let fields = all.as_slice();
    let mut record = Record::builder();
    record.level(level).target(JOURNAL_ONLY).key_values(&fields);
    log::logger().log(&record.args(format_args!("{text}")).build());
}

/// The logger of a process.
struct Logger {
    program: &'static str,
    journal: Option<Journal>,
    stderr: LevelFilter,
    stamp: Option<Stamp>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // What a tenant wrote may be in a message: no byte of it may act on a terminal or forge a line.
        let journal_only = record.target() == JOURNAL_ONLY;
        let text = without_numbers(&record.args().to_string());
        if let Some(journal) = &self.journal {
            // A line end in the journal is shown as part of the message.
            let text = printable(&text, |c| c != '\n');
            journal.log(&record.to_builder().args(format_args!("{text}")).build());
        }
        let is_lost = self.journal.is_none() && record.level() == Level::Warn;
        if (!journal_only || is_lost) && record.level() <= self.stderr {
            let text = printable(&text, |_| true);
            let level = match record.level() {
                Level::Error => "error",
                Level::Warn => "warning",
                Level::Info => "info",
                Level::Debug | Level::Trace => "debug",
            };
            let stamp = self.stamp.map(|stamp| format!("{} ", stamp())).unwrap_or_default();
            let _ = writeln!(io::stderr(), "{stamp}{}: {level}: {text}", self.program);
        }
    }

    fn flush(&self) {}
}

/// Spells control characters out, those that `spelled` wants to be.
fn printable(text: &str, spelled: impl Fn(char) -> bool) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && spelled(c) { clean.extend(c.escape_default()) } else { clean.push(c) }
    }
    clean
}

/// The journal, as long as it has room.
struct Journal {
    log: JournalLog,
    socket: Socket,
}

impl Journal {
    fn open(program: &str, tenant: Option<&TenantName>) -> io::Result<Self> {
        let socket = Socket::open(Path::new(SOCKET))?;
        if !socket.has_room() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let log = JournalLog::empty()?.with_syslog_identifier(program.to_owned());
        let log = match tenant {
            Some(tenant) => log.add_extra_field("TENANT", tenant.as_str()),
            None => log,
        };
        Ok(Self { log, socket })
    }

    fn log(&self, record: &Record<'_>) {
        // The crate's own socket would wait.
        if self.socket.has_room() {
            self.log.log(record);
        }
    }
}

/// A way to the journal that never waits.
#[derive(Debug)]
pub(crate) struct Socket(UnixDatagram);

impl Socket {
    /// The way to the journal of this host.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn to_journal() -> io::Result<Self> {
        Self::open(Path::new(SOCKET))
    }

    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(path)?;
        Ok(Self(socket))
    }

    /// Whether a message would be taken now, see the row POLLOUT of unix(7)'s poll(2).
    fn has_room(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::OUT)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::OUT)
    }

    /// Sends one message; false when there is no room, or no journal.
    pub(crate) fn send(&self, payload: &[u8]) -> bool {
        match self.0.send(payload) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            // The journal's socket was made again.
            Err(_) => self.0.connect(SOCKET).and_then(|()| self.0.send(payload)).is_ok(),
        }
    }
}

/// A message of the journal's native protocol: `KEY=value` lines. Values must be free of line ends.
pub(crate) fn payload(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    for (key, value) in fields {
        debug_assert!(!value.contains('\n'));
        for part in [*key, "=", *value, "\n"] {
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    bytes
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("socket", &self.socket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const CATALOG: &str = include_str!("../../systemd/catalog/tenantry.catalog");

    #[test]
    fn every_message_id_has_an_entry_of_the_catalog_and_no_entry_is_left_over() {
        let entries: Vec<&str> = CATALOG.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        let set: BTreeSet<&str> = entries.iter().copied().collect();
        assert_eq!(set.len(), entries.len(), "an entry comes twice");
        assert_eq!(set, id::ALL.iter().map(|(_, id)| *id).collect());
        for (name, id) in id::ALL {
            assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
        }
    }

    #[test]
    fn every_entry_of_the_catalog_has_a_subject_and_a_remedy() {
        for entry in CATALOG.split("\n-- ").skip(1) {
            let id = &entry[..32];
            assert!(entry.contains("\nSubject: "), "{id} has no subject");
            assert!(entry.contains("\nDefined-By: Tenantry\n"), "{id} does not say whose it is");
            let (_, text) = entry.split_once("\n\n").expect("an empty line before the text");
            assert!(text.trim().lines().count() >= 2, "{id} explains nothing");
        }
    }

    #[test]
    fn every_message_id_is_in_the_reference() {
        let reference = include_str!("../../docs/reference/journal.md");
        for (name, id) in id::ALL {
            assert!(reference.contains(id), "{name} is missing in docs/reference/journal.md");
        }
    }

    #[test]
    fn a_journal_that_is_full_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let socket = Socket::open(&path).unwrap();
        assert!(socket.has_room());
        let mut sent = 0;
        while socket.send(b"MESSAGE=x\n") {
            sent += 1;
            assert!(sent < 100_000, "it never fills");
        }
        assert!(!socket.has_room());
        journal.recv(&mut [0; 64]).unwrap();
        assert!(socket.has_room() && socket.send(b"MESSAGE=y\n"));
    }

    #[test]
    fn control_characters_of_a_message_are_spelled_out() {
        assert_eq!(printable("a\x1b[1mb\nc", |_| true), "a\\u{1b}[1mb\\nc");
        assert_eq!(printable("a\nb\x07", |c| c != '\n'), "a\nb\\u{7}");
    }
}
