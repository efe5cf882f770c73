//! A value that cannot be, by the name of its key.

use std::fmt;

/// A configuration that parses and makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("key `{key}`: {reason}")]
pub struct ConfigError {
    /// The key at fault.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

impl ConfigError {
    pub(super) fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}

/// A value between two others, both included.
pub(super) fn in_range<T: PartialOrd + fmt::Display>(
    key: &str,
    value: T,
    min: T,
    max: T,
) -> Result<T, ConfigError> {
    if value < min || value > max {
        return Err(ConfigError::new(key, format!("{value} is outside {min} to {max}")));
    }
    Ok(value)
}

/// A text of one line that no terminal takes for a command.
pub(super) fn clean_text(key: &str, text: &str, longest: usize) -> Result<(), ConfigError> {
    if text.len() > longest {
        return Err(ConfigError::new(key, format!("it is longer than {longest} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(ConfigError::new(key, "it contains a control character"));
    }
    Ok(())
}
