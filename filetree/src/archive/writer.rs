//! Writes tar archives: POSIX pax, with sparse files as GNU tar 1.0 has them, and attributes as star and GNU tar do.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write},
};

use rustix::fs::Timespec;
use tar::{EntryType, Header};

use super::{BLOCK, Chunk, Kind};

/// So many bytes of a file are read at once.
const PIECE: usize = 256 << 10;
/// Largest number that a field of eleven octal digits holds.
const OCTAL: u64 = 0o777_7777_7777;

/// What is said of an entry.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its path, without a `/` in front; of a directory without one behind.
    pub path: &'a [u8],
    /// What it is.
    pub kind: Kind,
    /// Target of a symbolic or hard link.
    pub link: &'a [u8],
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Number of its owner.
    pub uid: u32,
    /// Number of its group.
    pub gid: u32,
    /// When its content changed.
    pub mtime: Timespec,
    /// Extended attributes.
    pub attributes: &'a [(CString, Vec<u8>)],
}

/// An archive that is being written.
pub struct Writer<W> {
    inner: W,
    buffer: Box<[u8]>,
}

/// A record of an extended header: its length in decimal digits, which counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend(length.to_string().as_bytes());
    records.push(b' ');
    records.extend(key);
    records.push(b'=');
    records.extend(value);
    records.push(b'\n');
}

fn seconds(time: &Timespec) -> String {
    // A time before 1970 with a fraction counts back from the second after.
    match (time.tv_sec, time.tv_nsec) {
        (seconds, 0) => seconds.to_string(),
        (seconds, nanoseconds) if seconds >= 0 => format!("{seconds}.{nanoseconds:09}"),
        (seconds, nanoseconds) => {
            let seconds = (seconds + 1).unsigned_abs();
            format!("-{seconds}.{:09}", 1_000_000_000 - nanoseconds)
        }
    }
}

fn kind(kind: Kind) -> EntryType {
    match kind {
        Kind::File => EntryType::Regular,
        Kind::Directory => EntryType::Directory,
        Kind::Symlink => EntryType::Symlink,
        Kind::HardLink => EntryType::Link,
        Kind::Char(..) => EntryType::Char,
        Kind::Block(..) => EntryType::Block,
        Kind::Fifo => EntryType::Fifo,
    }
}

