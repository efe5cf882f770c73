//! By what a file is known through an overlay: the file that lies beneath, see `Documentation/filesystems/overlayfs.rst`
//! and fs/overlayfs/export.c.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd},
};

use crate::kernel::raw::{HandleOf, file_handle};

/// `OVL_FILEID_V1` of fs/overlayfs/overlayfs.h.
const OVERLAY: i32 = 0xf8;
/// Bytes before the form of the file beneath: padding, version, magic, length, flags.
const FLAGS: usize = 6;
const KIND: usize = 7;
const FILESYSTEM: usize = 8;
const FILE: usize = FILESYSTEM + 16;
const PADDING: usize = 3;
const MAGIC_AT: usize = 4;
const MAGIC: u8 = 0xfb;
/// `OVL_FH_FLAG_PATH_UPPER`.
const UPPER: u8 = 1 << 2;

/// A file of a filesystem on a device: its inode and the inode's generation, in the filesystem's own form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    kind: i32,
    bytes: Box<[u8]>,
}

/// A file as an overlay shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Beneath {
    /// The filesystem that it lies on, by its UUID; zeroes where that has none.
    pub filesystem: [u8; 16],
    /// The file.
    pub file: FileId,
}

impl FileId {
    /// The file of this name in a directory of the host.
    ///
    /// # Errors
    /// The kernel's: it is not there, or its filesystem has no handles.
    pub(super) fn of_entry(dir: impl AsFd, name: &CStr) -> io::Result<Self> {
        let (kind, bytes) = file_handle(dir.as_fd(), HandleOf::Entry(name))?;
        Ok(Self { kind, bytes: bytes.into() })
    }
}

impl Beneath {
    /// What lies beneath an open file, which may be open with `O_PATH`; none where it is no file of an overlay, or one
    /// of the overlay's upper directory that lies over nothing. No filesystem in user space is asked anything.
    ///
    /// Before Linux 6.5, which has no base that changes beneath a running tenant either, it is none for every file.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn of(file: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        match file_handle(file, HandleOf::File) {
            Ok((kind, bytes)) => Ok(Self::parse(kind, &bytes)),
            Err(error) => match error.raw_os_error() {
                Some(libc::EOPNOTSUPP | libc::EOVERFLOW | libc::EINVAL) => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// What overlayfs has noted of a file that it copied: the handle without its padding, `struct ovl_fb`.
    pub(super) fn of_attribute(value: &[u8]) -> Option<Self> {
        Self::parse(OVERLAY, &[&[0; PADDING], value].concat())
    }

    fn parse(kind: i32, bytes: &[u8]) -> Option<Self> {
        if kind != OVERLAY || bytes.get(MAGIC_AT) != Some(&MAGIC) || bytes.get(FLAGS)? & UPPER != 0 {
            return None;
        }
        let filesystem = bytes.get(FILESYSTEM..FILE)?.try_into().ok()?;
        let file = FileId { kind: i32::from(*bytes.get(KIND)?), bytes: bytes.get(FILE..)?.into() };
        Some(Self { filesystem, file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(flags: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 0, 0xfb, 29, flags, 1];
        bytes.extend([7; 16]);
        bytes.extend([0xb7, 0xe0, 0x52, 0, 0x65, 0x22, 0x1d, 0xb9]);
        bytes
    }

    #[test]
    fn what_lies_beneath_is_read_from_the_handle_of_an_overlay() {
        let found = Beneath::parse(OVERLAY, &handle(0)).unwrap();
        assert_eq!(found.filesystem, [7; 16]);
        let file = FileId { kind: 1, bytes: [0xb7, 0xe0, 0x52, 0, 0x65, 0x22, 0x1d, 0xb9].into() };
        assert_eq!(found.file, file, "as ext4 itself says it: inode and generation");
    }

    #[test]
    fn what_a_copy_was_made_of_is_read_from_its_attribute() {
        assert_eq!(Beneath::of_attribute(&handle(0)[3..]), Beneath::parse(OVERLAY, &handle(0)));
        assert!(Beneath::of_attribute(&handle(0)[3..]).is_some());
        assert_eq!(Beneath::of_attribute(b""), None, "nothing that a handle could be made of");
    }

    #[test]
    fn a_file_of_the_upper_directory_or_of_another_filesystem_lies_on_nothing() {
        assert_eq!(Beneath::parse(OVERLAY, &handle(UPPER)), None);
        assert_eq!(Beneath::parse(1, &handle(0)), None);
        for length in 0..FILE {
            assert_eq!(Beneath::parse(OVERLAY, &handle(0)[..length]), None, "{length} bytes");
        }
    }
}
