//! What is in the sets and maps, asked of the kernel itself: nft(8) makes a text of it that has to be read again, which with a
//! thousand tenants takes most of the time and of the memory of a comparison.
//!
//! What is not known here is left to nft.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::{
    dump::Lister,
    encode::{self, DATA_VALUE, ELEMENT_KEY, find},
    item::{Family, Item},
};

/// `enum nft_set_elem_attributes`, `NFT_SET_ELEM_INTERVAL_END`.
const ELEMENT_FLAGS: u16 = 3;
const INTERVAL_END: u32 = 1;

/// Where a range begins, or, if not that, the first address behind one.
type Bound = (Vec<u8>, bool);

/// The elements of these sets.
///
/// # Errors
/// What the kernel says, `InvalidData` for a set or an element of a kind that is not known here, `Interrupted` where something
/// changed meanwhile.
pub(super) fn list(table: &str, sets: &BTreeSet<(Family, String)>) -> io::Result<BTreeSet<Item>> {
    let mut lister = Lister::open()?;
    let mut items = BTreeSet::new();
    for (family, set) in sets {
        let item = |key, value| Item::Element { family: *family, set: set.clone(), key, value };
        let of = (*family, set.as_str());
        let is_whole = if let "nat4" | "nat6" = set.as_str() {
            let mut bounds = Vec::new();
            let is_whole = lister.elements(table, of, |element| {
                bounds.push(bound(element)?);
                Some(())
            })?;
            let networks = networks(bounds).ok_or(io::ErrorKind::InvalidData)?;
            items.extend(networks.into_iter().map(|network| item(vec![network], Vec::new())));
            is_whole
        } else {
            lister.elements(table, of, |element| {
                let (key, value) = encode::words(set, element)?;
                items.insert(item(key, value));
                Some(())
            })?
        };
        if !is_whole {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    Ok(items)
}

fn bound(element: &[u8]) -> Option<Bound> {
    let key = find(find(element, ELEMENT_KEY)?, DATA_VALUE)?.to_vec();
    let flags = match find(element, ELEMENT_FLAGS) {
        Some(flags) => u32::from_be_bytes(flags.try_into().ok()?),
        None => 0,
    };
    Some((key, flags & INTERVAL_END == 0))
}

/// The networks between bounds, in whatever order those are; nothing where a range is no network.
fn networks(mut bounds: Vec<Bound>) -> Option<Vec<String>> {
    // Of two at one address the end is that of the range before.
    bounds.sort();
    let mut networks = Vec::new();
    let mut begin: Option<Vec<u8>> = None;
    for (key, is_begin) in bounds {
        if let Some(begin) = begin.take() {
            networks.push(network(&begin, Some(&key))?);
        }
        begin = is_begin.then_some(key);
    }
    if let Some(begin) = begin {
        networks.push(network(&begin, None)?);
    }
    Some(networks)
}

/// From an address to the last one before another, or to the last that there is.
fn network(begin: &[u8], end: Option<&[u8]>) -> Option<String> {
    let number = |bytes: &[u8]| bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let bits = u32::try_from(begin.len()).ok()? * 8;
    let first = number(begin);
    let last = match end {
        Some(end) => number(end).checked_sub(1)?,
        None => u128::MAX.checked_shr(128_u32.checked_sub(bits)?)?,
    };
    // What differs between the first and the last is the host's part: ones, from the lowest bit on.
    let host = first ^ last;
    if host & host.wrapping_add(1) != 0 || first & host != 0 {
        return None;
    }
    let address = match bits {
        32 => Ipv4Addr::from_bits(u32::try_from(first).ok()?).to_string(),
        128 => Ipv6Addr::from_bits(first).to_string(),
        _ => return None,
    };
    let length = bits - host.count_ones();
    Some(if length == bits { address } else { format!("{address}/{length}") })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn at(address: &str, is_begin: bool) -> Bound {
        match address.parse().unwrap() {
            IpAddr::V4(four) => (four.octets().to_vec(), is_begin),
            IpAddr::V6(six) => (six.octets().to_vec(), is_begin),
        }
    }

    #[test]
    fn ranges_are_networks_in_whatever_order_their_bounds_come() {
        let bounds = [
            at("10.116.0.0", false),
            at("10.115.0.0", true),
            at("0.0.0.0", false),
            at("192.0.2.8", false),
            at("192.0.2.7", true),
        ];
        assert_eq!(networks(bounds.to_vec()).unwrap(), ["10.115.0.0/16", "192.0.2.7"]);
        assert_eq!(networks(vec![at("fd00::", true), at("fe00::", false)]).unwrap(), ["fd00::/8"]);
        assert_eq!(networks(vec![at("240.0.0.0", true)]).unwrap(), ["240.0.0.0/4"], "up to the last address");
        assert_eq!(networks(vec![at("10.0.0.0", true), at("10.0.0.3", false)]), None, "that is no network");
        assert!(networks(Vec::new()).unwrap().is_empty());
    }

    #[test]
    fn networks_side_by_side_are_two_with_an_end_between_them_or_without() {
        for between in [&[at("10.0.1.0", false)][..], &[]] {
            let bounds = [at("10.0.0.0", true), at("10.0.1.0", true), at("10.0.2.0", false)];
            assert_eq!(networks([&bounds, between].concat()).unwrap(), ["10.0.0.0/24", "10.0.1.0/24"]);
        }
    }
}
