//! What of a tenant's file takes effect at its next start: where the text that its present boot read and the one that it
//! has now come to something else.

use std::collections::{BTreeMap, BTreeSet};

use tenant::config::Fragment;
use toml::{Table, Value};
use wire::Waiting;

use super::edit;

/// The keys, sorted, with both values. A key that neither the file nor the profile says has none: a default counts.
pub fn pending(profile: &Fragment, started: &Fragment, now: &Fragment) -> Vec<Waiting> {
    let [running, next] = [started, now].map(|own| flat(&profile.clone().overlaid(own.clone())));
    let keys: BTreeSet<&String> = running.keys().chain(next.keys()).collect();
    let differs = |key: &&String| running.get(*key) != next.get(*key);
    let waiting = |key: &String| Waiting {
        key: key.clone(),
        running: running.get(key).map(ToString::to_string),
        next: next.get(key).map(ToString::to_string),
    };
    keys.into_iter().filter(differs).map(waiting).collect()
}

/// The values of a fragment by their dotted keys, without those that take effect at once.
fn flat(fragment: &Fragment) -> BTreeMap<String, Value> {
    let table = Table::try_from(fragment).unwrap_or_default();
    let mut flat = BTreeMap::new();
    for (key, value) in table.into_iter().filter(|(key, _)| !edit::is_live(key)) {
        match value {
            Value::Table(table) => {
                flat.extend(table.into_iter().map(|(name, value)| (edit::dotted(&key, &name), value)));
            }
            value => {
                flat.insert(key, value);
            }
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use tenant::config::parse_toml;

    use super::*;

    #[test]
    fn a_key_that_waits_is_told_with_both_values() {
        let [profile, started, now]: [Fragment; 3] = [
            "kind = 'os'\nttys = 2\n[env]\nA = '1'\n",
            "hostname = 'a'\nmemory_max = '1G'\nlabels.tier = 'gold'\n[env]\nB = '2'\n[dirs]\n'/data' = 'private'\n",
            "ttys = 3\nmemory_max = '2G'\nlabels.tier = 'tin'\n[env]\nA = '1'\nB = '3'\n",
        ]
        .map(|text| parse_toml(text).unwrap());
        let waiting = pending(&profile, &started, &now);
        let shown: Vec<_> = waiting
            .iter()
            .map(|waiting| (&*waiting.key, waiting.running.as_deref(), waiting.next.as_deref()))
            .collect();
        assert_eq!(
            shown,
            [
                ("dirs.\"/data\"", Some("\"private\""), None),
                ("env.B", Some("\"2\""), Some("\"3\"")),
                ("hostname", Some("\"a\""), None),
                ("ttys", Some("2"), Some("3")),
            ]
        );
        assert_eq!(pending(&profile, &now, &now), []);
    }
}
