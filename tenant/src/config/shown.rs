//! Values as `tenantctl explain` shows them.

use serde::Serialize;

/// A word of the configuration, as it is written there.
pub(super) fn word(value: &impl Serialize) -> String {
    match toml::Value::try_from(value) {
        Ok(toml::Value::String(text)) => text,
        other => other.map(|value| value.to_string()).unwrap_or_default(),
    }
}

pub(super) fn none_or(value: Option<impl ToString>) -> String {
    value.map_or("none".to_owned(), |value| value.to_string())
}

pub(super) fn list(words: Option<&[String]>) -> String {
    words.map_or("none".to_owned(), |words| format!("{words:?}"))
}

pub(super) fn names<T: ToString>(values: &[T]) -> String {
    format!("{:?}", values.iter().map(ToString::to_string).collect::<Vec<_>>())
}
