//! What an import did.

use std::collections::BTreeMap;

use serde::Serialize;

/// What was done in addition to copying.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Entries of the archive.
    pub entries: u64,
    /// Device nodes that were left out.
    pub devices: u64,
    /// Attributes, and keys of extended headers, that were left out.
    pub attributes: u64,
    /// The same by name.
    pub names: BTreeMap<String, u64>,
    /// Entries outside the directory that was asked for.
    pub outside: u64,
}

impl Report {
    /// What was skipped, as text; none if nothing was.
    pub fn left_out(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.devices > 0 {
            parts.push(format!("{} device nodes", self.devices));
        }
        if self.attributes > 0 {
            let names: Vec<_> = self.names.iter().map(|(name, count)| format!("{name} {count}")).collect();
            parts.push(format!("{} attributes ({})", self.attributes, names.join(", ")));
        }
        if self.outside > 0 {
            parts.push(format!("{} entries outside of --strip-prefix", self.outside));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}
