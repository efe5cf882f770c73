//! What is known of a tenant that is in the tables: its record.

use std::{fs, io};

use crate::{
    files::record::{self, Durability},
    kernel::{KernelError, Result},
    model::{
        filter::{HostFilter, TenantFilter},
        name::TenantName,
    },
};

/// What the tables hold for a tenant; nothing where it is not in them.
///
/// # Errors
/// Its record cannot be read.
pub fn known(host: &HostFilter, name: &TenantName) -> Result<Option<TenantFilter>> {
    Ok(read_record(host, name)?.and_then(|mut known| known.pop()))
}

/// What is known of a tenant that is in the tables; more than one while it is being changed.
pub(super) fn read_record(host: &HostFilter, name: &TenantName) -> Result<Option<Vec<TenantFilter>>> {
    let text = match record::read(&host.record(name)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(record_error(host, name, io::Error::other(error))),
    };
    serde_json::from_str(&text).map(Some).map_err(|error| record_error(host, name, error))
}

pub(super) fn write_record(host: &HostFilter, known: &[TenantFilter]) -> Result<()> {
    let Some(first) = known.first() else { return Ok(()) };
    let text = serde_json::to_vec(known).expect("a filter has only types that JSON can hold");
    record::write(&host.record(&first.tenant), &text, Durability::Volatile)
        .map_err(|error| record_error(host, &first.tenant, io::Error::other(error)))
}

pub(super) fn remove_record(host: &HostFilter, name: &TenantName) -> Result<()> {
    match fs::remove_file(host.record(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(record_error(host, name, error)),
        _ => Ok(()),
    }
}

fn record_error(host: &HostFilter, name: &TenantName, error: impl Into<io::Error>) -> KernelError {
    KernelError::new("use", host.record(name).display(), error)
}
