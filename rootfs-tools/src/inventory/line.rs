//! One line of an inventory, as mtree(5) writes it.

use std::{
    ffi::OsString,
    fmt::Write as _,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use super::item::Item;
use crate::{digest::ContentHash, tree::Kind};

/// What the comment with the hash of a file's attributes begins with.
pub(super) const XATTRS: &str = "# xattrs ";
/// Reason of a line whose path is refused.
const LEADS_OUT: &str = "its path is not one, or leads out of the tree";

/// Appends the lines of an item.
pub(super) fn render(item: &Item, text: &mut String) {
    let path =
        if item.path.as_os_str().is_empty() { String::new() } else { format!("/{}", escape(&item.path)) };
    let kind = match item.kind {
        Kind::Dir => "dir",
        Kind::File => "file",
        Kind::Symlink(_) => "link",
        Kind::Char(_) => "char",
        Kind::Block(_) => "block",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
    };
    let mut add = |args: std::fmt::Arguments<'_>| text.write_fmt(args).expect("a string takes all text");
    add(format_args!(".{path} type={kind} mode={:04o} uid={} gid={}", item.mode, item.uid, item.gid));
    if let Some(sha256) = &item.sha256 {
        add(format_args!(" size={} sha256digest={}", item.size, hex(sha256)));
    }
    match &item.kind {
        Kind::Symlink(target) => add(format_args!(" link={}", escape(target))),
        Kind::Char(number) | Kind::Block(number) => {
            let (major, minor) = (rustix::fs::major(*number), rustix::fs::minor(*number));
            add(format_args!(" device=linux,{major},{minor}"));
        }
        _ => {}
    }
    if let Some(inode) = item.inode {
        add(format_args!(" inode={inode}"));
    }
    add(format_args!("\n"));
    if let Some(xattrs) = &item.xattrs {
        add(format_args!("{XATTRS}{}\n", hex(xattrs)));
    }
}

/// Bytes as vis(3) writes them with `VIS_OCTAL | VIS_WHITE | VIS_GLOB`.
fn escape(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'\\' | b'#' | b'*' | b'?' | b'[' => {
                write!(text, "\\{byte:03o}").expect("a string takes all text")
            }
            0x21..=0x7e => text.push(char::from(*byte)),
            _ => write!(text, "\\{byte:03o}").expect("a string takes all text"),
        }
    }
    text
}

fn unescape(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    const WRONG: &str = "an escape is not three octal digits, or stands for a byte that no name has";
    if text.contains(&0) {
        return Err("a name contains a zero byte");
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        if *byte != b'\\' {
            bytes.push(*byte);
            rest = after;
            continue;
        }
        let Some((digits, after)) = after.split_first_chunk::<3>() else { return Err(WRONG) };
        let number = std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match number.filter(|_| digits.iter().all(u8::is_ascii_digit)) {
            Some(0) | None => return Err(WRONG),
            Some(byte) => bytes.push(byte),
        }
        rest = after;
    }
    Ok(bytes)
}

fn path(word: &[u8]) -> Result<PathBuf, &'static str> {
    if word == b"." {
        return Ok(PathBuf::new());
    }
    let below = word.strip_prefix(b"./").ok_or("its path does not begin with \"./\"")?;
    let mut components = Vec::new();
    for component in below.split(|byte| *byte == b'/') {
        let name = unescape(component)?;
        if name.contains(&b'/') {
            return Err("an escape stands for a slash");
        }
        if name.is_empty() || name == b"." || name == b".." || name.contains(&0) {
            return Err(LEADS_OUT);
        }
        components.push(name);
    }
    Ok(OsString::from_vec(components.join(&b'/')).into())
}

/// Parses a line.
pub(super) fn parse(line: &[u8]) -> Result<Item, &'static str> {
    let mut words = line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    let path = path(words.next().unwrap_or_default())?;
    let mut found = Words::default();
    for word in words {
        let at = word.iter().position(|byte| *byte == b'=').unwrap_or(word.len());
        let value = word.get(at + 1..).unwrap_or_default();
        match &word[..at] {
            b"type" => found.kind = Some(value),
            b"mode" => found.mode = text(value).and_then(|mode| u32::from_str_radix(mode, 8).ok()),
            b"uid" => found.uid = number(value),
            b"gid" => found.gid = number(value),
            b"size" => found.size = number(value),
            b"sha256digest" | b"sha256" => found.sha256 = Some(hash(value)?),
            b"link" => found.link = Some(OsString::from_vec(unescape(value)?).into()),
            b"device" => found.device = device(value),
            b"inode" => found.inode = Some(number(value).ok_or("its inode is not a number")?),
            _ => {}
        }
    }
    found.item(path)
}

/// The keywords of a line.
#[derive(Default)]
struct Words<'a> {
    kind: Option<&'a [u8]>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
    sha256: Option<ContentHash>,
    link: Option<PathBuf>,
    device: Option<u64>,
    inode: Option<u64>,
}

impl Words<'_> {
    fn item(self, path: PathBuf) -> Result<Item, &'static str> {
        let device = self.device.ok_or("its device is not linux,MAJOR,MINOR");
        let kind = match self.kind {
            Some(b"dir") => Kind::Dir,
            Some(b"file") => Kind::File,
            Some(b"link") => Kind::Symlink(self.link.ok_or("it has no link=")?),
            Some(b"char") => Kind::Char(device?),
            Some(b"block") => Kind::Block(device?),
            Some(b"fifo") => Kind::Fifo,
            Some(b"socket") => Kind::Socket,
            _ => return Err("it has no type= that is known"),
        };
        let is_file = kind == Kind::File;
        Ok(Item {
            path,
            mode: self
                .mode
                .filter(|mode| *mode <= 0o7777)
                .ok_or("its mode is not an octal number up to 7777")?,
            uid: self.uid.ok_or("it has no owner")?,
            gid: self.gid.ok_or("it has no owner")?,
            size: if is_file { self.size.ok_or("it has no size=")? } else { 0 },
            sha256: if is_file { Some(self.sha256.ok_or("it has no sha256digest=")?) } else { None },
            xattrs: None,
            inode: self.inode.filter(|_| kind != Kind::Dir),
            kind,
        })
    }
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok()
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    text(value)?.parse().ok()
}

fn device(value: &[u8]) -> Option<u64> {
    let (major, minor) = text(value)?.strip_prefix("linux,")?.split_once(',')?;
    Some(rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?))
}

fn hex(hash: &ContentHash) -> String {
    hash.iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all text");
        text
    })
}

/// A SHA-256 in hex digits.
pub(super) fn hash(value: &[u8]) -> Result<ContentHash, &'static str> {
    const WRONG: &str = "a SHA-256 is not 64 hex digits";
    let text = text(value).filter(|text| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()));
    let text = text.ok_or(WRONG)?;
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| WRONG)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| WRONG)?;
    }
    Ok(hash)
}
