//! From a stream of blocks to members and their data.

use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom, Write as _},
};

use super::{
    BLOCK, Chunk, Kind, Member, Reason,
    header::Header,
    pax::{self, Extended},
    sparse,
};

/// Largest extended header, or long name, bytes. A map of many holes can be large.
const MAX_EXTENDED: u64 = 32 << 20;
/// All of them together, bytes.
const MAX_EXTENDED_TOTAL: u64 = 1 << 30;
/// Zeros behind the end of an archive, bytes: tapes have records of some MiB.
const MAX_PADDING: u64 = 1 << 30;

/// What went wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read, or its content cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It contains an entry that is refused.
    #[error("{0}")]
    Refused(#[from] Reason),
}

impl From<rustix::io::Errno> for ReadError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// What went wrong, and at which entry.
#[derive(Debug, thiserror::Error)]
#[error("the archive's entry {entry:?} {fault}")]
pub struct ArchiveError {
    /// Name of the entry, at most 200 characters.
    pub entry: String,
    /// What is wrong with it.
    pub fault: ReadError,
}

impl From<ArchiveError> for ReadError {
    fn from(error: ArchiveError) -> Self {
        error.fault
    }
}

/// The members of an archive, one after the other.
pub struct Reader<R> {
    inner: R,
    /// Bytes of the last member's data that were not read.
    left: u64,
    /// Padding of its last block, bytes.
    padding: u64,
    /// What global headers say.
    global: Extended,
    /// Bytes of extended headers so far.
    extended: u64,
    /// Name of the last entry.
    last: String,
    buffer: Box<[u8]>,
}

/// A name for display.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(200).collect()
}

/// Headers in front of an entry's own.
#[derive(Default)]
struct Front {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Vec<Vec<u8>>,
}

impl Front {
    fn is_empty(&self) -> bool {
        self.name.is_none() && self.link.is_none() && self.records.is_empty()
    }

    /// The name of the entry if these records contain it; errors in the others are ignored here.
    fn entry_name(&self) -> Option<Vec<u8>> {
        let last = |wanted: &[u8]| {
            let all = self.records.iter().flat_map(|bytes| pax::records(bytes)).flatten();
            all.filter(|(key, _)| *key == wanted).last().map(|(_, value)| value.to_owned())
        };
        last(b"GNU.sparse.name").or_else(|| last(b"path")).or_else(|| self.name.clone())
    }

    fn understood(self) -> Result<Extended, Reason> {
        let mut own = Extended::default();
        self.records.iter().try_for_each(|bytes| own.take_all(bytes))?;
        own.path = own.path.or(self.name);
        own.link = own.link.or(self.link);
        Ok(own)
    }
}

