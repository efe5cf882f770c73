//! A filesystem with the files of [`ResourceFile`], which this process answers for.
//!
//! See fuse(4) and `Documentation/filesystems/fuse/fuse.rst` of Linux. A file costs nothing until it is read. Then its
//! text lies in the page cache of the kernel, where further reads find it; after [`FRESH`] the kernel asks for the
//! attributes again, sees another time of change, and asks for the text. So reading in a loop keeps the kernel busy, not
//! this process.
//!
//! Every request is answered when it is read: a process of the tenant that has asked can be killed or frozen while its
//! request has not been read, and never waits for more than one turn of this process's loop.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    mount::{FsOpenFlags, MountAttrFlags, fsconfig_set_flag, fsconfig_set_string, fsopen},
};

use super::{KernelError, Result, mount::create};
use crate::model::resource_file::ResourceFile;

/// How long a text that was read is good for other readers.
pub const FRESH: Duration = Duration::from_millis(100);
/// Names and numbers of files do not change.
const FOREVER: u64 = 1 << 31;
/// The version of the protocol that is spoken: that of Linux 5.4.
const VERSION: (u32, u32) = (7, 31);
/// The least that the kernel takes for a buffer of requests, FUSE_MIN_READ_BUFFER.
const BUFFER: usize = 8192;
/// Most requests that are answered before this process looks after its other duties.
const AT_ONCE: usize = 32;
/// Most bytes of a text that are asked for at once.
const MAX_READ: u32 = 128 << 10;
/// The number of the directory; those of files follow.
const ROOT: u64 = 1;

// Of `include/uapi/linux/fuse.h`.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const READ: u32 = 15;
const STATFS: u32 = 17;
const INIT: u32 = 26;
const READDIR: u32 = 28;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;
const HEADER: usize = 40;
const AUTO_INVAL_DATA: u32 = 1 << 12;
const NO_OPEN_SUPPORT: u32 = 1 << 17;
const NO_OPENDIR_SUPPORT: u32 = 1 << 24;

/// What the files say.
pub trait Texts {
    /// What a file says now.
    fn text(&mut self, file: ResourceFile) -> Vec<u8>;
}

/// Files that are only looked up.
#[derive(Debug)]
pub(super) struct Nothing;

impl Texts for Nothing {
    fn text(&mut self, _file: ResourceFile) -> Vec<u8> {
        Vec::new()
    }
}

/// The filesystem, detached and read-only, whose files belong to `owner`; and the device by which it asks.
///
/// # Errors
/// The host has no FUSE.
pub(super) fn mount(owner: u32) -> Result<(OwnedFd, OwnedFd)> {
    let mount = || -> io::Result<(OwnedFd, OwnedFd)> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let device = openat(CWD, "/dev/fuse", flags, Mode::empty())?;
        let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let (number, owner) = (std::os::fd::AsRawFd::as_raw_fd(&device).to_string(), owner.to_string());
        let options = [
            ("source", "tenantry"),
            ("fd", &number),
            ("rootmode", "40555"),
            ("user_id", &owner),
            ("group_id", &owner),
        ];
        for (key, value) in options {
            fsconfig_set_string(context.as_fd(), key, value)?;
        }
        fsconfig_set_flag(context.as_fd(), "allow_other")?;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        Ok((create(context, attributes)?, device))
    };
    mount().map_err(|error| KernelError::new("mount", "fuse", error))
}

/// A text that was asked for.
#[derive(Debug)]
struct Text {
    bytes: Vec<u8>,
    made: Instant,
    /// Nanoseconds since 1970: by this the kernel knows that it is another one.
    changed: u64,
}

