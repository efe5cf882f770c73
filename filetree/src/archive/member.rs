//! One entry of an archive, assembled from all its headers.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use rustix::fs::Timespec;

use super::{
    Chunk, Reason,
    acl::Acl,
    header::{Format, Header},
    pax::Extended,
};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Another name of an entry before it.
    HardLink,
    /// A character device with its major and minor number.
    Char(u64, u64),
    /// A block device with its major and minor number.
    Block(u64, u64),
    /// A named pipe.
    Fifo,
}

/// An entry without its data.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name as it is written: with `./` or `/` in front, or `/` behind, as the archive has it.
    pub path: OsString,
    /// What it is.
    pub kind: Kind,
    /// Target of a symbolic or hard link.
    pub link: OsString,
    /// Permission bits with setuid, setgid and sticky: 0 to 0o7777.
    pub mode: u32,
    /// Number of its owner.
    pub uid: u64,
    /// Number of its group.
    pub gid: u64,
    /// Name of its owner where the archive was made.
    pub user_name: Vec<u8>,
    /// Name of its group where the archive was made.
    pub group_name: Vec<u8>,
    /// When its content changed.
    pub mtime: Timespec,
    /// Size of a file with its holes, bytes.
    pub size: u64,
    /// The parts of a sparse file that are no holes; none of any other file.
    pub chunks: Option<Vec<Chunk>>,
    /// Extended attributes besides ACLs.
    pub attributes: Vec<(OsString, Vec<u8>)>,
    /// Access control list.
    pub acl: Option<Acl>,
    /// Access control list that new files in a directory get.
    pub default_acl: Option<Acl>,
    /// Keys of its extended headers that this reader does not support.
    pub unknown: Vec<String>,
}

impl Member {
    /// Bytes of data that it has, holes not counted.
    pub fn stored(&self) -> u64 {
        self.chunks.as_ref().map_or(self.size, |chunks| chunks.iter().map(|chunk| chunk.length).sum())
    }

    /// What the headers say; size and chunks are still those of a file without data.
    pub(super) fn new(header: Header<'_>, mut own: Extended, global: &Extended) -> Result<Self, Reason> {
        let path = own.sparse.name.take().or(own.path.take()).unwrap_or_else(|| header.name());
        let kind = kind(header, &own, &path)?;
        let link = own.link.take().unwrap_or_else(|| header.link().to_owned());
        let mtime = match own.mtime.or(global.mtime) {
            Some(mtime) => mtime,
            None => Timespec { tv_sec: header.mtime()?, tv_nsec: 0 },
        };
        let name = |own: Option<Vec<u8>>, global: &Option<Vec<u8>>, field: &[u8]| {
            own.or_else(|| global.clone()).unwrap_or_else(|| field.to_owned())
        };
        let mut acl = own.acl_access.as_deref().map(Acl::from_text).transpose()?;
        let mut default_acl = own.acl_default.as_deref().map(Acl::from_text).transpose()?;
        let mut attributes = Vec::new();
        for (name, value) in own.attributes {
            match name.to_str() {
                Some(Acl::ACCESS) if acl.is_none() => acl = Some(Acl::from_bytes(&value)?),
                Some(Acl::DEFAULT) if default_acl.is_none() => default_acl = Some(Acl::from_bytes(&value)?),
                Some(Acl::ACCESS | Acl::DEFAULT) => {}
                _ => attributes.push((name, value)),
            }
        }
        Ok(Self {
            path: OsString::from_vec(path),
            kind,
            link: OsString::from_vec(link),
            mode: header.mode()?,
            uid: own.uid.or(global.uid).map_or_else(|| header.uid(), Ok)?,
            gid: own.gid.or(global.gid).map_or_else(|| header.gid(), Ok)?,
            user_name: name(own.user_name, &global.user_name, header.user_name()),
            group_name: name(own.group_name, &global.group_name, header.group_name()),
            mtime,
            size: 0,
            chunks: None,
            attributes,
            acl,
            default_acl,
            unknown: own.unknown,
        })
    }
}

fn kind(header: Header<'_>, own: &Extended, path: &[u8]) -> Result<Kind, Reason> {
    let device = || -> Result<(u64, u64), Reason> {
        let (major, minor) = header.device()?;
        Ok((own.device_major.unwrap_or(major), own.device_minor.unwrap_or(minor)))
    };
    Ok(match header.type_flag() {
        // Before there was a type for directories their names ended in a slash.
        0 | b'0' | b'7' if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' => Kind::File,
        b'S' if header.format() == Format::Gnu => Kind::File,
        b'S' => return Err(Reason::Extension("sparse files of star".to_owned())),
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => device().map(|(major, minor)| Kind::Char(major, minor))?,
        b'4' => device().map(|(major, minor)| Kind::Block(major, minor))?,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'D' => return Err(Reason::Incremental),
        b'M' => return Err(Reason::MultiVolume),
        b'A' => return Err(Reason::Extension("ACLs of Solaris".to_owned())),
        other => return Err(Reason::Type(format!("{:?}", char::from(other)))),
    })
}
