//! Which bytes of a sparse file an archive holds.

use super::{
    BLOCK, Reason,
    header::{Header, number},
    number::decimal,
};

/// Most chunks of one file: a map of them takes 16 MiB.
pub const MAX_CHUNKS: usize = 1 << 20;

/// A range of bytes that is not a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Offset in the file.
    pub offset: u64,
    /// How many there are.
    pub length: u64,
}

/// Adds a chunk; chunks are in order and do not overlap.
pub(super) fn push(map: &mut Vec<Chunk>, chunk: Chunk) -> Result<(), Reason> {
    let end = |chunk: &Chunk| chunk.offset.checked_add(chunk.length);
    let before = map.last().and_then(end).unwrap_or(0);
    if chunk.offset < before || end(&chunk).is_none() {
        return Err(Reason::Sparse("its chunks are not in order"));
    }
    if map.len() == MAX_CHUNKS {
        return Err(Reason::Sparse("it has too many chunks"));
    }
    map.push(chunk);
    Ok(())
}

/// The map of a pax header, version 0.1: `OFFSET,LENGTH,OFFSET,LENGTH…`.
pub(super) fn pairs(text: &[u8]) -> Result<Vec<Chunk>, Reason> {
    let mut map = Vec::new();
    if text.is_empty() {
        return Ok(map);
    }
    let mut numbers = text.split(|byte| *byte == b',');
    while let Some(offset) = numbers.next() {
        let pair = decimal(offset).zip(numbers.next().and_then(decimal));
        let (offset, length) = pair.ok_or(Reason::Sparse("it is not a list of pairs of numbers"))?;
        push(&mut map, Chunk { offset, length })?;
    }
    Ok(map)
}

/// The part of a map of the old GNU format that one header, or extension block, holds.
pub(super) fn old(map: &mut Vec<Chunk>, fields: &[u8]) -> Result<(), Reason> {
    for pair in fields.chunks_exact(24) {
        if pair[12] == 0 {
            break;
        }
        let value = |field| number(field).and_then(|value| u64::try_from(value).ok());
        let chunk = value(&pair[..12]).zip(value(&pair[12..]));
        let (offset, length) = chunk.ok_or(Reason::Sparse("a number cannot be read"))?;
        push(map, Chunk { offset, length })?;
    }
    Ok(())
}

/// The fields of an extension block of the old GNU format, and whether another follows.
pub(super) fn old_extension(block: &[u8; BLOCK]) -> (&[u8], bool) {
    (&block[..504], block[504] != 0)
}

/// Reads a map of version 1.0, which stands in front of the data in blocks of its own: the number of chunks, then
/// offset and length of each, a line each.
pub(super) fn in_data<E: From<Reason>>(
    mut next: impl FnMut() -> Result<[u8; BLOCK], E>,
) -> Result<Vec<Chunk>, E> {
    let (mut map, mut offset, mut count) = (Vec::new(), None, None);
    let mut line = Vec::new();
    loop {
        let block = next()?;
        for byte in block {
            if byte != b'\n' {
                line.push(byte);
                if line.len() > 20 {
                    return Err(Reason::Sparse("a line is too long").into());
                }
                continue;
            }
            let value = decimal(&line).ok_or(Reason::Sparse("a line is not a number"))?;
            line.clear();
            match (count, offset.take()) {
                (None, _) => count = Some(value),
                (Some(_), None) => offset = Some(value),
                (Some(_), Some(offset)) => push(&mut map, Chunk { offset, length: value })?,
            }
            if count == Some(map.len() as u64) && offset.is_none() {
                return Ok(map);
            }
        }
    }
}

/// Checks a map against the apparent size of the file and the bytes that the archive contains.
pub(super) fn check(map: &[Chunk], real_size: u64, stored: u64) -> Result<(), Reason> {
    let end = map.last().map_or(0, |chunk| chunk.offset + chunk.length);
    if end > real_size {
        return Err(Reason::Sparse("it goes beyond the end of the file"));
    }
    // They do not overlap, so their sum is at most the end of the last.
    if map.iter().map(|chunk| chunk.length).sum::<u64>() != stored {
        return Err(Reason::Sparse("the length of its chunks does not match the data"));
    }
    Ok(())
}

/// The map of an old GNU header, as far as the header holds it, and whether an extension block follows.
pub(super) fn of_header(header: Header<'_>) -> Result<(Vec<Chunk>, bool), Reason> {
    let mut map = Vec::new();
    old(&mut map, header.sparse_map())?;
    Ok((map, header.sparse_goes_on()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(offset: u64, length: u64) -> Chunk {
        Chunk { offset, length }
    }

    #[test]
    fn a_map_of_pairs_is_in_order() {
        assert_eq!(pairs(b"0,512,4096,10,9000,0").unwrap(), [chunk(0, 512), chunk(4096, 10), chunk(9000, 0)]);
        assert_eq!(pairs(b"").unwrap(), []);
        for bad in ["0", "0,1,", "x,1", "5,5,9,1", "18446744073709551615,1", "-1,2"] {
            assert!(pairs(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_map_in_the_data_ends_with_its_block() {
        let mut text = b"3\n0\n512\n".to_vec();
        text.resize(BLOCK - 3, b'0');
        text.extend(b"\n1\n600\n0\n");
        let mut blocks = text.chunks(BLOCK).map(|part| {
            let mut block = [0; BLOCK];
            block[..part.len()].copy_from_slice(part);
            block
        });
        let read = |blocks: &mut dyn Iterator<Item = [u8; BLOCK]>| {
            in_data(|| blocks.next().ok_or(Reason::Truncated))
        };
        assert!(matches!(read(&mut blocks), Err(Reason::Sparse(_))), "a line of 500 digits");
        let mut text = *b"2\n0\n3\n600\n0\n";
        let block = |text: &[u8]| {
            let mut block = [0; BLOCK];
            block[..text.len()].copy_from_slice(text);
            block
        };
        assert_eq!(read(&mut [block(&text)].into_iter()).unwrap(), [chunk(0, 3), chunk(600, 0)]);
        assert_eq!(read(&mut [block(b"0\n")].into_iter()).unwrap(), []);
        text[0] = b'3';
        assert!(read(&mut [block(&text)].into_iter()).is_err());
    }

    #[test]
    fn a_map_must_fit_the_file_and_its_data() {
        let map = [chunk(0, 10), chunk(100, 5)];
        check(&map, 105, 15).unwrap();
        check(&map, 1000, 15).unwrap();
        assert!(check(&map, 104, 15).is_err() && check(&map, 105, 14).is_err());
        check(&[], 7, 0).unwrap();
    }
}
