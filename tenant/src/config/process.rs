//! What init is given: its arguments, its environment, its host name, and what it may not do.

use std::collections::BTreeMap;

use super::error::{ConfigError, clean_text, in_range};

pub(super) fn argv(key: &str, argv: Option<Vec<String>>) -> Result<Option<Vec<String>>, ConfigError> {
    let Some(argv) = argv else { return Ok(None) };
    match argv.first() {
        Some(program) if program.starts_with('/') => {}
        _ => return Err(ConfigError::new(key, "it needs an absolute path as its first element")),
    }
    in_range(key, argv.len(), 1, 64)?;
    argv.iter().try_for_each(|argument| clean_text(key, argument, 4096))?;
    Ok(Some(argv))
}

pub(super) fn hostname(text: &str) -> Result<(), ConfigError> {
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if text.len() <= 64 && text.split('.').all(label) {
        return Ok(());
    }
    Err(ConfigError::new("hostname", format!("{text:?} is not a host name of at most 64 bytes")))
}

pub(super) fn capabilities(names: Vec<String>) -> Result<Vec<String>, ConfigError> {
    for name in &names {
        if name.parse::<caps::Capability>().is_err() {
            let reason = format!("{name:?} is not the name of a capability, e.g. CAP_SYS_BOOT");
            return Err(ConfigError::new("drop_capabilities", reason));
        }
    }
    Ok(names)
}

/// The environment of init.
pub(super) fn environment(env: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    for (key, value) in env {
        let dotted = format!("env.{key}");
        clean_text(&dotted, value, 4096)?;
        let good = !key.is_empty()
            && !key.starts_with(|c: char| c.is_ascii_digit())
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !good {
            return Err(ConfigError::new(dotted, "it is not a valid name of an environment variable"));
        }
    }
    Ok(())
}
