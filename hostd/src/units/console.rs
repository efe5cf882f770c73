//! A tenant's console, as far as a failure tells of it.

use tenant::{
    Layout, TenantName,
    protocol::{escape, wire::Tty},
    supervisor::terminals::log,
};

/// The last lines that a tenant's console printed, escaped, oldest first.
pub fn last_console_lines(layout: &Layout, name: &TenantName, count: usize) -> Vec<String> {
    let bytes = log::tail(&layout.log(name), Tty::CONSOLE, 16 << 10).unwrap_or_default();
    escape::plain_lines(&bytes, count)
}
