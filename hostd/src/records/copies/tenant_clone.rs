//! A tenant made of another one: its files, with an identity of its own.

use filetree::{Keep, Tally, Watch, copy};
use tenant::{TenantName, files::file_error::FileError};
use toml_edit::{DocumentMut, Item};

use super::{CopyError, Part, stores::passes};
use crate::records::{NewTenant, Store, StoreError, create::Seed, edit, lifecycle::Made};

/// Keys that only one tenant of a host can have.
const SINGLE: [&str; 1] = ["ports"];
/// The same of a row of `[[nic]]`.
const SINGLE_OF_NIC: [&str; 2] = ["mac", "addresses"];

/// The text of a tenant's file without what another tenant has already, and what was left out.
fn shared_text(text: &str) -> (String, Vec<String>) {
    let Ok(mut file) = text.parse::<DocumentMut>() else { return (text.to_owned(), Vec::new()) };
    let mut left_out: Vec<String> = Vec::new();
    for key in SINGLE {
        left_out.extend(file.remove(key).map(|_| key.to_owned()));
    }
    let mut take = |number: usize, nic: &mut dyn toml_edit::TableLike| {
        for key in SINGLE_OF_NIC {
            left_out.extend(nic.remove(key).map(|_| format!("{key} of interface {number}")));
        }
    };
    match file.get_mut("nic") {
        Some(Item::ArrayOfTables(nics)) => {
            nics.iter_mut().enumerate().for_each(|(number, nic)| take(number, nic));
        }
        Some(Item::Value(toml_edit::Value::Array(nics))) => {
            let tables = nics.iter_mut().filter_map(toml_edit::Value::as_inline_table_mut);
            tables.enumerate().for_each(|(number, nic)| take(number, nic));
        }
        _ => {}
    }
    (file.to_string(), left_out)
}

impl Store {
    /// Makes the tenant `name` of the tenant `from`. What is different in its file is in `new`; what both cannot have is
    /// left out of it and told.
    ///
    /// # Errors
    /// A file cannot be copied; those of [`Store::create`]. Nothing is changed then.
    pub fn clone_tenant(
        &self,
        from: &TenantName,
        name: &TenantName,
        (new, unset): (&NewTenant, &[String]),
        watch: Watch<'_>,
    ) -> Result<(Tally, Vec<String>), StoreError> {
        self.refuse_taken(name)?;
        let record = self.ready(from)?;
        let (_, plan) = self.plan(from, None)?;
        let (text, left_out) = shared_text(&self.config_text(from)?);
        let text = edit::apply(&text, &new.set, unset).map_err(StoreError::setting(name))?;
        // Before anything is copied for nothing.
        self.resolve_text(name, &text)?;
        let mut part = Part::begin(self)?;
        let path = self.layout.dirs(from);
        let dirs = filetree::Dir::open(&path).map_err(FileError::when("open", &path))?;
        let tally = copy(&dirs, &part.dirs()?, Keep::LayerHere, &passes(&plan), watch)
            .map_err(|source| CopyError::Tree { tenant: from.to_string(), source })?;
        let made = Made { name, text: &text, pinned: Some(&record.pinned), uuid: None };
        self.make(&made, Seed::Part { part: part.path(), is_copy: true })?;
        part.taken();
        let warnings = left_out.iter().map(|key| format!("{key} was left out: \"{from}\" has it")).collect();
        Ok((tally, warnings))
    }
}
