//! Which sysctls are a tenant's own.

use std::collections::BTreeMap;

use super::error::{ConfigError, clean_text};

/// Files below `/proc/sys/net` that every network namespace has and that are the whole host's, and why. Which they are
/// is found by a test that writes all that a tenant can.
pub const HOST_SYSCTLS: [(&str, &str); 1] =
    [("net/netfilter/nf_hooks_lwtunnel", "it permanently enables hooks of the host's packet filter")];

/// Keys of the network namespace alone: every other sysctl(8) key is the host's or read-only inside.
pub(super) fn sysctl(table: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    for (key, value) in table {
        let dotted = format!("sysctl.\"{key}\"");
        let good = key.len() <= 128
            && key.split('.').all(|part| {
                !part.is_empty()
                    && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'/'))
            })
            && key.split(['.', '/']).all(|part| !part.is_empty());
        if !good || !key.starts_with("net.") {
            return Err(ConfigError::new(dotted, "a tenant can set only keys below \"net.\""));
        }
        // As in sysctl(8): a dot in a name of an interface is written as a slash.
        let path = key.replace('.', "/");
        if let Some((_, reason)) = HOST_SYSCTLS.iter().find(|(file, _)| *file == path) {
            return Err(ConfigError::new(dotted, format!("it applies to the whole host: {reason}")));
        }
        clean_text(&dotted, value, 256)?;
    }
    Ok(())
}
