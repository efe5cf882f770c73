//! What is said of a step that failed.

use crate::{files::file_error::full, kernel::KernelError};

/// The remedy: that of the fault itself, where it is one of which more is known, or that for a filesystem without
/// room.
pub fn remedy(error: &KernelError) -> Option<String> {
    error.source.help().or_else(|| full(error.source.kind()).map(str::to_owned))
}

/// What could not be undone, in brackets.
pub(super) fn leftovers(cleanup: &[KernelError]) -> String {
    if cleanup.is_empty() {
        return String::new();
    }
    let list: Vec<String> = cleanup.iter().map(|error| format!("{error}: {}", error.source)).collect();
    format!(" (cleanup failed: {})", list.join("; "))
}
