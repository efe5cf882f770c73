//! Extended headers: records `LENGTH KEY=VALUE`; a value may contain any bytes.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use rustix::fs::Timespec;

use super::{
    Reason,
    number::decimal,
    sparse::{self, Chunk},
};

/// What extended headers, and GNU's long names, say of one entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) user_name: Option<Vec<u8>>,
    pub(super) group_name: Option<Vec<u8>>,
    pub(super) mtime: Option<Timespec>,
    /// Extended attributes by name.
    pub(super) attributes: Vec<(OsString, Vec<u8>)>,
    pub(super) acl_access: Option<Vec<u8>>,
    pub(super) acl_default: Option<Vec<u8>>,
    pub(super) sparse: Sparse,
    pub(super) device_major: Option<u64>,
    pub(super) device_minor: Option<u64>,
    /// Keys that are not known.
    pub(super) unknown: Vec<String>,
}

/// What extended headers say of the holes of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Sparse {
    /// Version 1.0: the map precedes the data.
    pub(super) map_in_data: bool,
    /// The file's real name; the header has a substitute for programs without support for sparse files.
    pub(super) name: Option<Vec<u8>>,
    /// The file's size with its holes.
    pub(super) real_size: Option<u64>,
    /// Versions 0.0 and 0.1: the map.
    pub(super) map: Option<Vec<Chunk>>,
    /// Version 0.0: an offset whose length has not been read yet.
    offset: Option<u64>,
}

/// Keys that do not affect extraction.
const IGNORED: &[&str] = &[
    "atime",
    "comment",
    "ctime",
    "charset",
    "hdrcharset",
    "GNU.sparse.numblocks",
    "GNU.volume.label",
    "LIBARCHIVE.creationtime",
    "LIBARCHIVE.symlinktype",
    "SCHILY.dev",
    "SCHILY.filetype",
    "SCHILY.ino",
    "SCHILY.nlink",
    "SCHILY.release",
    "SCHILY.archtype",
    "SCHILY.volhdr.label",
];

/// Keys allowed in a global header: they are harmless when applied to every file.
const GLOBAL: &[&str] = &["mtime", "uid", "gid", "uname", "gname"];

/// Key and value of a record.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// The records of an extended header.
pub(super) fn records(mut bytes: &[u8]) -> impl Iterator<Item = Result<Pair<'_>, Reason>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let record = record(bytes);
        bytes = match &record {
            Ok((_, rest)) => rest,
            Err(_) => &[],
        };
        Some(record.map(|(pair, _)| pair))
    })
}

/// The first record, and what follows it.
fn record(bytes: &[u8]) -> Result<(Pair<'_>, &[u8]), Reason> {
    let bad = || Reason::Extended("a record's length is wrong");
    let blank = bytes.iter().take(20).position(|byte| *byte == b' ').ok_or_else(bad)?;
    let length = decimal(&bytes[..blank]).and_then(|length| usize::try_from(length).ok()).ok_or_else(bad)?;
    let (record, rest) = bytes.split_at_checked(length).ok_or_else(bad)?;
    let body = record.get(blank + 1..).and_then(|body| body.strip_suffix(b"\n")).ok_or_else(bad)?;
    let equals = body.iter().position(|byte| *byte == b'=');
    let equals = equals.filter(|at| *at > 0).ok_or(Reason::Extended("a record has no key"))?;
    Ok(((&body[..equals], &body[equals + 1..]), rest))
}

/// `[-]SECONDS[.FRACTION]` since 1970, rounded down to nanoseconds.
pub(super) fn timestamp(text: &[u8]) -> Option<Timespec> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix(b"+").unwrap_or(text)),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |at: usize| fraction.get(at).map_or(0, |byte| i64::from(byte - b'0'));
    let nanoseconds = (0..9).fold(0, |value, at| value * 10 + digit(at));
    if !negative {
        return Some(Timespec { tv_sec: seconds, tv_nsec: nanoseconds });
    }
    let rest = i64::from(fraction.iter().skip(9).any(|byte| *byte != b'0'));
    Some(match nanoseconds + rest {
        0 => Timespec { tv_sec: -seconds, tv_nsec: 0 },
        nanoseconds => Timespec { tv_sec: -seconds - 1, tv_nsec: 1_000_000_000 - nanoseconds },
    })
}

