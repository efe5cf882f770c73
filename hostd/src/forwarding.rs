//! IPv6 forwarding of the whole host: a supervisor turns it on, hostd turns it off when it ends and no tenant needs it.

use tenant::{
    Layout,
    kernel::{KernelError, forwarding6_enable, forwarding6_restore},
    state,
};

/// Gives the host back what was changed so that it forwards IPv6 for tenants, if none is up.
///
/// # Errors
/// It cannot be given back; the note of it stays.
pub fn leave(layout: &Layout) -> Result<(), KernelError> {
    let (note, runtimes) = (layout.forwarding6(), layout.runtimes());
    let is_needed = || !state::supervised(&runtimes).is_empty();
    if is_needed() || !forwarding6_restore(&note)? {
        return Ok(());
    }
    // One may have begun meanwhile, and found it on.
    if is_needed() { forwarding6_enable(&note) } else { Ok(()) }
}