/// Puts a text into a field of fixed length, as much as fits.
fn fill(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

impl<W: Write> Writer<W> {
    /// Writes to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, buffer: vec![0; PIECE].into_boxed_slice() }
    }

    /// An entry without data.
    ///
    /// # Errors
    /// Those of `inner`.
    pub fn entry(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        self.headers(entry, 0, None)
    }

    /// A file whose data are these bytes.
    ///
    /// # Errors
    /// Those of `inner`.
    pub fn bytes(&mut self, entry: &Entry<'_>, data: &[u8]) -> io::Result<()> {
        self.headers(entry, data.len() as u64, None)?;
        self.inner.write_all(data)?;
        self.pad(data.len() as u64)
    }

    /// A file of `size` bytes, of which `chunks` are no holes; the whole of it where that is none. What the file lacks by
    /// the time it is read is written as zeros. `tell` is told after each piece.
    ///
    /// # Errors
    /// Those of `inner`, of `file` and of `tell`.
    pub fn file(
        &mut self,
        entry: &Entry<'_>,
        (size, chunks): (u64, Option<&[Chunk]>),
        mut file: &File,
        tell: &mut dyn FnMut(u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(chunks) = chunks else {
            self.headers(entry, size, None)?;
            self.data(file, size, tell)?;
            return self.pad(size);
        };
        // Its end is told by a chunk of nothing.
        let end = Chunk { offset: size, length: 0 };
        let chunks: Vec<Chunk> = chunks.iter().copied().chain([end]).collect();
        let mut map = format!("{}\n", chunks.len());
        for Chunk { offset, length } in &chunks {
            map.push_str(&format!("{offset}\n{length}\n"));
        }
        let mut map = map.into_bytes();
        map.resize(map.len().next_multiple_of(BLOCK), 0);
        let stored = map.len() as u64 + chunks.iter().map(|chunk| chunk.length).sum::<u64>();
        self.headers(entry, stored, Some(size))?;
        self.inner.write_all(&map)?;
        for Chunk { offset, length } in chunks {
            file.seek(SeekFrom::Start(offset))?;
            self.data(file, length, tell)?;
        }
        self.pad(stored)
    }

    fn data(
        &mut self,
        mut file: &File,
        length: u64,
        tell: &mut dyn FnMut(u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut left = length;
        let mut has_ended = false;
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let mut filled = 0;
            while filled < part && !has_ended {
                match file.read(&mut self.buffer[filled..part]) {
                    Ok(0) => has_ended = true,
                    Ok(length) => filled += length,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            self.buffer[filled..part].fill(0);
            self.inner.write_all(&self.buffer[..part])?;
            left -= part as u64;
            tell(part as u64)?;
        }
        Ok(())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or(0);
        self.inner.write_all(&[0; BLOCK][..padding])
    }

    /// The headers of an entry with `stored` bytes of data; of a sparse file also its real size.
    fn headers(&mut self, entry: &Entry<'_>, stored: u64, real: Option<u64>) -> io::Result<()> {
        let mut path = entry.path.to_vec();
        if entry.kind == Kind::Directory {
            path.push(b'/');
        }
        let mut records = Vec::new();
        if let Some(size) = real {
            record(&mut records, b"GNU.sparse.major", b"1");
            record(&mut records, b"GNU.sparse.minor", b"0");
            record(&mut records, b"GNU.sparse.name", &path);
            record(&mut records, b"GNU.sparse.realsize", size.to_string().as_bytes());
            let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            path = [b"./GNUSparseFile.0/", name].concat();
        }
        // Fields hold bytes that are not ASCII only by agreement.
        let is_plain = |text: &[u8]| text.is_ascii();
        if path.len() > 100 || !is_plain(&path) {
            record(&mut records, b"path", &path);
        }
        if entry.link.len() > 100 || !is_plain(entry.link) {
            record(&mut records, b"linkpath", entry.link);
        }
        if stored > OCTAL {
            record(&mut records, b"size", stored.to_string().as_bytes());
        }
        if entry.mtime.tv_nsec != 0 || !(0..=OCTAL as i64).contains(&entry.mtime.tv_sec) {
            record(&mut records, b"mtime", seconds(&entry.mtime).as_bytes());
        }
        for (key, id) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
            if id > 0o777_7777 {
                record(&mut records, key, id.to_string().as_bytes());
            }
        }
        for (name, value) in entry.attributes {
            record(&mut records, &[b"SCHILY.xattr.", name.to_bytes()].concat(), value);
        }
        if !records.is_empty() {
            let mut header = header(b"PaxHeaders/entry", EntryType::XHeader, records.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            self.inner.write_all(header.as_bytes())?;
            self.inner.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        let mut header = header(&path, kind(entry.kind), stored.min(OCTAL));
        let ustar = header.as_ustar_mut().ok_or(io::ErrorKind::InvalidData)?;
        fill(&mut ustar.linkname, entry.link);
        header.set_mode(entry.mode & 0o7777);
        header.set_uid(u64::from(entry.uid.min(0o777_7777)));
        header.set_gid(u64::from(entry.gid.min(0o777_7777)));
        header.set_mtime(u64::try_from(entry.mtime.tv_sec).unwrap_or(0).min(OCTAL));
        if let Kind::Char(major, minor) | Kind::Block(major, minor) = entry.kind {
            let number = |number: u64| u32::try_from(number).map_err(|_| io::ErrorKind::InvalidInput);
            header.set_device_major(number(major)?)?;
            header.set_device_minor(number(minor)?)?;
        }
        header.set_cksum();
        self.inner.write_all(header.as_bytes())
    }

    /// Marks the end of the archive.
    ///
    /// # Errors
    /// Those of `inner`.
    pub fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&[0; 2 * BLOCK])?;
        self.inner.flush()?;
        Ok(self.inner)
    }
}

fn header(name: &[u8], kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    let field = &mut header.as_old_mut().name;
    fill(field, name);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_record_counts_its_own_digits() {
        for (value, length) in [(0, 7), (2, 9), (3, 11), (90, 98), (91, 99), (92, 101), (985, 994)] {
            let mut records = Vec::new();
            record(&mut records, b"key", &vec![b'x'; value]);
            let said: usize = String::from_utf8_lossy(&records).split(' ').next().unwrap().parse().unwrap();
            assert_eq!((said, records.len()), (records.len(), length), "{value}");
        }
    }

    #[test]
    fn a_time_before_1970_has_its_fraction() {
        for (sec, nsec, text) in
            [(5, 0, "5"), (5, 70_000_000, "5.070000000"), (-1, 500_000_000, "-0.500000000"), (-3, 0, "-3")]
        {
            assert_eq!(seconds(&Timespec { tv_sec: sec, tv_nsec: nsec }), text);
        }
    }
}