impl Extended {
    /// Takes the records of a global header: they apply to all entries that follow.
    pub(super) fn take_global(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        for record in records(bytes) {
            let (key, value) = record?;
            let name = String::from_utf8_lossy(key);
            if name.starts_with("GNU.volume.") && name != "GNU.volume.label" {
                return Err(Reason::MultiVolume);
            }
            if GLOBAL.contains(&name.as_ref()) {
                self.take(key, value)?;
            } else if !IGNORED.contains(&name.as_ref()) {
                return Err(Reason::Global(shown(key)));
            }
        }
        Ok(())
    }

    /// Takes the records of the header of one entry.
    pub(super) fn take_all(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        records(bytes).try_for_each(|record| {
            let (key, value) = record?;
            self.take(key, value)
        })
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reason> {
        let number = |what| decimal(value).map(Some).ok_or(Reason::Number(what));
        let bytes = || Some(value.to_owned()).filter(|value| !value.is_empty());
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            // GNU tar writes `=` in a name as %3D, and % as %25; libarchive leaves them.
            self.attribute(unescaped(name, b"%="), value.to_owned());
            return Ok(());
        }
        if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            let value = base64(value).ok_or(Reason::Extended("an attribute is not base64"))?;
            self.attribute(unescaped(name, b""), value);
            return Ok(());
        }
        match key {
            // An empty value cancels the earlier one.
            b"path" => self.path = bytes(),
            b"linkpath" => self.link = bytes(),
            b"uname" => self.user_name = bytes(),
            b"gname" => self.group_name = bytes(),
            b"size" | b"uid" | b"gid" | b"mtime" if value.is_empty() => self.take_back(key),
            b"size" => self.size = number("size")?,
            b"uid" => self.uid = number("owner")?,
            b"gid" => self.gid = number("group")?,
            b"mtime" => self.mtime = Some(timestamp(value).ok_or(Reason::Number("time"))?),
            b"SCHILY.acl.access" => self.acl_access = bytes(),
            b"SCHILY.acl.default" => self.acl_default = bytes(),
            b"SCHILY.acl.ace" => return Err(Reason::AclNfs),
            b"RHT.security.selinux" => self.attribute("security.selinux".into(), value.to_owned()),
            b"SCHILY.devmajor" | b"SUN.devmajor" => self.device_major = number("device number")?,
            b"SCHILY.devminor" | b"SUN.devminor" => self.device_minor = number("device number")?,
            b"GNU.dumpdir" => return Err(Reason::Incremental),
            _ => return self.take_rest(key, value),
        }
        Ok(())
    }

    fn take_back(&mut self, key: &[u8]) {
        match key {
            b"size" => self.size = None,
            b"uid" => self.uid = None,
            b"gid" => self.gid = None,
            _ => self.mtime = None,
        }
    }

    /// Sparse files and unknown keys.
    fn take_rest(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reason> {
        let number = || decimal(value).ok_or(Reason::Sparse("a value is not a number"));
        match key {
            b"GNU.sparse.major" if value == b"1" => self.sparse.map_in_data = true,
            b"GNU.sparse.major" if value == b"0" => {}
            b"GNU.sparse.minor" if value == b"0" || value == b"1" => {}
            b"GNU.sparse.major" | b"GNU.sparse.minor" => {
                return Err(Reason::Extension(format!("{} {}", shown(key), shown(value))));
            }
            b"GNU.sparse.name" => self.sparse.name = Some(value.to_owned()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.real_size = Some(number()?),
            b"GNU.sparse.map" => self.sparse.map = Some(sparse::pairs(value)?),
            b"GNU.sparse.offset" => self.sparse.offset = Some(number()?),
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse.offset.take().ok_or(Reason::Sparse("a length has no offset"))?;
                sparse::push(self.sparse.map.get_or_insert_default(), Chunk { offset, length: number()? })?;
            }
            _ => {
                let name = String::from_utf8_lossy(key);
                if name.starts_with("GNU.volume.") && name != "GNU.volume.label" {
                    return Err(Reason::MultiVolume);
                }
                if name.starts_with("GNU.sparse.") && name != "GNU.sparse.numblocks"
                    || matches!(key, b"SCHILY.realsize" | b"SUN.holesdata" | b"SCHILY.volhdr.volno")
                {
                    return Err(Reason::Extension(shown(key)));
                }
                if !IGNORED.contains(&name.as_ref()) {
                    self.unknown.push(shown(key));
                }
            }
        }
        Ok(())
    }

    fn attribute(&mut self, name: OsString, value: Vec<u8>) {
        // libarchive writes every attribute twice.
        self.attributes.retain(|(other, _)| *other != name);
        self.attributes.push((name, value));
    }
}

/// A key for display.
fn shown(key: &[u8]) -> String {
    String::from_utf8_lossy(key).chars().take(80).collect()
}

