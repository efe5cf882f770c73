//! The keys of a tenant's file and the values of those that are words, as the table of keys has them.

use tenant::config::KEYS;

/// The keys of a tenant's file, and `kind`, which profiles have.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.name)
}

/// The values of a key that are words; empty for numbers, texts, tables.
pub(super) fn values(key: &str) -> Vec<&'static str> {
    KEYS.iter().find(|known| known.name == key).map(|key| key.range.completions()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenant::config::{Fragment, parse_toml};

    #[test]
    fn every_key_that_a_file_may_have_is_known() {
        let all: Vec<_> = names().collect();
        assert!(["memory_max", "autostart", "image", "dirs"].iter().all(|key| all.contains(key)), "{all:?}");
    }

    #[test]
    fn offered_values_are_accepted_by_the_parser() {
        assert_eq!(values("autostart"), ["true", "false"]);
        assert_eq!(values("restart"), ["on-failure", "no", "always"]);
        assert_eq!(values("memory_max"), ["max"]);
        assert!(values("ttys").is_empty() && values("nonsense").is_empty());
        for key in names() {
            for value in values(key) {
                let line = match value {
                    "true" | "false" => format!("{key} = {value}\n"),
                    word => format!("{key} = {word:?}\n"),
                };
                assert!(parse_toml::<Fragment>(&line).is_ok(), "{line}");
            }
        }
    }

    #[test]
    fn the_kinds_are_those_of_the_type() {
        assert_eq!(values("kind"), ["shared-os", "os", "app", "app-plus", "router"]);
    }
}
