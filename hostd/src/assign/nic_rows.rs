//! Rows of `nics.toml`, changed as text: comments and order stay.

use tenant::{
    TenantName,
    model::{net::LinkName, nic_table::NicRow},
};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};
use wire::Code;

use crate::records::StoreError;

/// The text of a table that has no rows yet.
pub(super) const HEADER: &str = "# NICs and VLANs of this host, and the tenants they are assigned to.\n";

pub(super) fn refuse(what: impl Into<String>, code: Code, help: impl Into<String>) -> StoreError {
    StoreError::Port { what: what.into(), code, help: help.into() }
}

/// Adds a row to the text of a table, or changes the one for the same NIC or VLAN. Comments stay.
///
/// # Errors
/// A text that is not TOML, or whose rows are no `[[nic]]` tables.
pub(super) fn put(text: &str, row: &NicRow) -> Result<String, StoreError> {
    let text = if text.trim().is_empty() { HEADER } else { text };
    let mut document = document(text)?;
    let rows = rows(&mut document)?;
    let place = rows.iter().position(|table| is_row(table, &row.link, row.vlan));
    let table = match place.and_then(|place| rows.get_mut(place)) {
        Some(table) => table,
        None => {
            let mut table = Table::new();
            table.decor_mut().set_prefix("\n");
            table.insert("link", value(row.link.as_str()));
            if let Some(vlan) = row.vlan {
                table.insert("vlan", value(i64::from(vlan)));
            }
            rows.push(table);
            rows.get_mut(rows.len() - 1).ok_or_else(|| refuse("the table has no rows", Code::Failed, ""))?
        }
    };
    set(table, "tenant", Some(Item::Value(row.tenant.as_str().into())));
    set(table, "name", row.name.as_ref().map(|name| Item::Value(name.as_str().into())));
    let addresses: toml_edit::Array = row.addresses.iter().map(ToString::to_string).collect();
    set(table, "addresses", (!addresses.is_empty()).then(|| Item::Value(addresses.into())));
    Ok(document.to_string())
}

/// Removes the row of a NIC or VLAN; none if the text has none.
///
/// # Errors
/// Those of [`put`].
pub(super) fn remove(text: &str, link: &LinkName, vlan: Option<u16>) -> Result<Option<String>, StoreError> {
    let mut document = document(text)?;
    let rows = rows(&mut document)?;
    let Some(place) = rows.iter().position(|table| is_row(table, link, vlan)) else { return Ok(None) };
    rows.remove(place);
    if rows.is_empty() {
        let key = key(&document);
        document.remove(key);
    }
    Ok(Some(document.to_string()))
}

/// Gives the rows of one tenant to another; none if the text has none. Comments stay.
///
/// # Errors
/// Those of [`put`].
pub(crate) fn give_all(text: &str, from: &TenantName, to: &TenantName) -> Result<Option<String>, StoreError> {
    let mut document = document(text)?;
    let mut is_changed = false;
    for table in rows(&mut document)?.iter_mut() {
        if table.get("tenant").and_then(Item::as_str) == Some(from.as_str()) {
            set(table, "tenant", Some(Item::Value(to.as_str().into())));
            is_changed = true;
        }
    }
    Ok(is_changed.then(|| document.to_string()))
}

fn document(text: &str) -> Result<DocumentMut, StoreError> {
    let malformed = |error: toml_edit::TomlError| {
        refuse(format!("nics.toml is malformed: {}", error.message()), Code::Invalid, "correct the file")
    };
    text.parse().map_err(malformed)
}

/// The key of the rows: that of an earlier release is kept where the file has it.
fn key(document: &DocumentMut) -> &'static str {
    if document.contains_key("port") { "port" } else { "nic" }
}

fn rows(document: &mut DocumentMut) -> Result<&mut ArrayOfTables, StoreError> {
    let key = key(document);
    let rows = document.entry(key).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    rows.as_array_of_tables_mut().ok_or_else(|| {
        refuse("the rows of nics.toml are an inline array", Code::Invalid, "write each as a [[nic]] table")
    })
}

fn is_row(table: &Table, link: &LinkName, vlan: Option<u16>) -> bool {
    let own_vlan = table.get("vlan").and_then(Item::as_integer).and_then(|vlan| u16::try_from(vlan).ok());
    table.get("link").and_then(Item::as_str) == Some(link.as_str()) && own_vlan == vlan
}

/// Sets or removes a key; the comment behind it stays.
fn set(table: &mut Table, key: &str, new: Option<Item>) {
    match (table.get_mut(key), new) {
        (Some(Item::Value(old)), Some(Item::Value(mut new))) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        (_, Some(new)) => drop(table.insert(key, new)),
        (_, None) => drop(table.remove(key)),
    }
}