/// `%XX` as the byte that it stands for; only for the bytes in `only` if there are any.
fn unescaped(text: &[u8], only: &[u8]) -> OsString {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let escape = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match escape.filter(|byte| only.is_empty() || only.contains(byte)) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// Bytes of base64 (RFC 4648), padded or not.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for byte in group {
            let digit = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(digit);
        }
        match group.len() {
            4 => bytes.extend(&bits.to_be_bytes()[1..]),
            3 => bytes.extend(&(bits >> 2).to_be_bytes()[2..]),
            2 => bytes.extend(&(bits >> 4).to_be_bytes()[3..]),
            _ => return None,
        }
    }
    Some(bytes)
}

/// The bytes of a long name before the first NUL.
pub(super) fn long_name(data: &[u8]) -> Vec<u8> {
    data.split(|byte| *byte == 0).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<Pair<'_>>, Reason> {
        records(bytes).collect()
    }

    #[test]
    fn a_value_may_hold_any_bytes() {
        let text = b"30 mtime=1795841714.411211404\n21 SCHILY.acl=a\nb=c\n\n14 k=\0 11 x=\n\n";
        let records = all(text).unwrap();
        assert_eq!(records[0], (&b"mtime"[..], &b"1795841714.411211404"[..]));
        assert_eq!(records[1], (&b"SCHILY.acl"[..], &b"a\nb=c\n"[..]));
        assert_eq!(records[2], (&b"k"[..], &b"\0 11 x=\n"[..]));
        assert_eq!(records.len(), 3);
    }

    #[test]
    fn a_record_that_lies_is_refused() {
        for bad in [
            &b"x"[..],
            b"5 a=b",
            b"6 a=b\0",
            b"99 a=b\n",
            b"4 =b\n",
            b"5 abc\n",
            b"-6 a=b\n",
            b"1 a=b\n",
            b"99999999999999999999 a=b\n",
            b" 6 a=b\n",
        ] {
            assert!(all(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times_have_fractions_and_may_be_negative() {
        for (text, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("12", 12, 0),
            ("1.5", 1, 500_000_000),
            ("1.", 1, 0),
            ("1.1234567891", 1, 123_456_789),
            ("-1", -1, 0),
            ("-1.5", -2, 500_000_000),
            ("-0.000000001", -1, 999_999_999),
            ("-0.0000000001", -1, 999_999_999),
        ] {
            let time = timestamp(text.as_bytes()).unwrap();
            assert_eq!((time.tv_sec, time.tv_nsec), (seconds, nanoseconds), "{text}");
        }
        for text in ["", "-", "1e3", "1.x", "1,5", " 1", "99999999999999999999"] {
            assert!(timestamp(text.as_bytes()).is_none(), "{text:?}");
        }
    }

    #[test]
    fn names_and_values_of_attributes_are_decoded() {
        assert_eq!(base64(b"aGVsbG8=").unwrap(), b"hello");
        assert_eq!(base64(b"aGVsbG8").unwrap(), b"hello");
        assert_eq!(base64(b"AA+/").unwrap(), [0, 0x0f, 0xbf]);
        assert_eq!(base64(b"").unwrap(), b"");
        assert!(base64(b"a").is_none() && base64(b"a b=").is_none());
        assert_eq!(unescaped(b"user.a%3Db%25%41", b"%="), "user.a=b%%41");
        assert_eq!(unescaped(b"user.a%3db%2", b""), "user.a=b%2");
    }

    #[test]
    fn an_attribute_may_be_told_in_one_way_or_the_other_or_both() {
        let attributes = |text: &[u8]| {
            let mut extended = Extended::default();
            extended.take_all(text).unwrap();
            extended.attributes
        };
        let (star, own) = (&b"26 SCHILY.xattr.user.a=hi\n"[..], &b"31 LIBARCHIVE.xattr.user.a=aGk\n"[..]);
        for text in [star.to_vec(), own.to_vec(), [star, own].concat(), [own, star].concat()] {
            assert_eq!(attributes(&text), [("user.a".into(), b"hi".to_vec())]);
        }
    }

    #[test]
    fn an_empty_value_takes_back_but_an_attribute_may_be_empty() {
        let mut extended = Extended::default();
        let text = b"9 path=x\n8 path=\n11 uid=100\n7 uid=\n24 SCHILY.xattr.user.e=\n";
        extended.take_all(text).unwrap();
        assert!(extended.path.is_none() && extended.uid.is_none());
        assert_eq!(extended.attributes, [("user.e".into(), Vec::new())]);
    }
}
