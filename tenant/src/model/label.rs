//! Labels: words by which people sort their tenants, with the syntax of Kubernetes.

use std::{collections::BTreeMap, str::FromStr};

use serde::{Deserialize, Serialize};

/// The labels of one tenant.
pub type Labels = BTreeMap<LabelName, LabelValue>;

/// Most labels that one tenant can have, those of its profile included.
pub const MOST_LABELS: usize = 64;

/// Longest name, without its prefix, and longest value, bytes.
const LONGEST: usize = 63;
/// Longest prefix, bytes.
const LONGEST_PREFIX: usize = 253;

/// The name of a label: 1 to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends; optionally
/// after a DNS name of at most 253 bytes and a slash, e.g. `example.com/tier`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabelName(String);

/// The value of a label: at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabelValue(String);

/// Why a string is no name or no value of a label.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not {what} of a label: {rule}")]
pub struct InvalidLabel {
    text: String,
    what: &'static str,
    rule: &'static str,
}

impl InvalidLabel {
    fn new(text: &str, what: &'static str, rule: &'static str) -> Self {
        Self { text: text.chars().take(64).collect(), what, rule }
    }
}

fn is_word(text: &str) -> bool {
    let ends = |end: Option<u8>| end.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= LONGEST
        && ends(text.bytes().next())
        && ends(text.bytes().next_back())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn is_dns_name(text: &str) -> bool {
    let is_part = |part: &str| {
        (1..=LONGEST).contains(&part.len())
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    text.len() <= LONGEST_PREFIX && text.split('.').all(is_part)
}

impl FromStr for LabelName {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        let good = match text.split_once('/') {
            Some((prefix, name)) => is_dns_name(prefix) && is_word(name),
            None => is_word(text),
        };
        let rule = "1 to 63 letters, digits, '-', '_' and '.', the first and last a letter or digit, \
                    optionally after a DNS name and '/'";
        good.then(|| Self(text.to_owned())).ok_or_else(|| InvalidLabel::new(text, "the name", rule))
    }
}

impl FromStr for LabelValue {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        let rule = "at most 63 letters, digits, '-', '_' and '.', the first and last a letter or digit";
        let good = text.is_empty() || is_word(text);
        good.then(|| Self(text.to_owned())).ok_or_else(|| InvalidLabel::new(text, "the value", rule))
    }
}

macro_rules! text {
    ($type:ident) => {
        impl $type {
            /// As it is written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        super::text::text_form!($type, InvalidLabel);
    };
}

text!(LabelName);
text!(LabelValue);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_have_the_syntax_of_kubernetes() {
        for name in ["tier", "a", "App_2.x", "example.com/tier", "a-b.c/D"] {
            assert_eq!(name.parse::<LabelName>().unwrap().as_str(), name);
        }
        for value in ["", "gold", "1.2.3", "A_b-c"] {
            assert_eq!(value.parse::<LabelValue>().unwrap().as_str(), value);
        }
        let long = "x".repeat(64);
        for name in ["", "-a", "a-", "a b", "/a", "a/", "a/b/c", "A.com/x", "a..b/x", "ä", "a\n", &long] {
            assert!(name.parse::<LabelName>().is_err(), "{name:?} was accepted");
        }
        for value in ["-", "a b", ".a", "a/b", "ä", "a\u{1b}", &long] {
            assert!(value.parse::<LabelValue>().is_err(), "{value:?} was accepted");
        }
        let longest = format!("{}.example/{}", "y".repeat(63), "x".repeat(63));
        assert!(longest.parse::<LabelName>().is_ok());
        assert!(
            format!("{}example/x", "y.".repeat(124)).parse::<LabelName>().is_err(),
            "a prefix of 255 bytes"
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_the_rule() {
        let error = "a b".parse::<LabelValue>().unwrap_err().to_string();
        assert!(error.starts_with("\"a b\" is not the value of a label: at most 63"), "{error}");
    }
}