impl<R: Read> Reader<R> {
    /// Reads the archive in `inner`, which is not packed.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            left: 0,
            padding: 0,
            global: Extended::default(),
            extended: 0,
            last: String::new(),
            buffer: vec![0; 256 << 10].into_boxed_slice(),
        }
    }

    /// The next member; none at the end of the archive, after which nothing may follow. Data of the last member that
    /// was not read is passed over.
    ///
    /// # Errors
    /// The stream cannot be read; it is no archive; a member cannot be represented faithfully.
    pub fn next_member(&mut self) -> Result<Option<Member>, ArchiveError> {
        self.next().map_err(|fault| self.error(fault))
    }

    /// An error that names the present entry.
    pub fn error(&self, fault: impl Into<ReadError>) -> ArchiveError {
        ArchiveError { entry: self.last.clone(), fault: fault.into() }
    }

    fn next(&mut self) -> Result<Option<Member>, ReadError> {
        self.skip(self.left)?;
        self.left = 0;
        self.skip(self.padding)?;
        self.padding = 0;
        // The headers before it; they are interpreted once its name is known.
        let mut front = Front::default();
        loop {
            let Some(block) = self.header()? else {
                // Such a header must be followed by an entry.
                return if front.is_empty() { Ok(None) } else { Err(Reason::Truncated.into()) };
            };
            let header = Header(&block);
            match header.type_flag() {
                b'x' | b'X' => front.records.push(self.extension(header)?),
                b'L' => front.name = Some(pax::long_name(&self.extension(header)?)),
                b'K' => front.link = Some(pax::long_name(&self.extension(header)?)),
                b'g' => {
                    self.last = shown(&header.name());
                    let records = self.extension(header)?;
                    self.global.take_global(&records)?;
                }
                // The label of the archive.
                b'V' => drop(self.extension(header)?),
                _ => {
                    let name = front.entry_name().unwrap_or_else(|| header.name());
                    self.last = shown(&name);
                    return self.member(header, front.understood()?).map(Some);
                }
            }
        }
    }

    /// The next header; none at the end.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, ReadError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Err(Reason::NoEnd.into()),
                Ok(0) => return Err(Reason::Truncated.into()),
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(truncated(error)),
            }
        }
        if Header(&block).is_zero() {
            self.end()?;
            return Ok(None);
        }
        if !Header(&block).is_valid() {
            return Err(Reason::Checksum.into());
        }
        Ok(Some(block))
    }

    /// Reads past the end of the archive: the checksum of a compressed stream is there, and so would be a second archive.
    fn end(&mut self) -> Result<(), ReadError> {
        let mut padding = 0;
        loop {
            let length = match self.inner.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(truncated(error)),
            };
            padding += length as u64;
            if padding > MAX_PADDING || self.buffer[..length].iter().any(|byte| *byte != 0) {
                return Err(Reason::AfterEnd.into());
            }
        }
    }

    /// The data of an extended header.
    fn extension(&mut self, header: Header<'_>) -> Result<Vec<u8>, ReadError> {
        let size = header.size()?;
        self.extended = self.extended.saturating_add(size).saturating_add(BLOCK as u64);
        if size > MAX_EXTENDED || self.extended > MAX_EXTENDED_TOTAL {
            return Err(Reason::Extended("it is too large").into());
        }
        let mut data = Vec::new();
        (&mut self.inner).take(size).read_to_end(&mut data).map_err(truncated)?;
        if data.len() as u64 != size {
            return Err(Reason::Truncated.into());
        }
        self.skip(padding(size))?;
        Ok(data)
    }

    fn member(&mut self, header: Header<'_>, own: Extended) -> Result<Member, ReadError> {
        let sparse = own.sparse.clone();
        let size = own.size;
        let mut member = Member::new(header, own, &self.global)?;
        if member.kind != Kind::File {
            // Some programs record the size of a directory, or of a link's target; no data follows.
            return Ok(member);
        }
        let mut stored = size.map_or_else(|| header.size(), Ok)?;
        let real_size = || sparse.real_size.ok_or(Reason::Sparse("the size of the file is missing"));
        let map = if header.type_flag() == b'S' {
            member.size = header.real_size()?;
            Some(self.old_map(header)?)
        } else if sparse.map_in_data {
            member.size = real_size()?;
            // libarchive gives the size of the whole file there if it is 8 GiB or more.
            if stored == member.size && header.size()? != 0 {
                stored = header.size()?;
            }
            self.left = stored;
            let map = sparse::in_data(|| self.map_block())?;
            stored = self.left;
            Some(map)
        } else if let Some(map) = sparse.map {
            member.size = real_size()?;
            Some(map)
        } else {
            member.size = stored;
            None
        };
        if let Some(map) = map {
            sparse::check(&map, member.size, stored)?;
            member.chunks = Some(map);
        }
        self.left = stored;
        // A map in the data occupies whole blocks.
        self.padding = padding(stored);
        Ok(member)
    }

    fn old_map(&mut self, header: Header<'_>) -> Result<Vec<Chunk>, ReadError> {
        let (mut map, mut goes_on) = sparse::of_header(header)?;
        while goes_on {
            let mut block = [0; BLOCK];
            self.inner.read_exact(&mut block).map_err(truncated)?;
            let (fields, more) = sparse::old_extension(&block);
            sparse::old(&mut map, fields)?;
            goes_on = more;
        }
        Ok(map)
    }

    /// The next block of the map that precedes the current member's data.
    fn map_block(&mut self) -> Result<[u8; BLOCK], ReadError> {
        self.left = self
            .left
            .checked_sub(BLOCK as u64)
            .ok_or(Reason::Sparse("it is longer than the entry's data"))?;
        let mut block = [0; BLOCK];
        self.inner.read_exact(&mut block).map_err(truncated)?;
        Ok(block)
    }

    /// Writes the data of the member that was given last to an empty file; holes stay holes.
    ///
    /// # Errors
    /// The stream ends or cannot be read; the file cannot be written.
    pub fn copy_to(&mut self, member: &Member, file: &mut File) -> Result<(), ArchiveError> {
        self.copy_to_watched(member, file, &mut |_| Ok(()))
    }

    /// [`Reader::copy_to`], telling after each piece how many bytes have been written.
    ///
    /// # Errors
    /// As [`Reader::copy_to`]; and those of `tell`.
    pub fn copy_to_watched(
        &mut self,
        member: &Member,
        file: &mut File,
        tell: &mut dyn FnMut(u64) -> io::Result<()>,
    ) -> Result<(), ArchiveError> {
        let mut written = 0;
        let mut told = |bytes: u64| {
            written += bytes;
            tell(written)
        };
        let copied = match &member.chunks {
            None => self.copy(member.size, file, &mut told),
            Some(chunks) => chunks.iter().try_for_each(|chunk| {
                file.seek(SeekFrom::Start(chunk.offset))?;
                self.copy(chunk.length, file, &mut told)
            }),
        };
        let sized = copied.and_then(|()| match member.chunks {
            Some(_) => Ok(file.set_len(member.size)?),
            None => Ok(()),
        });
        sized.map_err(|fault| self.error(fault))
    }

    /// The data of the member that was given last, which must not have more than `most` bytes and no holes.
    ///
    /// # Errors
    /// As [`Reader::copy_to`]; it is larger.
    pub fn bytes(&mut self, member: &Member, most: u64) -> Result<Vec<u8>, ArchiveError> {
        if member.chunks.is_some() || member.size > most {
            return Err(self.error(Reason::TooLarge));
        }
        let mut data = Vec::new();
        let mut left = member.size;
        while left > 0 {
            let part = self.part(left).map_err(|fault| self.error(fault))?;
            data.extend(&self.buffer[..part]);
            left -= part as u64;
            self.left -= part as u64;
        }
        Ok(data)
    }

    fn copy(
        &mut self,
        length: u64,
        file: &mut File,
        tell: &mut dyn FnMut(u64) -> io::Result<()>,
    ) -> Result<(), ReadError> {
        let mut left = length;
        while left > 0 {
            let part = self.part(left)?;
            file.write_all(&self.buffer[..part])?;
            left -= part as u64;
            self.left -= part as u64;
            tell(part as u64)?;
        }
        Ok(())
    }

    fn skip(&mut self, length: u64) -> Result<(), ReadError> {
        let mut left = length;
        while left > 0 {
            left -= self.part(left)? as u64;
        }
        Ok(())
    }

    /// Reads at most `length` bytes, at least one, into the buffer.
    fn part(&mut self, length: u64) -> Result<usize, ReadError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(self.buffer.len());
        loop {
            match self.inner.read(&mut self.buffer[..length]) {
                Ok(0) => return Err(Reason::Truncated.into()),
                Ok(part) => return Ok(part),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(truncated(error)),
            }
        }
    }
}

/// Bytes that fill the last block of `size` bytes.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// The stream ends too early.
fn truncated(error: io::Error) -> ReadError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Reason::Truncated.into(),
        _ => error.into(),
    }
}
