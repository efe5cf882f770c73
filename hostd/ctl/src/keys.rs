//! The keys of a tenant's file and the values of those that are words, read off the type of the file itself: what serde
//! would accept is what is offered.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, MapAccess, Visitor, value::Error, value::StrDeserializer},
    forward_to_deserialize_any,
};
use tenant::config::Fragment;

/// The keys of a tenant's file.
pub(super) fn names() -> &'static [&'static str] {
    let mut seen = Seen::default();
    // It never succeeds: it only looks.
    let _ = Fragment::deserialize(Look { key: None, seen: &mut seen });
    seen.fields
}

/// The values of a key that are words; empty for numbers, texts, tables.
pub(super) fn values(key: &str) -> Vec<&'static str> {
    if !names().contains(&key) {
        return Vec::new();
    }
    let mut seen = Seen::default();
    let _ = Fragment::deserialize(Look { key: Some(key), seen: &mut seen });
    if seen.is_boolean { vec!["true", "false"] } else { seen.words.to_vec() }
}

/// The words of a type that is an enumeration.
pub(super) fn words<T: Deserialize<'static>>() -> &'static [&'static str] {
    let mut seen = Seen::default();
    let _ = T::deserialize(Value { seen: &mut seen });
    seen.words
}

/// What a type asked for.
#[derive(Debug, Default)]
struct Seen {
    fields: &'static [&'static str],
    words: &'static [&'static str],
    is_boolean: bool,
}

fn enough() -> Error {
    serde::de::Error::custom("seen")
}

/// The file: it has the one key that is looked at, or none.
struct Look<'a> {
    key: Option<&'a str>,
    seen: &'a mut Seen,
}

impl<'de> Deserializer<'de> for Look<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(enough())
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.seen.fields = fields;
        if self.key.is_some() { visitor.visit_map(self) } else { Err(enough()) }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Look<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(key) = self.key.take() else { return Ok(None) };
        seed.deserialize(StrDeserializer::<Error>::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(Value { seen: self.seen })
    }
}

/// A value: what its type asks for is noted.
struct Value<'a> {
    seen: &'a mut Seen,
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(enough())
    }

    fn deserialize_bool<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        self.seen.is_boolean = true;
        Err(enough())
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.seen.words = variants;
        Err(enough())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenant::config::{Kind, parse_toml};

    #[test]
    fn every_key_that_a_file_may_have_is_known() {
        let all = names();
        assert!(["memory_max", "autostart", "image", "dirs"].iter().all(|key| all.contains(key)), "{all:?}");
    }

    #[test]
    fn offered_values_are_accepted_by_the_parser() {
        assert_eq!(values("autostart"), ["true", "false"]);
        assert_eq!(values("restart"), ["on-failure", "no", "always"]);
        assert!(values("memory_max").is_empty() && values("nonsense").is_empty());
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
        assert_eq!(words::<Kind>(), ["shared-os", "os", "app", "app-plus", "router"]);
    }
}
