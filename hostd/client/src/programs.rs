//! Becoming another program of Tenantry.

use std::{ffi::OsString, os::unix::process::CommandExt as _, process::Command};

use tenant::Layout;
use wire::{Code, Failure};

/// Replaces this process by the program that joins tenants.
///
/// # Errors
/// It is missing, or cannot be executed; otherwise this does not return.
pub fn become_tenant<T>(layout: &Layout, arguments: Vec<OsString>) -> Result<T, Failure> {
    let program = wire::programs::tenant()?;
    let error = Command::new(&program).arg("--root").arg(layout.root()).args(arguments).exec();
    let text = format!("cannot execute {}: {error}", program.display());
    Err(Failure::new(Code::Failed, text))
}
