//! Values below `/proc/sys/net`.

use std::fs;

use crate::kernel::{KernelError, Result};

pub(super) fn is_set(path: &str, value: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|now| now.trim() == value)
}

/// Writes a value that is not there yet.
pub(super) fn set(path: String, value: &str) -> Result<()> {
    if is_set(&path, value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|error| KernelError::new(format!("write {value} to"), path, error))
}