/// This process's end of the filesystem.
#[derive(Debug)]
pub struct Server {
    device: OwnedFd,
    /// The uid and gid of its files.
    owner: u32,
    texts: [Option<Text>; ResourceFile::ALL.len()],
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl Server {
    /// That of a device of [`super::Kernel::resource_files`].
    pub fn new(device: OwnedFd, owner: u32) -> Self {
        Self { device, owner, texts: Default::default() }
    }

    /// Answers what has been asked by now.
    ///
    /// # Errors
    /// The filesystem is mounted nowhere any more.
    pub fn serve(&mut self, texts: &mut impl Texts, now: Instant) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        for _ in 0..AT_ONCE {
            let length = match rustix::io::read(&self.device, &mut buffer) {
                Ok(length) => length,
                // A request that was withdrawn while it was read.
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            };
            let Some(answer) = self.reply(&buffer[..length], texts, now) else { continue };
            match rustix::io::retry_on_intr(|| rustix::io::write(&self.device, &answer)) {
                // Withdrawn meanwhile.
                Ok(_) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The answer to a request; none to what is not answered.
    pub fn reply(&mut self, request: &[u8], texts: &mut impl Texts, now: Instant) -> Option<Vec<u8>> {
        self.answer(&Request::parse(request)?, texts, now)
    }

    /// Lets go of texts that are too old to be used again.
    pub fn rest(&mut self, now: Instant) {
        for text in &mut self.texts {
            text.take_if(|text| now.saturating_duration_since(text.made) >= FRESH);
        }
    }

    fn answer(&mut self, request: &Request<'_>, texts: &mut impl Texts, now: Instant) -> Option<Vec<u8>> {
        let body = match request.code {
            // They are not answered.
            FORGET | BATCH_FORGET | INTERRUPT => return None,
            INIT => Ok(init(request)),
            LOOKUP => self.lookup(request),
            GETATTR => self.attributes(request, texts, now),
            READ => self.read(request, texts, now),
            READDIR => directory(request),
            // No blocks, no inodes, names of at most 255 bytes.
            STATFS => {
                Ok(Words::default().long(0).long(0).long(0).long(0).long(0).word(4096).word(255).pad(80))
            }
            // The kernel does not ask again for most of what does not exist.
            _ => Err(libc::ENOSYS),
        };
        let (error, body) = match body {
            Ok(words) => (0, words.0),
            Err(errno) => (-errno, Vec::new()),
        };
        let length = (16 + body.len()) as u32;
        let header = Words::default().word(length).word(error as u32).long(request.unique);
        Some([header.0, body].concat())
    }

    fn lookup(&self, request: &Request<'_>) -> Answer {
        let name = request.body.split(|byte| *byte == 0).next().unwrap_or_default();
        let index = ResourceFile::ALL.iter().position(|file| file.name().as_bytes() == name);
        let index = index.filter(|_| request.node == ROOT).ok_or(libc::ENOENT)?;
        // Its attributes are good for nothing yet: they are asked for when it is looked into.
        let entry = Words::default().long(number(index)).long(0).long(FOREVER).long(0).word(0).word(0);
        Ok(self.attribute(entry, number(index)))
    }

    fn attributes(&mut self, request: &Request<'_>, texts: &mut impl Texts, now: Instant) -> Answer {
        if request.node != ROOT {
            self.refresh(request.node, texts, now)?;
        }
        let (seconds, nanoseconds) =
            if request.node == ROOT { (FOREVER, 0) } else { (0, FRESH.as_nanos() as u32) };
        let valid = Words::default().long(seconds).word(nanoseconds).word(0);
        Ok(self.attribute(valid, request.node))
    }

    fn read(&mut self, request: &Request<'_>, texts: &mut impl Texts, now: Instant) -> Answer {
        let (offset, size) = (request.long(8).ok_or(libc::EINVAL)?, request.word(16).ok_or(libc::EINVAL)?);
        let index = index(request.node).ok_or(libc::EINVAL)?;
        // What follows is of the same text as its beginning.
        if offset == 0 || self.texts[index].is_none() {
            self.refresh(request.node, texts, now)?;
        }
        let bytes = self.texts[index].as_ref().map_or(&[][..], |text| &text.bytes);
        let begin = bytes.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        let end = bytes.len().min(begin + size.min(MAX_READ) as usize);
        Ok(Words(bytes[begin..end].to_vec()))
    }

    /// Asks for a text, unless the one that is there is good.
    fn refresh(&mut self, node: u64, texts: &mut impl Texts, now: Instant) -> std::result::Result<(), i32> {
        let index = index(node).ok_or(libc::ENOENT)?;
        let is_fresh = |text: &Text| now.saturating_duration_since(text.made) < FRESH;
        if !self.texts[index].as_ref().is_some_and(is_fresh) {
            let clock = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
            let changed = (clock.tv_sec as u64).saturating_mul(1_000_000_000) + clock.tv_nsec as u64;
            let bytes = texts.text(ResourceFile::ALL[index]);
            self.texts[index] = Some(Text { bytes, made: now, changed });
        }
        Ok(())
    }

    /// struct fuse_attr
    fn attribute(&self, words: Words, node: u64) -> Words {
        let text = index(node).and_then(|index| self.texts[index].as_ref());
        let (size, changed) = text.map_or((0, 0), |text| (text.bytes.len() as u64, text.changed));
        let (seconds, nanoseconds) = (changed / 1_000_000_000, (changed % 1_000_000_000) as u32);
        let (mode, links) = if node == ROOT { (0o040_555, 2) } else { (0o100_444, 1) };
        let words = words.long(node).long(size).long(0);
        let words = (0..3).fold(words, |words, _| words.long(seconds));
        let words = (0..3).fold(words, |words, _| words.word(nanoseconds));
        words.word(mode).word(links).word(self.owner).word(self.owner).word(0).word(4096).word(0)
    }
}

/// An answer's body, or an error number.
type Answer = std::result::Result<Words, i32>;

fn number(index: usize) -> u64 {
    ROOT + 1 + index as u64
}

fn index(node: u64) -> Option<usize> {
    let index = usize::try_from(node.checked_sub(ROOT + 1)?).ok()?;
    (index < ResourceFile::ALL.len()).then_some(index)
}

/// struct fuse_init_out
fn init(request: &Request<'_>) -> Words {
    let offered = request.word(12).unwrap_or(0);
    let flags = offered & (AUTO_INVAL_DATA | NO_OPEN_SUPPORT | NO_OPENDIR_SUPPORT);
    Words::default()
        .word(VERSION.0)
        .word(VERSION.1)
        .word(MAX_READ)
        .word(flags)
        .word(0)
        .word(4096)
        .word(1)
        .pad(64)
}

/// struct fuse_dirent, one for each file
fn directory(request: &Request<'_>) -> Answer {
    let offset = request.long(8).ok_or(libc::EINVAL)?;
    let mut words = Words::default();
    for (index, file) in
        ResourceFile::ALL.iter().enumerate().skip(usize::try_from(offset).unwrap_or(usize::MAX))
    {
        let name = file.name().as_bytes();
        words = words.long(number(index)).long(index as u64 + 1).word(name.len() as u32);
        words = words.word(u32::from(libc::DT_REG));
        words.0.extend_from_slice(name);
        let whole = words.0.len().next_multiple_of(8);
        words = words.pad(whole);
    }
    Ok(words)
}

/// A request: struct fuse_in_header and what follows it.
#[derive(Debug)]
struct Request<'a> {
    code: u32,
    unique: u64,
    node: u64,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let body = bytes.get(HEADER..)?;
        let header = Request { code: 0, unique: 0, node: 0, body: &bytes[..HEADER] };
        Some(Self { code: header.word(4)?, unique: header.long(8)?, node: header.long(16)?, body })
    }

    fn word(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(self.body.get(at..at + 4)?.try_into().ok()?))
    }

