//! Archives to and from hostd: packed with zstd(1) where the name says so, and told while they go.

use std::{
    fs::{self, File},
    io::{self, IsTerminal as _, Read, Write},
    num::NonZero,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use client::Download;
use hyper::body::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;
use wire::{Code, Failure};

/// So much is sent at once, bytes.
const PIECE: usize = 256 << 10;
/// Compression of zstd(1) without an option.
const LEVEL: i32 = 3;
/// The first bytes of what zstd(1) has packed.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A bar on a terminal that tells how many bytes have gone.
pub(super) fn bar(verb: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {msg} {bytes} in {elapsed}, {bytes_per_sec}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.set_message(verb);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// A failure of a file of the caller's.
pub(super) fn failed(verb: &str, path: &Path, error: &io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::StorageFull { Code::DiskFull } else { Code::Failed };
    Failure::new(code, format!("cannot {verb} {path:?}: {error}"))
}

/// Where an archive goes.
pub(super) enum Target {
    /// Standard output, as it is.
    Output,
    /// A file, which appears when it is whole; packed unless its name ends in `.tar`.
    File {
        /// Its path.
        path: PathBuf,
        /// Whether one that is there is replaced.
        replaces: bool,
    },
}

impl Target {
    /// Takes an answer of hostd to its end; how many bytes it had.
    pub(super) async fn take(&self, verb: &'static str, mut answer: Download<'_>) -> Result<u64, Failure> {
        let bar = bar(verb);
        let taken = match self {
            Self::Output => pass(&mut answer, &mut io::stdout().lock(), &bar, Path::new("-")).await,
            Self::File { path, replaces } => to_file(&mut answer, path, *replaces, &bar).await,
        };
        bar.finish_and_clear();
        taken
    }
}

async fn pass(
    answer: &mut Download<'_>,
    to: &mut impl Write,
    bar: &ProgressBar,
    path: &Path,
) -> Result<u64, Failure> {
    let mut bytes = 0;
    while let Some(piece) = answer.next().await? {
        to.write_all(&piece).map_err(|error| failed("write", path, &error))?;
        bytes += piece.len() as u64;
        bar.inc(piece.len() as u64);
    }
    to.flush().map_err(|error| failed("write", path, &error))?;
    Ok(bytes)
}

async fn to_file(
    answer: &mut Download<'_>,
    path: &Path,
    replaces: bool,
    bar: &ProgressBar,
) -> Result<u64, Failure> {
    let refuse = |error: &io::Error| failed("write", path, error);
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // It holds what only root may read in the tenant.
    let mut file = tempfile::Builder::new().prefix(".tenantctl-").tempfile_in(dir).map_err(|e| refuse(&e))?;
    let bytes = if path.extension().is_some_and(|end| end == "tar") {
        pass(answer, file.as_file_mut(), bar, path).await?
    } else {
        let mut packed = zstd::Encoder::new(file.as_file_mut(), LEVEL).map_err(|e| refuse(&e))?;
        packed.include_checksum(true).map_err(|e| refuse(&e))?;
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        packed.multithread(u32::try_from(threads).unwrap_or(1)).map_err(|e| refuse(&e))?;
        let bytes = pass(answer, &mut packed, bar, path).await?;
        packed.finish().map_err(|e| refuse(&e))?;
        bytes
    };
    file.as_file().sync_all().map_err(|e| refuse(&e))?;
    if replaces {
        file.persist(path).map_err(|error| refuse(&error.error))?;
    } else {
        file.persist_noclobber(path).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => exists(path),
            _ => refuse(&error.error),
        })?;
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| refuse(&e))?;
    Ok(bytes)
}

/// Why a file is not written.
pub(super) fn exists(path: &Path) -> Failure {
    Failure::new(Code::NameTaken, format!("{path:?} already exists"))
        .help("choose another name, or replace it: --force")
}

/// An archive of the caller's, unpacked if zstd(1) has packed it; `-` is standard input.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>, Failure> {
    let refuse = |error: io::Error| failed("read", path, &error);
    let mut file: Box<dyn Read + Send> = match path.as_os_str() == "-" {
        true => Box::new(io::stdin()),
        false => {
            if fs::metadata(path).is_ok_and(|meta| meta.is_dir()) {
                let text = format!("{path:?} is a directory");
                return Err(Failure::new(Code::Invalid, text).help("name an archive of tenantctl export"));
            }
            Box::new(File::open(path).map_err(refuse)?)
        }
    };
    let mut first = [0; 4];
    let mut filled = 0;
    while filled < first.len() {
        match file.read(&mut first[filled..]).map_err(refuse)? {
            0 => break,
            length => filled += length,
        }
    }
    let whole = io::Cursor::new(first[..filled].to_vec()).chain(file);
    match first == ZSTD {
        true => Ok(Box::new(zstd::Decoder::new(whole).map_err(refuse)?)),
        false => Ok(Box::new(whole)),
    }
}

/// Reads an archive in a thread of its own, for an upload.
pub(super) fn pieces(
    mut from: impl Read + Send + 'static,
    bar: ProgressBar,
) -> mpsc::Receiver<io::Result<Bytes>> {
    let (send, receive) = mpsc::channel(4);
    thread::spawn(move || {
        loop {
            let mut piece = vec![0; PIECE];
            let mut filled = 0;
            let ended = loop {
                match from.read(&mut piece[filled..]) {
                    Ok(0) => break Ok(filled == 0),
                    Ok(length) if filled + length == PIECE => {
                        filled = PIECE;
                        break Ok(false);
                    }
                    Ok(length) => filled += length,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => break Err(error),
                }
            };
            let sent = match ended {
                Ok(true) => return,
                Ok(false) => {
                    piece.truncate(filled);
                    bar.inc(filled as u64);
                    send.blocking_send(Ok(piece.into()))
                }
                Err(error) => send.blocking_send(Err(error)),
            };
            if sent.is_err() {
                return;
            }
        }
    });
    receive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_read_packed_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let text = b"not packed".repeat(1000);
        for (name, bytes) in [("plain", text.clone()), ("packed", zstd::encode_all(&text[..], 3).unwrap())] {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            let mut read = Vec::new();
            open(&path).unwrap().read_to_end(&mut read).unwrap();
            assert!(read == text, "{name}");
        }
        fs::write(dir.path().join("short"), b"ab").unwrap();
        let mut read = Vec::new();
        open(&dir.path().join("short")).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, b"ab");
        assert!(open(dir.path()).is_err() && open(&dir.path().join("absent")).is_err());
    }

    #[test]
    fn what_is_read_is_sent_in_pieces_to_its_end() {
        let text: Vec<u8> = (0..PIECE * 2 + 100).map(|number| number as u8).collect();
        let mut receive = pieces(io::Cursor::new(text.clone()), ProgressBar::hidden());
        let mut read = Vec::new();
        while let Some(piece) = receive.blocking_recv() {
            read.extend(piece.unwrap());
        }
        assert!(read == text);
    }
}
