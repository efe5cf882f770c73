//! Compression of archives, and formats that are mistaken for archives.

use std::{
    fs::File,
    io::{self, BufReader, Cursor, Read},
    path::Path,
};

use tenant::files::file_error::FileError;

use super::error::ImportError;
use filetree::archive::{BLOCK, Header};

/// Largest dictionary of an xz stream, bytes.
const XZ_MEMORY: u64 = 256 << 20;
/// Bytes that are inspected: the magic of an ISO image follows its first 32 KiB.
const HEAD: u64 = 36 << 10;

/// A format that is not supported.
struct Other {
    /// Offset of its magic, bytes.
    at: usize,
    mark: &'static [u8],
    /// What it is.
    name: &'static str,
    /// What to do with it.
    remedy: &'static str,
}

const fn other(at: usize, mark: &'static [u8], name: &'static str, remedy: &'static str) -> Other {
    Other { at, mark, name, remedy }
}

const UNPACK: &str = "unpack it into a directory and import that";
const MOUNT: &str = "mount it and import the directory: mount -o ro,loop FILE DIR";

/// Formats that are mistaken for an archive of a root filesystem.
const OTHERS: &[Other] = &[
    other(0, b"BZh", "compressed with bzip2", "decompress it with bunzip2 FILE"),
    other(0, b"LZIP", "compressed with lzip", "decompress it with lzip --decompress FILE"),
    other(0, b"\x04\x22\x4d\x18", "compressed with lz4", "decompress it with lz4 -d FILE"),
    other(0, b"\x89LZO\0", "compressed with lzop", "decompress it with lzop -d FILE"),
    other(0, b"\x1f\x9d", "compressed with compress", "decompress it with uncompress FILE"),
    other(0, b"\x5d\0\0", "compressed with lzma", "decompress it with unlzma FILE"),
    other(0, b"PK\x03\x04", "a zip archive", UNPACK),
    other(0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    other(0, b"070701", "a cpio archive", "unpack it with cpio -id and import the directory"),
    other(0, b"070702", "a cpio archive", "unpack it with cpio -id and import the directory"),
    other(0, b"070707", "a cpio archive", "unpack it with cpio -id and import the directory"),
    other(0, b"!<arch>\n", "an ar archive or Debian package", UNPACK),
    other(0, b"\xed\xab\xee\xdb", "an rpm package", UNPACK),
    other(0, b"hsqs", "a squashfs image", MOUNT),
    other(
        0,
        b"VMA\0",
        "a Proxmox backup of a virtual machine",
        "it is not a root filesystem; archive the files of the virtual machine with tar",
    ),
    other(
        0,
        b"QFI\xfb",
        "a qcow2 disk image",
        "attach it with qemu-nbd, mount its root filesystem, import the directory",
    ),
    other(0, b"conectix", "a VHD disk image", MOUNT),
    other(0, b"KDMV", "a VMDK disk image", MOUNT),
    other(
        510,
        b"\x55\xaa",
        "a disk image",
        "attach it with losetup -P, mount its root filesystem, import the directory",
    ),
    other(1024, b"\xe2\xe1\xf5\xe0", "an erofs image", MOUNT),
    other(0x438, b"\x53\xef", "an image of an ext4 filesystem", MOUNT),
    other(0, b"XFSB", "an image of an XFS filesystem", MOUNT),
    other(0x8001, b"CD001", "an ISO image", MOUNT),
];

/// The tar archive in `from`, decompressed.
///
/// # Errors
/// It cannot be read, or is something else.
pub(crate) fn open(from: &Path) -> Result<Box<dyn Read>, ImportError> {
    read(from, File::open(from).map_err(FileError::when("open", from))?)
}

/// The same of a file that is open; `from` is what it is called.
pub(crate) fn read(from: &Path, mut file: impl Read + 'static) -> Result<Box<dyn Read>, ImportError> {
    let failed = FileError::when("read", from);
    let start = head(&mut file).map_err(failed)?;
    let packing = Packing::of(&start);
    let mut stream = packing.reader(Cursor::new(start).chain(file)).map_err(failed)?;
    let start = head(&mut stream).map_err(failed)?;
    check(from, &start)?;
    Ok(Box::new(Cursor::new(start).chain(stream)))
}

/// The beginning of a stream.
fn head(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    stream.take(HEAD).read_to_end(&mut head)?;
    Ok(head)
}

/// How an archive is compressed.
enum Packing {
    None,
    Gzip,
    Xz,
    Zstd,
}

impl Packing {
    fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    fn reader(self, stream: impl Read + 'static) -> io::Result<Box<dyn Read>> {
        let stream = BufReader::with_capacity(128 << 10, stream);
        Ok(match self {
            Self::None => Box::new(stream),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(stream)),
            Self::Xz => {
                let decoder =
                    liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(stream, decoder))
            }
            Self::Zstd => Box::new(zstd::Decoder::with_buffer(stream)?),
        })
    }
}

/// Whether a stream begins like a tar archive.
fn check(from: &Path, start: &[u8]) -> Result<(), ImportError> {
    let block = start.first_chunk::<BLOCK>();
    // A block of zeros is the end of an empty archive.
    if block.is_some_and(|block| Header(block).is_valid() || block.iter().all(|byte| *byte == 0)) {
        return Ok(());
    }
    let is = |other: &&Other| start.get(other.at..).is_some_and(|rest| rest.starts_with(other.mark));
    if block.is_some_and(|block| block[257..].starts_with(b"ustar")) {
        return Err(ImportError::Format {
            path: from.to_owned(),
            name: "a tar archive whose first header is damaged",
            remedy: "download or create it again",
        });
    }
    Err(match OTHERS.iter().find(is) {
        Some(Other { name, remedy, .. }) => ImportError::Format { path: from.to_owned(), name, remedy },
        None => ImportError::Unknown(from.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_is_told_by_its_mark() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("file");
        for other in OTHERS {
            let mut bytes = vec![1; HEAD as usize + 10];
            bytes[other.at..other.at + other.mark.len()].copy_from_slice(other.mark);
            std::fs::write(&from, bytes).unwrap();
            match open(&from).map(|_| ()) {
                Err(ImportError::Format { name, .. }) => assert_eq!(name, other.name),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn every_mark_is_within_what_is_looked_at() {
        for other in OTHERS {
            assert!((other.at + other.mark.len()) as u64 <= HEAD, "{}", other.name);
        }
    }
}
