//! The mounts that a process sees, as `/proc/PID/mountinfo` lists them; see proc_pid_mountinfo(5).
//!
//! Names are bytes: who mounts something chooses them, and that may be a tenant.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

/// Major and minor number of a filesystem's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Device {
    /// The 8 of 8:1.
    pub major: u32,
    /// The 1 of 8:1.
    pub minor: u32,
}

/// A directory of a filesystem, or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subtree {
    /// The filesystem.
    pub device: Device,
    /// Which of it: `/` is all of it.
    pub root: PathBuf,
}

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount<'a> {
    /// Its number.
    pub id: u64,
    /// The number of the mount that it is mounted on.
    pub parent: u64,
    /// What is seen there.
    pub shows: Subtree,
    /// Where, from the process's root.
    pub at: PathBuf,
    options: &'a [u8],
    /// The type of its filesystem.
    pub kind: &'a [u8],
    /// What it was made from, as who made it says.
    pub source: OsString,
    filesystem_options: &'a [u8],
}

impl Mount<'_> {
    /// Whether it cannot be written to there.
    pub fn is_read_only(&self) -> bool {
        has(self.options, b"ro")
    }

    /// Whether its filesystem has an option, wherever it is mounted.
    pub fn has_filesystem_option(&self, option: &str) -> bool {
        has(self.filesystem_options, option.as_bytes())
    }

    /// Where, relative to the process's root; `/` itself is empty.
    pub fn relative(&self) -> &Path {
        self.at.strip_prefix("/").unwrap_or(&self.at)
    }
}

fn has(options: &[u8], wanted: &[u8]) -> bool {
    options.split(|byte| *byte == b',').any(|option| option == wanted)
}

/// The mounts in a table, in its order.
pub fn mounts(table: &[u8]) -> impl Iterator<Item = Mount<'_>> {
    table.split(|byte| *byte == b'\n').filter_map(mount)
}

fn mount(line: &[u8]) -> Option<Mount<'_>> {
    let mut words = line.split(|byte| *byte == b' ');
    let (id, parent) = (number(words.next()?)?, number(words.next()?)?);
    let device = std::str::from_utf8(words.next()?).ok()?.split_once(':')?;
    let device = Device { major: device.0.parse().ok()?, minor: device.1.parse().ok()? };
    let shows = Subtree { device, root: unescaped(words.next()?) };
    let (at, options) = (unescaped(words.next()?), words.next()?);
    // Any number of optional fields ends with a hyphen.
    words.find(|word| *word == b"-")?;
    let (kind, source) = (words.next()?, unescaped(words.next()?).into_os_string());
    Some(Mount { id, parent, shows, at, options, kind, source, filesystem_options: words.next()? })
}

fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// A name as it is: blanks, line ends and backslashes are written as three octal digits.
pub fn unescaped(name: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, behind)) = rest.split_first() {
        match behind.first_chunk().filter(|_| *first == b'\\').and_then(octal) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

fn octal(digits: &[u8; 3]) -> Option<u8> {
    if !digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) {
        return None;
    }
    let number = digits.iter().fold(0_u32, |number, digit| number * 8 + u32::from(digit - b'0'));
    number.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

    use super::*;

    #[test]
    fn a_line_is_a_mount_with_or_without_optional_fields() {
        let table = b"\
82 70 0:46 / /usr/local ro,nodev shared:9 master:8 - overlay debian@0123456789ab ro,lowerdir=x\n\
1 0 254:1 /a / rw,noatime - ext4 /dev/root rw,errors=continue\n\n";
        let found: Vec<_> = mounts(table).collect();
        assert_eq!(found.len(), 2);
        let local = &found[0];
        assert_eq!((local.id, local.parent), (82, 70));
        assert_eq!(local.shows, Subtree { device: Device { major: 0, minor: 46 }, root: "/".into() });
        assert_eq!((local.relative(), local.kind), (Path::new("usr/local"), &b"overlay"[..]));
        assert_eq!(local.source, "debian@0123456789ab");
        assert!(local.is_read_only() && local.has_filesystem_option("lowerdir=x"));
        let root = &found[1];
        assert_eq!((&*root.at, root.relative(), root.is_read_only()), (Path::new("/"), Path::new(""), false));
    }

    #[test]
    fn a_name_is_its_bytes() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"/a\\040b\\012\\134c", b"/a b\n\\c"),
            (b"/\xff\xfe\\011", b"/\xff\xfe\t"),
            ("/\u{e9}\\040".as_bytes(), "/\u{e9} ".as_bytes()),
            (b"/\\0", b"/\\0"),
            (b"/\\089", b"/\\089"),
            (b"/\\777\\+12", b"/\\777\\+12"),
        ];
        for (written, name) in cases {
            assert_eq!(unescaped(written).as_os_str(), OsStr::from_bytes(name));
        }
    }

    #[test]
    fn what_is_no_mount_is_left_out() {
        for line in ["", "nonsense", "1 0 0:1 / /x rw", "1 0 0:1 / /x rw - tmpfs", "1 0 0 / /x rw - a b c"] {
            assert_eq!(mounts(line.as_bytes()).count(), 0, "{line}");
        }
    }
}
