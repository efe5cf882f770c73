//! What ports have sent and received, asked of the kernel itself: nft(8) lists all that is in the tables, which takes ten
//! times as long with a thousand tenants.
//!
//! What does not work here, for whatever reason, is asked of nft.

use std::{collections::BTreeMap, io};

use super::{
    dump::Lister,
    encode::{DATA_VALUE, ELEMENT_KEY, find},
    item::Family,
    listing::Count,
    repair,
};
use crate::{kernel::Result, model::filter::HostFilter};

/// The sets of `tenantry.nft` that count, each of ports.
const SETS: [(Family, &str); 9] = [
    (Family::Inet, "sent"),
    (Family::Inet, "received"),
    (Family::Inet, "refused"),
    (Family::Inet, "limited"),
    (Family::Bridge, "sent"),
    (Family::Bridge, "received"),
    (Family::Bridge, "refused"),
    (Family::Bridge, "limited"),
    (Family::Arp, "refused"),
];

/// `enum nft_set_elem_attributes`, `enum nft_expr_attributes`, `enum nft_counter_attributes`.
const ELEMENT_EXPRESSION: u16 = 7;
const EXPRESSION_DATA: u16 = 2;
const COUNTER_BYTES: u16 = 1;
const COUNTER_PACKETS: u16 = 2;

type Counts = BTreeMap<(String, String), Count>;

/// What the ports of all tenants sent and received so far, by set (`sent`, `received`, `refused`, `limited`) and port.
///
/// # Errors
/// As [`repair::counts`].
pub fn counts(host: &HostFilter) -> Result<Counts> {
    let ask = || -> io::Result<Counts> {
        let mut lister = Lister::open()?;
        let mut counts = Counts::new();
        for (family, set) in SETS {
            lister.elements(&host.table, (family, set), |element| count(element, set, &mut counts))?;
        }
        Ok(counts)
    };
    ask().or_else(|_| repair::counts(host))
}

/// Adds the counter of an element. A port that is both routed and bridged has a set of a name in two tables.
fn count(element: &[u8], set: &str, counts: &mut Counts) -> Option<()> {
    let name = find(find(element, ELEMENT_KEY)?, DATA_VALUE)?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    // One without a counter was made by an admin.
    let Some(counter) =
        find(element, ELEMENT_EXPRESSION).and_then(|expression| find(expression, EXPRESSION_DATA))
    else {
        return Some(());
    };
    let number = |kind| Some(u64::from_be_bytes(find(counter, kind)?.try_into().ok()?));
    let port = String::from_utf8_lossy(name).into_owned();
    let count = counts.entry((set.to_owned(), port)).or_default();
    count.bytes += number(COUNTER_BYTES)?;
    count.packets += number(COUNTER_PACKETS)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::nft::{
        dump,
        encode::{self, LIST_ELEMENTS, nested, text},
    };

    fn elements(message: &[u8], set: &str, counts: &mut Counts) -> Option<()> {
        dump::each(message, &mut |element| count(element, set, counts))
    }

    fn number(kind: u16, value: u64) -> Vec<u8> {
        [&12_u16.to_ne_bytes()[..], &kind.to_ne_bytes(), &value.to_be_bytes()].concat()
    }

    fn element(port: &str, packets: u64, bytes: u64) -> Vec<u8> {
        let counter = [number(COUNTER_BYTES, bytes), number(COUNTER_PACKETS, packets)];
        let expression = [text(1, "counter"), nested(EXPRESSION_DATA, &counter)];
        let parts = [
            nested(ELEMENT_KEY, &[text(DATA_VALUE, &format!("{port}\0\0\0"))]),
            nested(ELEMENT_EXPRESSION, &expression),
        ];
        nested(1, &parts)
    }

    #[test]
    fn counters_are_read_from_the_elements_of_a_list_and_added_up() {
        let message = |elements: &[Vec<u8>]| {
            [vec![1, 0, 0, 0], encode::set("t", "s"), nested(LIST_ELEMENTS, elements)].concat()
        };
        let mut counts = Counts::new();
        elements(&message(&[element("a", 1, 100), element("b", 2, 200)]), "sent", &mut counts).unwrap();
        elements(&message(&[element("a", 10, 1000)]), "sent", &mut counts).unwrap();
        let count = |port: &str| counts[&("sent".to_owned(), port.to_owned())];
        assert_eq!(count("a"), Count { packets: 11, bytes: 1100 });
        assert_eq!(count("b"), Count { packets: 2, bytes: 200 });
        // A set without elements, and one whose element is cut off.
        let mut none = Counts::new();
        elements(&[1, 0, 0, 0], "sent", &mut none).unwrap();
        assert!(none.is_empty());
        assert_eq!(elements(&message(&[nested(1, &[])]), "sent", &mut none), None);
        assert_eq!(elements(&[1], "sent", &mut none), None);
    }
}
