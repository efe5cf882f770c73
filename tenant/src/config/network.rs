//! What belongs to a tenant's network besides its interfaces: search domains, sysctls, forwarded ports.

use super::{
    error::{ConfigError, in_range},
    nic::{Attachment, Nic},
};
use crate::model::net::{Forward, Forwards};

pub(super) fn domains(key: &str, domains: Vec<String>) -> Result<Vec<String>, ConfigError> {
    in_range(key, domains.len(), 0, 6)?;
    for domain in &domains {
        let good = (1..=253).contains(&domain.len())
            && domain.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            && !domain.starts_with('-');
        if !good {
            return Err(ConfigError::new(key, format!("{domain:?} is not a domain")));
        }
    }
    Ok(domains)
}

/// The forwards, none of which can be had twice.
pub(super) fn forwards(merged: Option<Forwards>, nics: &[Nic]) -> Result<Vec<Forward>, ConfigError> {
    let forwards = merged.map(|list| list.0).unwrap_or_default();
    for (number, forward) in forwards.iter().enumerate() {
        let port =
            |other: &Forward| (other.protocol, other.host_port) == (forward.protocol, forward.host_port);
        if forwards[..number].iter().any(port) {
            let reason =
                format!("port {}/{} of the host is forwarded twice", forward.host_port, forward.protocol);
            return Err(ConfigError::new("ports", reason));
        }
    }
    if !forwards.is_empty() && !nics.iter().any(|nic| matches!(nic.attachment, Attachment::Routed { .. })) {
        return Err(ConfigError::new("ports", "port forwards need a routed interface"));
    }
    Ok(forwards)
}
