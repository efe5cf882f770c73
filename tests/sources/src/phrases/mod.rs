//! Words that may not come back, in what users read and in identifiers.
//!
//! The table is `tests/sources/phrases.toml`: each row says what to write instead, and why. Where users
//! read: `code` finds the strings and the help of programs, `prose` the documents.

mod code;
mod prose;
mod table;
mod text;

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Result;

pub(crate) use table::Table;
use table::{Place, Row};
use text::Text;

/// Something that may not stay, for people.
struct Hit<'a> {
    row: &'a Row,
    path: PathBuf,
    line: usize,
    found: String,
}

/// What is wrong with these files, by path and text; then a line for each row of the table that was found.
pub(crate) fn faults(table: &Table, files: &[(PathBuf, String)]) -> Result<(Vec<String>, Vec<String>)> {
    let mut hits = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| !table.skips(path)) {
        let is_code = path.extension().is_some_and(|kind| kind == "rs");
        let texts = match (is_code, prose::is_read(path)) {
            (true, _) if code::is_of_a_test(path) => Vec::new(),
            (true, _) => code::texts(text)?,
            (false, true) => prose::texts(path, text),
            (false, false) => continue,
        };
        let place = if is_code { Place::Messages } else { Place::Docs };
        for Text { line, text } in texts {
            for (row, offset, found) in table.in_text(place, &text) {
                let line = line + text[..offset].matches('\n').count();
                hits.push(Hit { row, path: path.clone(), line, found });
            }
        }
        if is_code {
            for (line, name) in code::identifiers(text)? {
                let rows = table.in_name(&name);
                hits.extend(rows.map(|row| Hit { row, path: path.clone(), line, found: name.clone() }));
            }
        }
    }
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for hit in &hits {
        *counts.entry((hit.row.kind(), &hit.row.find)).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let counts = counts.iter().map(|((kind, find), count)| format!("{count:5}  {kind} {find:?}")).collect();
    Ok((hits.iter().map(Hit::show).collect(), counts))
}

impl Hit<'_> {
    fn show(&self) -> String {
        let Self { row, path, line, found } = self;
        format!("{}:{line}: {found:?}: write {} ({})", path.display(), row.instead, row.why)
    }
}

#[cfg(test)]
mod tests;
