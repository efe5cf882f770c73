//! One header block.

use super::Reason;

/// Size of a block, bytes.
pub const BLOCK: usize = 512;

/// Which fields a header has behind the first 257 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// None.
    V7,
    /// A prefix of 155 bytes.
    Ustar,
    /// A prefix of 131 bytes and two times.
    Star,
    /// Times and the map of a sparse file.
    Gnu,
}

/// A header block.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a>(pub &'a [u8; BLOCK]);

impl<'a> Header<'a> {
    /// Whether it is a block of zeros, which marks the end of an archive.
    pub(super) fn is_zero(self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// Whether its checksum matches its bytes. Some old programs computed it over signed bytes.
    pub fn is_valid(self) -> bool {
        let sum = |byte: fn(u8) -> i64| -> i64 {
            let bytes = self.0.iter().enumerate();
            bytes.map(|(at, b)| if (148..156).contains(&at) { 0x20 } else { byte(*b) }).sum()
        };
        let Some(expected) = number(&self.0[148..156]) else { return false };
        expected == sum(i64::from) || expected == sum(|b| i64::from(b.cast_signed()))
    }

    pub(super) fn format(self) -> Format {
        match (&self.0[257..265], &self.0[508..512]) {
            (b"ustar  \0", _) => Format::Gnu,
            (magic, b"tar\0") if magic.starts_with(b"ustar\0") => Format::Star,
            (magic, _) if magic.starts_with(b"ustar") => Format::Ustar,
            _ => Format::V7,
        }
    }

    /// The name, with its prefix.
    pub(super) fn name(self) -> Vec<u8> {
        let prefix = match self.format() {
            Format::Ustar => text(&self.0[345..500]),
            Format::Star => text(&self.0[345..476]),
            Format::V7 | Format::Gnu => &[],
        };
        let name = text(&self.0[..100]);
        if prefix.is_empty() { name.to_owned() } else { [prefix, b"/", name].concat() }
    }

    pub(super) fn type_flag(self) -> u8 {
        self.0[156]
    }

    pub(super) fn link(self) -> &'a [u8] {
        text(&self.0[157..257])
    }

    /// Permission bits with setuid, setgid and sticky.
    pub(super) fn mode(self) -> Result<u32, Reason> {
        let mode = self.field("mode", 100..108)?;
        Ok(u32::try_from(mode & 0o7777).expect("twelve bits fit"))
    }

    pub(super) fn uid(self) -> Result<u64, Reason> {
        self.unsigned("owner", 108..116)
    }

    pub(super) fn gid(self) -> Result<u64, Reason> {
        self.unsigned("group", 116..124)
    }

    /// Bytes of data that follow, as this header says.
    pub(super) fn size(self) -> Result<u64, Reason> {
        self.unsigned("size", 124..136)
    }

    /// Seconds since 1970, negative before.
    pub(super) fn mtime(self) -> Result<i64, Reason> {
        self.field("time", 136..148)
    }

    pub(super) fn user_name(self) -> &'a [u8] {
        if self.format() == Format::V7 { &[] } else { text(&self.0[265..297]) }
    }

    pub(super) fn group_name(self) -> &'a [u8] {
        if self.format() == Format::V7 { &[] } else { text(&self.0[297..329]) }
    }

    /// Major and minor number of a device.
    pub(super) fn device(self) -> Result<(u64, u64), Reason> {
        Ok((self.unsigned("device number", 329..337)?, self.unsigned("device number", 337..345)?))
    }

    /// Whether the map of a sparse file goes on in the next block.
    pub(super) fn sparse_goes_on(self) -> bool {
        self.0[482] != 0
    }

    /// The size of a sparse file with its holes.
    pub(super) fn real_size(self) -> Result<u64, Reason> {
        self.unsigned("size", 483..495)
    }

    /// The map of a sparse file as far as it is in the header.
    pub(super) fn sparse_map(self) -> &'a [u8] {
        &self.0[386..482]
    }

    fn field(self, what: &'static str, range: std::ops::Range<usize>) -> Result<i64, Reason> {
        number(&self.0[range]).ok_or(Reason::Number(what))
    }

    fn unsigned(self, what: &'static str, range: std::ops::Range<usize>) -> Result<u64, Reason> {
        u64::try_from(self.field(what, range)?).map_err(|_| Reason::Number(what))
    }
}

/// The bytes before the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number of a header: octal digits, or in two's complement if the first bit is set. A blank field is 0.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // The second bit is the sign.
        let start = if first & 0x40 != 0 { i128::from(first) - 0x100 } else { i128::from(first & 0x3f) };
        // Twelve bytes at most: 95 bits.
        let value = rest.iter().fold(start, |value, byte| value << 8 | i128::from(*byte));
        return i64::try_from(value).ok();
    }
    // A leading NUL was left by old programs when the preceding field overflowed.
    let digits = if first == 0 { rest } else { field };
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = digits.iter().position(|byte| *byte != b' ').unwrap_or(digits.len());
    let digits = &digits[start..];
    let end = digits.iter().position(is_blank).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0_i64, |value, byte| match byte {
        b'0'..=b'7' => Some(value << 3 | i64::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"00000000000\0", Some(0)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"\x80\0\0\0\0\x20\0\0", Some(1 << 21)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"0000648\0", None),
            (b"-0000644", None),
            (b"hello\0\0\0", None),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }
}
