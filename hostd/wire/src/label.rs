//! What a filter asks of the labels of a tenant, as tenantctl and hostd both take it.

use std::collections::BTreeMap;

use crate::Pattern;

/// What a tenant must have of its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelRule {
    key: String,
    value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Any,
    Like(Pattern),
    /// The label is not there, or has another value.
    Unlike(Pattern),
}

impl LabelRule {
    /// Reads `KEY`, `KEY=VALUE` or `KEY!=VALUE`, in which the value may be a pattern. The first `=` ends the key.
    ///
    /// # Errors
    /// Why it is none of these.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (key, value) = match text.split_once('=') {
            None => (text, Value::Any),
            Some((key, value)) => match key.strip_suffix('!') {
                Some(key) => (key, Value::Unlike(Pattern::parse(value)?)),
                None => (key, Value::Like(Pattern::parse(value)?)),
            },
        };
        match key.is_empty() {
            true => Err("it is not KEY, KEY=VALUE or KEY!=VALUE"),
            false => Ok(Self { key: key.to_owned(), value }),
        }
    }

    /// Whether a tenant with these labels is meant.
    pub fn is_of(&self, labels: &BTreeMap<String, String>) -> bool {
        let own = labels.get(&self.key);
        match &self.value {
            Value::Any => own.is_some(),
            Value::Like(pattern) => own.is_some_and(|own| pattern.matches(own)),
            Value::Unlike(pattern) => !own.is_some_and(|own| pattern.matches(own)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_asked_for_with_or_without_a_value() {
        let pairs = [("tier", "gold"), ("tested", ""), ("example.com/owner", "ops"), ("query", "a!=b")];
        let labels = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let is_of = |rule: &str| LabelRule::parse(rule).unwrap().is_of(&labels);
        for rule in [
            "tier",
            "tested",
            "tier=gold",
            "tier=g*",
            "tier!=silver",
            "zone!=x",
            "tested=",
            "tested!=?*",
            "example.com/owner=o?s",
            "query=a!=b",
            "query!=a=b",
        ] {
            assert!(is_of(rule), "{rule}");
        }
        for rule in
            ["zone", "tier=silver", "tier!=gold", "tier!=g*", "tier=", "zone=x", "query!=a!=b", "quer=*"]
        {
            assert!(!is_of(rule), "{rule}");
        }
        for bad in ["", "=gold", "!=gold", "tier=["] {
            assert!(LabelRule::parse(bad).is_err(), "{bad}");
        }
    }
}
