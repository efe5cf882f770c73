//! What `nft -j list table` says, see libnftables-json(5).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::item::{Family, Item, OF_PACKETS};
use crate::model::net::Protocol;

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets; one that was not cut into frames yet is one.
    pub packets: u64,
    /// Bytes, without Ethernet headers.
    pub bytes: u64,
}

/// The tables as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Elements and named limits.
    pub items: BTreeSet<Item>,
    /// The counters of elements by set and port.
    pub counts: BTreeMap<(String, String), Count>,
    /// Everything else, without handles: sets, chains and rules.
    pub rules: Vec<Value>,
    /// Sets and maps whose elements belong to records.
    pub sets: BTreeSet<(Family, String)>,
}

impl Listing {
    /// Adds what nft printed of one table.
    ///
    /// # Errors
    /// Text that is not its JSON.
    pub fn read(&mut self, family: Family, text: &str) -> Result<(), serde_json::Error> {
        let whole: Value = serde_json::from_str(text)?;
        for object in whole.get("nftables").and_then(Value::as_array).into_iter().flatten() {
            let Some((kind, Value::Object(body))) =
                object.as_object().and_then(|object| object.iter().next())
            else {
                continue;
            };
            match kind.as_str() {
                "metainfo" | "table" => {}
                "limit" => self.items.extend(limit(family, body)),
                _ => {
                    let mut body = body.clone();
                    body.remove("handle");
                    let elements = body.remove("elem");
                    let set = body.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
                    let is_of_records = !OF_PACKETS.contains(&set.as_str());
                    let elements = elements.filter(|_| is_of_records);
                    if is_of_records && matches!(kind.as_str(), "set" | "map") {
                        self.sets.insert((family, set.clone()));
                    }
                    let types = body.get("type").map(words).unwrap_or_default();
                    for element in elements.as_ref().and_then(Value::as_array).into_iter().flatten() {
                        self.element(family, &set, &types, element);
                    }
                    self.rules.push(Value::Object(Map::from_iter([(kind.clone(), Value::Object(body))])));
                }
            }
        }
        Ok(())
    }

    /// One element of a set or map whose key has parts of these types.
    fn element(&mut self, family: Family, set: &str, types: &[String], element: &Value) {
        let (key, value) = match element.as_array().map(Vec::as_slice) {
            Some([key, value]) => (key, words(value)),
            _ => (element, Vec::new()),
        };
        let (key, count) = match key.get("elem") {
            Some(wrapped) => (wrapped.get("val").unwrap_or(&Value::Null), wrapped.get("counter")),
            None => (key, None),
        };
        let mut key = words(key);
        let protocols = key.iter_mut().zip(types).filter(|(_, of)| *of == "inet_proto");
        protocols.for_each(|(word, _)| name_protocol(word));
        if let (Some(count), Some(port)) = (count, key.first()) {
            let number = |what| count.get(what).and_then(Value::as_u64).unwrap_or_default();
            // A routed port has a set of that name in two tables.
            let count = self.counts.entry((set.to_owned(), port.clone())).or_default();
            count.packets += number("packets");
            count.bytes += number("bytes");
        }
        self.items.insert(Item::Element { family, set: set.to_owned(), key, value });
    }
}

/// nft(8) has the names of protocols from protocols(5), which not every host has, and prints numbers without.
fn name_protocol(word: &mut String) {
    match word.as_str() {
        "6" => *word = Protocol::Tcp.to_string(),
        "17" => *word = Protocol::Udp.to_string(),
        _ => {}
    }
}

/// The parts of a key, of a value, or of the type of one.
fn words(value: &Value) -> Vec<String> {
    match value.get("concat").unwrap_or(value).as_array() {
        Some(parts) => parts.iter().map(word).collect(),
        None => vec![word(value)],
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(object) => match (object.get("prefix"), object.get("goto")) {
            (Some(prefix), _) => {
                let length = prefix.get("len").map(word).unwrap_or_default();
                format!("{}/{length}", prefix.get("addr").map(word).unwrap_or_default())
            }
            (None, Some(goto)) => format!("goto {}", goto.get("target").map(word).unwrap_or_default()),
            (None, None) => value.to_string(),
        },
        _ => value.to_string(),
    }
}

fn limit(family: Family, body: &Map<String, Value>) -> Option<Item> {
    let bytes = |number: &str, unit: &str| {
        let number = body.get(number).and_then(Value::as_u64).unwrap_or_default();
        let unit = match body.get(unit).and_then(Value::as_str) {
            Some("kbytes") => 1 << 10,
            Some("mbytes") => 1 << 20,
            _ => 1,
        };
        number.saturating_mul(unit)
    };
    Some(Item::Limit {
        family,
        name: body.get("name")?.as_str()?.to_owned(),
        rate: bytes("rate", "rate_unit"),
        burst: bytes("burst", "burst_unit"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The items of one set or map, as nft prints them.
    fn read(text: &str) -> BTreeSet<Item> {
        let mut listing = Listing::default();
        listing.read(Family::Inet, &format!(r#"{{"nftables":[{text}]}}"#)).unwrap();
        listing.items
    }

    #[test]
    fn a_protocol_is_the_same_by_name_and_by_number() {
        const TYPE: &str = r#""type":["inet_proto","inet_service"]"#;
        let forwards = |tcp: &str, udp: &str| {
            let element = |protocol: &str| {
                format!(r#"[{{"concat":[{protocol},8080]}},{{"concat":["10.115.0.1",80]}}]"#)
            };
            let elements = format!("{},{}", element(tcp), element(udp));
            read(&format!(r#"{{"map":{{"name":"forwards4",{TYPE},"elem":[{elements}]}}}}"#))
        };
        let services = |tcp: &str, udp: &str| {
            let elements = format!(r#"{{"concat":[{tcp},22]}},{{"concat":[{udp},53]}}"#);
            read(&format!(r#"{{"set":{{"name":"services",{TYPE},"elem":[{elements}]}}}}"#))
        };
        let alone = |tcp: &str, udp: &str| {
            read(&format!(r#"{{"set":{{"name":"any","type":"inet_proto","elem":[{tcp},{udp}]}}}}"#))
        };
        for read in [&forwards as &dyn Fn(&str, &str) -> BTreeSet<Item>, &services, &alone] {
            assert_eq!(read("\"tcp\"", "\"udp\""), read("6", "17"));
            assert_eq!(read("6", "17").len(), 2);
        }
    }

    #[test]
    fn a_number_that_is_no_protocol_stays_one() {
        let key = read(r#"{"set":{"name":"x","type":["inet_service","mark"],"elem":[{"concat":[6,17]}]}}"#);
        let Some(Item::Element { key, .. }) = key.first() else { panic!("{key:?}") };
        assert_eq!(key, &["6", "17"]);
    }
}