    fn long(&self, at: usize) -> Option<u64> {
        Some(u64::from_ne_bytes(self.body.get(at..at + 8)?.try_into().ok()?))
    }
}

/// A structure of the protocol, field by field.
#[derive(Debug, Default)]
struct Words(Vec<u8>);

impl Words {
    fn word(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    fn long(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    /// Zeros up to a length, bytes.
    fn pad(mut self, length: usize) -> Self {
        self.0.resize(length, 0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count(u32);

    impl Texts for Count {
        fn text(&mut self, file: ResourceFile) -> Vec<u8> {
            self.0 += 1;
            format!("{} {}\n", file.name(), self.0).into_bytes()
        }
    }

    fn request(code: u32, node: u64, body: &[u8]) -> Vec<u8> {
        let header =
            Words::default().word((HEADER + body.len()) as u32).word(code).long(7).long(node).pad(HEADER);
        [header.0, body.to_vec()].concat()
    }

    fn server() -> Server {
        Server::new(std::fs::File::open("/dev/null").unwrap().into(), 524_288)
    }

    fn ask(server: &mut Server, texts: &mut Count, request: &[u8], now: Instant) -> (i32, Vec<u8>) {
        let answer = server.answer(&Request::parse(request).unwrap(), texts, now).unwrap();
        assert_eq!(u32::from_ne_bytes(answer[..4].try_into().unwrap()) as usize, answer.len());
        assert_eq!(u64::from_ne_bytes(answer[8..16].try_into().unwrap()), 7);
        (i32::from_ne_bytes(answer[4..8].try_into().unwrap()), answer[16..].to_vec())
    }

    fn read(offset: u64, size: u32) -> Vec<u8> {
        Words::default().long(0).long(offset).word(size).pad(40).0
    }

    #[test]
    fn structures_have_the_kernels_sizes() {
        let (mut server, mut texts, now) = (server(), Count(0), Instant::now());
        let init = Words::default().word(7).word(39).word(131_072).word(u32::MAX).pad(64).0;
        let (error, answer) = ask(&mut server, &mut texts, &request(INIT, 0, &init), now);
        assert_eq!((error, answer.len()), (0, 64));
        assert_eq!(ask(&mut server, &mut texts, &request(STATFS, ROOT, &[]), now).1.len(), 80);
        assert_eq!(ask(&mut server, &mut texts, &request(LOOKUP, ROOT, b"meminfo\0"), now).1.len(), 40 + 88);
        assert_eq!(ask(&mut server, &mut texts, &request(GETATTR, ROOT, &[0; 16]), now).1.len(), 16 + 88);
        assert_eq!(ask(&mut server, &mut texts, &request(GETATTR, 2, &[0; 16]), now).1.len(), 16 + 88);
    }

    #[test]
    fn a_text_is_made_when_it_is_read_and_is_good_for_a_while() {
        let (mut server, mut texts, now) = (server(), Count(0), Instant::now());
        ask(&mut server, &mut texts, &request(LOOKUP, ROOT, b"swaps\0"), now);
        assert_eq!(texts.0, 0);
        let all = request(READ, 3, &read(0, 4096));
        assert_eq!(ask(&mut server, &mut texts, &all, now).1, b"swaps 1\n");
        assert_eq!(ask(&mut server, &mut texts, &all, now + FRESH / 2).1, b"swaps 1\n");
        assert_eq!(ask(&mut server, &mut texts, &all, now + FRESH).1, b"swaps 2\n");
        // The rest of what was begun is of the same text.
        let rest = request(READ, 3, &read(6, 1));
        assert_eq!(ask(&mut server, &mut texts, &rest, now + FRESH * 3).1, b"2");
        server.rest(now + FRESH * 2);
        assert!(server.texts.iter().all(Option::is_none));
    }

    #[test]
    fn what_is_not_there_is_an_error_of_its_own() {
        let (mut server, mut texts, now) = (server(), Count(0), Instant::now());
        for (code, node, body, error) in [
            (LOOKUP, ROOT, &b"uptime\0"[..], libc::ENOENT),
            (LOOKUP, 2, b"meminfo\0", libc::ENOENT),
            (LOOKUP, ROOT, b"", libc::ENOENT),
            (GETATTR, 8, &[0; 16], libc::ENOENT),
            (READ, 8, &read(0, 1), libc::EINVAL),
            (READ, 2, b"short", libc::EINVAL),
            (READDIR, ROOT, b"", libc::EINVAL),
            (16, 2, b"", libc::ENOSYS),
        ] {
            assert_eq!(ask(&mut server, &mut texts, &request(code, node, body), now).0, -error, "{code}");
        }
        assert_eq!(ask(&mut server, &mut texts, &request(READ, 2, &read(u64::MAX, 9)), now), (0, vec![]));
        assert!(Request::parse(&[0; HEADER - 1]).is_none());
    }

    #[test]
    fn the_directory_lists_every_file_once() {
        let answer = directory(&Request::parse(&request(READDIR, ROOT, &read(0, 4096))).unwrap()).unwrap();
        for file in ResourceFile::ALL {
            let name = file.name().as_bytes();
            assert_eq!(
                answer.0.windows(name.len()).filter(|part| *part == name).count(),
                1,
                "{}",
                file.name()
            );
        }
        let end = request(READDIR, ROOT, &read(ResourceFile::ALL.len() as u64, 4096));
        assert!(directory(&Request::parse(&end).unwrap()).unwrap().0.is_empty());
    }
}
